"""Shim: tapes into what a Nautilus engine is fed with, instruments and data."""

from decimal import Decimal
from pathlib import Path

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.enums import CurrencyType, MarketStatusAction
from nautilus_trader.model.identifiers import InstrumentId, Symbol
from nautilus_trader.model.instruments import CurrencyPair, Equity, Instrument
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from alphatrade.nodes import tape_catalog
from alphatrade.nodes.tape import COLUMNS, InstrumentSpec, Ints, Market, Tape

# Initial and maintenance margin, fractions of notional (ESMA's retail limits, rounded up for the calm).
MARGIN = {"fx": "0.0333", "metal": "0.05", "equity": "0.2", "crypto": "0.5"}
BALANCE_DIGITS = 8


def currency(code: str) -> Currency:
    """Return a currency; a code that Nautilus does not know is registered, as crypto with eight decimals."""
    known = Currency.from_internal_map(code)
    if known is not None:
        return known
    fresh = Currency(code=code, precision=8, iso4217=0, name=code, currency_type=CurrencyType.CRYPTO)
    Currency.register(fresh, overwrite=False)
    return fresh


def instrument(spec: InstrumentSpec, exact: bool = False, min_notional: str = "0") -> Instrument:
    """
    Return the Nautilus instrument of `spec`: an Equity for shares, a CurrencyPair for all else.

    Parameters
    ----------
    spec : InstrumentSpec
    exact : bool
        Its quantities have the decimals of a balance, not those of a lot: where the venue keeps fees of what is bought,
        Nautilus would round the position after each fill.
    min_notional : str
        Smallest value of an order, quote units; 0: none is known.
    """
    margin = Decimal(MARGIN[spec.asset])
    digits = BALANCE_DIGITS if exact else spec.size_precision
    size_step = Quantity(float(spec.lot), digits)
    common = {
        "instrument_id": InstrumentId.from_str(spec.id),
        "raw_symbol": Symbol(spec.symbol),
        "price_precision": spec.price_precision,
        "price_increment": Price(float(spec.tick), spec.price_precision),
        "margin_init": margin,
        "margin_maint": margin,
        "maker_fee": Decimal(spec.maker_fee),
        "taker_fee": Decimal(spec.taker_fee),
        "ts_event": 0,
        "ts_init": 0,
    }
    if spec.asset == "equity":
        return Equity(currency=currency(spec.quote), lot_size=size_step, **common)
    return CurrencyPair(
        base_currency=currency(spec.base),
        quote_currency=currency(spec.quote),
        size_precision=digits,
        size_increment=size_step,
        min_quantity=size_step,
        min_notional=None if Decimal(min_notional) == 0 else Money(Decimal(min_notional), currency(spec.quote)),
        **common,
    )


def stamped(tape: Tape, stamps: Ints) -> list[Data]:
    """Return a tape of quotes as events that carry `stamps` (UTC ns) as their time: a venue's clock may be wrong."""
    found = events(tape)
    if (stamps == tape.columns["ts"]).all():
        return found
    own = iter(stamps.tolist())
    return [
        QuoteTick(q.instrument_id, q.bid_price, q.ask_price, q.bid_size, q.ask_size, next(own), q.ts_init)
        if type(q) is QuoteTick
        else q
        for q in found
    ]


def events(tape: Tape) -> list[Data]:
    """
    Return the rows of a tape as Nautilus data in time order; at equal stamps a halt comes before prices.

    ``ts_event`` and ``ts_init`` are both the time at which the row is known. About 1.4 µs per quote.
    """
    spec, stamps = tape.instrument, tape.columns["ts"].astype(np.uint64)
    identifier = InstrumentId.from_str(spec.id)
    digits = spec.price_precision, spec.size_precision
    names = [name for name in COLUMNS[tape.kind][1:] if name != "aggressor"]
    # The nearest doubles: Nautilus rounds them back to the same decimals.
    values = [tape_catalog.filled(tape, name) / 1e9 for name in names]
    rows: list[Data]
    if tape.kind == "quotes":
        rows = QuoteTick.from_raw_arrays_to_list(identifier, *digits, *values, stamps, stamps)
    elif tape.kind == "trades":
        aggressor = tape.columns.get("aggressor", np.zeros(len(tape), np.int64)).astype(np.uint8)
        ids = [str(i) for i in range(1, len(tape) + 1)]
        rows = TradeTick.from_raw_arrays_to_list(identifier, *digits, *values, aggressor, ids, stamps, stamps)
    else:
        rows = Bar.from_raw_arrays_to_list(bar_type(tape), *digits, *values, stamps, stamps)
    halts = status(tape)
    return sorted([*halts, *rows], key=lambda event: event.ts_init) if halts else rows


def status(tape: Tape) -> list[Data]:
    """Return the halts of a tape as InstrumentStatus events."""
    identifier = InstrumentId.from_str(tape.instrument.id)
    actions = {0: MarketStatusAction.HALT, 1: MarketStatusAction.TRADING}
    return [
        InstrumentStatus(identifier, actions[int(action)], int(ts), int(ts), is_trading=bool(action))
        for ts, action in zip(tape.status.ts, tape.status.action, strict=True)
    ]


def bar_type(tape: Market) -> BarType:
    """Return the bar type of a market of bars."""
    return BarType.from_str(tape_catalog.bar_type(tape))


def catalog(tape: Tape, root: str | Path) -> ParquetDataCatalog:
    """
    Write a tape with its instrument and halts as a Nautilus catalog of its own under `root`, and return it.

    This is what a stock BacktestNode reads; the cache entry of a tape (`Tape.catalog`) holds the rows only.
    """
    tape_catalog.write_rows(tape, Path(root))
    out = ParquetDataCatalog(str(root))
    out.write_data([instrument(tape.instrument), *status(tape)])
    return out
