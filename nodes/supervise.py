"""Keeps a command running where there is no systemd: restarts it when it dies, or when its heartbeat says it hangs.

Exit codes 0 (it is done) and 2 (bad input, or a latched kill switch: a person has to look) end the supervisor, too. The
command runs in a session of its own, so that a Ctrl-C reaches it once; whatever it leaves behind is killed before the
next start, or that would find its account in use.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from alphatrade.nodes.beats import BeatLimits, health, last_beat, mark, restart_helps
from alphatrade.nodes.redact import refuse_plain
from alphatrade.risk.errors import ConfigError

GAVE_UP = 1
FINAL = (0, 2)  # exit codes after which nothing is started again
# What is heard, and what of it the command gets: a terminal that closes is no reason to leave positions open.
PASSED_ON = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM, signal.SIGHUP: signal.SIGTERM}
_TICK_S = 0.1
_STOOD_S = 1.0  # between two looks: it was this process that stood still, or the machine
_DOUBLINGS = 20  # at most, of the first delay


@dataclass(frozen=True, slots=True)
class Patience:
    """
    How long and how often, all in seconds but `most`.

    Attributes
    ----------
    stale_s : float
        Without a good beat the command hangs and is killed.
    start_s : float
        Likewise, until its first beat.
    stop_s : float
        From a signal that is passed on until it is killed.
    first_s, longest_s : float
        Delay of the first restart, doubled with each further one in the window, up to the longest. The delay is drawn
        between half of that and all of it, so that several nodes do not come back at the same moment.
    most : int
        Restarts in a window; one more, and the supervisor gives up.
    window_s : float
        See `most`.
    """

    stale_s: float = 30.0
    start_s: float = 180.0
    stop_s: float = 60.0
    first_s: float = 1.0
    longest_s: float = 60.0
    most: int = 10
    window_s: float = 3600.0


class Watch:
    """
    Says for how long there was no good beat. Wall clocks do not count: only whether another beat is there.

    Parameters
    ----------
    folder : Path or None
        Of the heartbeat; None: the command has none and never hangs.
    patience : Patience
    now : float
        Monotonic seconds, as the command starts.
    """

    def __init__(self, folder: Path | None, patience: Patience, now: float) -> None:
        self._folder, self._patience = folder, patience
        self._mark = None if folder is None else mark(folder)  # of an earlier life
        self._limit = patience.start_s
        self._good = self._looked = now
        self._ill = ""

    def hung(self, now: float) -> str:
        """Return why the command hangs; empty: it does not."""
        if self._folder is None:
            return ""
        if now - self._looked > _STOOD_S:
            self._good += now - self._looked
        self._looked = now
        seen = mark(self._folder)
        if seen != self._mark:
            self._mark = seen
            beat = last_beat(self._folder)
            reasons = health(beat, beat.ts if beat else 0, BeatLimits())
            self._ill = "; ".join(reason.text for reason in reasons)
            if not restart_helps(reasons):
                self._good, self._limit = now, self._patience.stale_s
        silent = now - self._good
        return "" if silent <= self._limit else f"no good beat for {silent:.0f} s ({self._ill or 'none at all'})"


class Supervisor:
    """
    Runs one command, again and again.

    Parameters
    ----------
    command : sequence of str
    folder : Path or None
        See :class:`Watch`.
    patience : Patience
    tell : callable
        Takes a line for each action.

    Raises
    ------
    ConfigError
        If the command carries a secret; see :func:`run` for one that cannot be run.
    """

    def __init__(
        self, command: Sequence[str], folder: Path | None, patience: Patience, tell: Callable[[str], object]
    ) -> None:
        refuse_plain(command)
        self._command, self._folder = list(command), folder
        self._patience, self._tell = patience, tell
        self._asked: list[signal.Signals] = []  # signals that came and are not passed on yet
        self._ending = False
        self._ends: list[float] = []
        # What it draws reaches no digest; two supervisors must not draw alike.
        self._random = random.Random(time.monotonic_ns() ^ os.getpid() << 40)

    def run(self) -> int:
        """
        Run the command until it is done, a person is needed, or a signal comes.

        Returns
        -------
        int
            Its exit code, 128 + n after signal n; 1 after too many restarts.

        Raises
        ------
        ConfigError
            If there is no such program.
        """
        with self._listening():
            while True:
                code = self._life()
                if self._ending or code in FINAL:
                    self._tell(f"ends with exit code {code}" + (": a person has to look" if code == 2 else ""))
                    return code
                delay = self._delay(time.monotonic())
                if delay is None:
                    self._tell(f"gives up: more than {self._patience.most} restarts in {self._patience.window_s:g} s")
                    return GAVE_UP
                self._tell(f"restart {len(self._ends)} of at most {self._patience.most}, in {delay:.1f} s")
                until = time.monotonic() + delay
                while time.monotonic() < until and not self._asked:
                    time.sleep(min(_TICK_S, delay))
                if self._asked:
                    self._tell(f"{self._asked[0].name}: not restarted")
                    return code

    @contextmanager
    def _listening(self) -> Iterator[None]:
        def hear(number: int, frame: FrameType | None) -> None:
            self._asked.append(PASSED_ON[signal.Signals(number)])

        heard = [one for one in PASSED_ON if signal.getsignal(one) is not signal.SIG_IGN]  # nohup ignores one
        before = {one: signal.signal(one, hear) for one in heard}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _life(self) -> int:
        """Run the command once, and return how it ended."""
        try:
            child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            raise ConfigError("command", self._command[0], f"a program that can be run ({error.strerror})") from error
        try:
            self._tell(f"started process {child.pid}: {' '.join(self._command)}")
            self._attend(child)
        finally:
            _kill(child, signal.SIGKILL)  # what it left behind as well
            code = child.wait()
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        self._tell(f"process {child.pid} ended: {how}")
        return code if code >= 0 else 128 - code

    def _attend(self, child: "subprocess.Popen[bytes]") -> None:
        """Look at a command until it ends, or has to be killed."""
        watch = Watch(self._folder, self._patience, time.monotonic())
        deadline = float("inf")
        while child.poll() is None:
            now = time.monotonic()
            while self._asked:
                asked = self._asked.pop(0)
                self._tell(f"{asked.name} passed on: {self._patience.stop_s:g} s to stop")
                _kill(child, asked)
                if not self._ending:
                    self._ending, deadline = True, now + self._patience.stop_s
            why = f"did not stop in {self._patience.stop_s:g} s" if now > deadline else ""
            if not self._ending:
                why = watch.hung(now)
            if why:
                self._tell(f"process {child.pid} is killed: {why}")
                return
            time.sleep(_TICK_S)

    def _delay(self, now: float) -> float | None:
        """Return the seconds until the next start; None: there were too many."""
        spec = self._patience
        self._ends = [*(end for end in self._ends if now - end < spec.window_s), now]
        if len(self._ends) > spec.most:
            return None
        longest = min(spec.longest_s, spec.first_s * 2.0 ** min(len(self._ends) - 1, _DOUBLINGS))
        return longest * self._random.uniform(0.5, 1.0)


def _kill(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(child.pid, number)
