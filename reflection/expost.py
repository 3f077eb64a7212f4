"""Ex-post outcomes: what each decision's fills were worth some steps later, net of every cost.

Mark-out of a decision at horizon h, in bps of the notional that its orders filled, whenever they did::

    sum over its fills of (units * mid[step of the fill + h] - cash paid - fee) / filled notional * 1e4

Spread, slippage and fees are inside, because the fills are the real ones. A decision without a fill has outcome 0.
An outcome is known once no order of the decision works any more and each of its fills is h steps old: a resting
order that is hit long after its decision counts like any other.
"""

from collections.abc import Sequence

import msgspec

from alphatrade.strategies.messages import Decision

BPS = 1e4


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """
    Outcome of one decision.

    Attributes
    ----------
    decision, ts : int
        Id and event time (UTC ns) of the decision.
    fills : int
        Fills of its orders.
    side : int
        Sign of its net fills; 0 where they cancel out.
    cost_bps : float
        Fees and distance of the fill prices from the mid at the decision, bps of filled notional.
    markouts : list of float or None
        One per horizon, bps net of costs; None where the tape ended before.
    known : list of int or None
        Event time at which each was known.
    about : Decision or None
        The decision itself: instrument, tactic, what was believed; None where nobody said.
    step : int
        Decision step of its last fill, or of the decision where nothing filled.
    """

    decision: int
    ts: int
    fills: int
    side: int
    cost_bps: float
    markouts: list[float | None]
    known: list[int | None]
    about: Decision | None = None
    step: int = 0


class _Tally:
    """
    A decision that sent orders: those that still work, its fills, and the mark-outs taken of them.

    `worth` and `seen` are, per horizon, the net worth of the fills that have reached it and how many those are;
    `last` is the step of the last fill, `ended` the event time at which its last order ended.
    """

    __slots__ = (
        "about", "decision", "ended", "fees", "fills", "known", "last", "mid", "notional", "paid", "seen", "step", "ts",
        "units", "working", "worth",
    )  # fmt: skip

    def __init__(self, decision: int, step: int, horizons: int) -> None:
        self.decision, self.step = decision, step
        self.ts, self.mid = -1, 0.0
        self.about: Decision | None = None
        self.working = self.fills = 0
        self.last = step
        self.ended = -1
        self.units = self.paid = self.fees = self.notional = 0.0
        self.worth, self.seen, self.known = [0.0] * horizons, [0] * horizons, [-1] * horizons


class MarkOuts:
    """
    Follows the decisions of one instrument until their longest horizon.

    Few decisions send orders, so the work of a step is to look at those that did.

    Parameters
    ----------
    horizons : sequence of int
        Ascending, in decision steps.
    """

    def __init__(self, horizons: Sequence[int]) -> None:
        self._horizons = tuple(horizons)
        self._longest = self._horizons[-1]
        self._now = 0
        self._stamps: dict[int, int] = {}  # event time by step, for as long as a decision without orders needs it
        # decisions without orders by step: id, ts, the message
        self._idle: dict[int, list[tuple[int, int, Decision | None]]] = {}
        self._busy: dict[int, _Tally] = {}  # those with orders by id
        self._marks: dict[int, list[tuple[_Tally, int, float, float]]] = {}  # by step: of whom, which, units, paid
        self._due: dict[int, list[_Tally]] = {}  # by step: who may be complete

    def sent(self, decision: int, step: int) -> None:
        """Note an order of a decision made at `step`; its other facts may come later, by `decided`."""
        tally = self._busy.get(decision)
        if tally is None:
            tally = self._busy[decision] = _Tally(decision, step, len(self._horizons))
        tally.working += 1

    def decided(self, decision: int, ts: int, step: int, mid: float, about: Decision | None = None) -> None:
        """Start following a decision; `about` is handed on with its outcome."""
        tally = self._busy.get(decision)
        if tally is None:
            self._idle.setdefault(step, []).append((decision, ts, about))
        else:
            tally.ts, tally.mid, tally.about = ts, mid, about

    def filled(self, decision: int, units: float, price: float, fee: float) -> None:
        """Take a fill of a decision's order: signed units (+ bought), price and fee in quote currency."""
        tally = self._busy.get(decision)
        if tally is None:
            return
        tally.units += units
        tally.paid += units * price
        tally.fees += fee
        tally.notional += abs(units) * price
        tally.fills += 1
        tally.last = self._now
        for at, horizon in enumerate(self._horizons):
            self._marks.setdefault(self._now + horizon, []).append((tally, at, units, units * price + fee))

    def ended(self, decision: int, ts: int) -> None:
        """Note at event time `ts` that an order of a decision is closed and can fill no more."""
        tally = self._busy.get(decision)
        if tally is None:
            return
        tally.working -= 1
        tally.ended = ts
        if tally.working == 0:
            due = max(max(tally.step, tally.last) + self._longest, self._now + 1)
            self._due.setdefault(due, []).append(tally)

    def step(self, step: int, ts: int, mid: float) -> list[Outcome]:
        """Take the price of a step; return the decisions that it completes."""
        self._now = step
        stamps, then = self._stamps, step - self._longest
        stamps[step] = ts
        for tally, at, units, paid in self._marks.pop(step, ()):
            tally.worth[at] += units * mid - paid
            tally.seen[at] += 1
            tally.known[at] = ts
        outcomes = []
        if (idle := self._idle.pop(then, None)) is not None:
            for decision, at, about in idle:  # most decisions are these, and all their horizons are reached
                known: list[int | None] = [stamps.get(then + horizon, -1) for horizon in self._horizons]
                outcomes.append(Outcome(decision, at, 0, 0, 0.0, [0.0] * len(known), known, about, then))
        for tally in self._due.pop(step, ()):
            if tally.working or tally.decision not in self._busy:
                continue
            if tally.last <= then:
                outcomes.append(self._complete(tally))
            else:  # a fill that the venue reported after the end of its order
                self._due.setdefault(tally.last + self._longest, []).append(tally)
        stamps.pop(then, None)
        return outcomes

    def close(self) -> list[Outcome]:
        """Return what is still open, with None for what the tape does not reach."""
        left = [
            (step, decision, self._unfilled(decision, ts, step, -1, about))
            for step, rows in self._idle.items()
            for decision, ts, about in rows
        ]
        for tally in list(self._busy.values()):
            if tally.working:  # the end of the tape is the end of its orders
                tally.ended = self._stamps.get(self._now, -1)
            left.append((tally.step, tally.decision, self._complete(tally)))
        self._idle.clear()
        return [outcome for _, _, outcome in sorted(left, key=lambda row: row[:2])]

    def _unfilled(self, decision: int, ts: int, step: int, ended: int, about: Decision | None) -> Outcome:
        """Return the outcome of a decision without fills; it was not known before its last order `ended`."""
        known: list[int | None] = []
        for horizon in self._horizons:
            reached = step + horizon <= self._now
            # A stamp is forgotten after the longest horizon; an order that worked for longer ended later than it.
            known.append(max(self._stamps.get(step + horizon, -1), ended) if reached else None)
        return Outcome(decision, ts, 0, 0, 0.0, [None if k is None else 0.0 for k in known], known, about, step)

    def _complete(self, tally: _Tally) -> Outcome:
        del self._busy[tally.decision]
        if not tally.fills:
            return self._unfilled(tally.decision, tally.ts, tally.step, tally.ended, tally.about)
        side = (tally.units > 0) - (tally.units < 0)
        cost = (tally.fees + tally.paid - tally.units * tally.mid) / tally.notional * BPS
        markouts: list[float | None] = []
        known: list[int | None] = []
        for worth, seen, ts in zip(tally.worth, tally.seen, tally.known, strict=True):
            reached = seen == tally.fills
            markouts.append(worth / tally.notional * BPS if reached else None)
            known.append(max(ts, tally.ended) if reached else None)
        return Outcome(
            tally.decision, tally.ts, tally.fills, side, cost, markouts, known, tally.about, tally.last
        )
