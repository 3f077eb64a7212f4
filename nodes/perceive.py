"""Perception without an engine: what would be believed at every step of a tape, to measure detectors and learners.

The same steps as :mod:`alphatrade.actors.perception` closes in a replay, many times faster; a test holds the two to it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from alphatrade.actors.cadence import Cadence
from alphatrade.actors.history import StepHistory
from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.actors.perceiver import Perceiver
from alphatrade.nodes.tape import BUYER, COLUMNS, SELLER, Tape
from alphatrade.nodes.tape_catalog import filled
from alphatrade.strategies.policy import Policy

Fold = Callable[[int, int], tuple[float, float]]  # rows [first, last) into the open step; bid and ask after them
_SIGN = {BUYER: 1, SELLER: -1}


def walk(tape: Tape, policy: Policy) -> Iterator[BeliefSnapshot]:
    """
    Yield the belief at every decision step of a tape, in order, those before warm-up included.

    Parameters
    ----------
    tape : Tape
        Quotes, trades or bars.
    policy : Policy
        Its features, belief, regime and cadence are used. A regime change is a snapshot with a `cause`.

    Raises
    ------
    ConfigError
        If the tape lacks what a feature or the cadence needs.
    """
    plain = policy.model_dump(mode="json", include={"features", "belief", "regime"})
    eye = Perceiver(tape.instrument.id, plain["features"], plain["belief"], plain["regime"], tape.provides)
    cadence = Cadence(policy.cadence.kind, policy.cadence.n, tape.provides)
    fold = _folds(tape, eye.steps)
    stamps = tape.columns["ts"].tolist()
    first, rows = 0, len(stamps)
    while first < rows:  # up to the next row that may close a step
        last = bisect_left(stamps, cadence.next, first) + 1 if cadence.by_time else first + cadence.remaining
        last = min(last, rows)
        bid, ask = fold(first, last)
        if cadence.due(stamps[last - 1], last - first):
            yield eye.step(stamps[last - 1], bid, ask, 0)[0]
        first = last


def _folds(tape: Tape, steps: StepHistory) -> Fold:
    names = [name for name in COLUMNS[tape.kind][1:] if name != "aggressor"]
    values = [(filled(tape, name) / 1e9).tolist() for name in names]
    down, up = 1.0 - tape.half_spread_bps / 1e4, 1.0 + tape.half_spread_bps / 1e4
    if tape.kind == "quotes":
        bids, asks, bid_sizes, ask_sizes = values

        def fold(first: int, last: int) -> tuple[float, float]:
            steps.quotes(bids[first:last], asks[first:last])
            steps.sizes(bid_sizes[last - 1], ask_sizes[last - 1])
            return bids[last - 1], asks[last - 1]

    elif tape.kind == "trades":
        prices, sizes = values
        sides = tape.columns["aggressor"].tolist() if "aggressor" in tape.columns else [0] * len(tape)

        def fold(first: int, last: int) -> tuple[float, float]:
            for at in range(first, last):
                steps.price(prices[at])
                steps.trade(sizes[at], _SIGN.get(sides[at], 0))
            return prices[last - 1] * down, prices[last - 1] * up

    else:
        _, highs, lows, closes, volumes = values

        def fold(first: int, last: int) -> tuple[float, float]:
            for at in range(first, last):
                steps.price(closes[at])
                steps.range(highs[at], lows[at])
                steps.trade(volumes[at], 0)
            return closes[last - 1] * down, closes[last - 1] * up

    return fold
