"""What a user may get wrong around a paper node, as he would type it: one line, exit code 2, nothing lost or half-written."""

import json
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from tests.nodes.make_account import Account
from tests.nodes.make_archive import serving
from tests.nodes.make_paper import SHORT, Node
from tests.nodes.test_kill_door import TESTNET, keys

pytestmark = pytest.mark.long


def one_line(node: Node, *words: str, verb: str = "paper") -> str:
    """Return the one line of a refusal."""
    told = node.run(*words, code=2, verb=verb).splitlines()
    assert len(told) == 1, told
    assert told[0].startswith("alphatrade: ")
    return told[0]


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and path.name != "node.lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of a node that was killed."""
    root = tmp_path_factory.mktemp("killed")
    node = Node(root, *SHORT, "output.report=false")
    node.killed(node.start("feed.speed=15000"), 30_000)
    return root


@pytest.fixture
def node(killed: Path, tmp_path: Path) -> Node:
    shutil.copytree(killed, tmp_path / "copy")
    return Node(tmp_path / "copy", *SHORT, "output.report=false")


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("policy/risk=tight", "policy"), ("tape.end=2026-08-18T05:00:00Z", "tapes"), ("seed=2", "run"), ("venue.latency_ms=10", "run"),
        ("sessions.calendar=24/5", "sessions"),
    ],
)  # fmt: skip
def test_the_journal_of_something_else(node: Node, word: str, field: str) -> None:
    before = files(node.journal)
    words = tuple(one for one in node.words if not one.startswith(word.partition("=")[0]))
    told = one_line(Node(node.root, *words), word)
    assert str(node.journal) in told
    assert "this is the journal of another" in told
    assert field in told or "run" in told
    assert files(node.journal) == before
    assert all(path.name.startswith(".partial-") for path in node.root.glob("artifacts/*/*")), (
        "what the killed one left"
    )


def test_the_journal_of_something_else_is_read_on_by_whose_it_is(node: Node) -> None:
    one_line(node, "policy/risk=tight")
    node.run("feed.speed=max")
    assert node.summary()["events"] == 1799


def test_a_stale_journal_of_older_code(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that has changed since decides otherwise: a copy of the package with one more file in it."""
    head = node.journal / "head.json"
    told = json.loads(head.read_text())
    assert set(told) >= {"code", "policy", "run", "releases", "account"}
    head.write_text(json.dumps(told | {"code": "0" * 64}, sort_keys=True, indent=1))
    assert str(head) in one_line(node)


def test_a_damaged_journal(node: Node) -> None:
    (file,) = node.journal.glob("*.journal")
    whole = bytearray(file.read_bytes())
    for at in (4, len(whole) // 2):
        file.write_bytes(bytes(whole[:at]) + bytes([whole[at] ^ 1]) + bytes(whole[at + 1 :]))
        assert str(node.journal) in one_line(node, "feed.speed=max")
    file.write_bytes(whole)
    node.run("feed.speed=max")


def test_an_account_that_is_in_use(tmp_path: Path) -> None:
    node = Node(tmp_path, *SHORT, "output.report=false")
    process = node.start("feed.speed=2000")
    while node.kept() < 5_000 and process.poll() is None:
        pass
    try:
        assert f"process {process.pid} keeps this journal" in one_line(node)
        assert f"process {process.pid}" in one_line(node, "journal=false", "paths.artifacts=other"), "nor without one"
        listening = [one for one in psutil.Process(process.pid).net_connections() if one.status == psutil.CONN_LISTEN]
        assert listening == [], "no port that could be taken"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_direct_kill_with_what_the_exchange_does_not_know(tmp_path: Path) -> None:
    node, folder = Node(tmp_path), keys(tmp_path / "keys")
    with serving(Account()) as account:
        words = (
            "--why",
            "drill",
            *TESTNET,
            "--url",
            account.url,
            "--secrets-dir",
            str(folder),
            "--deadline",
            "3",
            "--direct",
        )
        done = node.start(*words, "BTCUSDT,MOONUSDT", verb="kill")
        out, err = done.communicate(timeout=60)
        assert done.returncode == 2, out + err
        assert len(err.splitlines()) == 1
        assert "MOONUSDT" in err
        (folder / "binance_testnet_api_key").write_text("two words")
        done = node.start(*words, "BTCUSDT", verb="kill")
        out, err = done.communicate(timeout=60)
        assert done.returncode == 2
        assert len(err.splitlines()) == 1
        assert "two words" not in out + err
