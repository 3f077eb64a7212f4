"""A tape: normalised market data of one instrument, as plain integer arrays, with its identity and its audit.

A tape knows nothing of files or of Nautilus: :mod:`alphatrade.nodes.tapes` makes tapes,
:mod:`alphatrade.nodes.feed` turns one into Nautilus events. A live market is what is known of one before it has rows.
"""

import hashlib
import json
from collections.abc import Set
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]
Asset = Literal["fx", "crypto", "equity", "metal"]
Kind = Literal["quotes", "trades", "bars"]

# The fixed order of columns: of the hash, of the cache and of every loop over them.
COLUMNS: dict[str, tuple[str, ...]] = {
    "quotes": ("ts", "bid", "ask", "bid_size", "ask_size"),
    "trades": ("ts", "price", "size", "aggressor"),
    "bars": ("ts", "open", "high", "low", "close", "volume"),
}
SIZES: dict[str, tuple[str, ...]] = {
    "quotes": ("bid_size", "ask_size"),
    "trades": ("size",),
    "bars": ("volume",),
}
REFERENCE: dict[str, Literal["quote", "trade", "bar"]] = {"quotes": "quote", "trades": "trade", "bars": "bar"}
BUYER, SELLER, NO_AGGRESSOR = 1, 2, 0  # the numbers of Nautilus's AggressorSide


@dataclass(frozen=True, slots=True)
class InstrumentSpec:
    """
    What the venue says about an instrument; numbers are decimal strings, so that nothing is rounded.

    Attributes
    ----------
    id : str
        Nautilus instrument id, ``"BTC/USD.SIM"``.
    symbol, venue : str
        The two halves of the id.
    base, quote : str
        Currency codes; of an equity, `base` is the symbol and `quote` the currency it trades in.
    asset : {"fx", "crypto", "equity", "metal"}
    price_precision, size_precision : int
        Decimals of prices and of quantities, at most 9.
    tick, lot : str
        Price and quantity increments.
    maker_fee, taker_fee : str
        Fractions of the notional.
    """

    id: str
    symbol: str
    venue: str
    base: str
    quote: str
    asset: Asset
    price_precision: int
    size_precision: int
    tick: str
    lot: str
    maker_fee: str
    taker_fee: str


@dataclass(frozen=True, slots=True)
class Status:
    """Trading halts of a tape: stamps (int64 UTC ns) and actions (1 trading, 0 halted), ordered by stamp."""

    ts: Ints
    action: NDArray[np.int8]

    @classmethod
    def none(cls) -> "Status":
        """Return the status of a tape that is never halted."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """
    What is known of one instrument's market data, whether they lie there or are still to come.

    Attributes
    ----------
    name : str
        Short name for reports.
    kind : {"quotes", "trades", "bars"}
        Bid/ask bars have become quotes.
    instrument : InstrumentSpec
    half_spread_bps : float
        Assumed half-spread around a trade or bar price, basis points; 0 for quotes, which carry their own.
    stale_after_s : float
        Age at which the reference price is too old to trade on, seconds.
    bar_s : float
        Length of a bar, seconds; 0 for quotes and trades.
    depth : int
        Nano quantity that the engine is to assume where the source has no sizes (a quarter of a bar's
        volume); 0 where it has.
    tape_hash : str
        sha256 of all that an engine sees.
    """

    name: str
    kind: Kind
    instrument: InstrumentSpec
    half_spread_bps: float
    stale_after_s: float
    bar_s: float = 0.0
    depth: int = 0
    tape_hash: str = field(default="", compare=False)

    @property
    def begin(self) -> int:
        """When it begins, UTC ns."""
        raise NotImplementedError

    @property
    def carries(self) -> Set[str]:
        """Names of its columns."""
        return frozenset(COLUMNS[self.kind])

    @property
    def reference(self) -> Literal["quote", "trade", "bar"]:
        """What the law takes as the reference price: last quote, else last trade, else last closed bar."""
        return REFERENCE[self.kind]

    @property
    def provides(self) -> frozenset[str]:
        """What features may ask for: quote, spread, size, trade, volume, aggressor, bar."""
        has_sizes = set(SIZES[self.kind]) <= self.carries
        if self.kind == "quotes":
            return frozenset({"quote", "spread", "size"} if has_sizes else {"quote", "spread"})
        words = {"trade" if self.kind == "trades" else "bar"}
        return frozenset(words | ({"volume"} if has_sizes else set()) | ({"aggressor"} & self.carries))

    def told(self) -> dict[str, Any]:
        """Return what the record of a run says of it."""
        return {"name": self.name, "tape_hash": self.tape_hash}

    def _assumed(self) -> list[float]:
        return [float(self.bar_s), float(self.half_spread_bps), float(self.stale_after_s), self.depth]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMarket(Market):
    """
    A market that is heard live: it has no rows yet, and is told from others by when it was first listened to.

    Attributes
    ----------
    begun : int
        UTC ns.
    min_notional : str
        Smallest value of an order that its exchange takes, quote units.
    """

    begun: int
    min_notional: str = "0"

    def __post_init__(self) -> None:
        """Compute the hash."""
        head = [self.kind, asdict(self.instrument), self._assumed(), str(self.begun), self.min_notional]
        object.__setattr__(self, "tape_hash", hashlib.sha256(_packed(head)).hexdigest())

    @property
    def begin(self) -> int:
        """When it was first listened to, UTC ns."""
        return self.begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape(Market):
    """
    Normalised market data of one instrument.

    Attributes
    ----------
    columns : dict of str to int64 arrays, all of one length
        ``ts`` is the time at which a row is known (UTC ns, non-decreasing); prices and quantities are nano
        integers, ``aggressor`` is 1 buyer, 2 seller, 0 unknown. `COLUMNS` has names and order; sizes, volume
        and aggressor are absent where the source has none: nothing is filled in.
    status : Status
        Halts.
    audit : dict of str to int
        What was found on load; the rule behind each count is in `alphatrade.nodes.tape_rules.RULES`.
    truth : pandas.DataFrame or None
        Ground truth of a synthetic world.
    catalog : str or None
        Folder with this tape's rows in the layout of a Nautilus ParquetDataCatalog.
    """

    columns: dict[str, Ints]
    status: Status
    audit: dict[str, int]
    truth: "pd.DataFrame | None" = None
    catalog: str | None = None

    def __post_init__(self) -> None:
        """Check the shape and compute the hash: no tape exists whose hash is not of its content."""
        lengths = {len(array) for array in self.columns.values()}
        assert len(lengths) == 1, "columns are of one length"
        assert 0 not in lengths, "a tape is not empty"
        assert set(self.columns) <= set(COLUMNS[self.kind]), "only columns of the kind"
        assert all(array.dtype == np.int64 for array in self.columns.values()), "int64 columns"
        object.__setattr__(self, "tape_hash", content_hash(self))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns["ts"])

    @property
    def begin(self) -> int:
        """First stamp, UTC ns."""
        return self.span[0]

    @property
    def carries(self) -> Set[str]:
        """Names of its columns."""
        return self.columns.keys()

    @property
    def span(self) -> tuple[int, int]:
        """First and last stamp, UTC ns."""
        return int(self.columns["ts"][0]), int(self.columns["ts"][-1])

    def told(self) -> dict[str, Any]:
        """Return what the record of a run says of it."""
        return {"name": self.name, "tape_hash": self.tape_hash, "rows": len(self)}

    def slice(self, start: int | None = None, end: int | None = None) -> "Tape":
        """
        Return the rows with ``start <= ts < end`` (UTC ns) as a tape of its own, with its own hash.

        Raises
        ------
        ValueError
            If no row is left.
        """
        ts = self.columns["ts"]
        first = 0 if start is None else int(np.searchsorted(ts, start, "left"))
        last = len(ts) if end is None else int(np.searchsorted(ts, end, "left"))
        if first >= last:
            raise ValueError(f"no rows between {start} and {end}")
        a = int(np.searchsorted(self.status.ts, ts[first], "left"))
        b = int(np.searchsorted(self.status.ts, ts[last - 1], "right"))
        status = Status(self.status.ts[a:b], self.status.action[a:b])
        if a and self.status.action[a - 1] == 0:  # the slice begins inside a halt
            status = Status(
                np.concatenate(([ts[first]], status.ts)),
                np.concatenate((np.zeros(1, np.int8), status.action)),
            )
        truth = self.truth
        if truth is not None:
            truth = truth[(truth["ts"] >= ts[first]) & (truth["ts"] <= ts[last - 1])].reset_index(drop=True)
        return replace(
            self,
            columns={name: array[first:last] for name, array in self.columns.items()},
            status=status,
            audit=self.audit | {"rows_used": last - first, "outside": self.audit["outside"] + len(ts) - last + first},
            truth=truth,
            catalog=None,
        )


def content_hash(tape: Tape) -> str:
    """Return the sha256 over all that an engine sees: kind, instrument, assumptions, arrays in order."""
    names = [name for name in COLUMNS[tape.kind] if name in tape.columns]
    head = [tape.kind, asdict(tape.instrument), tape._assumed(), len(tape), len(tape.status.ts), names]
    digest = hashlib.sha256(_packed(head))
    for name in names:
        digest.update(np.ascontiguousarray(tape.columns[name], dtype="<i8"))
    digest.update(np.ascontiguousarray(tape.status.ts, dtype="<i8"))
    digest.update(np.ascontiguousarray(tape.status.action))
    return digest.hexdigest()


def _packed(head: list[Any]) -> bytes:
    return json.dumps(head, separators=(",", ":")).encode()
