"""History of before the venue opened: over REST in pages, and as files with checksums; the two agree."""

import hashlib
import io
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from tests.venue.make_venue import Handle, running
from tests.venue.market import Feed, walk
from tests.venue.rules import KNOWN

DAY, MINUTE = 86_400_000, 60_000
FIRST = int(datetime(2024, 12, 31, tzinfo=UTC).timestamp() * 1000)


def history(days: int) -> np.ndarray:
    count = days * 1440
    price = 30_000 + np.cumsum(np.random.default_rng(4).normal(0, 5, count))
    return np.column_stack(
        [FIRST + np.arange(count) * MINUTE, price, price + 7, price - 7, price + 1, np.full(count, 0.5)]
    )


@pytest.fixture(scope="module")
def venue() -> Iterator[Handle]:
    feed = walk(KNOWN["BTCUSDT"], 30_000.0, 10, seed=1)
    with running([Feed(feed.rules, feed.quotes, past_candles=history(2))]) as handle:
        yield handle


def download(venue: Handle, path: str) -> bytes:
    with urllib.request.urlopen(venue.http + path, timeout=10) as answer:
        return answer.read()


def lines(body: bytes) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        (name,) = file.namelist()
        return [line.split(",") for line in file.read(name).decode().splitlines()]


def test_history_is_read_in_pages_over_rest(venue: Handle) -> None:
    got, start = [], FIRST
    while page := venue.get(
        "/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=start, endTime=FIRST + 2 * DAY - 1, limit=1000
    ).body:
        got += page
        start = page[-1][0] + 1
    assert [row[0] for row in got] == [FIRST + n * MINUTE for n in range(2880)]
    hours = venue.get("/api/v3/klines", symbol="BTCUSDT", interval="1h", startTime=FIRST, limit=2).body
    assert hours[0][1] == got[0][1]
    assert hours[0][4] == got[59][4]
    assert float(hours[0][2]) == max(float(row[2]) for row in got[:60])


def test_a_file_has_the_rows_of_its_day_and_its_checksum_fits(venue: Handle) -> None:
    path = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-12-31.zip"
    body = download(venue, path)
    assert download(venue, path + ".CHECKSUM").decode().split() == [
        hashlib.sha256(body).hexdigest(),
        path.split("/")[-1],
    ]
    rows = lines(body)
    page = venue.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=FIRST, limit=3).body
    assert rows[:3] == [[str(cell) for cell in row] for row in page]
    assert len(rows) == 1440


def test_stamps_are_microseconds_from_2025_on(venue: Handle) -> None:
    (first, *_) = lines(download(venue, "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01.zip"))
    assert int(first[0]) == (FIRST + DAY) * 1000
    assert int(first[6]) == (FIRST + DAY + MINUTE) * 1000 - 1


@pytest.mark.parametrize(
    "name", ["1m/BTCUSDT-1m-2024-12-30.zip", "1m/BTCUSDT-1m-2024-13-30.zip", "7m/BTCUSDT-7m-2024-12-31.zip", "1m/x"]
)
def test_a_file_that_does_not_exist_is_not_found(venue: Handle, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        download(venue, f"/data/spot/daily/klines/BTCUSDT/{name}")


def test_trades_of_before_are_in_files_candles_and_rest_alike() -> None:
    feed = walk(KNOWN["BTCUSDT"], 30_000.0, 10, seed=1)
    trades = np.array([[FIRST + n * 1000, 30_000 + n, 0.25, n % 2] for n in range(100)], np.float64)
    with running([Feed(feed.rules, feed.quotes, past_trades=trades)]) as venue:
        rows = lines(download(venue, "/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-12-31.zip"))
        page = venue.get("/api/v3/aggTrades", symbol="BTCUSDT", startTime=FIRST, endTime=FIRST + 9_999).body
        assert [row[:3] for row in rows[:10]] == [[str(t["a"]), t["p"], t["q"]] for t in page]
        assert len(rows) == 100
        (first, *_) = venue.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=FIRST, limit=1).body
        assert (first[5], first[8]) == ("15.00000000", 60)
