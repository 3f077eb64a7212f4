"""What the console asks for again and again, each by a thread of its own: who is slow holds up nobody else."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from alphatrade.risk.errors import AlphaTradeError


class Answer[T](NamedTuple):
    """The latest answer; None: there is none that is still good. And why there is none, or none that is fresh."""

    value: T | None
    why: str


class Asked[T]:
    """
    A question, and its latest answer.

    Parameters
    ----------
    ask : callable
        Returns the answer, or raises.
    every_s : float
        Between an answer and the next question, seconds.
    fresh_s : float
        For how long an answer is good, seconds.
    keep : bool
        Whether one that is older is given all the same, with the reason why there is no other.
    """

    def __init__(self, ask: Callable[[], T], every_s: float, fresh_s: float, keep: bool) -> None:
        self._ask, self._every_s, self._fresh_s, self._keep = ask, every_s, fresh_s, keep
        self._last: tuple[T | None, float] = None, time.monotonic()
        self._why = ""

    def look(self) -> None:
        """Ask."""
        try:
            self._last = self._ask(), time.monotonic()
        except Exception as error:  # whatever it is, it is what the page says
            self._why = str(error) if isinstance(error, AlphaTradeError) else f"{type(error).__name__}: {error}"
        else:
            self._why = ""

    def go(self, end: threading.Event) -> None:
        """Ask until the end."""
        while not end.is_set():
            self.look()
            end.wait(self._every_s)

    @property
    def answer(self) -> Answer[T]:
        """What there is now."""
        value, at = self._last
        age = time.monotonic() - at
        old = f"no answer for {age:.0f} s" if age > self._fresh_s else ""
        return Answer(value if self._keep or not old else None, self._why or old)
