"""The ledger: one chain however many write, nothing acknowledged lost, and no byte that can be changed unseen."""

import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from alphatrade.reflection.keys import Roster, SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import MAY, Chain, Entry, Head, dumped, sealed
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.reflection.merkle import merkle_root
from alphatrade.risk.errors import LedgerError
from tests.conftest import ROOT
from tests.reflection.make_ledger import NOW, SEARCH, Cast, leaf, make_cast, search, stage

GUEST = {"name": "guest", "role": "person", "public": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    """A ledger with a root, a person and a service, five entries."""
    cast = make_cast(tmp_path)
    cast.ledger.append("trial", leaf(9), cast.service, NOW)
    cast.ledger.append_batch([leaf(n) for n in range(7)], cast.service, NOW)
    return cast


def rewrite(cast: Cast, change: Any) -> None:
    lines = (cast.folder / FILE).read_bytes().split(b"\n")
    (cast.folder / FILE).write_bytes(b"\n".join(change(lines)))


def test_a_sound_ledger_is_verified_and_its_trials_counted(cast: Cast) -> None:
    ledger = cast.ledger
    found = verify(cast.folder, ledger.chain.fingerprint, ledger.chain.head)
    assert found.problems == ()
    assert (found.entries, found.trials) == (5, 8)
    assert found.members == ("root (root)", "person (person)", "service (service)")
    assert [entry.kind for entry in ledger.entries()] == ["genesis", "roster", "roster", "trial", "batch"]
    assert ledger.entries()[3].body == leaf(9)


def test_any_changed_byte_is_found(cast: Cast) -> None:
    known = cast.ledger.chain
    files = [cast.folder / FILE, next((cast.folder / BATCHES).iterdir())]
    draw = random.Random(1)
    for round_ in range(200):
        path = files[round_ % 8 == 0]
        whole = path.read_bytes()
        at = draw.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :])
        assert verify(cast.folder, known.fingerprint, known.head).problems, f"byte {at} of {path.name}"
        path.write_bytes(whole)
    assert verify(cast.folder, known.fingerprint, known.head).problems == ()


def test_without_the_signatures_a_forged_entry_passes(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    forger = SigningKey.generate(cast.folder / "forger.pem")
    line = sealed(cast.ledger.chain.head, NOW, "stage", stage(1, "experiment", "paper"), "person", forger)
    with (cast.folder / FILE).open("ab") as file:
        file.write(line + b"\n")
    assert any("a wrong signature" in problem for problem in verify(cast.folder).problems)
    monkeypatch.setattr("alphatrade.reflection.ledger_chain.signed", lambda *_: True)
    assert len(verify(cast.folder).problems) == 1, "only the verdict that it names is missing"


def test_a_cut_end_and_a_rewritten_past_show_against_a_head_that_was_kept(cast: Cast) -> None:
    known = cast.ledger.chain.head
    rewrite(cast, lambda lines: [*lines[:-2], b""])
    assert verify(cast.folder).problems == (), "nothing in the file itself tells"
    assert "the end was cut off" in verify(cast.folder, known=known).problems[0]
    cast.ledger.append("trial", leaf(2), cast.service, NOW)
    assert verify(cast.folder).problems == ()
    assert "it was rewritten" in verify(cast.folder, known=known).problems[0]


def test_another_ledger_is_not_this_one(cast: Cast, tmp_path: Path) -> None:
    other = Ledger.create(tmp_path / "other", cast.root, "root", NOW + 1)
    assert "genesis: got" in verify(other.folder, cast.ledger.chain.fingerprint).problems[0]
    with pytest.raises(LedgerError, match="without a ledger"):
        Ledger.create(cast.folder, cast.root, "root", NOW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0], *lines[2:]], "schema 1 and number 1"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "schema 1 and number 2"),
        (lambda lines: [lines[0].replace(b'"seq":0', b'"seq":false'), *lines[1:]], "schema 1 and number 0"),
        (lambda lines: [lines[0].replace(b",", b", ", 1), *lines[1:]], "one canonical JSON object"),
        (lambda lines: [lines[0].replace(b'"ts":"', b'"ts":"9999999999'), *lines[1:]], "one canonical JSON object"),
        (lambda lines: [*lines[:-1], b"{}"], "bytes without an end"),
        (lambda lines: [b""], "a genesis"),
        (lambda lines: lines[1:], "schema 1 and number 0"),
    ],
)
def test_what_is_no_chain_is_one_clear_line(cast: Cast, change: Any, message: str) -> None:
    rewrite(cast, change)
    (problem,) = verify(cast.folder).problems
    assert message in problem
    assert "\n" not in problem


def test_a_damaged_ledger_takes_nothing_more(cast: Cast) -> None:
    ledger = cast.ledger
    rewrite(cast, lambda lines: [*lines[:-2], lines[-2].replace(b'"n":7', b'"n":8'), b""])
    with pytest.raises(LedgerError, match="a wrong signature"):
        cast.ledger.append("trial", leaf(), cast.service, NOW)
    rewrite(cast, lambda lines: [*lines[:2], b""])
    with pytest.raises(LedgerError, match="that were there before"):
        ledger.append("trial", leaf(), cast.service, NOW)


def test_each_kind_is_signed_by_who_may(cast: Cast) -> None:
    keys = {"root": cast.root, "person": cast.person, "service": cast.service}
    size = (cast.folder / FILE).stat().st_size
    bodies: dict[str, dict[str, Any]] = {"batch": {"n": 1, "root": "0" * 64}, "roster": {"revoke": "service"}}
    for kind in sorted(set(MAY) - {"genesis"}):
        for role, key in keys.items():
            if role not in MAY[kind]:
                with pytest.raises(LedgerError, match=f"{kind} signed by a "):
                    cast.ledger.append(kind, bodies.get(kind, {}), key, NOW)
    for kind, message in (("genesis", "genesis first"), ("gossip", "genesis first")):
        with pytest.raises(LedgerError, match=message):
            cast.ledger.append(kind, {}, cast.root, NOW)
    with pytest.raises(LedgerError, match="the key of somebody in the roster"):
        cast.ledger.append("trial", leaf(), SigningKey.generate(cast.folder / "stranger.pem"), NOW)
    assert (cast.folder / FILE).stat().st_size == size, "nothing that was refused is written"


def test_a_revoked_key_signs_no_more_and_what_it_signed_stands(cast: Cast) -> None:
    cast.ledger.append("roster", {"revoke": "service"}, cast.root, NOW)
    with pytest.raises(LedgerError, match="a key that was not revoked"):
        cast.ledger.append("trial", leaf(), cast.service, NOW)
    assert verify(cast.folder).problems == ()
    with pytest.raises(LedgerError, match="without a root"):
        cast.ledger.append("roster", {"revoke": "root"}, cast.root, NOW)
    again = {"name": "service", "role": "service", "public": SigningKey.generate(cast.folder / "new.pem").public}
    for member in (again, again | {"name": "new", "public": cast.service.public}, again | {"name": "x", "role": "king"}):
        with pytest.raises(LedgerError, match=r"roster\."):
            cast.ledger.append("roster", {"add": member}, cast.root, NOW)


def test_a_batch_needs_its_trials(cast: Cast) -> None:
    (path,) = (cast.folder / BATCHES).iterdir()
    whole = path.read_bytes()
    for text in (whole.replace(b"op_x", b"op_y"), whole[:-1], whole + b"{}\n", whole.split(b"\n", 1)[1]):
        path.write_bytes(text)
        assert "expected the 7 of entry 4" in verify(cast.folder).problems[0]
    path.unlink()
    assert "expected the 7 trials" in verify(cast.folder).problems[0]
    with pytest.raises(LedgerError, match="at least one"):
        cast.ledger.append_batch([], cast.service, NOW)


def test_a_tree_has_one_root() -> None:
    def leaf(data: bytes) -> bytes:
        return hashlib.sha256(b"\x00" + data).digest()

    def node(one: bytes, other: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + one + other).digest()

    a, b, c = (leaf(data) for data in (b"a", b"b", b"c"))
    assert merkle_root([b"a"]) == a.hex()
    assert merkle_root([b"a", b"b", b"c"]) == node(node(a, b), c).hex()
    assert merkle_root([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # RFC 6962, 2.1
    assert len({merkle_root([b"x"] * n) for n in range(20)}) == 20


# -- crashes


def test_an_entry_that_a_crash_cut_short_is_put_aside_and_a_whole_one_is_kept(cast: Cast) -> None:
    file, before = cast.folder / FILE, (cast.folder / FILE).read_bytes()
    line = sealed(cast.ledger.chain.head, NOW, "trial", leaf(), "service", cast.service)
    file.write_bytes(before + line[: len(line) // 2])
    assert verify(cast.folder).problems
    cast.ledger.append("trial", leaf(1), cast.service, NOW)
    assert verify(cast.folder).problems == ()
    (aside,) = cast.folder.glob("torn-*")
    assert aside.read_bytes() == line[: len(line) // 2]
    file.write_bytes(before + line)
    cast.ledger.append("trial", leaf(2), cast.service, NOW)
    found = verify(cast.folder)
    assert (found.problems, found.entries) == ((), 7), "only its end was missing"


def test_who_asks_before_it_adds_is_told_of_an_entry_whose_end_was_missing(cast: Cast) -> None:
    """A reader who leaves it out would have the caller enter again what the next writer completes."""
    ledger, before = cast.ledger, (cast.folder / FILE).read_bytes()
    line = sealed(ledger.chain.head, NOW, "trial", leaf(), "service", cast.service)
    for tail, kept in ((line[:-40], 5), (line, 6)):
        (cast.folder / FILE).write_bytes(before + tail)
        with pytest.raises(LedgerError, match="bytes without an end"):
            ledger.entries()
        assert len(cast.ledger.read(whole=False)[1]) == 5
        assert len(ledger.mended()) == len(ledger.entries()) == kept
        assert (cast.folder / FILE).read_bytes().startswith(before)
    assert verify(cast.folder).problems == ()


def test_a_full_disk_while_a_torn_end_is_put_aside_is_one_clear_line(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = (cast.folder / FILE).read_bytes() + b'{"body":'
    (cast.folder / FILE).write_bytes(torn)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("alphatrade.reflection.ledger.write_whole", full)
    ledger = cast.ledger
    calls = (
        lambda: ledger.append("trial", leaf(), cast.service, NOW), ledger.mended,
        lambda: ledger.append_batch([leaf()], cast.service, NOW),
        lambda: ledger.append_once("trial", leaf(), cast.service, NOW),
        lambda: ledger.append_generation([leaf()], cast.service, NOW),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(LedgerError, match=r"No space left on device.*a file that can be written"):
            call()
    assert (cast.folder / FILE).read_bytes() == torn


# -- what is entered once


class Slow(Ledger):
    """One that has read, and thinks it over."""

    def _taken(self) -> list[Entry]:
        found = super()._taken()
        time.sleep(0.05)
        return found


def test_of_four_who_enter_the_same_at_once_one_does(cast: Cast) -> None:
    """Whoever looks first and locks then sees nothing there, four times."""
    gen = [leaf(8, index=at) for at in range(2)]
    ways = {
        "search": lambda own: own.append_once("search", search(), cast.service, NOW),
        "batch": lambda own: own.append_generation(gen, cast.service, NOW),
    }
    for kind, way in ways.items():
        before = len(cast.ledger.entries())
        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(way, [Slow(cast.folder) for _ in range(4)]))
        assert len({entry.hash for entry in told}) == 1
        assert [entry.kind for entry in cast.ledger.entries()[before:]] == [kind]
    assert verify(cast.folder).problems == ()


def test_a_generation_is_entered_once_as_it_was_first(cast: Cast) -> None:
    ledger, late = cast.ledger, {"status": "timeout", "why": "longer than 1 s", "fitness": None}
    first = ledger.append_generation([leaf(8), leaf(8, index=1)], cast.service, NOW)
    assert ledger.append_generation([leaf(8), leaf(8, index=1)], cast.service, NOW + 1) == first
    files, names = (cast.folder / FILE).read_bytes(), sorted((cast.folder / BATCHES).iterdir())
    other = [leaf(8), leaf(8, index=1, **late)]
    root = merkle_root([dumped(one) for one in other])[:12]
    told = f"search {SEARCH[:12]}, generation 8: got 'root {root}', expected root {first.body['root'][:12]} of entry 5: take"
    with pytest.raises(LedgerError, match=told):
        ledger.append_generation(other, cast.service, NOW)
    for known in (9, 3):  # one that was entered alone; one of a batch with others
        with pytest.raises(LedgerError, match=f"generation {known}: got"):
            ledger.append_generation([leaf(known, **late)], cast.service, NOW)
    assert (cast.folder / FILE).read_bytes() == files
    assert sorted((cast.folder / BATCHES).iterdir()) == names, "refused before anything is written"
    ledger.append_generation([leaf(8, search="6" * 64)], cast.service, NOW)
    assert verify(cast.folder).problems == ()
    names[0].unlink()
    with pytest.raises(LedgerError, match="trials of the batch of entry"):
        ledger.append_generation([leaf(10)], cast.service, NOW)


def test_a_full_disk_leaves_the_ledger_as_it_was(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (cast.folder / FILE).read_bytes()
    ledger, write = cast.ledger, os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:50]))
    with pytest.raises(LedgerError, match="no space left for a whole entry"):
        ledger.append("trial", leaf(), cast.service, NOW)
    monkeypatch.undo()
    assert (cast.folder / FILE).read_bytes() == before
    ledger.append("trial", leaf(), cast.service, NOW)
    assert verify(cast.folder).problems == ()


def test_a_ledger_that_could_not_be_made_can_be_made_later(cast: Cast, tmp_path: Path) -> None:
    """A full disk while the genesis is written: there is a whole ledger or none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(LedgerError, match="a writable folder without a ledger"):
            Ledger.create(tmp_path / "new", cast.root, "root", NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "new" / FILE).exists()
    Ledger.create(tmp_path / "new", cast.root, "root", NOW).append("roster", {"add": GUEST}, cast.root, NOW)
    assert (verify(tmp_path / "new").problems, verify(tmp_path / "new").entries) == ((), 2)


MAKER = """
import os, signal, sys
from pathlib import Path
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
key = SigningKey.load(Path(sys.argv[2]))
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
Ledger.create(Path(sys.argv[1]), key, "root", 1)
"""


def test_a_maker_that_is_killed_before_the_disk_has_it_leaves_no_ledger(
    cast: Cast, tmp_path: Path, door_env: dict[str, str]
) -> None:
    words = [sys.executable, "-c", MAKER, str(tmp_path / "new"), str(cast.folder.parent / "root.pem")]
    assert subprocess.run(words, env=door_env, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "new" / FILE).exists()
    assert Ledger.create(tmp_path / "new", cast.root, "root", NOW).chain.head.seq == 0


WRITER = """
import sys
from pathlib import Path
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from tests.reflection.make_ledger import leaf
ledger, key = Ledger(Path(sys.argv[1])), SigningKey.load(Path(sys.argv[2]))
for n in range(10_000):
    entry = ledger.append("trial", leaf(n, why=sys.argv[3]), key, n)
    print(entry.seq, entry.hash, flush=True)
"""


def test_eight_writers_that_are_killed_leave_one_chain_with_all_they_were_told(
    cast: Cast, door_env: dict[str, str]
) -> None:
    key = cast.folder.parent / "service.pem"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(cast.folder), str(key), str(number)],
            stdout=subprocess.PIPE, text=True, env=door_env, cwd=ROOT,
        )
        for number in range(8)
    ]  # fmt: skip
    told: dict[int, str] = {}
    first: dict[subprocess.Popen[str], list[str]] = {}
    draw = random.Random(3)
    for writer in writers:
        assert writer.stdout is not None
        first[writer] = [writer.stdout.readline() for _ in range(8)]  # it is at work
    for writer in writers:
        time.sleep(draw.random() * 0.1)
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        assert writer.stdout is not None
        rows = [row.split() for row in [*first[writer], *writer.stdout.read().splitlines()]]
        told |= {int(row[0]): row[1] for row in rows if len(row) == 2 and len(row[1]) == 64}
        writer.wait()
    cast.ledger.append("trial", leaf(3), cast.service, NOW)
    kept = {entry.seq: entry.hash for entry in cast.ledger.entries()}
    assert verify(cast.folder).problems == ()
    assert len(told) > 50
    assert {seq: kept.get(seq) for seq in told} == told


def test_a_fork_is_found(cast: Cast) -> None:
    one, other = cast.ledger, cast.ledger
    line = sealed(one.chain.head, NOW, "trial", leaf(), "service", cast.service)
    other.append("trial", leaf(1), cast.service, NOW)
    with (cast.folder / FILE).open("ab") as file:
        file.write(line + b"\n")
    assert "expected schema 1 and number 6" in verify(cast.folder).problems[0]


# -- keys


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    SigningKey.generate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public == SigningKey.load(path).public
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="only its owner can read"):
        SigningKey.load(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(LedgerError, match="an Ed25519 private key"):
        SigningKey.load(path)
    with pytest.raises(LedgerError, match="a new file"):
        SigningKey.generate(path)
    with pytest.raises(LedgerError, match="a private key file"):
        SigningKey.load(tmp_path / "none.pem")


def test_a_folder_without_a_ledger_is_refused(cast: Cast, tmp_path: Path) -> None:
    for call in (Ledger, verify):
        with pytest.raises(LedgerError, match=r"ledger\.jsonl"):
            call(tmp_path / "none")
    shutil.copytree(cast.folder, tmp_path / "copy")
    assert verify(tmp_path / "copy").problems == ()
    with pytest.raises(LedgerError, match="plain values"):
        cast.ledger.append("trial", leaf(fitness=float("nan")), cast.service, NOW)
    assert Chain().head == Head(-1, "0" * 64)
    with pytest.raises(LedgerError, match="members with name"):
        Roster(["me"])
