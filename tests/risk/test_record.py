"""What leaves memory comes back: the files of a long run are those of one that kept everything."""

import errno
import itertools
import os
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.risk import record as module
from alphatrade.risk import shelf
from alphatrade.risk.exposure import Order
from alphatrade.risk.record import RunRecord
from alphatrade.risk.shelf import GROUP, Shelf

MINUTE = 60 * 10**9


def filled(folder: Path | None, rows: int) -> RunRecord:
    """Return a record with so many rows of each table and more, of two instruments, with gaps in what may be absent."""
    found = RunRecord(folder)
    for at in range(rows):
        name = f"{'AB'[at % 7 == 0]}.SIM"
        price = None if at % 3 else at * 10**9
        order = Order(f"O-{at}", name, 1 - 2 * (at % 2), "MARKET", 10**9, None, None, False, False, None, "S-1", None)
        found.mark(at, name, at, at + 1, at % 3, at % 5 == 0)
        found.order(
            at, order, ("initialized", "filled")[at % 2], 10**9, price, reason=f"{at}" if at % 11 == 0 else None
        )
        found.fill(at, order, f"T-{at}", at, 7, 1, "USD", "TAKER", at, 10**9 * at)
        found.event(at, "near_miss", name, None, "GROSS", f"{at}", "", "words")
        if found.minute_of(at * MINUTE):
            found.equity_at(at * MINUTE, at * 10**9, 1, 2, 3, 0.5)
    found.bars("A.SIM", *([[*range(rows // 2)]] * 3))
    return found


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole(record: RunRecord, folder: Path) -> dict[str, bytes]:
    """Return the files that a table written at once makes."""
    folder.mkdir()
    for name, table in record.tables().items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", row_group_size=GROUP)
    return bytes_of(folder)


@pytest.mark.parametrize("rows", [0, 5_000, GROUP + 4_711])
def test_the_files_are_those_of_a_record_that_keeps_everything(tmp_path: Path, rows: int) -> None:
    known = whole(filled(None, rows), tmp_path / "whole")
    kept, spilled = filled(None, rows), filled(tmp_path / "spilled", rows)
    kept.write(tmp_path / "kept")
    spilled.write(tmp_path / "spilled")
    assert bytes_of(tmp_path / "kept") == known
    assert bytes_of(tmp_path / "spilled") == known, "and nothing else is left in the folder"
    spilled.write(tmp_path / "spilled")
    assert bytes_of(tmp_path / "spilled") == known, "a second time gives the same"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a group be small, and return of how many rows it is."""
    monkeypatch.setattr(shelf, "GROUP", 500)
    monkeypatch.setattr(module, "GROUP", 500)
    monkeypatch.setattr(module, "_PIECE", 100)
    return 500


def test_rows_after_a_write_are_in_the_next_one(tmp_path: Path, small: int) -> None:
    kept, spilled = filled(None, 3 * small), filled(tmp_path / "spilled", 3 * small)
    spilled.write(tmp_path / "spilled")
    for record in (kept, spilled):
        record.event(1, "kill", None, None, "", "", "", "")
    kept.write(tmp_path / "kept")
    spilled.write(tmp_path / "spilled")
    assert bytes_of(tmp_path / "spilled") == bytes_of(tmp_path / "kept")


def test_a_record_with_a_folder_keeps_little_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    def held() -> int:
        record = filled(tmp_path, 2 * small)
        return max(record.marks, *(len(rows) for rows in (record.orders, record.fills, record.risk_events)))

    assert held() <= small
    monkeypatch.setattr(RunRecord, "_settle", lambda self: None)
    assert held() >= 2 * small, "the mutant: nothing ever leaves"


def test_counts_do_not_forget_what_has_left(tmp_path: Path, small: int) -> None:
    kept, spilled = filled(None, 3 * small), filled(tmp_path, 3 * small)
    assert len(spilled.fills) < 3 * small
    assert spilled.filled == kept.filled == 3 * small
    assert spilled.turnover == kept.turnover == 7 * sum(range(3 * small))


def test_what_is_out_of_memory_is_in_a_file_without_a_name(tmp_path: Path, small: int) -> None:
    def files() -> int:
        links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.startswith(str(tmp_path)) for link in links)

    record = filled(tmp_path, 3 * small)
    assert not list(tmp_path.iterdir()), "a killed run leaves none"
    assert files() == 5
    del record
    assert files() == 0


def test_a_full_disk_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    table, one = filled(None, small).tables()["orders"], Shelf(tmp_path)
    monkeypatch.setattr(Shelf, "_put", full)
    with pytest.raises(OSError, match="no space"):
        one.take(table)
    assert sum(group.num_rows for group in one.groups(table.slice(0, 3))) == small + 3


TABLES = ("orders", "fills", "risk_events", "equity", "marks")


@pytest.mark.parametrize("refused", [3, 10**9], ids=["for a while", "for ever"])
def test_rows_that_cannot_leave_memory_are_neither_lost_nor_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, refused: int
) -> None:
    known, left, put = filled(None, 20 * small), dict.fromkeys(range(5), refused), Shelf._put
    shelves: list[Shelf] = []

    def full(one: Shelf, group: pa.Table) -> None:
        if one not in shelves:
            shelves.append(one)
        left[shelves.index(one)] -= 1
        if left[shelves.index(one)] >= 0:
            raise OSError(errno.ENOSPC, "no space")
        put(one, group)

    monkeypatch.setattr(Shelf, "_put", full)
    record = filled(tmp_path / "record", 20 * small)
    assert len(shelves) == 5
    with pytest.raises(OSError, match="no space"):
        record.ensure_kept()
    record.ensure_kept()  # it was said
    for _ in range(module._PIECE // 2):
        for one in (record, known):
            one.order(
                1, Order("O", "A.SIM", 1, "MARKET", 10**9, None, None, False, False, None, "S", None), "filled", 1
            )
    known.write(tmp_path / "known")
    record.write(tmp_path / "written")
    for name in TABLES:
        assert pq.read_table(tmp_path / "written" / f"{name}.parquet").equals(
            pq.read_table(tmp_path / "known" / f"{name}.parquet")
        ), name
    seqs = [
        pq.read_table(tmp_path / "written" / f"{name}.parquet")["seq"].to_pylist()
        for name in TABLES
        if name != "equity"
    ]
    assert sorted(itertools.chain(*seqs)) == list(range(1, record.seq + 1))


def test_a_write_of_a_group_that_is_cut_short_goes_on(
    tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:1_000])

    monkeypatch.setattr(shelf, "TemporaryFile", lambda dir, buffering: Slow(dir / "group", "w+"))
    rows, one = filled(None, small).tables()["orders"], Shelf(tmp_path)
    one.take(rows)
    assert pa.concat_tables(one.groups(rows.slice(0, 0))).equals(rows)
