"""Segments: nothing acknowledged is lost, nothing half written is read, bytes do not depend on the cuts."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.reflection import parquet, segment_writer, segments
from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.segment_writer import SegmentWriter
from alphatrade.reflection.segments import compact, list_segments, read_segments
from alphatrade.risk.errors import RunDirError

ROUNDS = 25 if os.environ.get("ALPHATRADE_LONG") == "1" else 4

CHILD = """
import random, sys, time
from pathlib import Path
import pyarrow as pa
from alphatrade.reflection.segment_writer import SegmentWriter
rng = random.Random(int(sys.argv[2]))
def build(ids):
    return pa.table({"decision": pa.array(ids, pa.int64()), "square": pa.array([i * i for i in ids])})
def ack(first, last, path):
    print(first, last, path.name, flush=True)
writer = SegmentWriter(Path(sys.argv[1]), build, ack, flush_rows=rng.randint(1, 400), flush_ms=5)
i = 0
while True:
    n = rng.randint(1, 200)
    writer.put(range(i, i + n))
    i += n
    time.sleep(rng.random() * 0.002)
"""


def rows(first: int, last: int) -> pa.Table:
    """Rows `first` to `last` with every kind of column that the diary has."""
    ids = range(first, last)
    return pa.table({
        "decision": pa.array(ids, pa.int64()),
        "regime": pa.array([("up", "down", None)[i % 3] for i in ids], pa.string()).dictionary_encode(),
        "belief_idx": pa.array([list(range(i % 5)) for i in ids], pa.list_(pa.int16())),
        "belief_val": pa.array([[float(i)] if i % 7 else None for i in ids], pa.list_(pa.float32())),
        "candidates": pa.array([["a", f"b{i % 4}"] for i in ids], pa.list_(pa.string())),
        "reduce_only": pa.array([i % 2 == 0 for i in ids], pa.bool_()),
        "mid": pa.array([float("nan") if i % 11 == 0 else i / 3 for i in ids], pa.float64()),
        "qty": pa.array([i if i % 13 else None for i in ids], pa.int64()).cast(pa.decimal128(38, 9)),
        "explanation": pa.array([f"because {i}" for i in ids], pa.large_string()),
    })  # fmt: skip


def identity(table: pa.Table) -> pa.Table:
    """Build nothing: the batches of these tests are tables already."""
    return table


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder: Path, cuts: list[int], flush_rows: int = 1) -> None:
    """Write rows 0 to cuts[-1] as batches that end at each cut."""
    with SegmentWriter(folder, identity, flush_rows=flush_rows) as writer:
        for first, last in zip([0, *cuts[:-1]], cuts, strict=True):
            writer.put(rows(first, last))


def test_rows_come_back_in_order_and_are_acknowledged_after_they_are_durable(tmp_path: Path) -> None:
    """Each ack names a file that is complete at that moment."""
    seen = []

    def ack(first: int, last: int, path: Path) -> None:
        seen.append((first, last, pq.read_table(path).num_rows))

    with SegmentWriter(tmp_path / "d", identity, ack, flush_rows=10) as writer:
        for first in range(0, 100, 4):
            writer.put(rows(first, first + 4))
    assert seen[0][0] == 0
    assert all(last - first + 1 == count for first, last, count in seen)
    assert sum(count for *_, count in seen) == 100
    assert len(seen) < 25, "batches are gathered"
    table = read_segments(tmp_path / "d")
    assert table is not None
    assert table["decision"].to_pylist() == list(range(100))


def test_a_lone_batch_does_not_wait_for_others(tmp_path: Path) -> None:
    """A slow market's rows become durable after flush_ms, not at the end of the run."""
    seen: list[int] = []
    writer = SegmentWriter(tmp_path / "d", identity, lambda _f, last, _p: seen.append(last), flush_ms=10)
    writer.put(rows(0, 1))
    deadline = time.monotonic() + 10
    while not seen and time.monotonic() < deadline:
        time.sleep(0.005)
    assert seen == [0]
    writer.close()


def test_compacted_bytes_do_not_depend_on_the_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve ways to cut the same rows give one digest, and the same as writing the table at once."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 257)
    total, rng = 1500, random.Random(5)
    write_parquet(rows(0, total), tmp_path / "whole.parquet")
    digests = {digest(tmp_path / "whole.parquet")}
    for turn in range(12):
        cuts = [*sorted(rng.sample(range(1, total), rng.randint(0, 60))), total]
        write(tmp_path / f"d{turn}", cuts, flush_rows=rng.choice([1, 100, 5000]))
        assert compact(tmp_path / f"d{turn}", tmp_path / f"{turn}.parquet", first=0) == total
        assert not (tmp_path / f"d{turn}").exists()
        digests.add(digest(tmp_path / f"{turn}.parquet"))
    assert len(digests) == 1
    file = pq.ParquetFile(tmp_path / "0.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)][:2] == [257, 257]
    assert file.schema_arrow.field("regime").type == pa.string()
    np.testing.assert_array_equal(file.read()["mid"].to_numpy(), rows(0, total)["mid"].to_numpy())
    assert file.read().drop(["mid"]).equals(parquet.plain_table(rows(0, total)).drop(["mid"]))


def test_one_changed_value_changes_the_digest(tmp_path: Path) -> None:
    """The digest is of the rows, not of their number."""
    table = rows(0, 50)
    changed = table.set_column(0, "decision", pa.array([*range(49), 50], pa.int64()))
    write_parquet(table, tmp_path / "a.parquet")
    write_parquet(changed, tmp_path / "b.parquet")
    assert digest(tmp_path / "a.parquet") != digest(tmp_path / "b.parquet")


def test_gap_overlap_and_a_missing_head_are_refused_by_name(tmp_path: Path) -> None:
    """A lost or doubled segment must not disappear into the compacted file."""
    write(tmp_path / "d", [10, 20, 30])
    middle = list_segments(tmp_path / "d")[1].path
    kept = middle.read_bytes()
    middle.unlink()
    with pytest.raises(RunDirError, match=r"segment-0+20-10.*decision 20 to 29.*from 10"):
        compact(tmp_path / "d", tmp_path / "out.parquet")
    with pytest.raises(RunDirError, match=r"segment-0+20-10"):
        read_segments(tmp_path / "d")
    assert not (tmp_path / "out.parquet").exists()
    assert not list(tmp_path.glob("*.tmp")), "nothing half written is left"
    middle.write_bytes(kept)
    write_parquet(rows(19, 21), tmp_path / "d" / "segment-000000000019-2.parquet")
    with pytest.raises(RunDirError, match=r"segment-0+19-2"):
        compact(tmp_path / "d", tmp_path / "out.parquet")
    (tmp_path / "d" / "segment-000000000019-2.parquet").unlink()
    with pytest.raises(RunDirError, match="from 1 on"):
        compact(tmp_path / "d", tmp_path / "out.parquet", first=1)
    assert compact(tmp_path / "d", tmp_path / "out.parquet", first=0) == 30


def test_ids_with_holes_are_allowed_on_request(tmp_path: Path) -> None:
    """One counter may run over several files; then ids only grow."""
    with SegmentWriter(tmp_path / "d", lambda ids: pa.table({"seq": ids}), id_column="seq") as writer:
        writer.put([1, 5, 9])
        writer.put([12])
    with pytest.raises(RunDirError, match="no gap"):
        read_segments(tmp_path / "d", "seq")
    assert compact(tmp_path / "d", tmp_path / "out.parquet", "seq", contiguous=False) == 4


def test_rows_without_an_id_are_numbered_by_the_writer(tmp_path: Path) -> None:
    """Several organisms share one diary: their decision ids need not arrive in order, their rows do."""
    acks = []

    def ack(first: int, last: int, _path: Path) -> None:
        acks.append((first, last))

    with SegmentWriter(tmp_path / "d", lambda ids: pa.table({"x": ids}), ack, 1, id_column=None) as writer:
        writer.put([4, 0, 9])
        writer.put([2])
    assert acks == [(0, 2), (3, 3)]
    table = read_segments(tmp_path / "d", None)
    assert table is not None
    assert table["x"].to_pylist() == [4, 0, 9, 2]
    list_segments(tmp_path / "d")[0].path.rename(tmp_path / "aside")
    with pytest.raises(RunDirError, match="row 3 to 3"):
        compact(tmp_path / "d", tmp_path / "out.parquet", None, first=0)


def test_damage_is_refused_by_name_and_tmp_is_never_read(tmp_path: Path) -> None:
    """A truncated, flipped, relabelled or foreign segment is one line that names the file."""
    write(tmp_path / "d", [10, 20])
    (tmp_path / "d" / "segment-000000000020-5.parquet.tmp").write_bytes(b"PAR1 half")
    (tmp_path / "d" / "notes.txt").write_text("mine")
    table = read_segments(tmp_path / "d")
    assert table is not None
    assert table.num_rows == 20
    path = list_segments(tmp_path / "d")[1].path
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 3] ^= 0xFF
    for bad in (whole[:-7], whole[: len(whole) // 2], b"", bytes(flipped)):
        path.write_bytes(bad)
        with pytest.raises(RunDirError, match=re.escape(path.name)) as caught:
            read_segments(tmp_path / "d")
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    path.rename(path.with_name("segment-000000000010-9.parquet"))
    with pytest.raises(RunDirError, match="10 rows"):
        read_segments(tmp_path / "d")


def test_an_interrupted_compaction_is_finished(tmp_path: Path) -> None:
    """Killed between the rename and the last removal: the file stands, the rest is swept up."""
    write(tmp_path / "d", [10, 20])
    write_parquet(rows(0, 20), tmp_path / "out.parquet")
    before = digest(tmp_path / "out.parquet")
    list_segments(tmp_path / "d")[0].path.unlink()
    assert compact(tmp_path / "d", tmp_path / "out.parquet") == 20
    assert digest(tmp_path / "out.parquet") == before
    assert not (tmp_path / "d").exists()


def test_an_empty_run_has_an_empty_file(tmp_path: Path) -> None:
    """No decision was taken: the columns are there all the same."""
    SegmentWriter(tmp_path / "d", identity).close()
    assert read_segments(tmp_path / "d") is None
    with pytest.raises(RunDirError, match="no segment"):
        compact(tmp_path / "d", tmp_path / "out.parquet")
    assert compact(tmp_path / "d", tmp_path / "out.parquet", schema=rows(0, 1).schema) == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == rows(0, 1).column_names


@pytest.mark.parametrize("where", ["build", "write", "ack"])
def test_a_failure_surfaces_on_the_trading_path_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Fail closed: the next put and close raise, later rows are not written, and nobody hangs."""

    def broken(*_: object) -> pa.Table:
        raise OSError(28, "No space left on device")

    if where == "write":
        monkeypatch.setattr(segment_writer, "write_parquet", broken)
    writer = SegmentWriter(
        tmp_path / "d", broken if where == "build" else identity,
        broken if where == "ack" else None, flush_rows=1,
    )  # fmt: skip
    writer.put(rows(0, 10))
    with pytest.raises(RunDirError, match="No space left on device") as caught:
        for turn in range(1, 10_000):
            writer.put(rows(10 * turn, 10 * turn + 10))
            time.sleep(0.001)
    assert "\n" not in str(caught.value)
    for _ in range(2):
        with pytest.raises(RunDirError, match="No space left"):
            writer.close()
    assert len(list_segments(tmp_path / "d")) == (1 if where == "ack" else 0)
    assert not list((tmp_path / "d").glob("*.tmp"))


def test_misuse_is_refused(tmp_path: Path) -> None:
    """A folder of another run, a file in the way, a put after close, ids that go back."""
    write(tmp_path / "d", [10])
    with pytest.raises(RunDirError, match="without segments"):
        SegmentWriter(tmp_path / "d", identity)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunDirError, match="file"):
        SegmentWriter(tmp_path / "file", identity)
    writer = SegmentWriter(tmp_path / "e", identity)
    writer.close()
    with pytest.raises(RunDirError, match="close"):
        writer.put(rows(0, 1))
    writer = SegmentWriter(tmp_path / "f", identity, flush_rows=1)
    writer.put(rows(5, 6))
    writer.put(rows(5, 6))
    with pytest.raises(RunDirError, match="increasing"):
        writer.close()


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_kill_nine_loses_nothing_acknowledged(tmp_path: Path, turn: int) -> None:
    """A child process is killed at a random moment after at least 20 acks, printed on a pipe."""
    rng = random.Random(turn)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "d"), str(turn)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        acks = [child.stdout.readline() for _ in range(20)]
        time.sleep(rng.random() * 0.2)
        child.send_signal(signal.SIGKILL)
        acks += child.stdout.readlines()
    whole = [ack.split() for ack in acks if ack.endswith("\n")]
    table = read_segments(tmp_path / "d")
    assert table is not None
    ids = table["decision"].to_numpy()
    assert ids.tolist() == list(range(len(ids)))
    assert ids[-1] >= max(int(last) for _, last, _ in whole)
    assert np.array_equal(table["square"].to_numpy(), ids * ids)
    assert all((tmp_path / "d" / name).exists() for *_, name in whole)
    assert compact(tmp_path / "d", tmp_path / "out.parquet", first=0) == len(ids)


# -- small segments are joined

STEPS = """
import os, sys
from pathlib import Path
from alphatrade.reflection.segments import join, list_segments
left = int(sys.argv[2])

def counted(name, whole):
    def step(*given):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return whole(*given)
    return name, step

for name in ("rename", "unlink"):
    setattr(Path, *counted(name, getattr(Path, name)))
join(list_segments(Path(sys.argv[1]))[1:5], "decision")
"""


@pytest.mark.parametrize("steps", range(6))
def test_killed_at_any_step_of_a_join_nothing_is_lost_and_nothing_there_twice(tmp_path: Path, steps: int) -> None:
    """A rename and four removals: before each of them, and after the last."""
    write(tmp_path / "d", [10, 20, 30, 40, 50, 60])
    done = subprocess.run([sys.executable, "-c", STEPS, str(tmp_path / "d"), str(steps)], check=False)
    assert done.returncode == (0 if steps == 5 else -signal.SIGKILL)
    names = sorted(path.name for path in (tmp_path / "d").glob("*.parquet"))
    assert len(names) == {0: 6, 5: 3}.get(steps, 8 - steps)
    table = read_segments(tmp_path / "d")
    assert table is not None
    assert table["decision"].to_pylist() == list(range(60))
    assert compact(tmp_path / "d", tmp_path / "out.parquet", first=0) == 60
    write_parquet(rows(0, 60), tmp_path / "whole.parquet")
    assert digest(tmp_path / "out.parquet") == digest(tmp_path / "whole.parquet")
    assert not list((tmp_path / "d").glob("*.parquet"))


class Stepwise:
    """Writes batches that each become a segment: the next is given when the one before is durable."""

    def __init__(self, folder: Path, **words: Any) -> None:
        self.known, self.most = 0, 0
        self.writer: SegmentWriter[pa.Table] = SegmentWriter(folder, identity, self._ack, flush_ms=0, **words)

    def _ack(self, first: int, last: int, path: Path) -> None:
        self.known, self.most = last + 1, max(self.most, len(list(path.parent.glob("*.parquet"))))

    def put(self, table: pa.Table) -> None:
        self.writer.put(table)
        last = table.column(0)[-1].as_py()
        while self.known <= last:
            self.writer.check()
            time.sleep(0.0005)


@pytest.mark.long
def test_a_day_of_five_second_segments_stays_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full ones are left alone, and what a query reads and the compacted bytes are the same."""
    monkeypatch.setattr(segment_writer, "JOINED", 16)
    writing = Stepwise(tmp_path / "d", flush_rows=3)
    for first in range(500):
        writing.put(rows(first, first + 1))
    writing.put(rows(500, 503))
    writing.put(rows(503, 504))
    writing.writer.close()
    assert writing.most <= 500 // 16 + 17
    assert len(list_segments(tmp_path / "d")) == 500 // 16 + 500 % 16 + 2
    table = read_segments(tmp_path / "d")
    assert table is not None
    assert table["decision"].to_pylist() == list(range(504))
    write_parquet(rows(0, 504), tmp_path / "whole.parquet")
    assert compact(tmp_path / "d", tmp_path / "out.parquet", first=0) == 504
    assert digest(tmp_path / "out.parquet") == digest(tmp_path / "whole.parquet")


def test_ids_with_a_hole_are_not_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A joined segment is told by its first id and its number of rows: that names its rows where ids have no hole."""
    monkeypatch.setattr(segment_writer, "JOINED", 2)
    writing = Stepwise(tmp_path / "d", flush_rows=9, id_column="seq")
    for ids in ([0, 1], [3, 4], [5, 9], [10], [11], [12]):
        writing.put(pa.table({"seq": ids}))
    writing.writer.close()
    assert [(one.first, one.rows) for one in list_segments(tmp_path / "d")] == [(0, 2), (3, 2), (5, 2), (10, 1), (11, 2)]


def test_a_join_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for the joined file: the parts stay, and rows go on being written."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segment_writer, "JOINED", 4)
    monkeypatch.setattr(segments, "write_tables", full)
    writing = Stepwise(tmp_path / "d", flush_rows=9)
    for first in range(10):
        writing.put(rows(first, first + 1))
    writing.writer.close()
    assert len(list_segments(tmp_path / "d")) == 10


def test_a_look_in_the_middle_of_a_join_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that began before the joined file was there, and ended when parts were gone, has neither."""
    write(tmp_path / "d", [10, 30])
    whole = segments._finished(tmp_path / "d")
    looks = iter([whole[:1], whole, whole])
    monkeypatch.setattr(segments, "_finished", lambda folder: next(looks))
    assert list_segments(tmp_path / "d") == whole


@pytest.mark.long
def test_who_reads_while_segments_are_joined_reads_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reader has listed may be gone when it is opened: it looks again."""
    monkeypatch.setattr(segment_writer, "JOINED", 2)
    writing = Stepwise(tmp_path / "d", flush_rows=9)
    looks, wrong = 0, list[str]()

    def reader() -> None:
        nonlocal looks
        while writing.known < 400:
            before = writing.known
            try:
                table = read_segments(tmp_path / "d")
                found = [] if table is None else table["decision"].to_pylist()
                if found != list(range(len(found))) or len(found) < before:
                    wrong.append(f"{before} known, {len(found)} found")
            except RunDirError as error:
                wrong.append(str(error))
            looks += 1

    thread = threading.Thread(target=reader)
    thread.start()
    for first in range(400):
        writing.put(rows(first, first + 1))
    thread.join()
    writing.writer.close()
    assert wrong == []
    assert looks > 5
