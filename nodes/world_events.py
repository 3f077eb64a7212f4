"""Planted events of a world: one table of their kinds, where they are, and what each does to the market.

Halts, gaps and bad prints are drawn from the world's own generator. Everything added later is drawn from generators of
its own, so that asking for it moves nothing else: the same world with and without a sweep is the same up to the sweep.
"""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.tape import Ints
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.world_state import BP, HEAT_HALF_LIFE_S, REGIME, Floats, State
from alphatrade.risk.errors import TapeError

QUIET_ROWS = 60  # after an event before the next one
SIDES = ("bid", "ask")


class Effects:
    """
    What the events do to each step; 1 and 0 where there are none.

    Attributes
    ----------
    move : ndarray of float64, shape (steps,)
        Planted move of the mid, fraction.
    vol, spread : ndarray of float64, shape (steps,)
        Factors of the move that the regime makes, and of the spread.
    depth : dict of str to ndarray of float64, shape (steps,)
        Factor of the size at each side.
    lean : ndarray of float64, shape (steps,)
        Added to the imbalance that is shown; the alpha does not act through it.
    """

    def __init__(self, steps: int) -> None:
        self.move, self.lean = np.zeros(steps), np.zeros(steps)
        self.vol, self.spread = np.ones(steps), np.ones(steps)
        self.depth = {side: np.ones(steps) for side in SIDES}

    def act(self, state: State, dt: float) -> State:
        """Return the hidden state with the planted moves in its mid, and in its heat what they leave there."""
        touched = np.flatnonzero((self.move != 0.0) | (self.vol != 1.0))
        if not len(touched):
            return state
        first = int(touched[0])  # what is before it stays to the last bit
        moves = (state.mid[first:] / state.mid[first - 1 : -1] - 1.0) * self.vol[first:] + self.move[first:]
        moves = np.clip(moves, -0.5, 1.0)
        mid, heat = state.mid.copy(), state.heat.copy()
        mid[first:] = mid[first - 1] * np.cumprod(1.0 + moves)
        heat[first:] = _heat(moves, dt, float(heat[first - 1]))
        return state._replace(mid=mid, heat=heat)


def _heat(moves: Floats, dt: float, before: float) -> Floats:
    """Return realised over calm volatility, as :func:`alphatrade.nodes.world_state.run` has it; `before`: its last."""
    fade = round(0.5 ** (dt / HEAT_HALF_LIFE_S), 12)
    calm = (REGIME["calm"].vol * BP) ** 2 * dt
    variance, out = before * before * calm, []
    for square in np.minimum(moves * moves, 400.0 * calm).tolist():
        variance = fade * variance + (1.0 - fade) * square
        out.append(variance)
    return np.sqrt(np.array(out) / calm)


class Extent(NamedTuple):
    """One event: first step, number of steps, seconds per step, and the market it meets."""

    first: int
    steps: int
    dt: float
    tick: float  # over the price
    vol: float  # fraction per root second

    @property
    def rows(self) -> slice:
        """The steps of the event."""
        return slice(self.first, self.first + self.steps)

    @property
    def fading(self) -> Floats:
        """From 1 at the first step down to nearly 0 at the last, in a straight line."""
        return 1.0 - np.arange(self.steps) / self.steps


Act = Callable[[Effects, Extent, np.random.Generator], None]


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * int(rng.integers(0, 1024)) / 1024.0


def _sign(rng: np.random.Generator) -> int:
    return 2 * int(rng.integers(0, 2)) - 1


def _auction(effects: Effects, at: Extent, rng: np.random.Generator) -> None:
    """Uncross with a jump of 20 to 60 bp; then volatility 4x, spread 6x and a tenth of the depth become usual again."""
    effects.move[at.first] += _sign(rng) * _between(rng, 20.0, 60.0) * BP
    effects.vol[at.rows] *= 1.0 + 3.0 * at.fading
    effects.spread[at.rows] *= 1.0 + 5.0 * at.fading
    for side in SIDES:
        effects.depth[side][at.rows] *= 1.0 - 0.9 * at.fading


def _sweep(effects: Effects, at: Extent, rng: np.random.Generator) -> None:
    """Within 2 to 6 s walk 8 to 16 ticks beyond noise one way; the side that was hit is gone, a part comes back."""
    side, size = _sign(rng), _between(rng, 8.0, 16.0) * at.tick + _between(rng, 2.0, 4.0) * at.vol * sqrt(10.0)
    burst = min(max(1, round(_between(rng, 2.0, 6.0) / at.dt)), at.steps)
    back = _between(rng, 0.2, 0.5)
    effects.move[at.first : at.first + burst] += side * size / burst
    rest = slice(at.first + burst, at.first + at.steps)
    fading = at.fading[burst:]
    effects.move[rest] -= side * size * back * fading / max(float(np.sum(fading)), 1.0)
    hit = effects.depth["ask" if side > 0 else "bid"]
    hit[at.first : at.first + burst] *= 0.05
    hit[rest] *= 1.0 - 0.95 * fading


def _surge(effects: Effects, at: Extent, rng: np.random.Generator) -> None:
    """Lean the book by two and a half to three and a half standard deviations to one side."""
    effects.lean[at.rows] += _sign(rng) * _between(rng, 2.5, 3.5)


def _vol_shock(effects: Effects, at: Extent, rng: np.random.Generator) -> None:
    """Multiply volatility by five to ten, decaying to the usual."""
    effects.vol[at.rows] *= 1.0 + _between(rng, 4.0, 9.0) * at.fading


def _vacuum(effects: Effects, at: Extent, rng: np.random.Generator) -> None:
    """Spread four to eight times as wide, a twentieth to a fifth of the depth; volatility as before."""
    effects.spread[at.rows] *= _between(rng, 4.0, 8.0)
    share = _between(rng, 0.05, 0.2)
    for side in SIDES:
        effects.depth[side][at.rows] *= share


class Kind(NamedTuple):
    """
    A kind of planted event.

    Attributes
    ----------
    word : str
        What the truth's ``event`` says in each row of it.
    mean_s : float
        Mean length; drawn between half and one and a half of it. 0: a single quote.
    silence_s : float
        Mean length of the silence before it, likewise. 0: none.
    act : callable, optional
        What it does; None: nothing but the silence.
    """

    word: str
    mean_s: float
    silence_s: float = 0.0
    act: Act | None = None


# By the field of the specification that says how many; placed in this order, the long ones first.
KINDS: dict[str, Kind] = {
    "halts": Kind("reopen", 0.0, 300.0),  # the venue says that it halts
    "gaps": Kind("gap", 0.0, 900.0),  # nobody says anything
    "bad_prints": Kind("bad_print", 0.0),  # one quote far from the market
    "auctions": Kind("auction", 480.0, 2700.0, _auction),
    "vol_shocks": Kind("vol_shock", 480.0, 0.0, _vol_shock),
    "vacuums": Kind("vacuum", 120.0, 0.0, _vacuum),
    "surges": Kind("surge", 120.0, 0.0, _surge),
    "sweeps": Kind("sweep", 30.0, 0.0, _sweep),
    "crossed": Kind("crossed", 3.0),  # bid above ask by a few ticks for a few quotes
}
ADDED = ("auctions", "vol_shocks", "vacuums", "surges", "sweeps", "crossed")


class Planted:
    """
    The events of a world.

    Attributes
    ----------
    silent : ndarray of bool, shape (steps,)
        Steps without a quote.
    event : ndarray of object, shape (steps,)
        Word of the event in each of its rows, else empty.
    halt_ts : list of int
        Begin and end of each halt, UTC ns.
    shift : ndarray of float64, shape (steps,)
        Relative displacement of the quotes: zero but for the bad prints.
    crossing : ndarray of int64, shape (steps,)
        Ticks by which the bid is above the ask: zero but for the crossed quotes.
    effects : Effects

    Raises
    ------
    TapeError
        If the world has no room for what is planted.
    """

    def __init__(self, spec: WorldTape, ts: Ints, rng: np.random.Generator) -> None:
        steps = len(ts)
        self._spec = spec
        self.silent = np.zeros(steps, dtype=np.bool_)
        self.event = np.full(steps, "", dtype=object)
        self.halt_ts: list[int] = []
        self.shift, self.crossing, self.effects = np.zeros(steps), np.zeros(steps, np.int64), Effects(steps)
        self._taken = np.zeros(steps, dtype=np.bool_)
        self._taken[: steps // 20], self._taken[-QUIET_ROWS:] = True, True
        halts = sorted(self._place("halts", rng) for _ in range(spec.halts))
        gaps = sorted(self._place("gaps", rng) for _ in range(spec.gaps))
        for name, places in (("halts", halts), ("gaps", gaps)):
            for first, last, _ in places:
                self.silent[first:last] = True
                self.event[last] = KINDS[name].word
        for first, last, _ in halts:
            self.halt_ts += [int(ts[first]), int(ts[last]) - 1]
        self._bad_prints(rng)

    def _place(self, name: str, rng: np.random.Generator) -> tuple[int, int, int]:
        """Return a free stretch after a number of tries that no sensible world needs: silence from, event from, to."""
        steps, kind, spec = len(self.silent), KINDS[name], self._spec

        def drawn(mean_s: float, least: int) -> int:
            return max(least, round(mean_s * (0.5 + int(rng.integers(0, 1024)) / 1024.0) / spec.step_s))

        for _ in range(200):
            silence = drawn(kind.silence_s, 2) if kind.silence_s else 0
            length = drawn(kind.mean_s, 1) if kind.mean_s else 0
            first = int(rng.integers(0, steps))
            begin = first + silence
            last = begin + length
            if last + QUIET_ROWS < steps and not self._taken[first : last + QUIET_ROWS].any():
                self._taken[first : last + QUIET_ROWS] = True
                return first, begin, last
        raise TapeError(f"tape.{name}", getattr(spec, name), f"fewer in a world of {steps} quotes")

    def _bad_prints(self, rng: np.random.Generator) -> None:
        spec = self._spec
        for _ in range(spec.bad_prints):
            free = np.flatnonzero(~self._taken)
            if len(free) == 0:
                raise TapeError("tape.bad_prints", spec.bad_prints, f"fewer in a world of {len(self.shift)} quotes")
            place = int(free[int(rng.integers(0, len(free)))])
            self._taken[max(0, place - 1) : place + 2] = True
            size = spec.bad_print_size * (0.5 + int(rng.integers(0, 512)) / 1024.0)
            up = int(rng.integers(0, 2)) == 1
            if spec.bad_print_factor is not None:
                self.shift[place] = spec.bad_print_factor - 1.0 if up else 1.0 / spec.bad_print_factor - 1.0
            else:
                self.shift[place] = size if up else -size
            self.event[place] = "bad_print"

    def add(self, volatility: Floats) -> None:
        """Plant the kinds of `ADDED` into the steps that are free; `volatility` of every step, bp per root second."""
        spec = self._spec
        tick = float(spec.tick or 0.01) / spec.price
        vol = volatility * BP
        for number, name in enumerate(ADDED):
            rng = np.random.Generator(np.random.PCG64([spec.seed, 1, number]))
            kind = KINDS[name]
            for _ in range(getattr(spec, name)):
                first, begin, last = self._place(name, rng)
                self.silent[first:begin] = True
                self.event[begin:last] = kind.word
                if kind.act is None:
                    self.crossing[begin:last] = int(rng.integers(1, 4))
                else:
                    at = Extent(begin, last - begin, spec.step_s, tick, float(vol[begin]))
                    kind.act(self.effects, at, rng)


def placebo_flips(spec: WorldTape, regime: NDArray[np.int8], words: int) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return the label of every step and where it is false: stretches of a third of a regime, and nothing else."""
    rng = np.random.Generator(np.random.PCG64([spec.seed, 2]))
    label, false = regime.copy(), np.zeros(len(regime), np.bool_)
    same = np.concatenate(([0], np.cumsum(regime[1:] != regime[:-1])))  # number of the stretch each step is in
    for _ in range(spec.placebo_flips):
        for _ in range(200):
            length = max(2, round(spec.regime_s / 3.0 * _between(rng, 0.5, 1.5) / spec.step_s))
            first = int(rng.integers(1, len(regime)))
            last = first + length
            if last >= len(regime) or same[first - 1] != same[last] or false[first - 1 : last + 1].any():
                continue
            label[first:last] = (int(regime[first]) + int(rng.integers(1, words))) % words
            false[first:last] = True
            break
        else:
            raise TapeError("tape.placebo_flips", spec.placebo_flips, f"fewer in a world of {len(regime)} quotes")
    return label, false
