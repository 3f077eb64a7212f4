"""Venue of a run: account, fees, fill probabilities and latency; conservative unless told otherwise."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from alphatrade.nodes.tape import InstrumentSpec
from alphatrade.strategies.policy import SINCE_1

Probability = Annotated[float, Field(ge=0, le=1)]
Fee = Annotated[Decimal, Field(ge=Decimal("-0.01"), le=Decimal("0.1"))]
Balance = Annotated[Decimal, Field(gt=0, le=Decimal(10) ** 15)]
Leverage = Annotated[Decimal, Field(ge=1, le=500)]
Milliseconds = Annotated[float, Field(ge=0, le=60_000)]
Multiple = Annotated[float, Field(ge=0, le=10)]


class VenueSpec(BaseModel):
    """
    Where orders go in a replay.

    Stock Nautilus fills every limit order that is touched, at the touched price, at once. The defaults here
    do not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: Literal["margin", "cash"] = Field("margin", description="cash: long or flat, shorts are denied")
    starting_balance: Balance = Field(Decimal(1_000_000), description="in the quote currency")
    leverage: Leverage = Field(Decimal(10), description="of a margin account")
    prob_fill_on_limit: Probability = Field(0.3, description="that a touched, not crossed, limit order fills")
    prob_slippage: Probability = Field(0.5, description="that an aggressive fill is one tick worse")
    latency_ms: Milliseconds = Field(50.0, description="from the node to the venue")
    exact_latency: bool = Field(True, description="orders arrive on time; stock: with the next event")
    assumed_spread: bool = Field(True, description="takers pay the assumed half-spread on bars and trades")
    adaptive_bars: bool = Field(True, description="guess for each bar whether high or low came first")
    queue_position: bool = Field(True, description="wait for the queue ahead, on tapes of trades")
    liquidity_consumption: bool = Field(True, description="a fill uses up size, where the tape shows sizes")
    maker_fee: Fee | None = Field(None, description="fraction of notional; none: the instrument's")
    taker_fee: Fee | None = Field(None, description="fraction of notional; none: the instrument's")
    cost_multiple: Multiple = Field(1.0, description="times fees and what takers pay of the half-spread")
    bounded_market: bool = Field(
        False,
        description="what would open at the market is sent as a limit order half the price collar away that fills at "
        "once or not at all, and nothing is modified, but cancelled and sent anew: what an order may cost is known",
        json_schema_extra=SINCE_1,
    )

    def priced(self, spec: InstrumentSpec) -> InstrumentSpec:
        """Return the instrument with this venue's fees."""
        maker = Decimal(spec.maker_fee) if self.maker_fee is None else self.maker_fee
        taker = Decimal(spec.taker_fee) if self.taker_fee is None else self.taker_fee
        return replace(spec, maker_fee=str(self._times(maker)), taker_fee=str(self._times(taker)))

    def _times(self, fee: Decimal) -> Decimal:
        """Return a fee under cost stress; a rebate does not grow with costs."""
        return fee * Decimal(repr(self.cost_multiple)) if fee > 0 else fee


@dataclass(frozen=True, slots=True)
class VenuePlan:
    """
    The part of a `VenueSpec` that the tapes of one venue can carry.

    Attributes
    ----------
    queue_position, liquidity_consumption : bool
        Nautilus venue flags.
    half_spread_bps : dict of str to Decimal
        By instrument id: what takers pay beyond a traded price, basis points, cost multiple included.
    widen : Decimal
        Share of the *quoted* half-spread that takers pay on top of it: cost stress on quotes, else 0.
    """

    queue_position: bool
    liquidity_consumption: bool
    half_spread_bps: dict[str, Decimal]
    widen: Decimal


def plan(spec: VenueSpec, kinds: Set[str], provides: Set[str], half_spreads: Mapping[str, float]) -> VenuePlan:
    """
    Decide what of `spec` the tapes of one venue allow.

    A queue needs traded volume: bars would never clear it, so that limits would never fill. Consumption needs
    real quoted sizes, and cannot see the levels of a simulated book, so it is off under cost stress. Both are
    flags of the whole venue: one tape that lacks the data switches them off.

    Parameters
    ----------
    spec : VenueSpec
    kinds : set of str
        Kinds of the tapes: quotes, trades, bars.
    provides : set of str
        What every tape provides (`Tape.provides`).
    half_spreads : mapping of str to float
        By instrument id: assumed half-spread, basis points; 0 for quotes.
    """
    times = Decimal(repr(spec.cost_multiple))
    widen = max(times - 1, Decimal(0)) if "quotes" in kinds else Decimal(0)
    assumed = {name: Decimal(repr(bps)) * times for name, bps in sorted(half_spreads.items()) if bps > 0}
    sized_quotes = kinds == {"quotes"} and "size" in provides
    return VenuePlan(
        queue_position=spec.queue_position and kinds == {"trades"} and "volume" in provides,
        liquidity_consumption=spec.liquidity_consumption and sized_quotes and widen == 0,
        half_spread_bps=assumed if spec.assumed_spread else {},
        widen=widen,
    )
