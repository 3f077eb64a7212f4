"""Tape specifications: everything that `tape.*` on the command line may say, validated.

One model per source; `TapeSpec` is their union, told apart by `source`.
"""

from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, le=1e9)]
Share = Annotated[float, Field(ge=0, lt=1)]
Step = Annotated[Decimal, Field(gt=0, le=Decimal(10) ** 6)]
Fee = Annotated[Decimal, Field(ge=Decimal("-0.01"), le=Decimal("0.1"))]
Name = str | list[str] | int
Stamp = str | int
Place = Annotated[str, Field(min_length=1)]
Few = Annotated[int, Field(ge=0, le=10_000)]
Label = Annotated[str, Field(pattern=r"^\w[\w .+-]*$", max_length=80)]  # becomes part of a file name


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, no name at all, a folder
        raise ValueError("a time zone such as UTC or America/New_York") from None
    return name


Zone = Annotated[str, AfterValidator(_known_zone)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Columns(_Model):
    """
    Which column of the file holds what; none: guessed from the usual names.

    `ts` may be a list of two, a date and a time column. A file without header has columns 0, 1, 2…
    """

    ts: Name | None = None
    bid: Name | None = None
    ask: Name | None = None
    bid_size: Name | None = None
    ask_size: Name | None = None
    price: Name | None = None
    size: Name | None = None
    aggressor: Name | None = None
    trade_id: Name | None = None
    open: Name | None = None
    high: Name | None = None
    low: Name | None = None
    close: Name | None = None
    volume: Name | None = None
    bid_close: Name | None = None
    ask_close: Name | None = None


class _Common(_Model):
    name: Label | None = Field(None, description="short name for reports; none: from the instrument and the source")
    start: Stamp | None = Field(None, description="first moment kept, ISO (UTC) or UTC ns")
    end: Stamp | None = Field(None, description="first moment left out, ISO (UTC) or UTC ns")
    tick: Step | None = Field(None, description="price increment; none: the grid of the prices")
    lot: Step | None = Field(None, description="quantity increment; none: by asset class")
    maker_fee: Fee | None = Field(None, description="fraction of notional; none: by asset class")
    taker_fee: Fee | None = Field(None, description="fraction of notional; none: by asset class")
    half_spread_bps: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        None,
        description="assumed half-spread around trade and bar prices, basis points; none: by asset class",
    )
    stale_after_s: Positive | None = Field(None, description="age of a stale reference, seconds; none: by kind")
    depth: Step | None = Field(
        None, description="units assumed at each side of quotes without sizes; none: a million USD"
    )


class _Cleaned(_Common):
    outlier: Share | None = Field(
        None,
        description="isolated spike to drop, fraction; 0: never; none: crypto and bars 0.05, else 0.01",
    )
    max_bad: Share = Field(0.001, description="share of rows with NaN or zero prices that may be dropped")


class _Parsed(_Cleaned):
    kind: Literal["quotes", "trades", "bars", "bidask_bars"] | None = Field(None, description="none: from the columns")
    columns: Columns = Columns()
    ts_unit: Literal["auto", "s", "ms", "us", "ns"] = Field("auto", description="unit of numeric stamps")
    ts_format: str | None = Field(None, description="strptime format of text stamps; none: found out")
    tz: Zone = Field("UTC", description="time zone of stamps that do not carry one")
    stamp: Literal["open", "close"] | None = Field(None, description="what a bar's stamp means; none: open")
    bar_s: Positive | None = Field(None, description="bar length, seconds; none: the commonest step")
    filter: dict[str, str | int | float | bool | list[str | int | float | bool]] | None = Field(
        None,
        description="rows to keep: column -> allowed value or values; none: no suspicious trades",
    )
    sort: bool = Field(False, description="sort unsorted rows (stable) instead of refusing them")


class BtcusdTape(_Cleaned):
    """The embedded default: 14 days of BTC/USD minute bars."""

    source: Literal["btcusd_1m"] = "btcusd_1m"


class FileTape(_Parsed):
    """Any Parquet or CSV file (gz, bz2, zst, zip), or a folder of them read in name order."""

    source: Literal["file"] = "file"
    path: Place = Field(description="file or folder")
    instrument: str | None = Field(None, description="EUR/USD, BTC/USDT, SPY…; none: from the file or folder name")


class CatalogTape(_Cleaned):
    """An existing Nautilus ParquetDataCatalog; its stamps are taken as the time at which a row is known."""

    source: Literal["catalog"] = "catalog"
    path: Place = Field(description="root folder of the catalog, the one that holds data/")
    instrument_id: str | None = Field(None, description="none: the only one there")
    kind: Literal["quotes", "trades", "bars"] | None = Field(None, description="none: quotes, else trades, else bars")
    bar_type: str | None = Field(None, description="none: the only one there")


REGIMES = ("up", "down", "revert", "calm", "shock")


class WorldTape(_Common):
    """
    A seeded synthetic quote world with ground truth beside it; see :mod:`alphatrade.nodes.worlds`.

    Tick and lot default to 0.01, the fees to 0.1 bp (maker) and 0.5 bp (taker).
    """

    source: Literal["world"] = "world"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    instrument: str = "WLD/USD"
    hours: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    step_s: Annotated[float, Field(ge=0.001, le=3600)] = Field(1.0, description="mean time between quotes, seconds")
    begin: str = Field("2025-01-06T00:00:00Z", description="first stamp")
    price: Positive = Field(100.0, description="first mid price")
    schedule: tuple[Annotated[str, Field(pattern=rf"^({'|'.join(REGIMES)})(:\d+(\.\d+)?)?$")], ...] | None = Field(
        None,
        description="regimes in order, each with a share of the time, up:2; none: drawn from the seed",
        min_length=1,
    )
    regime_s: Positive = Field(3600.0, description="mean length of a drawn regime, seconds")
    payoff: Literal["none", "drawn"] = Field(
        "none", description="drawn: the regime says which topology pays, by a map drawn from the seed"
    )
    spread_ticks: Annotated[int, Field(ge=1, le=1000)] = Field(2, description="spread in calm markets, ticks")
    alpha: Annotated[float, Field(ge=0, le=0.9)] = Field(
        0.2, description="planted: correlation of the book imbalance with the next move of the mid; 0: none"
    )
    alpha_half_life_s: Positive | None = Field(
        None, description="the planted alpha decays with this half-life; none: never"
    )
    alpha_ends_s: Positive | None = Field(None, description="second of the world at which it ends; none: never")
    halts: Annotated[int, Field(ge=0, le=1000)] = Field(1, description="trading halts")
    gaps: Annotated[int, Field(ge=0, le=1000)] = Field(2, description="silent stretches")
    bad_prints: Annotated[int, Field(ge=0, le=100_000)] = Field(3, description="single quotes far from the market")
    bad_print_size: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.03, description="how far at most, fraction; at least half"
    )
    bad_print_factor: Annotated[float, Field(gt=1, le=1000)] | None = Field(
        None, description="bad prints are off by this factor, up or down; none: by bad_print_size"
    )
    auctions: Few = Field(0, description="opening auctions: 22 to 67 silent minutes, an uncross, a wide and thin start")
    sweeps: Few = Field(0, description="bursts that walk the book one way within seconds")
    surges: Few = Field(0, description="the book leans strongly to one side for one to three minutes")
    vol_shocks: Few = Field(0, description="volatility five to ten times as high, decaying within minutes")
    vacuums: Few = Field(0, description="spread several times as wide, a fraction of the depth, volatility as before")
    crossed: Few = Field(0, description="stretches of a few quotes with the bid above the ask")
    placebo_flips: Few = Field(0, description="stretches of a false regime in the truth, and nothing else")


TapeSpec = Annotated[BtcusdTape | FileTape | CatalogTape | WorldTape, Field(discriminator="source")]
