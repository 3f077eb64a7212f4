"""Shim: a client of ours as a factory for the builder of a node, which only takes factories."""

import asyncio
from collections.abc import Callable
from typing import Any

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus


def factory_of[T](base: type, make: Callable[[Any, MessageBus, Cache, LiveClock], T], made: list[T]) -> type:
    """
    Return a factory of one client.

    Parameters
    ----------
    base : type
        ``LiveDataClientFactory`` or ``LiveExecClientFactory``.
    make : callable
        Is given loop, bus, cache and clock of the node.
    made : list
        What it makes is put into it.
    """

    class Factory(base):  # type: ignore[misc]
        """Makes the client."""

        @staticmethod
        def create(
            loop: asyncio.AbstractEventLoop, name: str, config: Any, msgbus: MessageBus, cache: Cache, clock: LiveClock
        ) -> T:
            """Return the client."""
            made.append(make(loop, msgbus, cache, clock))
            return made[-1]

    return Factory
