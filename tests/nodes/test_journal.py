"""The journal of a paper node: what was acknowledged is there after any end, and nothing damaged is read as if it were not."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatrade.nodes import journal as module
from alphatrade.nodes import journal_file, journal_folder
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.journal_file import END, HEAD_SIZE, MAX_PAYLOAD, Segment, Walk, parse_head
from alphatrade.risk.errors import InUseError, JournalError
from tests.conftest import ROOT
from tests.nodes.make_journal import HEAD, fill, flips_missed, killed, read, record, segments, start, written

FRAME = 18  # length, kind, sequence, crc
CHAIN = 8


def ends(path: Path) -> list[int]:
    """Where the records of a segment end, the end of its head first."""
    walk = Walk(parse_head(path, path.read_bytes()), path.read_bytes())
    sizes = [FRAME + len(payload) + CHAIN for _, _, payload in walk]
    return [HEAD_SIZE + sum(sizes[:n]) for n in range(len(sizes) + 1)]


# -- what goes in comes out


@settings(max_examples=15, deadline=None)
@given(
    parts=st.lists(st.lists(st.tuples(st.integers(0, END - 1), st.binary(max_size=200)), max_size=12), max_size=5),
    segment_bytes=st.integers(1, 1500),
)
def test_records_come_back_in_their_order_over_any_openings_and_segments(
    parts: list[list[tuple[int, bytes]]], segment_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    expected: list[tuple[int, int, bytes]] = []
    for part in parts:
        with Journal.open(folder, HEAD, segment_bytes) as journal:
            assert list(journal.records()) == expected
            for n, (kind, payload) in enumerate(part):
                expected.append((journal.append(kind, payload), kind, payload))
                if n % 3 == 0:
                    journal.flush()
            assert list(journal.records()) == expected
    assert read(folder) == expected
    assert [one[0] for one in expected] == list(range(len(expected)))


def test_a_segment_is_bounded_and_its_name_tells_its_first_sequence_number(tmp_path: Path) -> None:
    paths = written(tmp_path, 60, segment_bytes=400)
    assert len(paths) > 5
    for path, following in pairwise(paths):
        assert path.stat().st_size < 400 + 200
        first = int(path.stem)
        numbers = [n for n, _, _ in Walk(parse_head(path, path.read_bytes()), path.read_bytes())]
        assert numbers == list(range(first, int(following.stem)))


def test_records_appended_while_it_reads_are_for_the_next_reading(tmp_path: Path) -> None:
    with Journal.open(tmp_path, HEAD, 300) as journal:
        fill(journal, 7)
        got = []
        for one in journal.records():
            got.append(one)
            fill(journal, 3)
            journal.flush()
        assert got == [record(n) for n in range(7)]
        assert len(list(journal.records())) == 28


def test_it_says_what_survives_what(tmp_path: Path) -> None:
    with Journal.open(tmp_path, HEAD) as journal:
        fill(journal, 5)
        assert (journal.count, journal.flushed, journal.synced) == (5, 0, 0)
        journal.flush()
        assert (journal.count, journal.flushed, journal.synced) == (5, 5, 0)
        fill(journal, 1)
        journal.sync()
        assert (journal.count, journal.flushed, journal.synced) == (6, 6, 6)


def test_sync_reaches_the_disk_and_flush_the_operating_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(tmp_path, HEAD) as journal:
        fill(journal, 3)
        synced: list[int] = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), real(handle))[1])
        journal.flush()
        size = segments(tmp_path)[0].stat().st_size
        assert (size > HEAD_SIZE, synced) == (True, [])
        journal.sync()
        assert synced == [size]


@pytest.mark.parametrize(("kind", "payload"), [(-1, b""), (END, b""), (1, bytes(MAX_PAYLOAD + 1))])
def test_what_is_no_record_is_refused_and_harms_nothing(kind: int, payload: bytes, tmp_path: Path) -> None:
    with Journal.open(tmp_path, HEAD) as journal:
        with pytest.raises(ValueError, match="a kind is below"):
            journal.append(kind, payload)
        journal.append(1, bytes(MAX_PAYLOAD))
        fill(journal, 3)
    assert [n for n, _, _ in read(tmp_path)] == [0, 1, 2, 3]


# -- kill -9


@pytest.mark.parametrize("seed", range(5))
def test_after_kill_9_every_acknowledged_record_is_there(seed: int, tmp_path: Path) -> None:
    check_killed(tmp_path, [seed])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 110))
def test_after_five_kills_in_a_row_every_acknowledged_record_is_there(seed: int, tmp_path: Path) -> None:
    check_killed(tmp_path, [10 * seed + n for n in range(5)])


def check_killed(folder: Path, seeds: list[int]) -> None:
    for seed in seeds:
        acknowledged, there = killed(folder, seed)
        assert there >= acknowledged > 0
    assert read(folder) == [record(n) for n in range(there)]


def test_without_the_write_acknowledged_records_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: `flush` that only says so is found by the same check."""
    source = (ROOT / "tests" / "nodes" / "make_journal.py").read_text()
    lazy = "\nJournal._write = lambda self: setattr(self, 'flushed', self.count)\n"
    call = f"{source}{lazy}\nchild(Path({str(tmp_path)!r}), 1)"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", call], env=env, stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr("tests.nodes.make_journal.start", lambda *_: process)
    with pytest.raises(AssertionError):
        check_killed(tmp_path, [1])


class Crash(BaseException):
    """The machine goes down here."""


class Frail:
    """A machine that goes down at the n-th call that changes the disk, before it, within it or after it."""

    def __init__(self, at: int, part: float) -> None:
        self.calls, self._at, self._part = 0, at, part

    def write(self, handle: int, data: bytes, real: Any = os.write) -> int:
        if self._down():
            real(handle, data[: int(self._part * len(data))])
            raise Crash
        return int(real(handle, data))

    def other(self, real: Any) -> Any:
        def step(*args: Any) -> Any:
            down = self._down()
            done = None if down and not self._part else real(*args)
            if down:
                raise Crash
            return done

        return step

    def _down(self) -> bool:
        self.calls += 1
        return self.calls == self._at


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_crash_at_any_system_call_loses_nothing_acknowledged(
    part: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening, appending, rotating."""
    at, frail = 0, Frail(0, part)
    while frail.calls >= at:
        at += 1
        folder, frail = tmp_path / str(at), Frail(at, part)
        acknowledged = crashed(folder, frail, monkeypatch)
        there = read(folder)
        assert list(folder.glob("*.tmp")) == []
        assert len(there) >= acknowledged
        assert there == [record(n) for n in range(len(there))]
        with Journal.open(folder, HEAD, 300) as journal:
            fill(journal, 5)
        assert len(read(folder)) == len(there) + 5
    assert at > 40


def crashed(folder: Path, frail: Frail, monkeypatch: pytest.MonkeyPatch) -> int:
    """Write on a machine that goes down; return what had been acknowledged."""
    acknowledged, journal = 0, None
    with monkeypatch.context() as patch, suppress(Crash):
        patch.setattr(os, "write", frail.write)
        patch.setattr(os, "fsync", frail.other(os.fsync))
        patch.setattr(os, "truncate", frail.other(os.truncate))
        patch.setattr(Path, "replace", frail.other(Path.replace))
        journal = Journal.open(folder, HEAD, 300)
        for n in range(12):
            fill(journal, 1)
            (journal.sync if n % 4 == 0 else journal.flush)()
            acknowledged = journal.flushed
    if journal is not None:
        os.close(journal._handle)
        journal._lock.release()
    return acknowledged


# -- damage


def test_a_changed_byte_anywhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for speed
    written(tmp_path, 12, segment_bytes=300)
    assert len(segments(tmp_path)) >= 3
    assert flips_missed(tmp_path, 12) == []


def test_without_the_chain_changed_bytes_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: a digest that is always the same."""

    class Same:
        def __init__(self, *_: object, **__: object) -> None: ...
        def update(self, _: bytes) -> None: ...
        def digest(self) -> bytes:
            return bytes(CHAIN)

    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(journal_file, "blake2b", Same)
    written(tmp_path, 4)
    assert len(flips_missed(tmp_path, 4, (0x01,))) > 50


def test_without_the_check_of_the_frame_a_changed_length_passes_for_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: the crc32 off."""
    monkeypatch.setattr(journal_file, "crc32", lambda _: 0)
    (path,) = written(tmp_path, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: HEAD_SIZE + 2] + b"\x01" + whole[HEAD_SIZE + 3 :])  # the first record is 65 kB longer
    assert read(tmp_path) == []


def test_a_lost_a_doubled_and_a_swapped_record_are_found(tmp_path: Path) -> None:
    (path,) = written(tmp_path, 8)
    whole, at = path.read_bytes(), ends(path)
    parts = [whole[a:b] for a, b in pairwise([0, *at])]
    for n in range(1, 7):
        lost = [*parts[:n], *parts[n + 1 :]]
        doubled = [*parts[: n + 1], *parts[n:]]
        swapped = [*parts[:n], parts[n + 1], parts[n], *parts[n + 2 :]]
        for changed in (lost, doubled, swapped):
            path.write_bytes(b"".join(changed))
            with pytest.raises(
                JournalError, match=rf"{path.name}, byte \d+, record \d+: got 'a record that is damaged'"
            ):
                read(tmp_path)


@pytest.mark.parametrize("numbered", [True, False])
def test_a_record_of_another_journal_is_found_even_with_the_right_number(numbered: bool, tmp_path: Path) -> None:
    (path,) = written(tmp_path / "one", 5)
    with Journal.open(tmp_path / "other", HEAD) as journal:
        for n in range(5):
            journal.append(record(n)[1], bytes(len(record(n)[2])))
    (other,) = segments(tmp_path / "other")
    at = ends(path)
    assert at == ends(other)
    n = 3 if numbered else 2
    path.write_bytes(path.read_bytes()[: at[3]] + other.read_bytes()[at[n] : at[n + 1]] + path.read_bytes()[at[4] :])
    with pytest.raises(JournalError, match="record 3: got 'a record that is damaged'"):
        read(tmp_path / "one")


@pytest.mark.parametrize("size", [10**6, FRAME + 4])
def test_a_record_with_a_wrong_number_is_damage_also_at_the_end_or_torn(size: int, tmp_path: Path) -> None:
    (path,) = written(tmp_path, 3)
    walk = Walk(parse_head(path, path.read_bytes()), path.read_bytes())
    assert len(list(walk)) == 3
    path.write_bytes(path.read_bytes() + walk.chain.frame(4, 1, b"payload")[:size])
    with pytest.raises(JournalError, match="record 3: got 'a record that is damaged'"):
        read(tmp_path)


def test_a_file_that_was_cut_between_two_records_while_it_is_open_is_found(tmp_path: Path) -> None:
    (path,) = written(tmp_path, 3)
    with Journal.open(tmp_path, HEAD) as journal:
        os.truncate(path, ends(path)[2])
        with pytest.raises(JournalError, match="got 'the end', expected records up to 2"):
            list(journal.records())


def test_every_missing_segment_is_found_on_opening(tmp_path: Path) -> None:
    paths = written(tmp_path, 30, segment_bytes=300)
    assert len(paths) > 4
    for path in paths:
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(JournalError) as caught:
            Journal.open(tmp_path, HEAD)
        said = str(caught.value)
        assert path.name in said or paths[paths.index(path) - 1].name in said
        (tmp_path / "elsewhere").rename(path)
    for path in paths:
        path.rename(tmp_path / f"{path.name}.away")
    with pytest.raises(JournalError, match="no such file"):
        Journal.open(tmp_path, HEAD)


def test_a_segment_of_another_journal_is_found(tmp_path: Path) -> None:
    paths = written(tmp_path / "one", 30, segment_bytes=300)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    with Journal.open(tmp_path / "changed", HEAD, 300) as journal:
        for n in range(30):
            journal.append(record(n)[1], bytes(len(record(n)[2])))
            journal.flush()
    assert [p.name for p in segments(tmp_path / "changed")] == [p.name for p in paths]
    for path in paths:
        shutil.copy(tmp_path / "changed" / path.name, tmp_path / "other")
        with pytest.raises(JournalError, match="another chain"):
            read(tmp_path / "other")
        shutil.copy(path, tmp_path / "other")
    assert len(read(tmp_path / "other")) == 30


def test_a_cut_anywhere_but_in_the_last_segment_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path, 12, segment_bytes=300)[0]
    whole, last = path.read_bytes(), ends(path)[-1]
    for size in range(last):
        path.write_bytes(whole[:size])
        with pytest.raises(JournalError, match=path.name):
            read(tmp_path)
    for size in range(last, len(whole)):  # only the word that there is a next one: a crash may cost it
        path.write_bytes(whole[:size])
        assert len(read(tmp_path)) == 12


def test_bytes_after_the_end_of_a_segment_are_damage(tmp_path: Path) -> None:
    path = written(tmp_path, 12, segment_bytes=300)[0]
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(JournalError, match="bytes after the end"):
        read(tmp_path)


# -- torn tails


def test_a_torn_tail_of_any_length_is_cut_off_put_aside_and_reported(tmp_path: Path) -> None:
    (source,) = written(tmp_path / "source", 6)
    whole, at = source.read_bytes(), ends(source)
    for size in range(HEAD_SIZE, len(whole)):
        folder = tmp_path / str(size)
        shutil.copytree(tmp_path / "source", folder)
        path = folder / source.name
        path.write_bytes(whole[:size])
        count = sum(end <= size for end in at) - 1
        with Journal.open(folder, HEAD) as journal:
            assert journal.count == count
            torn = journal.torn
            if size in at:
                assert torn is None
            else:
                assert torn is not None
                assert (torn.sequence, torn.size) == (count, size - at[count])
                assert torn.path.name.startswith("torn-")
                assert torn.path.read_bytes() == whole[at[count] : size]
            fill(journal, 6 - count)
        assert path.read_bytes() == whole, "appended as if nothing had been"


def test_torn_tails_at_the_same_place_do_not_overwrite_each_other(tmp_path: Path) -> None:
    (path,) = written(tmp_path, 2)
    for rest in (b"one", b"two", b"three"):
        path.write_bytes(path.read_bytes() + rest)
        Journal.open(tmp_path, HEAD).close()
    assert sorted(p.read_bytes() for p in tmp_path.glob("torn-*")) == [b"one", b"three", b"two"]


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_crash_while_a_torn_tail_is_put_aside_loses_nothing(
    part: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, frail = 0, Frail(0, part)
    while frail.calls >= at:
        at += 1
        folder, frail = tmp_path / str(at), Frail(at, part)
        (path,) = written(folder, 5)
        path.write_bytes(path.read_bytes() + b"torn")
        crashed(folder, frail, monkeypatch)
        there = read(folder)
        assert len(there) >= 5
        assert there == [record(n) for n in range(len(there))]
        assert b"torn" in {one.read_bytes() for one in folder.glob("torn-*")}
    assert at > 20


@pytest.mark.parametrize("keep", [0, 3, FRAME - 1, FRAME, FRAME + 100, FRAME + 900])
def test_sectors_of_zeros_at_the_end_are_what_a_power_cut_leaves(keep: int, tmp_path: Path) -> None:
    with Journal.open(tmp_path, HEAD) as journal:
        fill(journal, 5)
        journal.append(1, b"\xff" * 1000)
    (path,) = segments(tmp_path)
    whole, at = path.read_bytes(), ends(path)
    size = -(-(at[5] + keep) // 512) * 512
    path.write_bytes(whole[: at[5] + keep] + bytes(size - at[5] - keep + 1024))
    with Journal.open(tmp_path, HEAD) as journal:
        assert (journal.count, journal.torn is not None) == (5, True)


def test_zeros_that_begin_later_than_the_damage_excuse_nothing(tmp_path: Path) -> None:
    (path,) = written(tmp_path, 6)
    whole, at = path.read_bytes(), ends(path)
    path.write_bytes(whole[: at[1] + 2] + b"\x7f" + whole[at[1] + 3 :] + bytes(4096))
    with pytest.raises(JournalError, match="record 1: got 'a record that is damaged'"):
        read(tmp_path)
    path.write_bytes(whole[: at[1] + FRAME] + bytes(4096) + whole[at[2] :])
    with pytest.raises(JournalError, match="damaged"):
        read(tmp_path)


# -- the disk


def test_on_a_full_disk_it_fails_for_good_and_keeps_what_was_flushed(tmp_path: Path) -> None:
    """A process that may not write files beyond 200 kB: the kernel takes a part of a write, then refuses."""
    call = f"""
import resource, signal
from pathlib import Path
from tests.nodes.make_journal import HEAD, Journal, JournalError, fill
journal = Journal.open(Path({str(tmp_path)!r}), HEAD)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    while True:
        fill(journal, 100)
        journal.flush()
except JournalError as error:
    print(journal.flushed, error)
for step in (lambda: journal.append(1, b""), journal.flush, journal.sync):
    try:
        step()
    except JournalError as error:
        print("again", error)
journal.close()
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", call], env=env, capture_output=True, text=True, check=True)
    first, *again = done.stdout.splitlines()
    flushed, said = first.split(" ", 1)
    assert f"{tmp_path}: got '[Errno {errno.EFBIG}]" in said
    assert again == [f"again {said}"] * 3
    with Journal.open(tmp_path, HEAD) as journal:
        assert journal.torn is not None
        assert journal.count >= int(flushed) > 1000
        assert list(journal.records()) == [record(n) for n in range(journal.count)]
    assert resource.RLIMIT_FSIZE is not None
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fails", ["write", "fsync", "rotate"])
def test_any_failing_step_fails_the_journal(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path, HEAD, 400)
    fill(journal, 2)
    journal.flush()
    fill(journal, 10)
    with monkeypatch.context() as patch:
        if fails == "rotate":
            patch.setattr(module, "write_whole", no_space)
        else:
            patch.setattr(os, fails, no_space)
        with pytest.raises(JournalError, match="No space left on device"):
            (journal.sync if fails == "fsync" else journal.flush)()
    with pytest.raises(JournalError, match="No space left on device"):
        journal.append(1, b"")  # there is space again, and it is too late
    assert [one[0] for one in journal.records()] == list(range(journal.flushed))
    journal.close()
    there = read(tmp_path)
    assert len(there) >= 2
    assert there == [record(n) for n in range(len(there))]


def test_a_full_disk_while_nothing_was_asked_for_is_told_by_append(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, HEAD)
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), journal._handle)
    with pytest.raises(JournalError, match="No space left on device"):
        fill(journal, 100_000)
    journal.close()


def test_an_interrupted_append_fails_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next record would stand on a chain that the file does not have."""
    journal = Journal.open(tmp_path, HEAD)
    fill(journal, 3)
    journal.flush()

    def interrupted(self: journal_file.Chain, *args: Any, real: Any = journal_file.Chain.frame) -> bytes:
        real(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal_file.Chain, "frame", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill(journal, 1)
    for step in (lambda: fill(journal, 1), journal.flush, journal.sync):
        with pytest.raises(JournalError, match="interrupted"):
            step()
    journal.close()
    assert len(read(tmp_path)) == 3


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, HEAD)
    journal.close()
    journal.close()
    for step in (lambda: journal.append(1, b""), journal.flush, journal.sync):
        with pytest.raises(JournalError, match="it is closed"):
            step()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Exception, match="folder that can be written"):
        Journal.open(tmp_path, HEAD)


# -- whose it is


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    process = start(tmp_path, 1)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        with pytest.raises(InUseError, match=f"process {process.pid} keeps this journal"):
            Journal.open(tmp_path, HEAD)
    finally:
        process.kill()
        process.communicate()
    journal = Journal.open(tmp_path, HEAD)
    with pytest.raises(InUseError):
        Journal.open(tmp_path, HEAD)
    journal.close()
    Journal.open(tmp_path, HEAD).close()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            HEAD | {"policy_hash": "cd" * 4},
            "policy_hash: got 'abababab', expected 'cdcdcdcd'; this is the journal of another policy",
        ),
        (HEAD | {"account": "B"}, "account: got 'A-1', expected 'B'; this is the journal of another account"),
        (HEAD | {"instruments": ["A", "B"]}, "instruments: got ['EUR/USD.SIM'], expected ['A', 'B'];"),
        (HEAD | {"format": True}, "format: got 1, expected True"),
        (HEAD | {"seed": 1}, "seed: got None, expected 1"),
        ({k: v for k, v in HEAD.items() if k != "account"}, "account: got 'A-1', expected None"),
    ],
)
def test_the_journal_of_another_node_is_refused(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    written(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "node.lock"}
    with pytest.raises(JournalError) as caught:
        Journal.open(tmp_path, other)
    assert said in str(caught.value)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "node.lock"}
    assert len(read(tmp_path)) == 2, "and it is not locked"


def test_a_journal_without_a_record_is_nobodys(tmp_path: Path) -> None:
    """As a start leaves it that was refused: the next one begins anew, whoever it is."""
    Journal.open(tmp_path, HEAD).close()
    other = HEAD | {"account": "B"}
    with Journal.open(tmp_path, other) as journal:
        journal.append(1, b"first")
    with pytest.raises(JournalError, match="another account"):
        Journal.open(tmp_path, HEAD)
    with Journal.open(tmp_path, other) as journal:
        assert journal.count == 1


def test_the_order_of_fields_and_tuples_make_no_other_head(tmp_path: Path) -> None:
    written(tmp_path, 2)
    same = {key: HEAD[key] for key in reversed(HEAD)} | {"instruments": tuple(HEAD["instruments"])}
    Journal.open(tmp_path, same).close()


def test_a_lost_or_forged_head_is_found(tmp_path: Path) -> None:
    written(tmp_path, 2)
    head = tmp_path / "head.json"
    forged = HEAD | {"account": "B"}
    head.write_text(json.dumps(forged, sort_keys=True, indent=1))
    with pytest.raises(JournalError, match="another hash"):
        Journal.open(tmp_path, forged)
    head.unlink()
    with pytest.raises(JournalError, match="No such file or directory"):
        Journal.open(tmp_path, HEAD)
    assert len(segments(tmp_path)) == 1


def test_a_file_of_another_format_or_name_is_refused(tmp_path: Path) -> None:
    (path,) = written(tmp_path, 2)
    head = Segment(path, 0, bytes(32), bytes(CHAIN)).packed()
    fields = b"ATJRNL9\n" + head[8:-CHAIN]
    path.write_bytes(fields + journal_file._digest(fields))
    with pytest.raises(JournalError, match="the format this version reads"):
        read(tmp_path)
    shutil.rmtree(tmp_path)
    (path,) = written(tmp_path, 2)
    path.rename(tmp_path / journal_file.name(7))
    with pytest.raises(JournalError, match="another name"):
        read(tmp_path)


def test_a_crash_before_the_head_was_there_leaves_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(journal_folder, "HEAD", "missing/head.json")
        with pytest.raises(JournalError):
            Journal.open(tmp_path, HEAD)
    assert len(segments(tmp_path)) == 1
    assert read(tmp_path) == []
