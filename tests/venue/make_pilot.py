"""``alphatrade live`` without a ledger: ``python -m tests.venue.make_pilot PERMIT WORDS…``; what is permitted is read from a file.

The file holds the fields of a permit that are not the default; a test that changes it is a ledger that changes. Words
that begin with ``--`` change the node for a test:

============ ======================================================================
--check      its checks are made, and nothing starts
--forgetful  what is closed leaves the cache after a second, not after a minute
--amnesiac   likewise, and nobody is told what leaves it
--impatient  an exchange that is away for three seconds is away for too long
--hungry     it buys as long as the price falls, in small orders
--uncapped   its law has no cap of capital
--careless   its law has no cap of loss
--other      it runs another policy
--green      likewise one that decides nothing for a long time
--dies-left  it dies when it has written down what it leaves to the next node
--dies-noted likewise, when it has noted what it is to take over
--dies-permitted  when it has its permit then, and has not seen its account yet
--dies-sent  when the order that takes it over has passed the law
--dies-filled  when that order is filled
--dies-kept  when that is on the disk, and the file with what was left is still there
============ ======================================================================
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from alphatrade.nodes import stops
from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.engine import Housekeeper
from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.nodes.live import estate, guardian, run, settings
from alphatrade.nodes.live.anchor import Anchor
from alphatrade.nodes.live.broker import LiveBroker
from alphatrade.nodes.live.preflight import require, table
from alphatrade.nodes.paper.entry import Entered
from alphatrade.nodes.paper.intake import Intake
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import AlphaTradeError
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import Permit
from benchmarks.faults.place import LIVELY
from tests.nodes.make_paper import Node
from tests.venue.keys import ED25519_KEY
from tests.venue.make_venue import Handle, until

CAPITAL = 100
PERMIT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()  # before Hydra changes it
SHARES = (
    "order_notional_max=0.3",
    "gross_max=1",
    "net_max=1",
    "instrument_max=1",
    "daily_loss_max=0.2",
    "drawdown_max=0.2",
)
SIZES = ("policy.sizing.fraction=0.25", "policy.sizing.vol_target_bps=1000", "policy.topologies.maker.params.clips=1")
POLICY = (*SIZES, *(word for word in LIVELY if word.startswith("policy")), *(f"policy.risk.{word}" for word in SHARES))


class Watch:
    """Looks at a file."""

    def __init__(self, anchor: Anchor, asked: Any, folder: Path) -> None:
        self._asked, self.clocks = asked, self

    def hear(self, ahead_ms: float) -> None:
        """Take no notice."""

    def look(self) -> Permit:
        told = json.loads(PERMIT.read_text())
        asked, atto = self._asked, 10**18
        plain = Permit(
            entry="e" * 64, policy=asked.policy, code=asked.code, venue=asked.venue, account=asked.account,
            instruments=asked.instruments, currency="USDT", capital=CAPITAL * atto, loss=20 * atto,
            begins=time.time_ns() - 3600 * 10**9, ends=time.time_ns() + 3600 * 10**9, at=time.time_ns(),
        )  # fmt: skip
        return plain._replace(**told)


class Pilot:
    """A live node at a venue, a process of its own, whose ledger is a file."""

    def __init__(self, root: Path, venue: Handle) -> None:
        self.venue, self.root = venue, root
        self.permit, self.folder = root / "permit.json", root / "state" / "live" / "PILOT"
        keys = root / "keys"
        keys.mkdir(mode=0o700)
        ED25519_KEY.put(keys)
        self.node = Node(
            root, "feed.symbols=[BTCUSDT]", f"feed.http={venue.http}", f"feed.ws={venue.ws}", "feed.stall_s=2",
            f"broker.http={venue.http}", f"broker.ws_api={venue.ws_api}", f"broker.secrets_dir={keys}",
            "broker.check_s=0.5", "output.report=false", "guard.look_s=0.5", "guard.reconcile_min=0.03",
            "guard.again_min=0.03", "metrics.enabled=false",
        )  # fmt: skip
        self.process: subprocess.Popen[str] | None = None
        self.permits()

    def permits(self, **fields: Any) -> None:
        """Change what is permitted."""
        fresh = self.permit.with_suffix(".new")
        fresh.write_text(json.dumps(fields))
        fresh.replace(self.permit)

    def start(self, *words: str) -> "Pilot":
        command = [sys.executable, "-m", "tests.venue.make_pilot", str(self.permit), *self.node.words, *words]
        self.process = subprocess.Popen(
            command, cwd=self.root, env=self.node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        return self

    def beat(self, what: Any = lambda beat: True, timeout: float = 40.0) -> Beat:
        """Wait for a beat of the process of which something is true."""
        process = self.process
        assert process is not None

        def found() -> Beat | None:
            assert process.poll() is None, process.communicate()
            beat = last_beat(self.folder)
            return beat if beat is not None and beat.pid == process.pid and what(beat) else None

        return until(found, timeout, 0.05)  # type: ignore[no-any-return]

    def trading(self, fills: int = 2) -> "Pilot":
        """Wait until there are fills."""
        self.beat(lambda beat: beat.fills >= fills, 60)
        return self

    def halted(self) -> str:
        """Wait until the node has stopped trading by itself and is flat; return what its latch says."""
        self.beat(lambda beat: beat.kill == "HALTED", 30)
        return (self.folder / "latch.json").read_text()

    def end(self, code: int = 0, by: int = signal.SIGTERM) -> str:
        """Stop it, and return what it said."""
        assert self.process is not None
        if by:
            self.process.send_signal(by)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == code, out + err
        return out + err

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    @property
    def report(self) -> dict[str, Any]:
        """The day's report."""
        (file,) = self.root.glob("artifacts/*/live/PILOT/reconcile.json")
        return dict(json.loads(file.read_text()))

    @property
    def alerts(self) -> list[str]:
        """Kinds of the alerts so far."""
        file = self.folder / "alerts.jsonl"
        return [json.loads(line)["kind"] for line in file.read_text().splitlines()] if file.exists() else []

    def orders(self) -> list[str]:
        """Ids of the orders in the venue's books."""
        return [row["clientOrderId"] for row in self.venue.look("books")["orders"]]


def clean(pilot: Pilot) -> None:
    """See that every reconciliation found that all agree, and that the venue's books add up."""
    report = pilot.report
    assert (report["differences"], report["unread"]) == (0, 0), report
    whens = [one["when"] for one in report["reconciliations"]]
    assert whens[0] == "start"
    assert whens[-1] == "stop"
    assert pilot.venue.look("books")["audit"] == []


def forgetful(told: bool = True) -> None:
    """Have what is closed leave the cache early."""
    stock = Housekeeper.on_start

    def on_start(keeper: Housekeeper) -> None:
        stock(keeper)
        keeper._every, keeper._keep_ns = 4, 10**9
        if not told:
            keeper.forgets = lambda _order: None

    Housekeeper.on_start = on_start  # type: ignore[method-assign]


def impatient() -> None:
    guardian.AWAY_S = 3.0


def hungry() -> None:
    global POLICY
    POLICY = (*POLICY, "policy.sizing.fraction=0.15", "policy.topologies.maker.params.max_clips=10")


def uncapped() -> None:
    LiveLaw.committed = lambda self, more=(): 0  # type: ignore[method-assign]


def careless() -> None:
    LiveLaw.worst_loss = lambda self, more=(): 0  # type: ignore[method-assign]


def other() -> None:
    global POLICY
    POLICY = (*POLICY, "policy.sizing.fraction=0.2")


def green() -> None:
    global POLICY
    POLICY = (*POLICY, "policy.regime.vol_long=1000")


def dies(place: Any, name: str, after: bool = True) -> None:
    """Have the process killed where it comes to a function: before it, or after it and all that it has kept."""
    stock = getattr(place, name)

    def last(*given: Any) -> None:
        if after:
            stock(*given)
        if isinstance(given[0], Intake):
            given[0].flush()
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, last)


HOOKS = {
    "--forgetful": forgetful, "--amnesiac": lambda: forgetful(False), "--impatient": impatient, "--hungry": hungry,
    "--uncapped": uncapped, "--careless": careless, "--other": other,
    "--green": green,
    "--dies-left": lambda: dies(estate, "write_left"), "--dies-noted": lambda: dies(Intake, "handover"),
    "--dies-permitted": lambda: dies(Intake, "permit"),
    "--dies-sent": lambda: dies(LiveBroker, "_fill", after=False), "--dies-filled": lambda: dies(LiveBroker, "_fill"),
    "--dies-kept": lambda: dies(estate, "forget", after=False),
}  # fmt: skip


def main(words: list[str]) -> None:
    for word in set(words) & set(HOOKS):
        HOOKS[word]()
    policy = compose_settings(POLICY).policy
    run.Watch = Watch  # type: ignore[misc,assignment]
    entry = {"policy_hash": policy.policy_hash, "stage": "limited_live", "seq": 0, "hash": "", "ledger": ""}
    settings.in_force = lambda name, anchor: Entered(policy, entry)  # type: ignore[assignment]
    place = Path(ledger_dir())
    check = "--check" in words
    composed = run_config(
        "live",
        [word for word in words if not word.startswith("--")],
        "live",
        lambda config: settings.live_settings(config, Anchor(Path(config.paths.state), place, "")),
    )
    if check:
        checks = run.check(composed)
        print(table(checks))
        require(checks)
    else:
        with stops.heard():
            print("switched:", run.live(composed).switched)


if __name__ == "__main__":
    try:
        main(sys.argv[2:])
    except AlphaTradeError as error:
        print(f"alphatrade: {error}", file=sys.stderr)
        raise SystemExit(2) from None
