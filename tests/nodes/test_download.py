"""Downloads of market data: what is fetched, verified, refused and resumed, against an exchange on loopback."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes import download_http, download_store
from alphatrade.nodes.download import Report, download, venue_of
from alphatrade.nodes.download_http import TRIES, Asker
from alphatrade.nodes.download_plan import Wish, midnight
from alphatrade.nodes.download_store import Store, sha256_of
from alphatrade.nodes.tape_app import told
from alphatrade.risk.errors import ConfigError, InUseError, TapeError
from tests.nodes.make_archive import EVERY_S, NS, TODAY, Exchange, price, seconds, serving, wished


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with serving(Exchange()) as one:
        yield one


def had(exchange: Exchange, out: Path, wish: Wish, pauses: list[float] | None = None, read_s: float = 5.0) -> Report:
    """Download without real pauses; `pauses` hears of those that there would have been."""

    async def sleep(wait: float) -> None:
        if pauses is not None:
            pauses.append(wait)

    async def job() -> Report:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=read_s)) as session:
            return await download(wish, venue_of("binance", exchange.url), out, Asker(session, 6000, sleep=sleep))

    return asyncio.run(job())


def columns(report: Report) -> dict[str, np.ndarray[Any, Any]]:
    table = pq.read_table(report.path)
    return {name: table[name].to_numpy() for name in table.column_names}


def zips(exchange: Exchange) -> dict[str, int]:
    return {path.rpartition("/")[2]: n for path, n in exchange.asked.items() if path.endswith(".zip")}


def manifest(out: Path, stem: str = "BTCUSDT-1m-klines") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{stem}.json").read_text())
    return found


# What is downloaded


def test_months_days_and_rest_make_one_file_without_a_seam(exchange: Exchange, tmp_path: Path) -> None:
    report = had(exchange, tmp_path, wished("2025-05-01", "2025-06-13"))
    found = columns(report)
    ts = found["close_time"].astype(np.int64)
    assert report.result.gaps == ()
    assert (np.diff(ts) == 60 * NS).all()
    assert (ts[0], ts[-1]) == (midnight(date(2025, 5, 1)) + 60 * NS, exchange.now // 60 * 60 * NS)
    assert found["close"].tolist() == [price(int(at) // NS) for at in ts]
    sources = [(part["start"], part["source"]) for part in manifest(tmp_path)["parts"]]
    assert sources[0] == ("2025-05-01", "archive")
    assert {"2025-06-10", "2025-06-11", "2025-06-12"} == {start for start, source in sources if source == "rest"}
    assert report.result.rows == len(ts) == sum(part["rows"] for part in manifest(tmp_path)["parts"])
    assert report.result.sha256 == hashlib.sha256(report.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["aggTrades", "trades"])
def test_trades_of_archive_and_rest_follow_each_other_by_id(kind: str, exchange: Exchange, tmp_path: Path) -> None:
    report = had(exchange, tmp_path, wished("2025-06-08", "2025-06-13", kind))
    found = columns(report)
    first = midnight(date(2025, 6, 8)) // NS
    assert found["trade_id"].tolist() == list(range(first // EVERY_S, (exchange.now - 1) // EVERY_S + 1))
    assert (found["ts"].astype(np.int64) == found["trade_id"] * EVERY_S * NS).all()
    assert (found["is_buyer_maker"] == (found["trade_id"] % 3 == 0)).all()
    assert report.result.gaps == ()


def test_the_archive_and_rest_say_the_same(exchange: Exchange, tmp_path: Path) -> None:
    for kind in ("klines", "aggTrades", "trades"):
        exchange.days_before = date(2025, 6, 10)
        archived = had(exchange, tmp_path / "archive", wished("2025-06-08", "2025-06-09", kind))
        exchange.days_before = date(2025, 6, 1)
        rest = had(exchange, tmp_path / "rest", wished("2025-06-08", "2025-06-09", kind))
        assert archived.result.sha256 == rest.result.sha256


@pytest.mark.parametrize("kind", ["klines", "aggTrades"])
def test_from_before_a_symbol_was_listed_costs_one_question(kind: str, exchange: Exchange, tmp_path: Path) -> None:
    exchange.listed = date(2025, 6, 3)
    report = had(exchange, tmp_path, wished("2025-03-31", "2025-06-05", kind))
    assert (report.fetched, report.result.gaps) == (2, ())
    assert exchange.asked["/api/v3/klines"] == 1
    assert columns(report)[("close_time" if kind == "klines" else "ts")].astype(np.int64)[0] // (60 * NS) == seconds(
        exchange.listed
    ) // 60 + (kind == "klines")


def test_a_month_that_the_archive_does_not_have_yet_is_taken_by_days(exchange: Exchange, tmp_path: Path) -> None:
    exchange.months_before = date(2025, 5, 1)
    report = had(exchange, tmp_path, wished("2025-05-01", "2025-06-01", interval="1h"))
    assert (report.fetched, report.result.rows) == (31, 31 * 24)


def test_nothing_is_downloaded_twice_and_a_longer_wish_fetches_the_rest_only(
    exchange: Exchange, tmp_path: Path
) -> None:
    had(exchange, tmp_path, wished("2025-06-01", "2025-06-04"))
    report = had(exchange, tmp_path, wished("2025-06-01", "2025-06-04"))
    assert (report.fetched, report.kept) == (0, 3)
    report = had(exchange, tmp_path, wished("2025-05-31", "2025-06-06"))
    assert (report.fetched, report.kept) == (3, 3)
    assert set(zips(exchange).values()) == {1}
    assert report.result.rows == 6 * 1440


def test_a_day_that_was_not_over_is_fetched_again_when_it_is(exchange: Exchange, tmp_path: Path) -> None:
    before = had(exchange, tmp_path, wished("2025-06-11", "2025-06-13")).result
    exchange.now += 3600
    after = had(exchange, tmp_path, wished("2025-06-11", "2025-06-13"))
    assert after.result.rows == before.rows + 60
    assert (after.fetched, after.result.gaps) == (1, ())


def test_a_month_takes_the_place_of_a_day_of_it_that_was_not_over(exchange: Exchange, tmp_path: Path) -> None:
    exchange.now, exchange.days_before = seconds(date(2025, 5, 20)) + 7200, date(2025, 5, 20)
    assert had(exchange, tmp_path, wished("2025-05-20", "2025-05-21", interval="1h")).result.rows == 2
    exchange.now = seconds(TODAY)
    report = had(exchange, tmp_path, wished("2025-05-01", "2025-06-01", interval="1h"))
    assert (report.result.rows, report.result.gaps) == (31 * 24, ())
    assert [part["start"] for part in manifest(tmp_path, "BTCUSDT-1h-klines")["parts"]] == ["2025-05-01"]


def test_every_gap_is_reported(exchange: Exchange, tmp_path: Path) -> None:
    at = seconds(date(2025, 6, 3))
    exchange.holes = {at, at + 60, at + 3600, at + 86_400 - 60}
    report = had(exchange, tmp_path, wished("2025-06-01", "2025-06-05"))
    found = [((gap.after // NS - at) // 60, (gap.before // NS - at) // 60, gap.missing) for gap in report.result.gaps]
    assert found == [(0, 2, 2), (60, 61, 1), (1439, 1440, 1)]
    assert "3 gaps, 4 bars missing" in "\n".join(told(wished("2025-06-01", "2025-06-05"), report))
    report = had(exchange, tmp_path, wished("2025-06-07", "2025-06-08"))  # two days that nobody asked for
    assert report.result.gaps[-1] == (midnight(date(2025, 6, 5)), midnight(date(2025, 6, 7)), 2880)
    assert manifest(tmp_path)["result"]["gaps"][-1][2] == 2880


def test_missing_trades_are_gaps_by_their_ids_within_a_day_and_between_days(exchange: Exchange, tmp_path: Path) -> None:
    at = seconds(date(2025, 6, 3))
    exchange.holes = {at - 30, at + 300, at + 330}
    report = had(exchange, tmp_path, wished("2025-06-02", "2025-06-04", "aggTrades"))
    assert [gap.missing for gap in report.result.gaps] == [1, 2]
    exchange.holes |= set(range(seconds(date(2025, 6, 5)), seconds(date(2025, 6, 6)), 30))
    report = had(exchange, tmp_path, wished("2025-06-04", "2025-06-07", "aggTrades"))
    assert [gap.missing for gap in report.result.gaps] == [1, 2, 0, 2880]  # a day without trades; then their ids


# What goes wrong


@pytest.mark.parametrize("fault", ["500", "429", "drop", "short", "corrupt", pytest.param("slow", marks=pytest.mark.long)])
def test_a_fault_that_passes_changes_nothing(fault: str, exchange: Exchange, tmp_path: Path) -> None:
    wish = wished("2025-06-08", "2025-06-12")
    calm = had(exchange, tmp_path / "calm", wish)
    parts = [".zip", "CHECKSUM", "/api/v3/klines"] if fault in ("500", "429") else ["-08.zip", "-09.zip"]
    exchange.faults = {part: [fault, fault] for part in parts}
    pauses: list[float] = []
    report = had(exchange, tmp_path / "rough", wish, pauses, read_s=1.0)
    assert report.result == calm.result
    assert not any(exchange.faults.values()), "all of them happened"
    if fault == "429":
        assert set(pauses) == {1.0}  # what Retry-After says
    else:
        assert len(set(pauses)) == len(pauses) == 2 * len(parts)  # jitter
        assert all(
            0.25 <= first <= 0.5 <= second <= 1.0 for first, second in zip(pauses[::2], pauses[1::2], strict=True)
        )


@pytest.mark.parametrize(
    ("path", "fault", "expected"),
    [
        ("-09.zip", "corrupt", "a file with sha256"),
        ("-09.zip", "short", "a file with sha256"),
        ("-09.zip.CHECKSUM", "badsum", "a file with sha256"),
        ("-09.zip", "500", "status 500"),
        ("/api/v3/klines", "429", "status 429"),
        ("/api/v3/klines", "drop", "an answer"),
        ("/api/v3/klines", "garbage", "an answer"),
        ("/api/v3/time", "slow", "no answer in time"),
    ],
)
def test_a_fault_that_stays_is_one_line_and_keeps_what_was_had(
    path: str, fault: str, expected: str, exchange: Exchange, tmp_path: Path
) -> None:
    exchange.faults = {path: [fault] * 50}
    wish = wished("2025-06-08", "2025-06-12")
    with pytest.raises(TapeError, match=expected) as refused:
        had(exchange, tmp_path, wish, read_s=0.1 if fault == "slow" else 5.0)
    assert "\n" not in str(refused.value)
    asked = sum(count for one, count in exchange.asked.items() if one.endswith(path.removesuffix(".CHECKSUM")))
    assert TRIES <= asked <= 2 * TRIES  # aiohttp itself asks twice where a connection that it had kept is dropped
    assert not (tmp_path / "BTCUSDT-1m-klines.parquet").exists()
    assert manifest(tmp_path)["parts"][0]["start"] == "2025-06-08"
    left = {file.name for file in (tmp_path / "BTCUSDT-1m-klines.parts").iterdir()} - {"node.lock"}
    assert left == {f"{part['start']}.parquet" for part in manifest(tmp_path)["parts"]}
    exchange.faults = {}
    assert had(exchange, tmp_path, wish).result.rows == 4 * 1440


def test_without_the_checksum_a_damaged_file_would_get_in(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation of the tests above: with the mechanism off, the same fault is taken for data."""
    monkeypatch.setattr(download_http, "same_hash", lambda found, expected: True)
    exchange.faults = {"-09.zip.CHECKSUM": ["badsum"] * 50}
    assert had(exchange, tmp_path, wished("2025-06-08", "2025-06-10")).result.rows == 2 * 1440


def test_an_archive_without_a_checksum_counts_as_none(exchange: Exchange, tmp_path: Path) -> None:
    exchange.faults = {"-09.zip.CHECKSUM": ["absent"]}
    had(exchange, tmp_path, wished("2025-06-08", "2025-06-10"))
    assert [part["source"] for part in manifest(tmp_path)["parts"]] == ["archive", "rest"]


def test_a_checksum_of_another_file_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    exchange.faults = {"-09.zip.CHECKSUM": ["othername"]}
    with pytest.raises(TapeError, match="a sha256 and BTCUSDT"):
        had(exchange, tmp_path, wished("2025-06-08", "2025-06-10"))


def test_the_first_trade_of_a_day_may_come_late(exchange: Exchange, tmp_path: Path) -> None:
    at = seconds(date(2025, 6, 11))
    exchange.holes = set(range(at, at + 5 * 3600, EVERY_S))
    for kind in ("aggTrades", "trades"):
        assert (
            columns(had(exchange, tmp_path, wished("2025-06-11", "2025-06-12", kind)))["trade_id"][0]
            == at // EVERY_S + 600
        )


def test_a_ban_stops_at_once(exchange: Exchange, tmp_path: Path) -> None:
    exchange.faults = {"/api/v3/klines": ["418"] * 9}
    with pytest.raises(TapeError, match="banned"):
        had(exchange, tmp_path, wished("2025-06-11", "2025-06-12"))
    assert exchange.asked["/api/v3/klines"] == 1
    assert not list(tmp_path.iterdir()), "nothing was had, nothing is left"


@pytest.mark.parametrize("kind", ["klines", "aggTrades"])
def test_an_unknown_symbol_is_said_at_once(kind: str, exchange: Exchange, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="symbol: got 'NOUSDT'"):
        had(exchange, tmp_path, wished("2020-01-01", "2025-06-01", kind, symbol="NOUSDT"))
    assert sum(exchange.asked.values()) <= 4
    assert not list(tmp_path.iterdir())


def test_a_part_whose_bytes_changed_is_fetched_again(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = wished("2025-06-01", "2025-06-05")
    whole = had(exchange, tmp_path, wish)
    part = tmp_path / "BTCUSDT-1m-klines.parts" / "2025-06-02.parquet"
    content = part.read_bytes()
    for damage in (content[:-9], content[:500] + bytes([content[500] ^ 1]) + content[501:], None):
        part.unlink()
        if damage is not None:
            part.write_bytes(damage)
        report = had(exchange, tmp_path, wish)
        assert (report.damaged, report.fetched, report.result) == (["2025-06-02"], 1, whole.result)
    # With the mechanism off, damage would go unseen.
    part.write_bytes(content[:-9])
    monkeypatch.setattr(download_store, "_has", lambda path, sha256: path.is_file())
    assert had(exchange, tmp_path, wish).damaged == []


def test_leftovers_go_and_a_damaged_result_is_made_again(exchange: Exchange, tmp_path: Path) -> None:
    wish = wished("2025-06-01", "2025-06-05")
    whole = had(exchange, tmp_path, wish)
    folder = tmp_path / "BTCUSDT-1m-klines.parts"
    for name in ("archive.tmp", "2025-06-05.tmp", "2025-06-05.parquet"):
        (folder / name).write_bytes(b"half")
    whole.path.write_bytes(b"half")
    assert had(exchange, tmp_path, wish).result == whole.result
    assert sha256_of(whole.path) == whole.result.sha256
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}'])
def test_a_manifest_that_is_none_is_refused_and_kept(text: str, exchange: Exchange, tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-1m-klines.json"
    path.write_text(text)
    with pytest.raises(TapeError, match="the manifest of a download"):
        had(exchange, tmp_path, wished("2025-06-01", "2025-06-02"))
    assert path.read_text() == text


def test_two_downloads_of_the_same_do_not_meet(exchange: Exchange, tmp_path: Path) -> None:
    wish = wished("2025-06-01", "2025-06-02")
    with Store(tmp_path, "binance", wish), pytest.raises(InUseError, match="downloads into it"):
        had(exchange, tmp_path, wish)
    assert had(exchange, tmp_path, wish).fetched == 1


def test_the_client_pauses_before_the_venue_has_to_say_so(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = exchange.answer

    async def heavy(request: Any) -> Any:
        response = await real(request)
        response.headers["X-MBX-USED-WEIGHT-1M"] = "5500"
        return response

    monkeypatch.setattr(exchange, "answer", heavy)
    with serving(exchange):
        had(exchange, tmp_path, wished("2025-06-11", "2025-06-12"), pauses)
    assert pauses == [10.0] * 4  # checksum, first day, time, klines


class Died(BaseException):
    """The process ends here."""


class Fate:
    """Lets so many steps of the disk happen, and not the next."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def over(self, real: Callable[..., Any], half: bool = False) -> Callable[..., Any]:
        """`half`: of what is written then, half is there."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                if half:
                    next(one for one in arguments if isinstance(one, Path)).write_bytes(b"half")
                raise Died
            return real(*arguments, **named)

        return call


def test_a_death_at_any_step_of_the_disk_leaves_what_the_next_call_needs(
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = wished("2025-06-09", "2025-06-11")  # a day of the archive, and one of REST
    calm = had(exchange, tmp_path / "calm", wish)
    deaths = 0
    while True:
        fate, out = Fate(deaths), tmp_path / str(deaths)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "__exit__", lambda store, *exception: store._lock.release())  # the dead do not tidy up
            patch.setattr(download_store, "sync", fate.over(download_store.sync))
            patch.setattr(download_store, "write_whole", fate.over(download_store.write_whole))
            patch.setattr(download_store.pq, "write_table", fate.over(pq.write_table, half=True))
            patch.setattr(download_store.pq, "ParquetWriter", fate.over(pq.ParquetWriter, half=True))
            patch.setattr(Path, "replace", fate.over(Path.replace))
            try:
                had(exchange, out, wish)
                break
            except Died:
                deaths += 1
        named = manifest(out)["parts"] if (out / "BTCUSDT-1m-klines.json").exists() else []
        report = had(exchange, out, wish)
        assert (report.result, report.kept) == (calm.result, len(named))
        assert sha256_of(report.path) == calm.result.sha256
        assert not list(out.glob("**/*.tmp"))
    assert deaths > 10
