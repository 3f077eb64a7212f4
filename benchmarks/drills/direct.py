"""Direct: ``alphatrade kill --direct`` at an exchange on loopback, past a trader that hangs or is dead."""

import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.drills.place import PATIENCE_S, operator_kills
from benchmarks.drills.record import Trial
from benchmarks.figures import ROOT
from tests.nodes.make_paper import Node
from tests.venue.keys import HMAC_KEY
from tests.venue.make_venue import Handle, spawned, until
from tests.venue.rules import KNOWN

RULES, KILL = KNOWN["BTCUSDT"], "kill-"
DEPOSITS = ("--deposit", "USDT=1000000", "--deposit", "BTC=1")
Books = dict[str, Any]


def hung(place: Path, number: int) -> Trial:
    """Kill past a trader that was stopped in the middle of what it did."""
    return _direct(place, number, signal.SIGSTOP)


def dead(place: Path, number: int) -> Trial:
    """Kill past a trader that is no more."""
    return _direct(place, number, signal.SIGKILL)


def _direct(place: Path, number: int, how: signal.Signals) -> Trial:
    keys = _keys(place / "keys")
    with spawned("--speed", "5", "--seed", str(number + 1), *DEPOSITS) as venue:
        venue.tell("limits", orders=1_000_000, weight=1_000_000)  # the trader sends more than the real one would take
        numbers = [str(value) for value in (venue.port, venue.control_port, number)]
        command = [sys.executable, "-m", "tests.venue.make_trader", *numbers]
        trader = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _trades(trader, venue, 0), PATIENCE_S, pause=0.1)
            time.sleep(random.Random(number).uniform(0.0, 0.5))
            until(lambda: _trades(trader, venue, 3), PATIENCE_S)
            os.kill(trader.pid, how)
            venue.tell("pause")  # or what is open might be filled before it can be looked at
            time.sleep(0.2)  # what it had sent has arrived
            before, asked = venue.look("books"), venue.look("state")["requests"]
            venue.tell("resume")
            words = "--direct", "BTCUSDT", "--venue", "binance_testnet", "--url", venue.http, "--secrets-dir", str(keys)
            began = operator_kills(Node(place), *words)["began"] // 1_000_000
            time.sleep(0.5)  # for what should not come any more
            after, requests = venue.look("books"), venue.look(f"requests?method=DELETE&since={asked}")
        finally:
            trader.kill()
            trader.wait(PATIENCE_S)
    last = settled_at(after, began)
    took = {
        "from the command to nothing open and nothing held": last - began,
        "from its first request": last - min((1000 * row["ts"] for row in requests), default=float("nan")),
    }
    return Trial(judged(before, after, began), took, {"open": len(before["open"]), "held": float(held(before))})


def judged(before: Books, after: Books, began: int) -> str:
    """
    Return what is wrong by the exchange's own books; empty: nothing.

    Parameters
    ----------
    before, after : dict
        Books just before the command and a while after it.
    began : int
        When the command began, UTC ms.
    """
    price = Decimal(after["trades"][-1]["price"]) if after["trades"] else Decimal(0)
    left = held(after)
    foreign = [row for row in after["orders"] if row["time"] >= began and not row["clientOrderId"].startswith(KILL)]
    drilled = before["open"] and held(before) >= RULES.lot
    checks = (
        ("nothing was open, or nothing held, before: nothing was drilled", drilled),
        (f"{len(after['open'])} orders are open", not after["open"]),
        (f"{left} BTC are held", left < RULES.lot or left * price < RULES.min_notional),
        (f"{len(foreign)} orders came that were not of the kill", not foreign),
        (f"the books do not add up: {after['audit']}", not after["audit"]),
    )
    return next((why for why, holds in checks if not holds), "")


def held(books: Books) -> Decimal:
    """Return what there is of the base asset, free and locked."""
    return sum((Decimal(amount) for amount in books["balances"][RULES.base].values()), Decimal(0))


def settled_at(books: Books, began: int) -> int:
    """Return when the last order was closed or the last sale filled, UTC ms, by the exchange's clock."""
    return max((row["updateTime"] for row in books["orders"] if row["updateTime"] >= began), default=began)


def _trades(trader: "subprocess.Popen[bytes]", venue: Handle, resting: int) -> bool:
    assert trader.poll() is None, "the trader has ended"
    books = venue.look("books")
    return len(books["open"]) >= resting and len(books["trades"]) >= 5


def _keys(folder: Path) -> Path:
    """Return a folder with a key of the kill's own, another one than the trader's."""
    folder.mkdir(mode=0o700)
    for name, value in (("binance_testnet_api_key", HMAC_KEY.name), ("binance_testnet_api_secret", HMAC_KEY.secret)):
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(value + "\n")
    return folder
