"""The law with a cap: some strategies, a canary's, have a part of the account's limits to themselves and no more.

On top of all limits of the account, which hold for everybody together: what the capped strategies hold, and what their
working orders could bring about, is at most ``share * gross_max`` of the capital, and one order of theirs at most
``share * order_notional_max``. The words are those of :mod:`alphatrade.risk.law`, applied to each strategy's own part
of each position: *worst case*, *risk-increasing*. All capped strategies share one cap.

Where two strategies trade one instrument, one may hold what the other is short of. So in this law a reduce-only order
may reduce its strategy's own part, also where the position of the account is smaller or on the other side; what that
brings the account to is judged as of every reduce-only order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal

from alphatrade.risk.batch import Batch
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.exploration import Exploration
from alphatrade.risk.exploring_law import ExploringLaw
from alphatrade.risk.exposure import BUY, Holding, Order
from alphatrade.risk.limits import Code, Verdict, deny, text
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import from_nano

Key = tuple[str, str]  # strategy, instrument


@dataclass(frozen=True, slots=True)
class Cap:
    """
    Who is capped, and at what.

    A strategy id is a name and a tag, ``Organism-002``. One with the name of a capped strategy and a tag that nobody
    knows is capped too: another tag is no way out. Other strategies are not.

    Parameters
    ----------
    share : float
        Of `gross_max` and `order_notional_max`.
    capped, free : tuple of str
        Strategy ids: those that share the cap, and those beside them that have none.

    Raises
    ------
    ConfigError
        If the share is none, nobody is capped, or somebody is capped and free.
    """

    share: float
    capped: tuple[str, ...]
    free: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ConfigError("cap_share", self.share, "above 0 and at most 1")
        if not self.capped or not all(name.rpartition("-")[0] for name in self.capped):
            raise ConfigError("capped", self.capped, "strategy ids: Name-tag")
        if both := set(self.capped) & set(self.free):
            raise ConfigError("free", sorted(both), "strategies that are not capped")

    def holds(self, strategy: str) -> bool:
        """Return whether a strategy is capped."""
        if strategy in self.capped:
            return True
        name = strategy.rpartition("-")[0]
        return strategy not in self.free and any(name == each.rpartition("-")[0] for each in self.capped)

    def bound2(self, fraction: float, capital: int) -> int:
        """Return the capped share of a limit (fraction of `capital`, atto) in 0.5e-18 of money, rounded down."""
        exact = Decimal(repr(self.share)) * Decimal(repr(fraction)) * 2 * capital
        return int(exact.to_integral_value(ROUND_FLOOR))


class CappedLaw(ExploringLaw):
    """
    The whole law, with a cap on top.

    For an order of a capped strategy the working orders are looked through, of which there are at most
    `open_orders_max`; for all others there is nothing more to do.

    Parameters
    ----------
    template, capital, long_only, exploration
        As for :class:`~alphatrade.risk.exploring_law.ExploringLaw`.
    cap : Cap
    """

    def __init__(
        self,
        template: RiskTemplate,
        capital: int | None,
        long_only: bool,
        exploration: Exploration | None,
        cap: Cap,
    ) -> None:
        super().__init__(template, capital, long_only, exploration)
        self.cap = cap
        self.parts: dict[Key, Holding] = {}  # what each strategy, capped or not, holds of each position

    # -- facts

    def on_fill(
        self, order_id: str, instrument: str, side: int, qty: int, price: int, fee: int, owner: str = "",
        strategy: str = "", kept: int = 0,
    ) -> int:  # fmt: skip
        """Book a fill as the law does, and as part of its strategy."""
        self._part(strategy, instrument).shift(owner, side * (qty - kept))
        return super().on_fill(order_id, instrument, side, qty, price, fee, owner, strategy, kept)

    def adopt(
        self, instrument: str, position: int, price: int, paid: bool, owner: str = "", strategy: str = ""
    ) -> None:
        """Take over a position from before this session, as part of its strategy."""
        self._part(strategy, instrument).shift(owner, position)
        super().adopt(instrument, position, price, paid, owner, strategy)

    def _part(self, strategy: str, instrument: str) -> Holding:
        part = self.parts.get((strategy, instrument))
        if part is None:
            part = self.parts[strategy, instrument] = Holding(instrument, 0)
        return part

    def _room(self, order: Order) -> int:
        """Return how much of its strategy's own part a reduce-only order could reduce, nano."""
        part = self.parts.get((order.strategy, order.instrument))
        if part is None:
            return 0
        return part.shorts if order.side == BUY else part.longs

    def capped(self) -> tuple[int, int] | None:
        """Return the worst case of all that is capped, and the cap, 0.5e-18 of money; None without a price for it."""
        total2 = self._total2(self._loaded(()))
        return None if total2 is None else (total2, self._bound2())

    def _bound2(self) -> int:
        return self.cap.bound2(self.template.gross_max, self.capital or 0)

    # -- judgement

    def check(self, orders: Sequence[Order], now: int) -> Verdict:
        """Judge orders as the law does, then those of capped strategies by their cap."""
        verdict = super().check(orders, now)
        if verdict.code is not None:
            return verdict
        for at, order in enumerate(orders):
            if self.cap.holds(order.strategy):
                price2 = self._price2(order, self.exposure.holding(order.instrument), order.price, order.trigger)
                denial = self._check_capped(order, (order.qty, order.qty, price2), orders[:at])
                if denial is not None:
                    return replace(denial, order_id=order.order_id)
        return verdict

    def check_modify(
        self, order: Order | None, qty: int | None, price: int | None, trigger: int | None, now: int
    ) -> Verdict:
        """Judge a change as the law does, then one of a capped strategy's order by its cap."""
        verdict = super().check_modify(order, qty, price, trigger, now)
        if order is None or verdict.code is not None or not self.cap.holds(order.strategy):
            return verdict
        asked = order.qty if qty is None else qty
        leaves = max(asked - order.filled, 0)
        same = price in (None, order.price) and trigger in (None, order.trigger)
        if leaves <= order.reserved and same and not order.reduce_only:
            return verdict
        price2 = self._price2(order, self.exposure.holding(order.instrument), price, trigger)
        return self._check_capped(order, (asked, max(leaves - order.reserved, 0), price2), ()) or verdict

    def _check_reduce_only(self, order: Order, qty: int, held: Holding, batch: Batch | None) -> Verdict | None:
        unfit = super()._check_reduce_only(order, qty, held, batch)
        return None if unfit is not None and qty <= self._room(order) else unfit

    def _check_capped(self, order: Order, terms: tuple[int, int, int], before: Sequence[Order]) -> Verdict | None:
        """
        Return a denial of an order of a capped strategy, or of its change; None: the cap has nothing against it.

        Parameters
        ----------
        terms : tuple of int
            Its quantity (nano), by how much that is more than what is counted already, and its doubled price.
        before : sequence of Order
            Those of the same list that would be sent before it.
        """
        qty, more, price2 = terms
        parts = self._loaded(before)
        part = parts.setdefault((order.strategy, order.instrument), Holding(order.instrument, 0))
        was = _worst(part)
        _load(part, order, more)
        bound2 = self._bound2()
        if order.reduce_only:
            leaves, room = max(qty - order.filled, 0), self._room(order)
            if leaves > room and not any(_entry_of(order, each) for each in before):
                words = "own position that a reduce-only order of a capped strategy could reduce, units"
                return deny(Code.CAP, words, str(from_nano(leaves)), str(from_nano(room)))
            if _worst(part) <= was:
                return None
        elif _reduces(part, order.side):
            return None
        else:
            most2 = self.cap.bound2(self.template.order_notional_max, self.capital or 0)
            if qty * price2 > most2:
                return deny(Code.CAP, "notional of a capped order", text(qty * price2, "m"), text(most2, "m"))
        total2 = self._total2(parts)
        if total2 is None:
            return deny(Code.CAP, "no reference price to count what capped strategies have")
        if total2 > bound2:
            words = "sum of worst-case exposures of capped strategies"
            return deny(Code.CAP, words, text(total2, "m"), text(bound2, "m"))
        return None

    def _loaded(self, extra: Iterable[Order]) -> dict[Key, Holding]:
        """Return the capped strategies' parts, with all that they have working and with orders not counted yet."""
        holds = self.cap.holds
        loaded = {key: replace(part) for key, part in self.parts.items() if part.own and holds(key[0])}
        working = [(order, order.reserved) for order in self.exposure.working.values()]
        for order, qty in (*working, *((order, order.qty) for order in extra)):
            if holds(order.strategy):
                key = order.strategy, order.instrument
                _load(loaded.setdefault(key, Holding(order.instrument, 0)), order, qty)
        return loaded

    def _total2(self, parts: dict[Key, Holding]) -> int | None:
        """Return the sum of worst-case exposures at the marks, 0.5e-18 of money; None if something has no price."""
        total2 = 0
        for part in parts.values():
            worst, held = _worst(part), self.exposure.holding(part.instrument)
            if worst and (held.mark_ts < 0 or held.mid2 <= 0):
                return None
            total2 += worst * held.mid2
        return total2


def _load(part: Holding, order: Order, qty: int) -> None:
    """Count `qty` (nano) of an order as working in a part."""
    reduces = order.reduce_only and not order.turned
    if order.side == BUY:
        if reduces:
            part.covers += qty
        else:
            part.buys += qty
    elif reduces:
        part.exits += qty
    else:
        part.sells += qty


def _worst(part: Holding) -> int:
    return max(part.top() + part.buys, part.sells - part.bottom())


def _reduces(part: Holding, side: int) -> bool:
    """Return whether plain orders of a side, all of them, are certain to shrink a part whatever else fills first."""
    if side == BUY:
        return part.position < 0 and part.top() + part.buys <= 0
    return part.position > 0 and part.bottom() - part.sells >= 0


def _entry_of(child: Order, order: Order) -> bool:
    """Return whether an order before it in a list is the entry that a reduce-only order belongs to."""
    return order.order_id == child.parent_id and order.side != child.side and child.qty <= order.qty
