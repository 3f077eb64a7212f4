"""Shim: tapes into what a Nautilus engine is fed with, instruments and data."""

from decimal import Decimal
from pathlib import Path

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.enums import CurrencyType, MarketStatusAction
from nautilus_trader.model.identifiers import InstrumentId, Symbol
from nautilus_trader.model.instruments import CurrencyPair, Equity, Instrument
from nautilus_trader.model.objects import Currency, Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from alphatrade.nodes import tape_catalog
from alphatrade.nodes.tape import InstrumentSpec, Ints, Tape

# Initial and maintenance margin, fractions of notional (ESMA's retail limits, rounded up for the calm).
MARGIN = {"fx": "0.0333", "metal": "0.05", "equity": "0.2", "crypto": "0.5"}


def currency(code: str) -> Currency:
    """Return a currency; a code that Nautilus does not know is registered as a crypto currency with eight decimals."""
    known = Currency.from_internal_map(code)
    if known is not None:
        return known
    fresh = Currency(code=code, precision=8, iso4217=0, name=code, currency_type=CurrencyType.CRYPTO)
    Currency.register(fresh, overwrite=False)
    return fresh


def instrument(spec: InstrumentSpec) -> Instrument:
    """Return the Nautilus instrument of `spec`: an Equity, or a CurrencyPair for everything that is traded in pairs."""
    margin = Decimal(MARGIN[spec.asset])
    price_step = Price(float(spec.tick), spec.price_precision)
    size_step = Quantity(float(spec.lot), spec.size_precision)
    if spec.asset == "equity":
        return Equity(
            instrument_id=InstrumentId.from_str(spec.id),
            raw_symbol=Symbol(spec.symbol),
            currency=currency(spec.quote),
            price_precision=spec.price_precision,
            price_increment=price_step,
            lot_size=size_step,
            margin_init=margin,
            margin_maint=margin,
            maker_fee=Decimal(spec.maker_fee),
            taker_fee=Decimal(spec.taker_fee),
            ts_event=0,
            ts_init=0,
        )
    return CurrencyPair(
        instrument_id=InstrumentId.from_str(spec.id),
        raw_symbol=Symbol(spec.symbol),
        base_currency=currency(spec.base),
        quote_currency=currency(spec.quote),
        price_precision=spec.price_precision,
        size_precision=spec.size_precision,
        price_increment=price_step,
        size_increment=size_step,
        min_quantity=size_step,
        margin_init=margin,
        margin_maint=margin,
        maker_fee=Decimal(spec.maker_fee),
        taker_fee=Decimal(spec.taker_fee),
        ts_event=0,
        ts_init=0,
    )


def events(tape: Tape) -> list[Data]:
    """
    Return the rows of a tape as Nautilus data in time order; at equal stamps a halt comes before prices.

    ``ts_event`` and ``ts_init`` are both the time at which the row is known. About 1.4 µs per quote.
    """
    spec, columns = tape.instrument, tape.columns
    identifier = InstrumentId.from_str(spec.id)
    stamps = columns["ts"].astype(np.uint64)
    rows: list[Data]
    if tape.kind == "quotes":
        sides = [
            _units(columns.get(name, np.full(len(tape), tape.depth))) for name in ("bid_size", "ask_size")
        ]
        prices = [_units(columns["bid"]), _units(columns["ask"])]
        rows = QuoteTick.from_raw_arrays_to_list(
            identifier, spec.price_precision, spec.size_precision, *prices, *sides, stamps, stamps
        )
    elif tape.kind == "trades":
        aggressor = columns.get("aggressor", np.zeros(len(tape), np.int64)).astype(np.uint8)
        ids = [str(i) for i in range(1, len(tape) + 1)]
        price, size = _units(columns["price"]), _units(columns["size"])
        rows = TradeTick.from_raw_arrays_to_list(
            identifier, spec.price_precision, spec.size_precision, price, size, aggressor, ids, stamps, stamps
        )
    else:
        names = ("open", "high", "low", "close", "volume")
        values = [_units(columns.get(name, np.zeros(len(tape), np.int64))) for name in names]
        rows = Bar.from_raw_arrays_to_list(
            bar_type(tape), spec.price_precision, spec.size_precision, *values, stamps, stamps
        )
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


def bar_type(tape: Tape) -> BarType:
    """Return the bar type of a tape of bars."""
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


def _units(nano: Ints) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return nanos as floats in units: the nearest double, which Nautilus rounds back to the same decimals."""
    return nano / 1e9


assert USD.precision == 2, "Nautilus's own currencies are loaded"
