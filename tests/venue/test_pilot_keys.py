"""Keys of a live node: found nowhere but in their files, and another one while it trades, without a restart.

The node trades, is refused, meets errors of the exchange, crashes beside its keys and inside of the bundled client, is
killed and goes on; then everything that it has written, said and shown is searched, the auditor's archive of it included.
"""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.nodes.make_canaries import Canaries
from tests.venue.keys import ApiKey, make_ed25519
from tests.venue.make_live import moving
from tests.venue.make_pilot import Pilot
from tests.venue.make_venue import Handle

pytestmark = pytest.mark.long

FRAME = 22  # characters of any Ed25519 key in base64 that are its frame
TAKEN_S = 4.0  # in which a node that looks for keys each second has seen them
OLD, NEW = make_ed25519("canaryOLDKEY0000aSdFgHjKlZxCvBn1", 11), make_ed25519("canaryNEWKEY0000qWeRtYuIoPaSdFg2", 12)
FAULTS: dict[str, dict[str, object]] = {
    "error": {"count": 3, "path": "/api/v3/order"}, "garbage": {"where": "rest", "count": 2}, "reject": {"count": 2},
    "terminate": {}, "lost": {"count": 1, "path": "/api/v3/order"},
}  # fmt: skip
CRASHES = {
    "beside the keys, before the start": """
from alphatrade.nodes.live import preflight
async def crash(*_):
    raise RuntimeError("a planted crash")
preflight._standing = crash
""",
    "in the bundled client, while it sends": """
from nautilus_trader.adapters.binance.execution import BinanceCommonExecutionClient
async def crash(*_):
    raise RuntimeError("a planted crash")
BinanceCommonExecutionClient._submit_order = crash
""",
    "in the door, beside the signature": """
from alphatrade.nodes.live import door
def crash(*_, **__):
    raise RuntimeError("a planted crash")
door.quote = crash
""",
}
REST = """
import sys
from tests.venue import make_pilot
make_pilot.main(sys.argv[2:])
"""


def accepted(venue: Handle, key: ApiKey) -> None:
    venue.tell("keys", accept=key.public())


CANARIES = Canaries(*(one for key in (OLD, NEW) for one in (key.name, key.body[FRAME:])))


@pytest.fixture
def venue() -> Iterator[Handle]:
    with moving() as handle:
        accepted(handle, OLD)
        yield handle


@pytest.fixture
def pilot(pilot: Pilot) -> Pilot:
    OLD.put(pilot.root / "keys")
    return pilot


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def rotated(pilot: Pilot) -> None:
    """Let the exchange take a new key, write it, and let the old one be worth nothing as soon as it may be in use."""
    accepted(pilot.venue, NEW)
    NEW.put(pilot.root / "keys")
    time.sleep(TAKEN_S)
    pilot.venue.tell("keys", revoke=OLD.name)


def test_another_key_is_taken_up_while_it_trades_without_a_restart(pilot: Pilot) -> None:
    pilot.start().trading(2)
    pid = pilot.beat().pid
    rotated(pilot)
    pilot.trading(pilot.beat().fills + 4)
    last = pilot.beat()
    assert (last.pid, last.kill) == (pid, "ACTIVE")
    said = pilot.end()
    assert said.count("there are new keys") == 1
    assert (pilot.report["differences"], pilot.report["flat"]) == (0, True)
    assert pilot.venue.look("books")["audit"] == []


@pytest.mark.parametrize("how", ["mode", "right", "account"])
def test_another_key_that_no_start_would_take_is_not_taken_up_either(pilot: Pilot, how: str) -> None:
    pilot.start("guard.again_min=60").trading(2)
    accepted(pilot.venue, NEW)
    if how == "right":
        pilot.venue.tell("permissions", enableWithdrawals=True)
    if how == "account":
        pilot.venue.tell("permissions", uid=2)
    NEW.put(pilot.root / "keys", 0o644 if how == "mode" else 0o600)
    time.sleep(TAKEN_S)
    pilot.venue.tell("keys", revoke=NEW.name)  # whoever uses it trades no more
    pilot.trading(pilot.beat().fills + 3)
    pilot.venue.tell("permissions", enableWithdrawals=False)
    said = pilot.end()
    assert "there are new keys" not in said
    assert "new keys are of no use, those in use stay in use" in said
    assert {"mode": "mode 0644", "right": "enableWithdrawals", "account": "account of the new keys"}[how] in said


def test_a_live_node_leaves_its_keys_nowhere(pilot: Pilot) -> None:
    found, said, at = list[str](), "", free_port()
    pilot.start("metrics.enabled=true", f"metrics.port={at}").trading(2)
    assert pilot.process is not None
    for name, options in FAULTS.items():
        pilot.venue.fault(name, **options)
        time.sleep(1)
        found += CANARIES.in_processes(pilot.process.pid)
    pilot.venue.tell("clear")
    rotated(pilot)
    with urllib.request.urlopen(f"http://127.0.0.1:{at}/metrics", timeout=10) as answer:
        found += CANARIES.within(answer.read(), "metrics")
    said += pilot.end(-9, by=signal.SIGKILL)
    pilot.start().trading(1)
    said += pilot.end()
    for word in (f"broker.api_secret={NEW.body}", f"feed.http=http://a:{NEW.name}@127.0.0.1:1"):
        refused = subprocess.run(
            [sys.executable, "-m", "alphatrade", "live", word], cwd=pilot.root, env=pilot.node.env, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert refused.returncode == 2
        said += refused.stdout + refused.stderr
    for crash in CRASHES.values():
        words = [sys.executable, "-c", crash + REST, str(pilot.permit), *pilot.node.words]
        pilot.process = subprocess.Popen(
            words, cwd=pilot.root, env=pilot.node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with suppress(subprocess.TimeoutExpired):
            pilot.process.wait(15)
        pilot.process.send_signal(signal.SIGTERM)
        out, err = pilot.process.communicate(timeout=60)
        assert "a planted crash" in out + err, out + err
        said += out + err
        for latch in pilot.folder.glob("latch.json"):
            latch.unlink()
    assert said.count("Traceback") >= 1
    assert "BTCUSDT" in said
    left = [path for path in pilot.root.iterdir() if path.name != "keys"]
    assert list(pilot.root.glob("artifacts/*/*/orders.parquet"))
    assert found + CANARIES.within(said, "output") + CANARIES.in_files(*left) == []


def test_mutations_a_key_that_is_told_is_found(pilot: Pilot) -> None:
    """By the log of a client, by a name of a file, by a command line."""
    (pilot.root / "log").write_text(f"X-MBX-APIKEY: {NEW.name}")
    (pilot.root / OLD.name).touch()
    left = [path for path in pilot.root.iterdir() if path.name != "keys"]
    assert len({line.rpartition(": ")[2] for line in CANARIES.in_files(*left)}) == 2
    assert CANARIES.within(f"secret={NEW.body}", "output")
