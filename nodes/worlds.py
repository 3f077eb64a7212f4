"""Worlds: seeded synthetic quote tapes with known truth, to show that what is seen and learnt is right.

A world passes through regimes (trends, mean reversion, calm, shocks; :mod:`alphatrade.nodes.world_state`).
Its spread widens and its depth thins with realised volatility; the imbalance of its book leads the next moves
by a planted, known amount. Halts, silences and bad prints are planted as well, and all of it is written down
in the truth.

The bytes of a world depend on its parameters alone, not on the machine.
"""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alphatrade.nodes import world_payoff
from alphatrade.nodes.instruments import decimals, identity
from alphatrade.nodes.tape import InstrumentSpec, Ints, Status, Tape
from alphatrade.nodes.tape_rules import RULES
from alphatrade.nodes.tape_spec import REGIMES, WorldTape
from alphatrade.nodes.tape_time import parse_moment
from alphatrade.nodes.world_state import REGIME, Floats, State, planted_alpha, run, schedule
from alphatrade.risk.errors import TapeError

HALT_S, GAP_S = 300.0, 900.0  # mean lengths; the drawn ones are between half and one and a half of it
DEPTH_LOTS = 50_000  # at each side in calm markets
STALE_AFTER_S = 60.0
_QUIET_ROWS = 60  # after a halt, a gap or a bad print before the next planted event
_MOST_ROWS = 5_000_000


def make_world(spec: WorldTape) -> Tape:
    """
    Return the tape of a world, with its truth.

    Truth has a row per quote: ``ts``, ``regime``, ``drift`` (bp per second), ``vol`` (bp per root second),
    ``imbalance`` (standardised, what the planted alpha acts through), ``alpha`` (its correlation with the
    next move), ``mid`` (nano, before ticks and bad prints) and ``event`` (empty, reopen, gap or bad_print: a
    silence ended here, or a bad print).

    Raises
    ------
    TapeError
        If the world would be too short or too long, or has no room for what is planted.
    """
    steps = round(spec.hours * 3600 / spec.step_s)
    if not 100 <= steps <= _MOST_ROWS:
        raise TapeError("tape.hours", spec.hours, f"100 to {_MOST_ROWS} quotes at tape.step_s={spec.step_s}")
    rng = np.random.Generator(np.random.PCG64(spec.seed))
    truth, path = _hidden(spec, steps, rng)
    ts = _stamps(spec, steps, rng)
    columns = _quotes(spec, path, ts, rng)
    planted = _Planted(spec, ts, rng)
    shift = planted.bad_prints(spec, rng)
    for side in ("bid", "ask"):
        tick = _tick_n(spec)
        columns[side] = np.maximum(np.rint(columns[side] * (1.0 + shift) / tick).astype(np.int64), 1) * tick
    columns["ask"] = np.maximum(columns["ask"], columns["bid"] + _tick_n(spec))
    truth = pd.DataFrame({"ts": ts, **truth, "mid": np.rint(path.mid * 1e9).astype(np.int64), "event": planted.event})
    kept = ~planted.silent
    halts = len(planted.halt_ts) // 2
    stale = spec.stale_after_s or STALE_AFTER_S
    tape = Tape(
        name=spec.name or f"world_{spec.seed}",
        kind="quotes",
        instrument=_instrument(spec),
        columns={name: array[kept] for name, array in columns.items()},
        status=Status(np.array(planted.halt_ts, np.int64), np.array([0, 1] * halts, np.int8)),
        audit=_counts(spec, columns["ts"][kept], stale),
        half_spread_bps=0.0,
        stale_after_s=stale,
        truth=truth[kept].reset_index(drop=True),
    )
    return _cut(tape, spec)


def _cut(tape: Tape, spec: WorldTape) -> Tape:
    start, end = parse_moment(spec.start, "tape.start"), parse_moment(spec.end, "tape.end")
    if start is None and end is None:
        return tape
    try:
        return tape.slice(start, end)
    except ValueError:
        expected = f"a part of the world, which begins {spec.begin} and lasts {spec.hours} hours"
        raise TapeError("tape.start, tape.end", f"{spec.start} to {spec.end}", expected) from None


def _stamps(spec: WorldTape, steps: int, rng: np.random.Generator) -> Ints:
    """Return a stamp per step, somewhere within it, in whole microseconds."""
    begin = parse_moment(spec.begin, "tape.begin")
    if begin is None or not 0 <= begin < 2**62:
        raise TapeError("tape.begin", spec.begin, "an ISO time after 1970")
    length = round(spec.step_s * 1_000_000)
    late = rng.integers(0, max(1, length * 9 // 10), steps, dtype=np.int64)
    return begin + (np.arange(steps, dtype=np.int64) * length + late) * 1000


def _quotes(spec: WorldTape, path: State, ts: Ints, rng: np.random.Generator) -> dict[str, Ints]:
    """Return quotes around the mid: spread up and depth down with heat, depth leaning with the imbalance."""
    tick, lot = _tick_n(spec), int(_lot(spec).scaleb(9))
    heat = np.maximum(path.heat, 1.0)
    spread = spec.spread_ticks + np.minimum(np.floor((heat - 1.0) * spec.spread_ticks * 0.25), 20.0 * spec.spread_ticks)
    middle = path.mid * 1e9 / tick  # in ticks
    bid = np.maximum(np.rint(middle - 0.5 * spread), 1.0)
    lean = np.clip(0.3 * path.imbalance, -0.9, 0.9)
    sizes = {}
    for side, sign in (("bid_size", 1.0), ("ask_size", -1.0)):
        wobble = 0.75 + rng.integers(0, 1024, len(ts)) / 2048.0
        lots = DEPTH_LOTS * (1.0 + sign * lean) * wobble / np.minimum(heat, 20.0)
        sizes[side] = np.maximum(np.rint(lots), 1.0).astype(np.int64) * lot
    return {
        "ts": ts,
        "bid": bid.astype(np.int64) * tick,
        "ask": (bid + spread).astype(np.int64) * tick,
        **sizes,
    }


class _Planted:
    """Halts, gaps and bad prints: where they are, and which steps they silence."""

    def __init__(self, spec: WorldTape, ts: Ints, rng: np.random.Generator) -> None:
        steps = len(ts)
        self.silent = np.zeros(steps, dtype=np.bool_)
        self.event = np.full(steps, "", dtype=object)
        self.halt_ts: list[int] = []
        self._taken = np.zeros(steps, dtype=np.bool_)
        self._taken[: steps // 20], self._taken[-_QUIET_ROWS:] = True, True
        halts = sorted(self._place(spec, HALT_S, "halts", rng) for _ in range(spec.halts))
        gaps = sorted(self._place(spec, GAP_S, "gaps", rng) for _ in range(spec.gaps))
        for word, places in (("reopen", halts), ("gap", gaps)):
            for first, last in places:
                self.silent[first:last] = True
                self.event[last] = word
        for first, last in halts:
            self.halt_ts += [int(ts[first]), int(ts[last]) - 1]

    def _place(self, spec: WorldTape, mean_s: float, what: str, rng: np.random.Generator) -> tuple[int, int]:
        """Return a free stretch of steps, after a number of tries that no sensible world needs."""
        steps = len(self.silent)
        for _ in range(200):
            length = max(2, round(mean_s * (0.5 + int(rng.integers(0, 1024)) / 1024.0) / spec.step_s))
            first = int(rng.integers(0, steps))
            last = first + length
            if last + _QUIET_ROWS < steps and not self._taken[first : last + _QUIET_ROWS].any():
                self._taken[first : last + _QUIET_ROWS] = True
                return first, last
        raise TapeError(f"tape.{what}", getattr(spec, what), f"fewer in a world of {steps} quotes")

    def bad_prints(self, spec: WorldTape, rng: np.random.Generator) -> Floats:
        """Return the relative displacement of every quote: zero but for the bad prints."""
        shift = np.zeros(len(self.silent))
        for _ in range(spec.bad_prints):
            free = np.flatnonzero(~self._taken)
            if len(free) == 0:
                raise TapeError("tape.bad_prints", spec.bad_prints, f"fewer in a world of {len(shift)} quotes")
            place = int(free[int(rng.integers(0, len(free)))])
            self._taken[max(0, place - 1) : place + 2] = True
            size = spec.bad_print_size * (0.5 + int(rng.integers(0, 512)) / 1024.0)
            shift[place] = size * (2 * int(rng.integers(0, 2)) - 1)
            self.event[place] = "bad_print"
        return shift


def _hidden(spec: WorldTape, steps: int, rng: np.random.Generator) -> tuple[dict[str, Any], State]:
    """Return columns of the truth, and the state that they drive."""
    alpha = planted_alpha(spec, steps)
    if spec.payoff == "none":
        regimes = [REGIME[name] for name in REGIMES]
        place: NDArray[np.integer[Any]] = schedule(spec, steps, rng)
        named = {"regime": np.array(REGIMES, dtype=object)[place]}
        path = run(spec, regimes, place, alpha, rng)
    else:
        if spec.schedule is not None:
            raise TapeError("tape.schedule", list(spec.schedule), "none beside tape.payoff=drawn")
        hidden = world_payoff.draw(spec, steps, rng)
        regimes, place, lean = world_payoff.dynamics(hidden)
        named = world_payoff.names(hidden)
        path = run(spec, regimes, place, alpha, rng)
        path = path._replace(imbalance=path.imbalance + lean)
    found = {
        **named,
        "drift": np.array([regime.drift for regime in regimes])[place],
        "vol": np.array([regime.vol for regime in regimes])[place],
        "imbalance": path.imbalance,
        "alpha": alpha,
    }
    return found, path


def _counts(spec: WorldTape, ts: Ints, stale_after_s: float) -> dict[str, int]:
    gaps = int((np.diff(ts) > stale_after_s * 1e9).sum())
    found = {
        "rows_read": len(ts),
        "rows_used": len(ts),
        "gap": gaps,
        "halts": spec.halts,
        "bad_prints": spec.bad_prints,
    }
    return dict.fromkeys(RULES, 0) | found


def _tick_n(spec: WorldTape) -> int:
    return int((spec.tick or Decimal("0.01")).scaleb(9))


def _lot(spec: WorldTape) -> Decimal:
    return spec.lot or Decimal("0.01")


def _instrument(spec: WorldTape) -> InstrumentSpec:
    symbol, venue, base, quote, asset = identity(spec.instrument)
    tick, lot = (
        spec.tick or Decimal("0.01"),
        Decimal(1) if asset == "equity" and spec.lot is None else _lot(spec),
    )
    for name, value in (("tape.tick", tick), ("tape.lot", lot)):
        if decimals(value) > 9 or (name == "tape.lot" and asset == "equity" and decimals(value)):
            raise TapeError(name, str(value), "at most nine decimals, and whole shares")
    return InstrumentSpec(
        id=f"{symbol}.{venue}",
        symbol=symbol,
        venue=venue,
        base=base,
        quote=quote,
        asset=asset,
        price_precision=decimals(tick),
        size_precision=decimals(lot),
        tick=f"{tick.normalize():f}",
        lot=f"{lot.normalize():f}",
        maker_fee=f"{spec.maker_fee if spec.maker_fee is not None else Decimal('0.00001'):f}",
        taker_fee=f"{spec.taker_fee if spec.taker_fee is not None else Decimal('0.00005'):f}",
    )
