"""A node with real orders, for the drill of alerts: at an exchange on loopback, under a permit of two persons."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.drills.watching import free_port
from benchmarks.live.place import LAUNCH, Place, placed
from tests.nodes.make_paper import Node

ALERTS = "PreflightFailed", "UnknownOrder", "ReconcileDifference", "PermitLapsed"
DAYS_S = 3 * 86_400.0  # of the permit: it ends on no day of the drill


def begun(root: Path, number: int, stack: ExitStack) -> tuple[str, Callable[[], None]]:
    """
    Start one; return where it is scraped, and what makes each of `ALERTS`.

    Parameters
    ----------
    root : Path
        Folder of its machine.
    number : int
        Of the drill.
    stack : ExitStack
        Ends node and exchange.
    """
    place, port = stack.enter_context(placed(root, number + 1)), free_port()
    place.node = Node(root, *place.node.words, "guard.again_min=0.1", f"metrics.port={port}")
    permit = place.permit(DAYS_S, policy=0)
    place.start()
    place.beat()
    return f"127.0.0.1:{port}", lambda: _harm(place, permit)


def _harm(place: Place, permit: str) -> None:
    """Give its key a right that it must not have, send an order of somebody else, and take the permit back."""
    place.venue.tell("permissions", enableWithdrawals=True)
    sent = place.venue.order("BUY", "LIMIT", "0.001", price=20_000, newClientOrderId="web-1")
    assert sent.status == 200, sent.body
    words = [str(place.anchor), "permit", "revoke", permit, "--why", "drill"]
    subprocess.run(
        [sys.executable, "-m", LAUNCH, *words], cwd=place.root, env=place.node.env, check=True, capture_output=True
    )
