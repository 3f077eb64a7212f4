"""The connection to an exchange looks for new keys aside: a keyring that waits for its user must not stop trading."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alphatrade.nodes.paper.link import KEYS, Exchange, Link
from alphatrade.nodes.secrets import Keys, Secret, Secrets
from alphatrade.nodes.venue_rest import Credentials


class Slow(Secrets):
    """A keyring with new keys, which says so when it may."""

    def __init__(self) -> None:
        super().__init__(None)
        self.may, self.looks = threading.Event(), 0

    def changed(self, venue: str) -> bool:
        assert venue == KEYS
        self.looks += 1
        self.may.wait(10)
        return True

    def read(self, venue: str) -> Keys:
        assert venue == KEYS
        return Keys.model_construct(api_key=Secret("k" * 16), api_secret=Secret("s" * 16))


def link(keys: Secrets, told: list[str]) -> Link:
    nothing: Any = None
    made = Link(Exchange(None, None, ()), keys, nothing, nothing, nothing, told.append)

    async def admitted(_: Credentials) -> Any:
        """Stand in for the exchange, which admits all."""

    made._admitted = admitted  # type: ignore[method-assign]
    return made


def test_the_loop_goes_on_while_the_keys_are_looked_for_and_they_are_taken_up_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alphatrade.nodes.paper.link.KEYS_S", 0.2)
    keys, told = Slow(), list[str]()

    async def run() -> float:
        made, late, ended = link(keys, told), 0.0, asyncio.Event()

        async def beat() -> None:
            nonlocal late
            while not ended.is_set():
                began = time.monotonic()
                await asyncio.sleep(0.01)
                late = max(late, time.monotonic() - began)

        beating = asyncio.create_task(beat())
        for _ in range(3):
            assert not await made.renewed(), "the keyring has not answered yet"
        assert keys.looks == 1, "one that hangs is not asked again and again: threads are few"
        assert told == []
        keys.may.set()
        assert await made.renewed()
        ended.set()
        await beating
        return late

    assert asyncio.run(run()) < 0.15
    assert told == ["there are new keys: connecting anew"]


def test_without_new_keys_there_is_nothing_to_renew() -> None:
    class Same(Slow):
        def changed(self, venue: str) -> bool:
            self.looks += 1
            return False

    async def run() -> None:
        made = link(keys, [])
        assert not await made.renewed()
        assert not await made.renewed()

    keys = Same()
    asyncio.run(run())
    assert keys.looks == 2


def test_new_keys_are_held_against_the_account_that_was_first_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the connection was opened anew since; until there is one, against none."""
    nothing, found, seen = cast(Any, None), list[object](), 0

    class Seen(Exchange):
        async def vetted(self, rest: Any, uid: object) -> None:
            found.append((rest.uid, uid))

        def client(self, *_: Any) -> Any:
            async def connect() -> None:
                """Be connected."""

            return SimpleNamespace(_connect=connect, account_id=None)

    class New(Slow):
        def changed(self, venue: str) -> bool:
            return True

    async def run() -> None:
        made = Link(Seen(None, None, ()), New(), nothing, nothing, nothing, lambda _: None)

        async def admitted(_: Credentials) -> Any:
            nonlocal seen
            seen += 1
            return SimpleNamespace(uid=seen)

        made._admitted = admitted  # type: ignore[method-assign]
        await made.renewed()
        await made.open()
        await made.open()
        await made.renewed()

    asyncio.run(run())
    assert found == [(1, None), (4, 2)]
