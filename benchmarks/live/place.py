"""An exchange, a machine with a ledger of two persons, and its live node: each a process, or files, of its own."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.identity import code_hash
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.permit_entries import Terms
from alphatrade.reflection.permits import cosigned
from benchmarks.faults.judge import apart, books_of
from benchmarks.live.judge import flat, held
from benchmarks.live.mix import thin
from tests.nodes.make_live import CAPITAL, SECOND, another, ready
from tests.nodes.make_paper import Node
from tests.venue.keys import ED25519_KEY
from tests.venue.make_venue import Handle, spawned, until

ACCOUNT, SYMBOL, INSTRUMENT = "PILOT", "BTCUSDT", "BTCUSDT.BINANCE"
LOSS = CAPITAL // 5
PATIENCE_S = 60.0
HOUR_S = 3_600.0
DEPOSITS = {"USDT": "1000", "BTC": "0.00004"}  # of which the second is dust, and nobody's
LOT = Decimal("0.00001")  # step of a quantity
STEP = Decimal("0.0002")  # what is worth less than the exchange takes cannot be sold
SPEED = "10"
OTHER = "genotype.sizing.fraction=0.2"  # by which the second policy differs from the first
LAUNCH = "benchmarks.live.launch"
_READY = threading.Lock()  # a machine is made in this process, whose environment names it meanwhile


class Place:
    """
    An exchange, and a machine whose node trades there under a permit.

    Parameters
    ----------
    venue : Handle
    root : Path
        Folder of the machine: state, ledger, anchor, keys, artifacts.

    Attributes
    ----------
    policies : tuple of str
        The two that were promoted, by their hashes; the first is in charge until the second is permitted.
    left : Decimal
        Dust that runs of before could not sell, base units: a run begins without it.
    """

    def __init__(self, venue: Handle, root: Path) -> None:
        self.venue, self.root = venue, root
        with _READY:
            self.machine = ready(root)
            self.policies = self.machine.policy_hash, another(self.machine, root / "other", OTHER)
        self.folder = self.machine.state / "live" / ACCOUNT
        self.anchor = root / "anchor.json"
        fingerprint = Ledger(self.machine.ledger).chain.fingerprint
        told = {"state": str(self.machine.state), "ledger": str(self.machine.ledger), "fingerprint": fingerprint}
        self.anchor.write_text(json.dumps(told))
        self.anchor.chmod(0o600)
        keys = root / "keys"
        keys.mkdir(mode=0o700)
        ED25519_KEY.put(keys)
        self.node = Node(
            root, f"feed.symbols=[{SYMBOL}]", f"feed.http={venue.http}", f"feed.ws={venue.ws}", "feed.stall_s=2",
            "feed.pause_s=0.1", "feed.pause_most_s=1", f"broker.http={venue.http}", f"broker.ws_api={venue.ws_api}",
            f"broker.secrets_dir={keys}", "broker.check_s=0.5", "output.report=false", "guard.look_s=0.5",
            "guard.reconcile_min=0.05",
        )  # fmt: skip
        self.process: subprocess.Popen[str] | None = None
        self.left = Decimal(0)
        self.said: list[str] = []

    # -- the ledger

    def permit(self, seconds: float = HOUR_S, policy: int | None = None, loss: int = LOSS) -> str:
        """Let both persons permit a policy, else that in charge, from now on, and return the permit's id."""
        now, ledger = time.time_ns(), Ledger(self.machine.ledger)
        which = self.policies[self.in_charge if policy is None else policy]
        terms = Terms(
            policy_hash=which, code_hash=code_hash(), venue="sandbox", account=ACCOUNT,
            symbols=[INSTRUMENT], currency="USDT", capital=str(CAPITAL), loss=str(loss), begins=str(now),
            ends=str(now + int(seconds * 1e9)), ledger=ledger.chain.fingerprint, nonce=f"{now:032x}",
        )  # fmt: skip
        second = {"key": SECOND, "sig": cosigned(terms, SigningKey.load(self.machine.second))}
        body = {"terms": terms.model_dump(), "cosign": second, "why": "drill"}
        ledger.append("limited_live", body, self._key("person"), now)
        return ledger.chain.permits.all[-1].id

    def revoke(self) -> None:
        """Let the machine's service take every permit back; the node has to notice by itself."""
        ledger = Ledger(self.machine.ledger)
        for one in ledger.chain.permits.all:
            if not one.revoked:
                body = {"permit": one.id, "why": "drill"}
                ledger.append("revocation", body, self._key("service"), time.time_ns())

    @property
    def in_charge(self) -> int:
        """Which of the policies the ledger has in charge of real money."""
        return self.policies.index(Ledger(self.machine.ledger).chain.stages.incumbent("limited_live"))

    def _key(self, whose: str) -> SigningKey:
        return SigningKey.load(self.machine.state / "keys" / f"{whose}.pem")

    # -- the node

    def start(self) -> None:
        """Start the node, and go on."""
        self.process = self.node.start(str(self.anchor), "live", module=LAUNCH)
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()  # type: ignore[union-attr]

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        with (self.root / "said").open("a") as file:
            for line in process.stderr or ():
                self.said.append(line)
                file.write(line)
                file.flush()

    def refused(self) -> str:
        """Start the node where it must not, and return its one line; empty: it has started."""
        process = self.node.start(str(self.anchor), "live", module=LAUNCH)
        try:
            _, told = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return ""
        return told.strip().splitlines()[-1] if process.returncode == 2 else ""

    def beat(self, what: Any = lambda beat: True, timeout: float = PATIENCE_S) -> Beat:
        """Wait for a beat of the process of which something is true."""

        def found() -> Beat | None:
            assert self.process is not None
            assert self.process.poll() is None, f"the node has ended: {''.join(self.said[-8:])}"
            beat = last_beat(self.folder)
            return beat if beat is not None and beat.pid == self.process.pid and what(beat) else None

        return until(found, timeout, 0.05)  # type: ignore[no-any-return]

    def trading(self, fills: int) -> None:
        """Wait until the node has so many fills in this run, by a beat that is not one of the run before."""
        began = self.folder / "run.json"
        self.beat(lambda beat: beat.fills >= fills and beat.ts > began.stat().st_mtime_ns, 2 * PATIENCE_S)

    def agree(self) -> list[str]:
        """Stop the market, end what is wrong, and wait until node and books agree; return in what they do not."""
        self.venue.tell("pause")
        self.venue.tell("clear")
        since, ends, found = time.time_ns(), time.monotonic() + PATIENCE_S, ["no beat"]
        while found and time.monotonic() < ends:
            beat = self.beat(lambda beat, since=since: beat.ts > since)
            since = beat.ts
            books = books_of(self.venue.look("books"), "BTC")
            found = apart(beat.facts, books._replace(position=books.position - self.left))
            if beat.kill != "ACTIVE":
                return [f"kill switch {beat.kill}", *found]
        self.venue.tell("resume")
        return found

    def kill_9(self) -> None:
        """Kill the node without warning."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> list[str]:
        """Stop the node; return what is wrong with how it ended."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        return [f"exit code {code}: {''.join(self.said[-4:])}"] if code else []

    def command(self, verb: str, *words: str) -> str:
        """Give an operator's command for the account."""
        return Node(self.root).run(
            "--env", "live", "--account", ACCOUNT, "--who", "drill", "--why", "drill", *words, verb=verb
        )

    def roll_back(self, *words: str) -> "subprocess.Popen[str]":
        """Begin to go back to the policy before, by one command, and go on."""
        command = [sys.executable, "-m", LAUNCH, str(self.anchor), "live-rollback", "--why", "drill", *words]
        return subprocess.Popen(
            command, cwd=self.root, env=self.node.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    # -- what is left

    @property
    def before(self) -> dict[str, str]:
        """What was held when the node's run began."""
        return DEPOSITS | {"BTC": str(Decimal(DEPOSITS["BTC"]) + self.left)}

    def held_up(self) -> str:
        """Return what the run has open or holds that could be closed; empty: it is flat."""
        return flat(self.books(), self.before, STEP)

    def left_over(self) -> Decimal:
        """Take what the run holds for dust that it leaves, and return how much, base units."""
        dust = held(self.books(), self.before)
        self.left += dust
        return dust

    def hand_over(self, held: Decimal) -> Decimal:
        """Take what the run holds for what it leaves to the next one, but for its dust; return that, base units."""
        dust = held % LOT
        self.left += dust
        return held - dust

    def books(self) -> dict[str, Any]:
        """Return the exchange's books."""
        found: dict[str, Any] = self.venue.look("books")
        return found

    @property
    def run(self) -> dict[str, Any]:
        """What the node's run is."""
        return dict(json.loads((self.folder / "run.json").read_text()))

    def bid(self) -> Decimal:
        """Return the best bid of the exchange."""
        return Decimal(self.venue.look("state")["best"][SYMBOL]["bid"])

    def alerts(self, kind: str) -> list[str]:
        """Return the words of all alerts of a kind so far."""
        file = self.folder / "alerts.jsonl"
        told = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        return [one["words"] for one in told if one["kind"] == kind]

    def posts(self) -> int:
        """Return how many orders were sent to the exchange."""
        return len(self.venue.look("requests?path=/api/v3/order&method=POST"))

    def report(self) -> dict[str, Any]:
        """Return the day's report of the node."""
        (file,) = self.root.glob(f"artifacts/*/live/{ACCOUNT}/reconcile.json")
        return dict(json.loads(file.read_text()))


@contextmanager
def placed(root: Path, seed: int) -> Iterator[Place]:
    """Run an exchange for a machine; what still runs afterwards is killed."""
    root = root.resolve()  # the node has a folder of its own
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    np.save(root / "tape.npy", thin(seed))
    deposits = [word for asset, amount in DEPOSITS.items() for word in ("--deposit", f"{asset}={amount}")]
    with spawned("--speed", SPEED, "--tape", f"{SYMBOL}={root / 'tape.npy'}", *deposits) as venue:
        venue.tell("limits", orders=1_000_000, weight=100_000_000)
        place = Place(venue, root)
        try:
            yield place
        finally:
            if place.process is not None and place.process.poll() is None:
                place.kill_9()
            (root / "books.json").write_text(json.dumps(venue.look("books")))
