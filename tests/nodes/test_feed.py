"""The feed: what Nautilus gets is exactly what the tape says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nautilus_trader.model.data import Bar, InstrumentStatus, QuoteTick, TradeTick
from nautilus_trader.model.instruments import CurrencyPair, Equity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from alphatrade.nodes import feed
from alphatrade.nodes.tape import BUYER, SELLER, Status, Tape
from alphatrade.nodes.tape_audit import Settings, audit
from alphatrade.nodes.tape_read import Rows
from alphatrade.nodes.tape_rules import RULES
from alphatrade.nodes.tape_spec import BtcusdTape, CatalogTape, WorldTape
from alphatrade.nodes.tapes import load_tape
from alphatrade.nodes.worlds import make_world
from alphatrade.risk.errors import TapeError

RAW = 10**7  # raw units per nano


def tape_of(kind: str, instrument: str, status: Status | None = None, **values: Any) -> Tape:
    count = len(next(iter(values.values())))
    ts = 1_700_000_000 * 10**9 + np.arange(count, dtype=np.int64) * 60 * 10**9 + 123
    floats = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
    rows = Rows("test", kind, ts, floats, {}, np.arange(1, count + 1), "close", None, 0)
    return audit(rows, Settings(instrument, "test", bar_s=60.0, outlier=0.0), status)


def test_quotes_are_exact() -> None:
    rng = np.random.default_rng(1)
    bid = np.round(rng.uniform(0.5, 90_000, 5000), 5)
    tape = tape_of("quotes", "EUR/USD", bid=bid, ask=bid + 0.00003, bid_size=bid // 1 + 1, ask_size=bid // 1 + 2)
    made = feed.events(tape)
    assert all(type(event) is QuoteTick for event in made)
    for name in ("bid", "ask"):
        assert [getattr(e, f"{name}_price").raw // RAW for e in made] == tape.columns[name].tolist()
        assert [getattr(e, f"{name}_size").raw // RAW for e in made] == tape.columns[f"{name}_size"].tolist()
    assert [e.ts_init for e in made] == [e.ts_event for e in made] == tape.columns["ts"].tolist()
    assert made[0].bid_price.precision == tape.instrument.price_precision


def test_trades_and_bars_are_exact() -> None:
    price = np.round(np.random.default_rng(2).uniform(1, 1e5, 1000), 2)
    size = np.round(np.random.default_rng(3).uniform(1e-6, 1e3, 1000), 8)
    side = np.where(np.arange(1000) % 2, BUYER, SELLER)
    trades = tape_of("trades", "BTC/USDT", price=price, size=size, aggressor=side)
    made = feed.events(trades)
    assert all(type(event) is TradeTick for event in made)
    assert [e.price.raw // RAW for e in made] == trades.columns["price"].tolist()
    assert [e.size.raw // RAW for e in made] == trades.columns["size"].tolist()
    assert [int(e.aggressor_side) for e in made] == side.tolist()
    assert len({e.trade_id for e in made}) == 1000
    bars = tape_of("bars", "BTC/USDT", open=price, high=price + 1, low=price * 0.5, close=price, volume=size)
    made = feed.events(bars)
    assert all(type(event) is Bar for event in made)
    for name in ("open", "high", "low", "close", "volume"):
        assert [getattr(e, name).raw // RAW for e in made] == bars.columns[name].tolist()
    assert str(made[0].bar_type) == "BTC/USDT.SIM-1-MINUTE-LAST-EXTERNAL"


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (1, "1-SECOND"),
        (300, "5-MINUTE"),
        (3600, "1-HOUR"),
        (86400, "1-DAY"),
        (604800, "7-DAY"),
        (5400, "1-TICK"),
    ],
)
def test_bar_types_are_ones_that_nautilus_knows(seconds: float, name: str) -> None:
    one = np.ones(3)
    tape = tape_of("bars", "BTC/USD", open=one, high=one, low=one, close=one, volume=one)
    object.__setattr__(tape, "bar_s", float(seconds))
    assert str(feed.bar_type(tape)) == f"BTC/USD.SIM-{name}-LAST-EXTERNAL"


def test_absent_sizes_are_assumed_not_invented() -> None:
    price = np.full(5, 50_000.0)
    trades = tape_of("trades", "BTC/USD", price=price)
    assert "volume" not in trades.provides
    assert feed.events(trades)[0].size == 20
    quotes = tape_of("quotes", "EUR/USD", bid=price / 5e4, ask=price / 5e4)
    assert "size" not in quotes.provides
    assert feed.events(quotes)[0].bid_size == 1_000_000


def test_instruments() -> None:
    one = np.ones(3)
    pair = feed.instrument(tape_of("trades", "ZORG/USDT", price=one, size=one).instrument)
    assert isinstance(pair, CurrencyPair)
    assert (str(pair.base_currency), pair.maker_fee) == ("ZORG", pair.taker_fee)
    share = feed.instrument(tape_of("trades", "SPY.ARCA", price=one * 170, size=one).instrument)
    assert isinstance(share, Equity)
    assert (str(share.id), str(share.price_increment), str(share.quote_currency)) == (
        "SPY.ARCA",
        "0.01",
        "USD",
    )
    metal = feed.instrument(tape_of("trades", "XAU/USD", price=one * 1291.677, size=one).instrument)
    assert (str(metal.price_increment), str(metal.size_increment)) == ("0.001", "0.01")


def test_halts_come_before_prices_of_their_moment() -> None:
    price = np.linspace(10, 11, 10)
    ts = tape_of("quotes", "EUR/USD", bid=price, ask=price).columns["ts"]
    halts = Status(np.array([ts[3], ts[6]]), np.array([0, 1], np.int8))
    made = feed.events(tape_of("quotes", "EUR/USD", halts, bid=price, ask=price))
    assert [type(e) is InstrumentStatus for e in made].index(True) == 3
    assert [e.ts_init for e in made] == sorted(e.ts_init for e in made)
    assert [e.action.name for e in made if type(e) is InstrumentStatus] == ["HALT", "TRADING"]


def test_nautilus_reads_what_the_cache_holds(tmp_path: Path) -> None:
    tape = load_tape(BtcusdTape(end="2026-08-18T00:00:00Z"), tmp_path / "cache", shown=False)
    assert tape.catalog is not None
    read = ParquetDataCatalog(tape.catalog).bars()
    assert [str(bar) for bar in read] == [str(bar) for bar in feed.events(tape)]


def test_catalogs_of_nautilus_are_tapes(tmp_path: Path) -> None:
    world = make_world(WorldTape(hours=3, halts=1, gaps=0))
    catalog = feed.catalog(world, tmp_path / "own")
    assert [str(q) for q in catalog.quote_ticks()] == [str(q) for q in feed.events(world) if type(q) is QuoteTick]
    read = load_tape(CatalogTape(path=str(tmp_path / "own"), outlier=0, stale_after_s=60), tmp_path, shown=False)
    assert all((read.columns[name] == array).all() for name, array in world.columns.items())
    assert read.instrument == world.instrument
    assert read.status.ts.tolist() == world.status.ts.tolist()
    assert read.tape_hash == world.tape_hash
    # One that Nautilus itself has written.
    other = ParquetDataCatalog(str(tmp_path / "theirs"))
    side = np.where(np.arange(100) % 3, BUYER, SELLER)
    trades = tape_of("trades", "BTC/USDT", price=np.linspace(10, 11, 100), size=np.ones(100), aggressor=side)
    other.write_data([feed.instrument(trades.instrument)])
    other.write_data(feed.events(trades))
    read = load_tape(CatalogTape(path=str(tmp_path / "theirs")), tmp_path, shown=False)
    assert all((read.columns[name] == array).all() for name, array in trades.columns.items())
    other.write_data([feed.instrument(world.instrument)])
    other.write_data([e for e in feed.events(world) if type(e) is QuoteTick])
    with pytest.raises(TapeError, match="instrument_id"):
        load_tape(CatalogTape(path=str(tmp_path / "theirs")), tmp_path)
    chosen = CatalogTape(path=str(tmp_path / "theirs"), instrument_id="WLD/USD.SIM", outlier=0)
    assert len(load_tape(chosen, tmp_path)) == len(world)


def test_the_audit_names_every_count() -> None:
    one = np.ones(3)
    assert set(tape_of("trades", "SPY", price=one, size=one).audit) == set(RULES)
