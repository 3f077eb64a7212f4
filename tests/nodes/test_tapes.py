"""Tapes: what is read, repaired, counted and refused; stamps, look-ahead, identity and the cache."""

import gzip
import io
import json
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from alphatrade.nodes import feed, tape_catalog, tape_files
from alphatrade.nodes.instruments import guess_name, identity
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_rules import RULES, find_spikes
from alphatrade.nodes.tape_spec import BtcusdTape, CatalogTape, FileTape, WorldTape
from alphatrade.nodes.tapes import load_tape, parse_spec
from alphatrade.risk.errors import TapeError

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ALPHATRADE_TAPES", ROOT.parent / "shared" / "tapes"))
T0 = pd.Timestamp("2024-03-01", tz="UTC")
SECOND = 10**9


def quotes(count: int = 200) -> pd.DataFrame:
    steps = np.arange(count)
    bid = np.round(1.1 + 0.0001 * np.abs(np.sin(steps / 7)), 5)
    return pd.DataFrame({"ts": T0 + pd.to_timedelta(steps, "s"), "bid": bid, "ask": np.round(bid + 0.0001, 5)})


def bars(count: int = 200) -> pd.DataFrame:
    steps = np.arange(count)
    close = np.round(100 + np.sin(steps / 9), 2)
    ts = T0 + pd.to_timedelta(steps, "min")
    frame = pd.DataFrame({"ts": ts, "open": close, "high": close + 0.5, "low": close - 0.5, "close": close})
    frame["volume"] = 1.5
    return frame


def load(path: Path, tmp_path: Path, **keys: Any) -> Tape:
    keys.setdefault("instrument", "EUR/USD")
    return load_tape(parse_spec({"source": "file", "path": str(path), **keys}), tmp_path / "cache", shown=False)


def saved(frame: pd.DataFrame, tmp_path: Path, name: str = "data.parquet") -> Path:
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


def spoilt(frame: pd.DataFrame, column: str, value: object, rows: object) -> pd.DataFrame:
    frame = frame.copy()
    frame.loc[rows, column] = value
    return frame


# --- refused ---


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (spoilt(quotes(), "bid", np.nan, slice(None)), ["column bid", "NaN"]),
        (spoilt(quotes(), "bid", np.nan, [17]), ["row 18", "column bid", "nan"]),
        (spoilt(quotes(), "ask", 0.0, [3, 4]), ["row 4", "column ask", "above zero"]),
        (spoilt(quotes(5000), "bid", -1.1, [42]), ["row 43", "column bid", "-1.1"]),
        (spoilt(quotes(), "ts", T0, [9]), ["row 10", "column ts", "tape.sort=true"]),
        (quotes()[::-1].reset_index(drop=True), ["row 2", "newest first", "tape.sort=true"]),
        (quotes().rename(columns={"bid": "left"}), ["tape.kind", "ts, left, ask"]),
        (quotes(1), ["1 usable rows", "at least two"]),
        (quotes(0), ["rows, not only a header"]),
        (quotes().assign(ts="noon"), ["row 1", "'noon'", "time"]),
        (quotes().assign(ts=np.arange(200)), ["tape.ts_unit", "after 1970"]),
        (spoilt(bars(), "ts", T0 + pd.Timedelta("8min"), [9]), ["row 10", "one bar per stamp"]),
        (spoilt(bars().astype({"close": str}), "close", "n.a?", [5]), ["row 6", "column close", "'n.a?'"]),
    ],
)
def test_bad_content_is_refused_with_its_place(frame: pd.DataFrame, words: list[str], tmp_path: Path) -> None:
    for name in ("data.parquet", "data.csv"):
        with pytest.raises(TapeError) as caught:
            load(saved(frame, tmp_path, name), tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message, message
    assert not (tmp_path / "cache").exists(), "nothing is left behind"


def test_bad_files_are_refused(tmp_path: Path) -> None:
    whole = saved(quotes(), tmp_path)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-200])
    text = quotes().to_csv(index=False).encode()
    packed = gzip.compress(text)
    cases = {
        "cut.parquet": None,
        "empty.csv": b"",
        "blank.csv": b"\n\n",
        "cut.csv": text[:-12],
        "cut.csv.gz": packed[: len(packed) // 2],
        "noise.csv": bytes(range(256)) * 8,
        "lies.parquet": b"PAR1 not really",
        "other.parquet": text,
        "oneword.csv": b"hello\nworld\n",
        "twice.csv": b"ts,bid,bid\n1,2,3\n",
        "two.zip": None,
    }
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", text)
        archive.writestr("b.csv", text)
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(TapeError, match=r"tape\.path") as caught:
            load(tmp_path / name, tmp_path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(TapeError, match="existing file"):
        load(tmp_path / "nowhere.csv", tmp_path)
    (tmp_path / "void").mkdir()
    with pytest.raises(TapeError, match="folder with Parquet or CSV"):
        load(tmp_path / "void", tmp_path)
    with pytest.raises(TapeError, match=r"tape\.instrument"):
        load(whole, tmp_path, instrument=None)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"columns": {"bid": "nope"}}, ["tape.columns.bid", "'nope'", "ts, bid, ask"]),
        ({"columns": {"close": "bid"}}, ["tape.columns.close", "tape.kind=quotes"]),
        ({"kind": "trades"}, ["tape.columns.price"]),
        ({"kind": "candles"}, ["tape.kind", "candles"]),
        ({"colums": {}}, ["tape.colums"]),
        ({"filter": {"cond": [1]}}, ["tape.filter", "cond"]),
        ({"instrument": "EUR/EUR"}, ["tape.instrument", "two different"]),
        ({"instrument": "what is this"}, ["tape.instrument"]),
        ({"instrument": "SPY", "lot": "0.5"}, ["tape.lot", "whole shares"]),
        ({"tick": "0.00000000001"}, ["tape.tick", "nine decimals"]),
        ({"tick": 50}, ["column bid", "at least one tick"]),
        ({"start": "tomorrow-ish"}, ["tape.start", "ISO"]),
        ({"start": "2030-01-01"}, ["tape.start, tape.end", "a part of 2024-03-01"]),
        ({"start": "2024-03-02", "end": "2024-03-01"}, ["tape.end", "after tape.start"]),
        ({"tz": "Mars/Olympus"}, ["tape.tz", "Mars/Olympus"]),
        ({"outlier": 2}, ["tape.outlier"]),
    ],
)
def test_bad_keys_are_refused_by_name(keys: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    frame = quotes()
    frame["ts"] = frame["ts"].dt.strftime("%Y-%m-%d %H:%M:%S")
    with pytest.raises(TapeError) as caught:
        load(saved(frame, tmp_path, "data.csv"), tmp_path, **keys)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_disk_and_permissions(tmp_path: Path) -> None:
    path = saved(quotes(), tmp_path)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(TapeError, match="writable"):
        load(path, tmp_path)


# --- repaired and counted ---


def test_stated_repairs_are_counted(tmp_path: Path) -> None:
    frame = quotes(5000)
    frame.loc[10, ["bid", "ask"]] = frame.loc[10, ["ask", "bid"]].to_numpy()  # crossed
    frame.loc[20] = frame.loc[19]  # duplicate
    frame.loc[30, "ts"] = frame.loc[29, "ts"]  # same stamp, other values
    frame.loc[40, ["bid", "ask"]] *= 1.3  # a spike
    frame.loc[50, "bid"] = np.nan
    frame.loc[60, "ask"] = 0.0
    frame.loc[4000:, "ts"] += pd.Timedelta("1h")
    tape = load(saved(frame, tmp_path), tmp_path)
    assert set(tape.audit) == set(RULES)
    found = {name: count for name, count in tape.audit.items() if count}
    assert found == {
        "rows_read": 5000,
        "crossed": 1,
        "duplicate": 1,
        "same_stamp": 1,
        "outlier": 1,
        "nan": 1,
        "non_positive": 1,
        "gap": 1,
        "rows_used": 4996,
    }
    assert (tape.columns["bid"] <= tape.columns["ask"]).all()
    assert tape.columns["ask"][10] - tape.columns["bid"][10] == 100_000, "swapping keeps the spread"


def test_sorting_on_request_is_stable(tmp_path: Path) -> None:
    frame = quotes()
    order = np.random.default_rng(1).permutation(len(frame))
    tape = load(saved(frame.iloc[order], tmp_path), tmp_path, sort=True)
    assert tape.audit["unsorted"] > 0
    plain = load(saved(frame, tmp_path, "b.parquet"), tmp_path)
    assert tape.tape_hash == plain.tape_hash


def test_equal_trades_are_not_duplicates(tmp_path: Path) -> None:
    steps = np.arange(100) // 2
    frame = pd.DataFrame({"ts": T0 + pd.to_timedelta(steps, "s"), "price": 10.0, "size": 5})
    tape = load(saved(frame, tmp_path), tmp_path, instrument="SPY")
    assert (len(tape), tape.audit["duplicate"], tape.audit["same_stamp"]) == (100, 0, 50)
    frame["trade_id"] = steps
    tape = load(saved(frame, tmp_path), tmp_path, instrument="SPY")
    assert (len(tape), tape.audit["duplicate"]) == (50, 50)


def test_suspicious_trades_and_filters(tmp_path: Path) -> None:
    frame = pd.DataFrame({"ts": T0 + pd.to_timedelta(np.arange(100), "s"), "price": 10.0, "size": 5, "side": "buy"})
    frame["cond"], frame["susp"] = np.where(np.arange(100) % 4, "1", "20"), (np.arange(100) == 7).astype(int)
    path = saved(frame, tmp_path)
    assert load(path, tmp_path, instrument="SPY").audit["filtered"] == 1
    tape = load(path, tmp_path, instrument="SPY", filter={"cond": [20]})
    assert (len(tape), tape.provides) == (25, frozenset({"trade", "volume", "aggressor"}))
    assert (tape.columns["aggressor"] == 1).all()


def test_spikes_need_neighbours_that_agree() -> None:
    price = np.full(100, 100.0)
    price[30], price[50:52], price[99] = 120.0, 80.0, 10.0
    price[70:] *= 1.2  # a level shift is no spike
    assert np.flatnonzero(find_spikes(price, 0.05)).tolist() == [30, 50, 51, 99]
    assert not find_spikes(price[:10], 0.05).any()


def test_widened_bars_and_absent_sizes(tmp_path: Path) -> None:
    frame = bars().assign(volume=0.0)
    frame.loc[5, "high"] = 90.0
    tape = load(saved(frame, tmp_path), tmp_path, instrument="BTC/USD")
    assert tape.audit["inconsistent"] == 1
    assert (tape.columns["high"] >= tape.columns["close"]).all()
    assert "volume" not in tape.columns, "a volume that is always zero is no volume"
    assert tape.provides == frozenset({"bar"})
    assert tape.depth > 0


# --- time ---


def test_open_stamps_are_moved_to_the_close(tmp_path: Path) -> None:
    path = saved(bars(), tmp_path)
    opened, closed = load(path, tmp_path), load(path, tmp_path, stamp="close")
    assert opened.columns["ts"][0] == T0.value + 60 * SECOND
    assert closed.columns["ts"][0] == T0.value
    assert opened.tape_hash != closed.tape_hash
    assert (opened.bar_s, opened.stale_after_s) == (60.0, 180.0)
    five = load(path, tmp_path, bar_s=300)
    assert five.columns["ts"][0] == T0.value + 300 * SECOND
    named = saved(bars().rename(columns={"ts": "close_time"}), tmp_path, "b.parquet")
    assert load(named, tmp_path).columns["ts"][0] == T0.value, "a column called close_time is one"


def test_bid_ask_bars_become_quotes_without_looking_ahead(tmp_path: Path) -> None:
    frame = bars().drop(columns="volume")
    sides = {f"bid_{k}": frame[k] for k in ("open", "high", "low", "close")}
    sides |= {f"ask_{k}": frame[k] + 0.02 for k in ("open", "high", "low", "close")}
    both = pd.DataFrame({"ts": frame["ts"], **sides})
    tape = load(saved(both, tmp_path), tmp_path)
    assert tape.kind == "quotes"
    # Whatever happens in a bar's last moment must not be known before the bar is over.
    late = both.copy()
    late.loc[100:, [c for c in late.columns if c != "ts"]] *= 1.01
    changed = load(saved(late.round(4), tmp_path, "late.parquet"), tmp_path)
    first = int(np.argmax(tape.columns["bid"] != changed.columns["bid"]))
    assert tape.columns["ts"][first] == both["ts"][100].value + 60 * SECOND
    # One row a bar, both sides of it: no moment at which one side is new and the other is old.
    assert len(tape) == len(both)
    assert (tape.columns["ask"] - tape.columns["bid"] == 20_000_000).all()
    assert (tape.columns["bid"] == np.rint(both["bid_close"] * 1e9).astype(np.int64)).all()


@pytest.mark.parametrize(
    ("stamps", "keys"),
    [
        (lambda t: t.astype("int64") // 10**9, {}),
        (lambda t: t.astype("int64") // 10**6, {}),
        (lambda t: t.astype("int64") // 10**3, {"ts_unit": "us"}),
        (lambda t: t.astype("int64") / 1e9, {}),
        (lambda t: t.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), {}),
        (lambda t: t.dt.strftime("%Y%m%d %H:%M:%S.%f"), {}),
        (lambda t: t.dt.strftime("%d.%m.%Y %H:%M:%S"), {}),
        (lambda t: t.dt.strftime("%d/%m/%Y %H:%M:%S"), {"ts_format": "%d/%m/%Y %H:%M:%S"}),
        (
            lambda t: t.dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S"),
            {"tz": "America/New_York"},
        ),
        (lambda t: t.dt.tz_convert("Asia/Tokyo").dt.strftime("%Y-%m-%d %H:%M:%S%z"), {}),
    ],
)
def test_stamps_in_every_dress(stamps: Any, keys: dict[str, Any], tmp_path: Path) -> None:
    frame = quotes()
    frame["ts"] = frame["ts"].dt.as_unit("ns")
    plain = load(saved(frame, tmp_path), tmp_path)
    dressed = load(saved(frame.assign(ts=stamps(frame["ts"])), tmp_path, "b.csv"), tmp_path, **keys)
    assert dressed.tape_hash == plain.tape_hash


def test_start_is_in_and_end_is_out(tmp_path: Path) -> None:
    path = saved(quotes(), tmp_path)
    tape = load(path, tmp_path, start="2024-03-01T00:00:10Z", end=T0.value + 20 * SECOND)
    assert tape.span == (T0.value + 10 * SECOND, T0.value + 19 * SECOND)
    assert tape.audit["outside"] == 190
    whole = load(path, tmp_path)
    assert whole.slice(T0.value + 10 * SECOND, T0.value + 20 * SECOND).tape_hash == tape.tape_hash
    with pytest.raises(ValueError, match="no rows"):
        whole.slice(end=T0.value)


# --- shapes of files ---


def test_files_in_every_wrapping(tmp_path: Path) -> None:
    frame = quotes()
    expected = load(saved(frame, tmp_path), tmp_path).tape_hash
    text = frame.to_csv(index=False)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.txt").write_text("https://example.org\n" + text.replace(",", ";"))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("eurusd.csv", text)
    headless = io.StringIO(text)
    headless.readline()
    (tmp_path / "d.csv").write_text(headless.read())
    frame.set_index("ts").to_parquet(tmp_path / "e.parquet")
    frame.rename(columns={"ts": "Gmt time", "bid": "Bid", "ask": "Ask"}).to_csv(tmp_path / "f.csv")
    frame.assign(note='"x, y"').to_csv(tmp_path / "g.csv")
    for name in ("a.csv.gz", "b.txt", "c.zip", "e.parquet", "f.csv", "g.csv"):
        assert load(tmp_path / name, tmp_path).tape_hash == expected, name
    assert load(tmp_path / "d.csv", tmp_path, kind="quotes").tape_hash == expected
    parts = tmp_path / "parts"
    parts.mkdir()
    for index in range(3):
        saved(frame.iloc[index * 70 : (index + 1) * 70], parts, f"{index}.parquet")
    assert load(parts, tmp_path).tape_hash == expected


def test_names_from_the_wild(tmp_path: Path) -> None:
    klines = bars().rename(columns={"ts": "open_time"}).assign(close_time=0, ignore=0)
    klines["open_time"] = klines["open_time"].dt.as_unit("ms").astype("int64")
    tape = load(saved(klines, tmp_path, "BTCUSDT-1m.csv"), tmp_path, instrument=None)
    assert (tape.instrument.id, tape.kind, tape.span[0]) == ("BTC/USDT.SIM", "bars", T0.value + 60 * SECOND)
    meta = bars().rename(columns={"open": "<OPEN>", "high": "<HIGH>", "low": "<LOW>", "close": "<CLOSE>"})
    meta.insert(0, "<DATE>", meta["ts"].dt.strftime("%Y.%m.%d"))
    meta.insert(1, "<TIME>", meta.pop("ts").dt.strftime("%H:%M:%S"))
    (tmp_path / "XAUUSD.csv").write_text(meta.rename(columns={"volume": "<TICKVOL>"}).to_csv(index=False, sep="\t"))
    tape = load(tmp_path / "XAUUSD.csv", tmp_path, instrument=None)
    assert (tape.instrument.asset, tape.provides) == ("metal", frozenset({"bar", "volume"}))
    short = bars().drop(columns="volume")
    short.columns = ["t", "bo", "bh", "bl", "bc"]
    both = short.join(short.drop(columns="t").rename(columns=lambda c: "a" + c[1]) + 0.01)
    assert load(saved(both, tmp_path, "s.parquet"), tmp_path).kind == "quotes"
    agg = pd.DataFrame({"transact_time": [1_700_000_000_000, 1_700_000_001_000], "price": [1.5, 1.6], "quantity": 3.0})
    agg["is_buyer_maker"] = [True, False]
    tape = load(saved(agg, tmp_path, "agg.csv"), tmp_path, instrument="ADA/USDT")
    assert tape.columns["aggressor"].tolist() == [2, 1]


def test_instruments_from_names() -> None:
    guesses = {
        "eurusd_ticks_201405/data.parquet": "EUR/USD",
        "x/BTC-USDT.csv": "BTC/USDT",
        "x/DAT_ASCII_GBPJPY_T_201405.csv": "GBP/JPY",
        "x/AAPL.csv.gz": "AAPL",
        "spy_trades_201310/data.parquet": None,
        "x/prices.csv": None,
    }
    assert {name: guess_name(Path(name)) for name in guesses} == guesses
    assert identity("SPY.ARCA")[:2] == ("SPY", "ARCA")
    assert identity("XAUUSD")[4] == "metal"
    assert identity("PEPE/USDT")[4] == "crypto"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A/EUR", ("A/EUR", "SIM", "A", "EUR", "crypto")),
        ("AAPL/USD", ("AAPL/USD", "SIM", "AAPL", "USD", "crypto")),
        ("AAPL", ("AAPL", "SIM", "AAPL", "USD", "equity")),
        ("BRK.B", ("BRK.B", "SIM", "BRK.B", "USD", "equity")),
        ("brk.b.nyse", ("BRK.B", "NYSE", "BRK.B", "USD", "equity")),
        ("BRK-B", ("BRK-B", "SIM", "BRK-B", "USD", "equity")),
        ("EUR/USD.X", None),
        ("A/B/C", None),
    ],
)
def test_what_a_name_settles_in(text: str, expected: tuple[str, ...] | None) -> None:
    if expected is None:
        with pytest.raises(TapeError, match=r"tape\.instrument"):
            identity(text)
    else:
        assert identity(text) == expected


def test_a_share_class_runs_under_its_name(tmp_path: Path) -> None:
    tape = load(saved(bars(), tmp_path), tmp_path, instrument="BRK.B")
    assert tape.instrument.id == "BRK.B.SIM"
    assert str(feed.instrument(tape.instrument).id.symbol) == "BRK.B"


@pytest.mark.parametrize("sep", ["/", "-"])
@pytest.mark.parametrize(("form", "first"), [("%d{0}%m{0}%Y %H:%M:%S", True), ("%m{0}%d{0}%Y %H:%M", False)])
def test_a_column_tells_whether_days_come_first(sep: str, form: str, first: bool, tmp_path: Path) -> None:
    stamps = pd.date_range("2024-03-05 09:00", periods=9 * 24, freq="h")
    frame = pd.DataFrame({"ts": stamps.strftime(form.format(sep)), "price": 100.0, "size": 1.0})
    frame["price"] += np.arange(len(frame)) / 100
    tape = load(saved(frame, tmp_path, "told.csv"), tmp_path)
    assert tape.columns["ts"].tolist() == stamps.as_unit("ns").astype("int64").tolist(), first


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["01/03/2024 09:00:00", "02/03/2024 09:00:00"], "row 1"),  # either
        (["1.3.2024 09:00", "2.3.2024 09:00"], "row 1"),
        (["01/13/2024 09:00:00", "13/02/2024 09:00:00"], "row 1"),  # both
    ],
)
def test_dates_that_do_not_tell_are_refused(cells: list[str], row: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"ts": cells, "price": [1.0, 2.0], "size": [1.0, 1.0]})
    with pytest.raises(TapeError, match=r"tape\.ts_format") as caught:
        load(saved(frame, tmp_path, "dates.csv"), tmp_path)
    for word in (cells[0], "ISO 8601", row):
        assert word in str(caught.value)


def test_named_columns_tell_the_kind(tmp_path: Path) -> None:
    names = {"open": "first", "high": "top", "low": "bottom", "close": "final"}
    tape = load(saved(bars().rename(columns=names), tmp_path, "named.csv"), tmp_path, columns=names)
    assert tape.kind == "bars"
    both = bars().rename(columns=names).assign(bid=1.0, ask=2.0)
    assert load(saved(both, tmp_path, "both.csv"), tmp_path, columns=names).kind == "bars"


# --- identity and cache ---


def test_one_tick_changes_the_hash(tmp_path: Path) -> None:
    frame = quotes()
    plain = load(saved(frame, tmp_path), tmp_path)
    moved = spoilt(frame, "ask", frame.loc[77, "ask"] + 0.00001, [77])
    assert load(saved(moved, tmp_path), tmp_path).tape_hash != plain.tape_hash
    for keys in ({"instrument": "EUR/CHF"}, {"stale_after_s": 5}, {"taker_fee": 0.0005}):
        assert load(saved(frame, tmp_path), tmp_path, **keys).tape_hash != plain.tape_hash
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert load(saved(frame, other, "renamed.csv"), other).tape_hash == plain.tape_hash


def test_a_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(quotes(), tmp_path)
    first = load(path, tmp_path)
    monkeypatch.setattr("alphatrade.nodes.tapes.read_rows", lambda *_: pytest.fail("read again"))
    again = load(path, tmp_path)
    assert again.tape_hash == first.tape_hash
    assert again.audit == first.audit
    assert again.instrument == first.instrument
    assert again.catalog is not None
    names = {p.name for p in (tmp_path / "cache").iterdir()}
    assert names == {Path(again.catalog).name}, "no temporary folder is left"


@pytest.mark.parametrize("damage", ["flip", "cut", "no rows", "no head", "junk head"])
def test_a_damaged_entry_is_made_again(damage: str, tmp_path: Path) -> None:
    path = saved(quotes(), tmp_path)
    first = load(path, tmp_path)
    assert first.catalog is not None
    head = Path(first.catalog) / "tape.json"
    rows = next(Path(first.catalog).rglob("*.parquet"))
    if damage == "flip":
        other = load(path, tmp_path, tick="0.0001")  # rows that do not belong to this entry
        assert other.catalog is not None
        rows.write_bytes(next(Path(other.catalog).rglob("*.parquet")).read_bytes())
    elif damage == "cut":
        rows.write_bytes(rows.read_bytes()[:-50])
    elif damage == "no rows":
        rows.unlink()
    elif damage == "no head":
        head.unlink()
    else:
        head.write_text(json.dumps({"file": 3}))
    assert load(path, tmp_path).tape_hash == first.tape_hash
    assert tape_catalog.load(Path(first.catalog)) is not None


def test_nothing_half_written_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(quotes(), tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", full)
        with pytest.raises(TapeError, match="No space left"):
            load(path, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(load(path, tmp_path)) == 200


def test_two_processes_convert_at_once(tmp_path: Path) -> None:
    path = saved(quotes(20_000), tmp_path)
    code = textwrap.dedent(f"""
        from alphatrade.nodes.tapes import load_tape, parse_spec
        spec = parse_spec({{"source": "file", "path": {str(path)!r}, "instrument": "EUR/USD"}})
        print(load_tape(spec, {str(tmp_path / "cache")!r}).tape_hash)
    """)
    command = [sys.executable, "-c", code]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_env()) for _ in range(2)]
    hashes = {worker.communicate()[0].strip() for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0]
    assert hashes == {load(path, tmp_path).tape_hash}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def truncated_gzip(path: Path) -> Path:
    whole = gzip.compress(quotes(200_000).to_csv(index=False).encode(), compresslevel=1, mtime=0)
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_no_thread_of_the_reader_calls_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a call, while the interpreter shuts down, aborts the process: one exit in ten after a truncated file."""
    readers = set()

    class Watched(tape_files._Counted):
        def readinto(self, buffer: Any) -> int:
            readers.add(threading.get_ident())
            return super().readinto(buffer)

    monkeypatch.setattr(tape_files, "_Counted", Watched)
    with pytest.raises(TapeError, match="truncated or damaged"):
        load(truncated_gzip(tmp_path / "q.csv.gz"), tmp_path)
    with gzip.open(tmp_path / "whole.csv.gz", "wt") as out:
        out.write(quotes(100_000).to_csv(index=False))
    assert len(load(tmp_path / "whole.csv.gz", tmp_path)) == 100_000
    assert readers == {threading.get_ident()}


TOLD = """
    import sys
    from alphatrade.risk.errors import TapeError
    try:
        {read}
    except TapeError as error:
        print(error)
"""
READ = "from alphatrade.nodes.tapes import load_tape, parse_spec; load_tape(parse_spec({'source': 'file', 'path': sys.argv[1]}), sys.argv[2])"
RUN = "from alphatrade.nodes import run; run(['tape=file', f'tape.path={sys.argv[1]}', f'paths.state={sys.argv[2]}'])"


@pytest.mark.parametrize(("read", "rounds"), [(READ, 6), pytest.param(RUN, 12, marks=pytest.mark.long)])
def test_a_process_that_caught_a_refusal_ends_in_order(read: str, rounds: int, tmp_path: Path) -> None:
    path = truncated_gzip(tmp_path / "EURUSD.csv.gz")
    command = [sys.executable, "-c", textwrap.dedent(TOLD).format(read=read), str(path), str(tmp_path / "state")]
    for _ in range(rounds):
        done = subprocess.run(command, cwd=tmp_path, env=_env(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr  # negative: ended by a signal
        assert "truncated or damaged" in done.stdout


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_catalog_is_a_source(tmp_path: Path) -> None:
    for frame, name in ((quotes(), "EUR/USD"), (bars(), "BTC/USD")):
        made = load(saved(frame, tmp_path), tmp_path, instrument=name)
        assert made.catalog is not None
        spec = CatalogTape(path=made.catalog, tick=made.instrument.tick, lot=made.instrument.lot)
        read = load_tape(spec, tmp_path / "cache", shown=False)
        for column in ("ts", "bid", "ask") if made.kind == "quotes" else ("ts", "close", "volume"):
            assert (read.columns[column] == made.columns[column]).all()
        assert (read.instrument.id, read.bar_s) == (made.instrument.id, made.bar_s)
    with pytest.raises(TapeError, match="ParquetDataCatalog"):
        load_tape(CatalogTape(path=str(tmp_path)), tmp_path)
    with pytest.raises(TapeError, match="such quotes, trades or bars"):
        load_tape(CatalogTape(path=made.catalog, kind="trades"), tmp_path)


def test_raw_values_round_trip() -> None:
    nano = np.array([0, 1, 999, 10**9, 138_676 * 10**4, 2**32 - 1, 2**32, 9 * 10**18, 2**63 - 1 - 10**17], np.int64)
    raw = tape_catalog.encode(nano)
    assert [int.from_bytes(value.as_py(), "little") for value in raw] == [int(n) * 10**7 for n in nano]
    import pyarrow as pa

    assert tape_catalog.decode(pa.chunked_array([raw[:3], raw[3:]]), "", "x").tolist() == nano.tolist()


# --- the configuration and the shipped tape ---


@pytest.mark.parametrize("model", [BtcusdTape, FileTape, CatalogTape, WorldTape])
def test_every_key_is_in_its_yaml(model: type[Any]) -> None:
    name = model.model_fields["source"].default
    text = yaml.safe_load((ROOT / "conf" / "tape" / f"{name}.yaml").read_text())
    assert set(text) == set(model.model_fields)
    text |= {"path": "x"} if "path" in text else {}
    if name == "file":
        assert set(text["columns"]) == set(FileTape.model_fields["columns"].default.model_dump())
    made = TypeAdapter(model).validate_python(text)
    assert made == model(**({"path": "x"} if "path" in text else {})), "the yaml says the defaults"


def test_the_embedded_tape(tmp_path: Path) -> None:
    tape = load_tape(BtcusdTape(), tmp_path, shown=False)
    assert (tape.kind, len(tape), tape.instrument.id) == ("bars", 20_160, "BTC/USD.SIM")
    assert (tape.instrument.tick, tape.reference) == ("0.01", "bar")
    assert tape.audit["rows_used"] == 20_160
    assert {k: v for k, v in tape.audit.items() if v and not k.startswith("rows")} == {}
    assert "Apache" in (ROOT / "nodes" / "data" / "NOTICE").read_text()


@pytest.mark.parametrize(
    ("folder", "keys", "expected"),
    [
        (
            "eurusd_ticks_201405",
            {"kind": "quotes"},
            ("quotes", 532_902, {"duplicate": 1, "same_stamp": 4493}),
        ),
        ("usdjpy_1m_2013", {"kind": "bidask_bars"}, ("quotes", 366_456, {"crossed": 12_097})),
        ("btcusd_1m_2018", {"kind": "bars"}, ("bars", 520_499, {"outlier": 0, "gap": 103})),
        (
            "spy_trades_201310",
            {"kind": "trades", "instrument": "SPY"},
            ("trades", 1_887_423, {"filtered": 10}),
        ),
        ("spy_1s_201310", {"instrument": "SPY"}, ("quotes", 144_886, {"locked": 2733})),
    ],
)
def test_real_tapes(folder: str, keys: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path) -> None:
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"the shared tape {folder} is not there (ALPHATRADE_TAPES)")
    keys.setdefault("instrument", None)
    tape = load(path, tmp_path, **keys)
    kind, rows, counts = expected
    assert (tape.kind, len(tape)) == (kind, rows)
    assert {name: tape.audit[name] for name in counts} == counts
    assert (np.diff(tape.columns["ts"]) >= 0).all()
