"""Which column of a file is which: explicit names first, else the usual spellings; a clear error when neither helps."""

import re
from typing import Any, NamedTuple

from alphatrade.nodes.tape_spec import FileTape
from alphatrade.risk.errors import TapeError


class Resolved(NamedTuple):
    """Columns found: `ts` (one, or date and time), `columns` (ours to theirs), the kind, what a stamp means, row filters."""

    kind: str
    ts: list[str]
    columns: dict[str, str]
    stamp: str
    filter: dict[str, list[Any]]


def _sided(side: str, parts: tuple[str, ...]) -> list[str]:
    """Return the spellings of a bid or ask column: bid_close, close_bid, bidclose, bid_c, bc…"""
    spellings = []
    for part in parts:
        spellings += [
            f"{side}_{part}",
            f"{part}_{side}",
            f"{side}{part}",
            f"{part}{side}",
            f"{side}_{part[0]}",
        ]
    return [*spellings, side[0] + parts[0][0]]


_ASK = ("ask", "offer", "ofr")
_SIZE = ("size", "volume", "vol", "qty", "quantity", "siz", "sz")
SPELLINGS: dict[str, list[str]] = {
    "ts": ["ts", "timestamp", "time", "datetime", "date_time", "timestamp_utc", "time_utc", "utc", "open_time", "opentime", "unix", "unix_timestamp", "unix_time", "gmt_time", "local_time", "time_exchange", "time_period_start", "ts_event", "event_time", "trade_time", "transact_time", "date", "dt", "index", "t", "__index_level_0__", "level_0", "close_time", "time_close", "time_period_end"],
    "bid": ["bid", "bid_price", "bidprice", "best_bid", "bestbid", "best_bid_price", "bid_px", "b"],
    "ask": ["ask", "ask_price", "askprice", "best_ask", "bestask", "best_ask_price", "ask_px", "offer", "offer_price", "ofr", "a"],
    "bid_size": [*_sided("bid", _SIZE), "best_bid_qty", "best_bid_size", "bid_amount"],
    "ask_size": [*(s for a in _ASK for s in _sided(a, _SIZE)), "best_ask_qty", "best_ask_size", "ask_amount"],
    "price": ["price", "trade_price", "last", "last_price", "px", "rate", "p"],
    "size": ["size", "qty", "quantity", "trade_size", "last_size", "amount", "volume", "vol", "base_qty", "base_volume", "q", "sz"],
    "aggressor": ["aggressor", "aggressor_side", "taker_side", "taker", "side", "is_buyer_maker", "isbuyermaker", "m"],
    "trade_id": ["trade_id", "tradeid", "tid", "agg_trade_id", "agg_id", "id"],
    "open": ["open", "open_price", "price_open", "openprice", "o"],
    "high": ["high", "high_price", "price_high", "highprice", "h", "max"],
    "low": ["low", "low_price", "price_low", "lowprice", "l", "min"],
    "close": ["close", "close_price", "price_close", "closeprice", "c", "last"],
    "volume": ["volume", "vol", "base_volume", "volume_base", "volume_traded", "volumefrom", "tick_volume", "tickvol", "tick_vol", "v"],
    "bid_close": _sided("bid", ("close",)),
    "ask_close": [s for a in _ASK for s in _sided(a, ("close",))],
}
NEEDED: dict[str, tuple[str, ...]] = {
    "quotes": ("bid", "ask"),
    "trades": ("price",),
    "bars": ("open", "high", "low", "close"),
    "bidask_bars": ("bid_close", "ask_close"),
}
WANTED: dict[str, tuple[str, ...]] = {
    "quotes": ("bid_size", "ask_size"),
    "trades": ("size", "aggressor", "trade_id"),
    "bars": ("volume",),
    "bidask_bars": ("bid_size", "ask_size"),
}
SUSPICIOUS = ("susp", "suspicious", "is_suspicious")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower().removeprefix("__index").strip("<> ")).strip("_")


def resolve(spec: FileTape, present: list[str], where: str) -> Resolved:
    """
    Return which of the columns `present` are used, and how.

    Raises
    ------
    TapeError
        If a named column is absent, or a needed one can be neither found nor guessed.
    """
    plain: dict[str, str] = {}
    for name in present:
        plain.setdefault(_plain(name), name)
    headless = present == [str(i) for i in range(len(present))]
    kind = spec.kind or _kind(plain, present, headless, where)
    given = {k: v for k, v in spec.columns.model_dump().items() if v is not None}
    ts = _ts(given.pop("ts", None), plain, present, headless, where)
    found: dict[str, str] = {}
    for ours in (*NEEDED[kind], *WANTED[kind]):
        if ours in given:
            found[ours] = _named(ours, given[ours], present, where)
        elif headless:
            index = (
                (*NEEDED[kind], *WANTED[kind][:2]).index(ours)
                if ours in (*NEEDED[kind], *WANTED[kind][:2])
                else 99
            )
            if ts == ["0"] and index + 1 < len(present):
                found[ours] = str(index + 1)
        elif (guess := _guess(ours, plain)) is not None and guess not in ts:
            found[ours] = guess
        if ours in NEEDED[kind] and ours not in found:
            raise TapeError(
                f"tape.columns.{ours}", None, f"the name of a column of {where}, one of {', '.join(present)}"
            )
    unused = sorted(set(given) - {*NEEDED[kind], *WANTED[kind]})
    if unused:
        raise TapeError(f"tape.columns.{unused[0]}", given[unused[0]], f"no such column for tape.kind={kind}")
    stamp = spec.stamp or ("close" if re.search(r"close|end", ts[0], re.IGNORECASE) else "open")
    return Resolved(kind, ts, found, stamp, _rules(spec, kind, plain))


def _guess(ours: str, plain: dict[str, str]) -> str | None:
    for spelling in SPELLINGS[ours]:
        if spelling in plain:
            return plain[spelling]
    if ours == "volume":  # "Volume BTC", "Volume_(BTC)": the first is the base volume
        return next((theirs for name, theirs in plain.items() if name.startswith("volume_")), None)
    return None


def _named(ours: str, name: object, present: list[str], where: str) -> str:
    if isinstance(name, list):
        raise TapeError(f"tape.columns.{ours}", name, "one column")
    if str(name) not in present:
        raise TapeError(f"tape.columns.{ours}", name, f"a column of {where}, one of {', '.join(present)}")
    return str(name)


def _ts(given: object, plain: dict[str, str], present: list[str], headless: bool, where: str) -> list[str]:
    """Return the stamp column, or a date and a time column."""
    if given is not None:
        names = given if isinstance(given, list) else [given]
        if len(names) not in (1, 2):
            raise TapeError("tape.columns.ts", given, "one column, or a date and a time column")
        return [_named("ts", name, present, where) for name in names]
    if headless:
        return ["0"]
    for date, time in (("date", "time"), ("day", "time"), ("dtyyyymmdd", "time"), ("date", "timestamp")):
        if date in plain and time in plain:
            return [plain[date], plain[time]]
    guess = _guess("ts", plain)
    if guess is None:
        raise TapeError(
            "tape.columns.ts", None, f"the name of the time column of {where}, one of {', '.join(present)}"
        )
    return [guess]


def _kind(plain: dict[str, str], present: list[str], headless: bool, where: str) -> str:
    """Return the kind that the columns look like."""
    if not headless:
        for kind in ("quotes", "bidask_bars", "bars", "trades"):
            if all(_guess(ours, plain) is not None for ours in NEEDED[kind]):
                return kind
    elif len(present) in (5, 6, 7):
        return "bars"
    elif len(present) in (3, 4):
        return "quotes"
    raise TapeError(
        "tape.kind",
        None,
        f"quotes, trades, bars or bidask_bars for {where} with columns {', '.join(present)}",
    )


def _rules(spec: FileTape, kind: str, plain: dict[str, str]) -> dict[str, list[Any]]:
    """Return the row filters: those given, else trades that the source itself marks as suspicious are left out."""
    if spec.filter is not None:
        return {
            name: values if isinstance(values, list) else [values] for name, values in spec.filter.items()
        }
    marked = next((plain[name] for name in SUSPICIOUS if name in plain), None)
    return {marked: [0, False, "0.0"]} if marked is not None and kind == "trades" else {}
