"""Shadow: what one tactic would have earned by itself, on paper, at prices that a careful trader would expect.

Every tactic of a learning router runs beside the one in charge with a position of its own, counted in clips. A market
order pays the half-spread, the taker fee and half a tick of slippage; a resting order fills when the market has gone
through its price, never at a touch; a stop fills at its trigger or, after a gap, at the first price beyond it.
"""

import msgspec

from alphatrade.actors.messages import BeliefSnapshot
from alphatrade.strategies.topologies import Desire, Limit, Topology, View

BPS = 1e4


class Costs(msgspec.Struct, frozen=True):
    """Fees as fractions of the notional, and the slippage of a taker in price units."""

    taker: float
    maker: float
    slip: float


class Shadow:
    """
    The paper book of one tactic.

    Parameters
    ----------
    topology : Topology
        An instance of its own: topologies may remember.
    costs : Costs
        Of the instrument.
    long_only : bool
        Do not hold a short position.

    Attributes
    ----------
    worth : float
        Net earnings so far, basis points of a clip.
    clips : float
        Signed position.
    """

    __slots__ = ("_costs", "_entry", "_last", "_limits", "_long_only", "_since", "_stop", "_topology", "clips", "worth")

    def __init__(self, topology: Topology, costs: Costs, long_only: bool = False) -> None:
        self._topology, self._costs, self._long_only = topology, costs, long_only
        self._limits: tuple[Limit, ...] = ()
        self._stop: float | None = None
        self._last = self._entry = 0.0
        self._since = 0
        self.clips = self.worth = 0.0

    def start(self, mid: float, clips: float, entry: float, since: int) -> None:
        """Begin with a position: clips, average entry price and the step since when it is held."""
        self._last, self.clips, self._entry, self._since = mid, clips, entry, since

    def play(self, topology: Topology) -> None:
        """Let another tactic go on with the book; what rests is cancelled."""
        if topology is not self._topology:
            self._topology, self._limits, self._stop = topology, (), None

    def mark(self, belief: BeliefSnapshot) -> float:
        """Live through the step that has just closed: fills of what rests, then the change of price; return `worth`."""
        mid, last, facts = belief.mid, self._last, belief.facts
        if (self._limits or self._stop is not None) and facts is not None:
            half = 0.5 * (belief.ask - belief.bid)
            self._rest(belief.step, last, facts.high - half, facts.low + half)
        if self.clips and last > 0.0:
            self.worth += self.clips * (mid / last - 1.0) * BPS
        self._last = mid
        return self.worth

    def _rest(self, step: int, last: float, highest_bid: float, lowest_ask: float) -> None:
        """Fill what the market went through; the price of the step before is the one that worth is marked at."""
        maker = self._costs.maker
        for limit in self._limits:
            price = limit.price
            if lowest_ask < price if limit.side > 0 else highest_bid > price:
                clips = -self.clips if limit.exit else limit.side * limit.clips
                self._trade(clips, price, last, maker, step)
        stop, side = self._stop, self.clips
        if stop is not None and side:
            if side > 0.0 and lowest_ask <= stop:
                self._trade(-side, min(stop, highest_bid) - self._costs.slip, last, self._costs.taker, step)
            elif side < 0.0 and highest_bid >= stop:
                self._trade(-side, max(stop, lowest_ask) + self._costs.slip, last, self._costs.taker, step)

    def _trade(self, clips: float, price: float, marked: float, fee: float, step: int) -> None:
        """Book a fill: what its price is away from the one at which the book is marked, and the fee."""
        if not clips:
            return
        self.worth -= (clips * (price - marked) + abs(clips) * price * fee) / marked * BPS
        before, after = self.clips, self.clips + clips
        if abs(after) < 1e-9:
            after = 0.0
        if before * after <= 0.0:
            self._entry, self._since = (price if after else 0.0), step
        elif abs(after) > abs(before):
            self._entry = (self._entry * before + price * clips) / after
        self.clips = after

    def act(self, belief: BeliefSnapshot, idle: View) -> None:
        """Ask the tactic what it wants now, and do it on paper; `idle` is what one without a position sees."""
        clips, side, view = self.clips, 0, idle
        if clips:
            side = 1 if clips > 0.0 else -1
            view = seen(belief, side, clips, self._entry, belief.step - self._since)
        desire = self._topology.desire(view)
        if self._long_only:
            desire = without_shorts(desire, clips)
        target = desire.target
        if target is not None and target != side:
            self._limits, self._stop = (), None
            buys = target > clips
            price = belief.ask + self._costs.slip if buys else belief.bid - self._costs.slip
            self._trade(target - clips, price, belief.mid, self._costs.taker, belief.step)
            return
        self._stop = desire.stop if side else None
        self._limits = desire.limits
        for limit in desire.limits:  # one that crosses the market does not rest
            if limit.price >= belief.ask if limit.side > 0 else limit.price <= belief.bid:
                price = belief.ask if limit.side > 0 else belief.bid
                crossing = -clips if limit.exit else limit.side * limit.clips
                self._trade(crossing, price, belief.mid, self._costs.taker, belief.step)
                self._limits = ()


def seen(belief: BeliefSnapshot, side: int = 0, clips: float = 0.0, entry: float = 0.0, held: int = 0) -> View:
    """Return what a tactic sees that holds so much for so long."""
    b = belief
    return View(b.step, b.mid, b.bid, b.ask, b.vol, b.features, b.z, side, clips, entry, held)


def without_shorts(desire: Desire, inventory: float) -> Desire:
    """Return `desire` as a cash account can have it: no short position, no sale of what is not held."""
    target = 0 if desire.target == -1 else desire.target
    limits = tuple([limit for limit in desire.limits if limit.side > 0 or limit.clips <= inventory])
    return Desire(target, limits, desire.stop, desire.why)
