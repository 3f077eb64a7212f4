"""What an exchange is asked before a node is built: its clock, and what its instruments are."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from alphatrade.nodes.instruments import FEES, asset_of, decimals, plain
from alphatrade.nodes.paper.adapters import ANSWER_S, Connection
from alphatrade.nodes.paper.feeds import Address, LiveFeedSpec
from alphatrade.nodes.tape import Asset, InstrumentSpec, LiveMarket
from alphatrade.risk.errors import ConfigError

SKEW_MS = 1000.0
_STALE_S = {"quotes": 10.0, "trades": 60.0}


@dataclass(frozen=True, slots=True)
class Heard:
    """What an exchange said: its instruments in the order they were asked for, and how far its clock is ahead, ms."""

    instruments: list[Any]
    ahead_ms: float
    doubt_ms: float


def markets(spec: LiveFeedSpec) -> list[LiveMarket]:
    """
    Ask the exchange about its instruments, and return them as markets that begin now.

    Parameters
    ----------
    spec : LiveFeedSpec

    Raises
    ------
    ConfigError
        If no address answers, a symbol is not known there, or its clock and ours differ by more than a second.
    """
    told: list[str] = []
    for at in spec.addresses:
        try:
            heard = asyncio.run(asyncio.wait_for(_ask(at, spec.symbols), ANSWER_S * (1 + len(spec.symbols))))
        except Exception as error:
            told.append(f"{at.http or at.name}: {' '.join(str(error).split())[:160] or type(error).__name__}")
            continue
        return _checked(spec, heard)
    raise ConfigError("feed.source", spec.source, f"an exchange that answers ({'; '.join(told)})")


async def _ask(at: Address, symbols: Sequence[str]) -> Heard:
    connection = Connection(at, lambda _: None, asyncio.get_running_loop())
    try:
        await connection.open(())
        return Heard(await connection.instruments(symbols), *await connection.ahead_ms())
    finally:
        await connection.close()


def _checked(spec: LiveFeedSpec, heard: Heard) -> list[LiveMarket]:
    if abs(heard.ahead_ms) - heard.doubt_ms > SKEW_MS:
        side = "ahead of" if heard.ahead_ms > 0 else "behind"
        words = f"{abs(heard.ahead_ms) / 1e3:.2f} s {side} ours"
        raise ConfigError(f"clock of {spec.source}", words, "within a second of it: see that this machine's is right")
    for name, one in zip(spec.symbols, heard.instruments, strict=True):
        if one is None:
            raise ConfigError("feed.symbols", name, f"symbols that {spec.source} knows")
    begun = time.time_ns()
    return [market(spec, instrument(one), begun, smallest(one)) for one in heard.instruments]


def instrument(told: Any) -> InstrumentSpec:
    """Return what an adapter says of an instrument in our words; fees are those assumed for tapes."""
    tick, lot = told.price_increment.as_decimal(), told.size_increment.as_decimal()
    base, quote = told.get_base_currency(), told.quote_currency.code
    asset: Asset = "equity" if base is None else asset_of(base.code, quote)
    maker, taker, _ = FEES[asset]
    return InstrumentSpec(
        id=told.id.value, symbol=told.id.symbol.value, venue=told.id.venue.value,
        base=told.id.symbol.value if base is None else base.code, quote=quote, asset=asset,
        price_precision=decimals(tick), size_precision=decimals(lot), tick=plain(tick), lot=plain(lot),
        maker_fee=plain(Decimal(maker)), taker_fee=plain(Decimal(taker)),
    )  # fmt: skip


def smallest(told: Any) -> str:
    """Return the smallest value of an order by what an adapter says of its instrument, quote units."""
    return "0" if told.min_notional is None else plain(told.min_notional.as_decimal())


def market(spec: LiveFeedSpec, found: InstrumentSpec, begun: int, min_notional: str = "0") -> LiveMarket:
    """Return the market of an instrument of a feed that is heard from `begun` (UTC ns) on."""
    bar_s = float(spec.bar_s) if spec.kind == "bars" else 0.0
    stale = spec.stale_after_s or _STALE_S.get(spec.kind, max(60.0, 3.0 * bar_s))
    half = FEES[found.asset][2] if spec.half_spread_bps is None else spec.half_spread_bps
    return LiveMarket(
        name=found.symbol.lower(),
        kind=spec.kind,
        instrument=found,
        half_spread_bps=0.0 if spec.kind == "quotes" else half,
        stale_after_s=stale,
        bar_s=bar_s,
        begun=begun,
        min_notional=min_notional,
    )
