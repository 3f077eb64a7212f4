"""Which column of a file is which: explicit names first, else the usual spellings, else a clear error."""

import re
from typing import Any, NamedTuple

from alphatrade.nodes.tape_spec import FileTape
from alphatrade.risk.errors import TapeError


class Resolved(NamedTuple):
    """
    What was found.

    Attributes
    ----------
    kind : str
    ts : list of str
        The stamp column, or a date and a time column.
    columns : dict
        Our names to the file's.
    stamp : {"open", "close"}
        What the stamp of a bar means.
    filter : dict
        Column of the file to the values that are kept.
    """

    kind: str
    ts: list[str]
    columns: dict[str, str]
    stamp: str
    filter: dict[str, list[Any]]


def _sided(sides: tuple[str, ...], parts: tuple[str, ...]) -> list[str]:
    """Return the spellings of a bid or ask column: bid_close, close_bid, bidclose, bid_c, bc and so on."""
    out = []
    for side in sides:
        for part in parts:
            out += [f"{side}_{part}", f"{part}_{side}", f"{side}{part}", f"{part}{side}", f"{side}_{part[0]}"]
    return [*out, sides[0][0] + parts[0][0]]


_SIZE = ("size", "volume", "vol", "qty", "quantity", "siz", "sz")
_USUAL = {
    "ts": """ts timestamp time datetime date_time timestamp_utc time_utc utc open_time opentime unix
        unix_timestamp unix_time gmt_time local_time time_exchange time_period_start ts_event event_time
        trade_time transact_time date dt index t index_level_0 level_0 close_time time_close
        time_period_end""",
    "bid": "bid bid_price bidprice best_bid bestbid best_bid_price bid_px b",
    "ask": "ask ask_price askprice best_ask bestask best_ask_price ask_px offer offer_price ofr a",
    "price": "price trade_price last last_price px rate p",
    "size": "size qty quantity trade_size last_size amount volume vol base_qty base_volume q sz",
    "aggressor": "aggressor aggressor_side taker_side taker side is_buyer_maker isbuyermaker m",
    "trade_id": "trade_id tradeid tid agg_trade_id agg_id id",
    "open": "open open_price price_open openprice o",
    "high": "high high_price price_high highprice h max",
    "low": "low low_price price_low lowprice l min",
    "close": "close close_price price_close closeprice c last",
    "volume": "volume vol base_volume volume_base volume_traded volumefrom tick_volume tickvol tick_vol v",
}
SPELLINGS: dict[str, list[str]] = {ours: names.split() for ours, names in _USUAL.items()}
SPELLINGS["ts"].append("")  # pandas writes a nameless index
SPELLINGS |= {
    "bid_size": [*_sided(("bid",), _SIZE), "best_bid_qty", "best_bid_size", "bid_amount"],
    "ask_size": [*_sided(("ask", "offer", "ofr"), _SIZE), "best_ask_qty", "best_ask_size", "ask_amount"],
    "bid_close": _sided(("bid",), ("close",)),
    "ask_close": _sided(("ask", "offer", "ofr"), ("close",)),
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
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


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
    given = {k: v for k, v in spec.columns.model_dump().items() if v is not None}
    ts = _ts(given.pop("ts", None), plain, present, headless, where)
    kind = spec.kind or _kind(given, plain, present, headless, where)
    ours = (*NEEDED[kind], *WANTED[kind])
    for name in given:
        if name not in ours:
            raise TapeError(f"tape.columns.{name}", given[name], f"no such column for tape.kind={kind}")
    found: dict[str, str] = {}
    for place, name in enumerate(ours, start=1):
        if name in given:
            found[name] = _named(name, given[name], present, where)
            continue
        guess = _guess(name, plain)
        if headless:  # stamp first, then ours in our order
            guess = str(place) if ts == ["0"] and place < len(present) and name != "trade_id" else None
        if guess is not None and guess not in ts:
            found[name] = guess
        elif name in NEEDED[kind]:
            expected = f"the name of a column of {where}, one of {', '.join(present)}"
            raise TapeError(f"tape.columns.{name}", None, expected)
    stamp = spec.stamp or ("close" if re.search(r"close|end", ts[0], re.IGNORECASE) else "open")
    return Resolved(kind, ts, found, stamp, _rules(spec, kind, plain, present, where))


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
        expected = f"the name of the time column of {where}, one of {', '.join(present)}"
        raise TapeError("tape.columns.ts", None, expected)
    return [guess]


def _kind(given: dict[str, Any], plain: dict[str, str], present: list[str], headless: bool, where: str) -> str:
    """Return the kind that the columns look like, one that has all the columns that are named if there is one."""
    possible = [
        kind
        for kind in ("quotes", "bidask_bars", "bars", "trades")
        if all(ours in given or (not headless and _guess(ours, plain) is not None) for ours in NEEDED[kind])
    ]
    if possible:
        return next((kind for kind in possible if set(given) <= {*NEEDED[kind], *WANTED[kind]}), possible[0])
    if headless and len(present) in (5, 6):
        return "bars"
    expected = f"quotes, trades, bars or bidask_bars for {where} with columns {', '.join(present)}"
    raise TapeError("tape.kind", None, expected)


def _rules(spec: FileTape, kind: str, plain: dict[str, str], present: list[str], where: str) -> dict[str, list[Any]]:
    """Return the row filters: those given, else trades that the source marks as suspicious are left out."""
    if spec.filter is None:
        marked = next((plain[name] for name in SUSPICIOUS if name in plain), None)
        return {marked: [0, False, "0.0"]} if marked is not None and kind == "trades" else {}
    for name in spec.filter:
        if name not in present:
            raise TapeError("tape.filter", name, f"a column of {where}, one of {', '.join(present)}")
    return {name: values if isinstance(values, list) else [values] for name, values in spec.filter.items()}
