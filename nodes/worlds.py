"""Worlds: seeded synthetic quote tapes with known truth, to show that what is seen and learnt is right.

A world passes through regimes (trends, mean reversion, calm, shocks; :mod:`alphatrade.nodes.world_state`).
Its spread widens and its depth thins with realised volatility; the imbalance of its book leads the next moves
by a planted, known amount. Halts, silences, bad prints, auctions, sweeps and more are planted as well
(:mod:`alphatrade.nodes.world_events`), and all of it is written down in the truth.

The bytes of a world depend on its parameters alone, not on the machine.
"""

from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alphatrade.nodes import world_payoff
from alphatrade.nodes.instruments import identity, on_grid
from alphatrade.nodes.tape import InstrumentSpec, Ints, Status, Tape
from alphatrade.nodes.tape_rules import RULES
from alphatrade.nodes.tape_spec import REGIMES, WorldTape
from alphatrade.nodes.tape_time import parse_moment
from alphatrade.nodes.world_events import SIDES, Planted, placebo_flips
from alphatrade.nodes.world_state import REGIME, Floats, State, planted_alpha, run, schedule
from alphatrade.risk.errors import TapeError

DEPTH_LOTS = 50_000  # at each side in calm markets
STALE_AFTER_S = 60.0
_MOST_ROWS = 5_000_000


def make_world(spec: WorldTape) -> Tape:
    """
    Return the tape of a world, with its truth.

    Truth has a row per quote: ``ts``, ``regime`` (a false label where ``placebo``), ``placebo``, ``drift`` (bp per
    second), ``vol`` (bp per root second), ``imbalance`` (standardised, what the planted alpha acts through), ``alpha``
    (its correlation with the next move), ``mid`` (nano, before ticks and bad prints) and ``event``: empty, the word of
    the planted event in each of its rows (see `alphatrade.nodes.world_events.KINDS`), or reopen and gap where a
    silence ended.

    Raises
    ------
    TapeError
        If the world would be too short or too long, or has no room for what is planted.
    """
    steps = round(spec.hours * 3600 / spec.step_s)
    if not 100 <= steps <= _MOST_ROWS:
        raise TapeError("tape.hours", spec.hours, f"100 to {_MOST_ROWS} quotes at tape.step_s={spec.step_s}")
    rng = np.random.Generator(np.random.PCG64(spec.seed))
    hidden = _hidden(spec, steps, rng)
    ts = _stamps(spec, steps, rng)
    wobble = {side: 0.75 + rng.integers(0, 1024, steps) / 2048.0 for side in SIDES}
    planted = Planted(spec, ts, rng)
    planted.add(hidden.vol)
    path = planted.effects.act(hidden.path, spec.step_s)
    columns = {"ts": ts, **_quotes(spec, path, planted), **_sizes(spec, path, planted, wobble)}
    truth = _truth(spec, hidden, path, ts, planted)
    kept = ~planted.silent
    halts = len(planted.halt_ts) // 2
    stale = spec.stale_after_s or STALE_AFTER_S
    tape = Tape(
        name=spec.name or f"world_{spec.seed}",
        kind="quotes",
        instrument=_instrument(spec),
        columns={name: array[kept] for name, array in columns.items()},
        status=Status(np.array(planted.halt_ts, np.int64), np.array([0, 1] * halts, np.int8)),
        audit=_counts(spec, columns["ts"][kept], stale) | {"planted_crossed": int((planted.crossing > 0).sum())},
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


def _quotes(spec: WorldTape, path: State, planted: Planted) -> dict[str, Ints]:
    """Return bid and ask around the mid: the spread rises with heat; bad prints and crossed quotes are in."""
    tick = _tick_n(spec)
    heat = np.maximum(path.heat, 1.0)
    spread = spec.spread_ticks + np.minimum(np.floor((heat - 1.0) * spec.spread_ticks * 0.25), 20.0 * spec.spread_ticks)
    spread = np.rint(spread * planted.effects.spread)
    middle = path.mid * 1e9 / tick  # in ticks
    low = np.maximum(np.rint(middle - 0.5 * spread), 1.0)
    bid, ask = (
        np.maximum(np.rint(whole.astype(np.int64) * tick * (1.0 + planted.shift) / tick).astype(np.int64), 1)
        for whole in (low, low + spread)
    )
    ask = np.maximum(ask, bid + 1)
    bid = np.where(planted.crossing > 0, ask + planted.crossing, bid)
    return {"bid": bid * tick, "ask": ask * tick}


def _sizes(spec: WorldTape, path: State, planted: Planted, wobble: dict[str, Floats]) -> dict[str, Ints]:
    """Return the sizes at bid and ask: fewer with heat, leaning with the imbalance."""
    lot, effects = int(_lot(spec).scaleb(9)), planted.effects
    heat = np.minimum(np.maximum(path.heat, 1.0), 20.0)
    lean = np.clip(0.3 * (path.imbalance + effects.lean), -0.9, 0.9)
    sizes = {}
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        lots = DEPTH_LOTS * (1.0 + sign * lean) * wobble[side] / heat * effects.depth[side]
        sizes[f"{side}_size"] = np.maximum(np.rint(lots), 1.0).astype(np.int64) * lot
    return sizes


class _Hidden(NamedTuple):
    """What moves a world: labels in words and their place at every step, drift, volatility, alpha, and the state."""

    words: tuple[str, ...]
    label: NDArray[np.int8]
    drift: Floats
    vol: Floats
    alpha: Floats
    path: State
    more: dict[str, NDArray[np.object_]]


def _hidden(spec: WorldTape, steps: int, rng: np.random.Generator) -> _Hidden:
    words: tuple[str, ...]
    more: dict[str, NDArray[np.object_]]
    if spec.payoff == "drawn":
        if spec.schedule is not None:
            raise TapeError("tape.schedule", list(spec.schedule), "none beside tape.payoff=drawn")
        drawn = world_payoff.draw(spec, steps, rng)
        regimes, place, lean = world_payoff.dynamics(drawn)
        words, label, more = world_payoff.LOOKS, drawn.look, world_payoff.names(drawn)
    else:
        words, label, more = REGIMES, schedule(spec, steps, rng), {}
        regimes, place, lean = [REGIME[name] for name in REGIMES], label.astype(np.int64), np.zeros(steps)
    alpha = planted_alpha(spec, steps)
    path = run(spec, regimes, place, alpha, rng)
    path = path._replace(imbalance=path.imbalance + lean)
    drift, vol = (np.array([getattr(regime, name) for regime in regimes])[place] for name in ("drift", "vol"))
    return _Hidden(words, label, drift, vol, alpha, path, more)


def _truth(spec: WorldTape, hidden: _Hidden, path: State, ts: Ints, planted: Planted) -> pd.DataFrame:
    label, placebo = placebo_flips(spec, hidden.label, len(hidden.words))
    return pd.DataFrame(
        {
            "ts": ts,
            "regime": np.array(hidden.words, dtype=object)[label],
            **hidden.more,
            "placebo": placebo,
            "drift": hidden.drift,
            "vol": hidden.vol * planted.effects.vol,
            "imbalance": path.imbalance,
            "alpha": hidden.alpha,
            "mid": np.rint(path.mid * 1e9).astype(np.int64),
            "event": planted.event,
        }
    )


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
    *_, asset = identity(spec.instrument)
    lot = Decimal(1) if asset == "equity" and spec.lot is None else _lot(spec)
    maker = Decimal("0.00001") if spec.maker_fee is None else spec.maker_fee
    taker = Decimal("0.00005") if spec.taker_fee is None else spec.taker_fee
    return on_grid(spec.instrument, spec.tick or Decimal("0.01"), lot, maker, taker)
