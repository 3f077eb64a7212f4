"""No key is found anywhere but where it was put: not in files, logs, output, command lines, environments of processes.

Keys are planted as files, in a keyring and in the environment. Then a paper node runs, is refused, crashes and is
killed, a direct kill works and fails, all of them against servers on loopback, and everything that they leave is read.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.nodes import make_account
from tests.nodes.make_account import Account
from tests.nodes.make_archive import serving
from tests.nodes.make_canaries import KEY, SECRET, Canaries
from tests.nodes.make_redis import PASSWORD, Redis

pytestmark = pytest.mark.long

FOREIGN = "canaryENV" + "aSdFgHjKlZxCvBnMqWeR" * 2
CANARIES = Canaries(KEY, SECRET, PASSWORD)  # looked for in processes: their environment is where the fourth one is
ALL = Canaries(KEY, SECRET, PASSWORD, FOREIGN)
RING = """
from pathlib import Path
from keyring.backend import KeyringBackend

class Ring(KeyringBackend):
    priority = 5
    def get_password(self, service, username):
        path = Path(__file__).with_name(username)
        return path.read_text() if path.exists() else None
    def set_password(self, *_):
        raise NotImplementedError
    delete_password = set_password
"""
CRASH = """
import sys
from alphatrade.nodes.app import command
from alphatrade.nodes.paper import node
def crash(*_):
    raise RuntimeError("crash in the node")
node.collect = crash
command()
"""
SMALL = ("tape.end=2026-08-17T08:00:00Z", "output.stress=false", "output.report=false", "metrics.port=0")


class Place:
    """A folder with secrets in it, and what was started there."""

    def __init__(self, root: Path) -> None:
        self.root, self.here = root, root / "here"
        self.keys, self.ring = root / "secrets" / "keys", root / "secrets" / "ring"
        self.here.mkdir()
        for folder in (self.keys, self.ring):
            folder.mkdir(mode=0o700, parents=True)
            for name, value in (("binance_api_key", KEY), ("binance_api_secret", SECRET), ("redis_password", PASSWORD)):
                (folder / name).touch(mode=0o600)
                (folder / name).write_text(value)
        (self.ring / "planted_ring.py").write_text(RING)
        (self.keys / "redis.conf").write_text(f'requirepass "{PASSWORD}"\n')
        self.found: list[str] = []
        self.said = ""
        self.looks = 0

    def start(self, *words: str, program: tuple[str, ...] = ("-m", "alphatrade")) -> "subprocess.Popen[str]":
        env = {name: value for name, value in os.environ.items() if name != "ALPHATRADE_LEDGER"} | {
            "PYTHONPATH": f"{ROOT}:{self.ring}", "ALPHATRADE_STATE": str(self.here / "state"), "OPENAI_API_KEY": FOREIGN,
            "PYTHON_KEYRING_BACKEND": "planted_ring.Ring", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONFAULTHANDLER": "1",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, *program, *words], cwd=self.here, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    def watched(self, process: "subprocess.Popen[str]", code: int, end: int = 0) -> str:
        """Look at a process until it ends; kill it, if told to, once its journal has something."""
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            self.found += CANARIES.in_processes(process.pid)
            self.looks += 1
            if end and any(
                path.stat().st_size > 15_000 for path in self.here.glob("state/paper/SIM/journal/*.journal")
            ):
                os.killpg(process.pid, end)
            time.sleep(0.05)
        said = process.communicate(timeout=10)[0]
        assert process.returncode == code, said
        self.said += said
        return said

    def run(self, *words: str, code: int = 0, **more: tuple[str, ...]) -> str:
        return self.watched(self.start(*words, **more), code)

    def leaks(self) -> list[str]:
        """Return where a canary is found."""
        return self.found + ALL.within(self.said, "output") + ALL.in_files(self.here)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server(place: Place) -> Iterator[Redis]:
    one = Redis(place.keys, config=place.keys / "redis.conf")  # on a command line its password would be seen
    yield one
    one.end()


def test_a_paper_node_leaves_its_keys_nowhere(place: Place, server: Redis) -> None:
    redis = (*server.words(), "cache.password_from=redis_password")
    files = (*redis, f"cache.secrets_dir={place.keys}")
    place.run("paper", "feed.speed=max", *SMALL, *files)
    place.run("paper", "feed.speed=max", *SMALL, *redis, "paths.artifacts=ring", "account=RING")  # from the keyring
    assert "wrongpass" in place.run(
        "paper", *SMALL, *redis, f"cache.secrets_dir={place.keys}", "cache.username=nobody", code=2
    )
    for word in (f"cache.password={PASSWORD}", f"feed.api_secret={SECRET}", f"cache.host=redis://a:{PASSWORD}@h"):
        said = subprocess.run(
            [sys.executable, "-m", "alphatrade", "paper", word],
            capture_output=True,
            text=True,
            cwd=place.here,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert said.returncode == 2
        place.said += said.stdout + said.stderr
    crashed = place.run("paper", "feed.speed=max", "account=CRASH", *SMALL, *files, code=1, program=("-c", CRASH))
    assert "crash in the node" in crashed
    assert "Traceback" in crashed
    for end in (signal.SIGKILL, signal.SIGABRT):  # the second one as a watchdog does: it is no wish for a clean stop
        place.watched(place.start("paper", "feed.speed=8000", *SMALL, *files), -end, end)
    place.run("paper", "feed.speed=max", *SMALL, *files)
    assert place.leaks() == []
    assert place.looks > 50
    assert list(place.here.glob("artifacts/*/*/journal/*.journal"))
    with server.server(PASSWORD) as asked:
        values = [
            asked.ask("GET", key.decode()) for key in asked.keys("") if asked.ask("TYPE", key.decode()) == b"string"
        ]
        values += [
            item
            for key in asked.keys("")
            if asked.ask("TYPE", key.decode()) == b"list"
            for item in asked.ask("LRANGE", key.decode(), "0", "-1")
        ]
    assert len(values) > 10
    assert ALL.within(b"".join(values), "redis") == []


def test_a_direct_kill_leaves_its_keys_nowhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_account, "KEY", KEY)
    monkeypatch.setattr(make_account, "SECRET", SECRET)
    with serving(Account()) as account:
        account.rest("a-1", "BTCUSDT", "SELL", "0.5")
        kill = (
            "kill",
            "--why",
            "drill",
            "--direct",
            "BTCUSDT,ETHUSDT",
            "--venue",
            "binance",
            "--url",
            account.url,
            "--deadline",
            "3",
        )
        assert "flat after" in place.run(*kill, "--secrets-dir", str(place.keys))
        assert "flat after" in place.run(*kill)  # from the keyring
        (place.keys / "binance_api_secret").write_text(SECRET[::-1])
        assert "expected a key that the venue accepts" in place.run(*kill, "--secrets-dir", str(place.keys), code=2)
        account.closed.add("BTCUSDT")
        account.free["BTC"] += 1
        place.run(*kill, code=1)
    place.run(
        "kill",
        "--why",
        "drill",
        "--direct",
        "BTCUSDT",
        "--venue",
        "binance",
        "--url",
        "http://127.0.0.1:9",
        "--deadline",
        "1",
        code=1,
    )
    reversed_too = Canaries(SECRET[::-1])
    assert place.leaks() + reversed_too.within(place.said, "output") + reversed_too.in_files(place.here) == []
    assert place.looks > 20


def test_mutations_what_leaks_is_found(place: Place) -> None:
    """Each way out of the house, once: a file, a log, a command line, an environment."""
    place.run("-c", f"print({KEY!r}); open('log', 'w').write({SECRET!r})", program=())
    place.watched(
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(0.5)", PASSWORD], stdout=subprocess.PIPE, text=True
        ),
        0,
    )
    place.watched(
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(0.5)"], env={"X": KEY}, stdout=subprocess.PIPE, text=True
        ),
        0,
    )
    place.run("-c", "import os; print(os.environ['OPENAI_API_KEY'][:30])", program=())
    leaks = "\n".join(place.leaks())
    for name, where in (
        ("canaryKEY", "output"),
        ("canarySECRET", "log"),
        ("canaryREDIS", "cmdline"),
        ("canaryKEY", "environ"),
        ("canaryENV", "output"),
    ):
        assert any(name in line and where in line for line in leaks.splitlines()), (name, where)
