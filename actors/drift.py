"""Drift of standardised outcomes: CUSUM and Page-Hinkley a stream, one threshold for all, a ladder of severity.

A stream is one sequence of outcomes of one instrument: ``overall`` and ``tactic:<name>`` hold the mark-outs of
decisions that traded, at the primary horizon, bps net of costs; ``belief`` holds the calibration of the belief: the
move over the primary horizon in the direction that the regime claims, in units of the volatility expected for it.
Charts look downwards: outcomes better than before are shown, but nothing has to be stopped for them.

Score of an outcome x with mean m and mean absolute deviation d of all outcomes before it::

    z = (x - m) / (1.2533 d)      e = (z - rho z') / sqrt(1 - rho^2)      s = soft limit of e

rho is the share of the windows of x and of the outcome before it that overlaps, signed by their sides: of an outcome
that shares its window, only what is new is charted. CUSUM (Page 1954): ``C = max(0, C - s - k)``, alarm beyond h.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from alphatrade.actors.drift_design import (
    MOST_RHO,
    PH_LEAST,
    PH_SHARE,
    Design,
    Outcomes,
    calibrate,
    estimate,
    fresh,
    observe,
)
from alphatrade.actors.drift_parts import Alarm, DriftParams, Observation, Severity, Stream

OVERALL, BELIEF, TACTIC = "overall", "belief", "tactic:"
MOST = 2000  # outcomes kept for calibration, the latest
WARN = 2.0 / 3.0  # of the threshold
LEVELS = ("watching", "warn", "alert", "flat")
FACTORS = (1.0, 1.0, 0.5, 0.0)


class DriftFamily:
    """
    All streams of a node; feed it each outcome.

    Parameters
    ----------
    params : DriftParams

    Attributes
    ----------
    outcomes : int
        Taken so far, of the whole family.
    design : Design or None
        The calibration in force; None while everything learns.
    streams, state : list of Stream, ndarray of shape (streams, 10)
        Bookkeeping and statistics by index (see :func:`~alphatrade.actors.drift_design.observe`).
    seen : list of tuple
        In control, the latest: value, the two streams (-1 for none), the two overlaps.
    severity : dict of str to Severity
        By instrument.
    """

    def __init__(self, params: DriftParams) -> None:
        self.params = params
        self.streams: list[Stream] = []
        self._index: dict[tuple[str, str], int] = {}
        self.severity: dict[str, Severity] = {}
        self.state = fresh(0)
        self.seen: list[tuple[float, int, int, float, float]] = []  # value, streams, overlaps
        self.outcomes = 0
        self.design: Design | None = None

    def level(self, instrument: str) -> int:
        """Return the severity of an instrument, as its place in `LEVELS`."""
        return self.severity[instrument].level if instrument in self.severity else 0

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return per stream (``instrument stream``) its outcomes, mean, scale and whether it is watched."""
        return {
            f"{s.instrument} {s.name}": {
                "outcomes": int(row[0]),
                "mean": float(row[1]),
                "mean_absolute_deviation": float(row[2]),
                "watched": s.watched,
            }
            for s, row in zip(self.streams, self.state, strict=True)
        }

    def charts(self) -> Iterator[tuple[Stream, float, float, float]]:
        """Return each stream that is watched, with its CUSUM, its Page-Hinkley statistic and the threshold of both."""
        for s, row in zip(self.streams, self.state, strict=True):
            if s.watched and self.design is not None:
                yield s, float(row[4]), _spoken(row), self.design.threshold

    def traded(
        self, instrument: str, tactic: str, value: float, place: tuple[int, int], ts: int, decision: int
    ) -> tuple[list[Observation], list[Alarm]]:
        """
        Take the outcome of a decision that traded.

        Parameters
        ----------
        instrument, tactic : str
        value : float
            Mark-out, bps net of costs.
        place : tuple of int
            Decision step at which its window begins, and the sign of its net fills.
        ts, decision : int
            Event time at which it is known, UTC ns, and its id.

        Raises
        ------
        ValueError
            If the value is not a finite number.
        """
        return self._take(instrument, (OVERALL, TACTIC + tactic), value, place, ts, decision)

    def believed(
        self, instrument: str, value: float, place: tuple[int, int], ts: int, step: int
    ) -> tuple[list[Observation], list[Alarm]]:
        """Take one settled claim of the belief; `step` is the one at which it was made, the rest as in `traded`."""
        return self._take(instrument, (BELIEF, ""), value, place, ts, step)

    # -- one outcome --------------------------------------------------------------------------------------------

    def _take(
        self, instrument: str, names: tuple[str, str], value: float, place: tuple[int, int], ts: int, number: int
    ) -> tuple[list[Observation], list[Alarm]]:
        if not np.isfinite(value):
            raise ValueError(f"outcome of {number}: got {value}, expected a finite number")
        self.outcomes += 1
        severity = self.severity.setdefault(instrument, Severity())
        learn = severity.level < 2  # what is under alarm is no reference
        at = [self.find(instrument, name) if name else -1 for name in names]
        rho = [self._overlap(i, place) for i in at]
        if learn:
            self.seen.append((value, at[0], at[1], rho[0], rho[1]))
            del self.seen[:-MOST]
        seen = {
            i: self._chart(i, value, shared, learn, (ts, number), severity.level)
            for i, shared in zip(at, rho, strict=True)
            if i >= 0
        }
        observations = list(seen.values())
        high = {i: o for i, o in seen.items() if o.down > WARN * o.threshold}
        alarms = self._rise(severity, high, (ts, number)) if high else self._calm(severity)
        if learn and severity.level == 0:
            self._grow()
        return observations, alarms

    def find(self, instrument: str, name: str) -> int:
        """Return the index of a stream, new or not."""
        key = (instrument, name)
        if key not in self._index:
            self._index[key] = len(self.streams)
            self.streams.append(Stream(instrument, name))
            self.state = np.vstack([self.state, fresh(1)])
        return self._index[key]

    def _overlap(self, i: int, place: tuple[int, int]) -> float:
        """Return the correlation with the outcome before, from the overlap of their windows; note the new window."""
        if i < 0:
            return 0.0
        stream, (step, side), length = self.streams[i], place, self.params.horizon
        away, sign = abs(step - stream.step), side * stream.side
        stream.step, stream.side = step, side
        if away >= length:
            return 0.0
        return sign * min(1.0 - away / length, MOST_RHO)

    def _chart(
        self, i: int, value: float, rho: float, learn: bool, now: tuple[int, int], level: int
    ) -> Observation:
        """Take an outcome into the charts of one stream; return what they say."""
        stream, row = self.streams[i], self.state[i]
        if not stream.watched:
            row[0] += 1.0
            nan = float("nan")
            return Observation(stream.name, value, nan, nan, nan, nan, nan, "learning")
        assert self.design is not None
        _, score = observe(self.state, i, value, rho, self.params.k, learn)
        stream.ph.update(score)
        if row[4] == 0.0:
            stream.zero = now
        if row[9] == row[8]:
            stream.high = now
        up, cusum, h = float(row[5]), float(row[4]), self.design.threshold
        return Observation(stream.name, value, float(score), up, cusum, _spoken(row), h, LEVELS[level])

    # -- severity -----------------------------------------------------------------------------------------------

    def _rise(self, severity: Severity, high: dict[int, Observation], now: tuple[int, int]) -> list[Alarm]:
        """Return what streams beyond their warning line change: one outcome raises severity once, for the worst."""
        severity.calm = 0
        worst = max(high, key=lambda i: high[i].down)
        stream, seen = self.streams[worst], high[worst]
        alarmed = seen.cusum > seen.threshold or stream.ph.drift_detected
        if not alarmed and severity.level >= 1:
            return []
        for i, other in high.items():
            if other.down > other.threshold:
                self._restart(i)
        if severity.level == 3:
            return []  # nothing is left to do: it stays flat for longer
        severity.level = (3 if severity.level == 2 else 2) if alarmed else 1
        by_cusum = seen.cusum >= seen.page_hinkley
        since, line = stream.zero if by_cusum else stream.high, seen.threshold if alarmed else WARN * seen.threshold
        chart = "cusum" if by_cusum else "page_hinkley"
        detail = f"{stream.name}: {chart} {seen.down:.2f} > {line:.2f} after an outcome of {seen.value:.2f}"
        level = LEVELS[severity.level]
        return [Alarm(level, stream.name, seen.down, line, chart, since[0], since[1], now[1], detail)]

    def _restart(self, i: int) -> None:
        """Set the charts of a stream to zero; its mean and scale stand."""
        self.state[i, 4:] = fresh(1)[0, 4:]
        self.streams[i].ph = self.page_hinkley()

    def _calm(self, severity: Severity) -> list[Alarm]:
        severity.calm += 1
        if not severity.level or severity.calm < self.params.quiet:
            return []
        severity.level -= 1
        severity.calm = 0
        nan, words = float("nan"), f"{self.params.quiet} outcomes without a warning: {LEVELS[severity.level]} again"
        return [Alarm("recovered", "", nan, nan, "", 0, 0, 0, words)]

    # -- design -------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Begin to watch what has learnt enough, with a threshold for the family as it is then."""
        if len(self.seen) < self.params.baseline:
            return
        if all(s.watched or row[0] < self.params.least for s, row in zip(self.streams, self.state, strict=True)):
            return
        seen = self._recent()
        known = fresh(len(self.streams))
        estimate(seen.x, seen.stream, np.arange(len(seen.x)), known)
        ready = (known[:, 0] >= self.params.least) & (known[:, 2] > 0.0)
        for i, s in enumerate(self.streams):
            if not s.watched:
                self.state[i, 0] = known[i, 0]  # what is too long ago does not count
        joining = [i for i, s in enumerate(self.streams) if ready[i] and not s.watched]
        if not joining:
            return
        for i in joining:
            self.state[i] = known[i]
            self.streams[i].watched = True
        watched = np.array([s.watched and bool(ready[i]) for i, s in enumerate(self.streams)])
        stream = np.where((seen.stream >= 0) & watched[seen.stream], seen.stream, -1)
        self.design = calibrate(
            Outcomes(seen.x, stream, seen.rho), len(self.streams), self.params.run_length, self.params.k
        )
        for s in self.streams:
            if s.watched and s.ph is None:
                s.ph = self.page_hinkley()
            elif s.watched:
                s.ph.threshold = self.design.threshold / PH_SHARE

    def page_hinkley(self) -> Any:
        """Return a Page-Hinkley chart that has seen nothing."""
        from river.drift import PageHinkley  # more than a second: runs that never watch do without

        assert self.design is not None
        return PageHinkley(PH_LEAST, 0.5 * self.params.k, self.design.threshold / PH_SHARE, 1.0, "down")

    def _recent(self) -> Outcomes:
        x, first, second, rho, other = (np.array(column) for column in zip(*self.seen, strict=True))
        return Outcomes(x, np.stack([first, second], axis=1), np.stack([rho, other], axis=1))


def _spoken(row: Any) -> float:
    """Return what Page-Hinkley says of a stream: nothing before it has seen enough."""
    return float(PH_SHARE * (row[9] - row[8])) if row[6] >= PH_LEAST else 0.0
