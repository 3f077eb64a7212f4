"""What time it is where money is traded: no clock that was set back makes a permit begin anew or end later.

A moment is the latest that is known of: what the wall's clock shows, what it showed when the process started plus the
time since, what it showed before as a file remembers it, and what the exchange says. Where the wall's clock is behind
one of them, or not where the exchange's is, it is wrong, and nothing is traded.
"""

import re
import time
from pathlib import Path

from alphatrade.risk.disk import write_whole

MOST_NS = 10**9  # by which clocks may differ
_MOMENT = re.compile(rb"[0-9]{1,19}\n")


class Clocks:
    """
    The clocks of one account.

    Parameters
    ----------
    file : Path
        Remembers the latest moment; its folder is made.

    Attributes
    ----------
    unkept : str
        Why the file cannot be used; empty: it can.
    """

    def __init__(self, file: Path) -> None:
        self._file, self.unkept = file, ""
        self._first, self._began = self._wall(), self._since()
        self._kept = self._remembered()
        self._venue = self._heard = 0  # what the exchange said, and when, by the clock that is never set

    def now(self) -> int:
        """Return the latest moment that is known of, UTC ns."""
        return max(self._wall(), *self._others().values())

    def wrong(self) -> str:
        """Return why this machine's clock is not to be believed; empty: it is."""
        if self.unkept:
            return self.unkept
        wall, others = self._wall(), self._others()
        for name, moment in others.items():
            if wall < moment - MOST_NS:
                return f"it is {(moment - wall) / 1e9:.1f} s behind {name}"
        venue = others.get("the exchange's", wall)
        return f"it is {(wall - venue) / 1e9:.1f} s ahead of the exchange's" if wall > venue + MOST_NS else ""

    def hear(self, ahead_ms: float) -> None:
        """Take how far the exchange's clock is ahead of the wall's, as was just found."""
        self._venue, self._heard = self._wall() + int(ahead_ms * 1e6), self._since()

    def keep(self) -> None:
        """Remember the moment, durably; where that fails the clock is wrong from now on."""
        self._kept = max(self._kept, self._wall())
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, f"{self._kept}\n")
        except OSError as error:
            self.unkept = f"{self._file} cannot be written ({error.strerror or error})"

    def _others(self) -> dict[str, int]:
        since = self._since()
        found = {"itself when the node started": self._first + since - self._began, "an earlier look": self._kept}
        return found | ({"the exchange's": self._venue + since - self._heard} if self._venue else {})

    def _remembered(self) -> int:
        try:
            text = self._file.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as error:
            self.unkept = f"{self._file} cannot be read ({error.strerror or error})"
            return 0
        if not _MOMENT.fullmatch(text):
            self.unkept = f"{self._file} holds no moment: nobody can tell whether the clock was set back"
            return 0
        return int(text)

    @staticmethod
    def _wall() -> int:
        return time.time_ns()

    @staticmethod
    def _since() -> int:
        return time.monotonic_ns()
