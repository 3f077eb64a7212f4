"""The audit archive of a paper run and a ledger with promotions: does it verify, how fast, what tampering it finds."""

import os
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from tqdm import tqdm

from alphatrade.nodes.audit.export import Exported, Places, export
from alphatrade.nodes.audit.tables import Span
from alphatrade.reflection.keys import SigningKey
from benchmarks.figures import ROOT, Figure
from tests.nodes.make_live import ready
from tests.nodes.make_paper import Node

COMMAND = "python -m benchmarks.live --only archive"
WORDS = (
    "feed.speed=max", "tape=world", "tape.hours=2", "tape.step_s=2", "venue.account=cash", "output.report=false",
)  # fmt: skip
CHANGED = 200


def exported(place: Path) -> Exported:
    """Run a promoted policy on paper below a folder, and export the day."""
    made, node = ready(place), Node(place)
    node.run(f"policy_entry={made.policy_hash}", *WORDS)
    shutil.copytree(made.artifacts, place / "artifacts", dirs_exist_ok=True)
    today = datetime.now(UTC).date()
    signers = [SigningKey.load(made.state / "keys" / "service.pem"), SigningKey.load(made.second)]
    with patch.dict(os.environ, node.env):
        return export(Span(today, today), Places(place / "artifacts", made.state, made.ledger), signers)


def verdict(path: Path) -> int:
    """Return the exit code of the verifier, in a process with nothing but the standard library."""
    words = [sys.executable, "-I", "-S", str(ROOT / "nodes" / "data" / "verify.py"), str(path)]
    return subprocess.run(words, env={}, capture_output=True, check=False).returncode


def found(path: Path, changes: int, seed: int = 1) -> int:
    """Return how many of so many single bytes that are changed, each alone, are found."""
    good, draw, count = path.read_bytes(), random.Random(seed), 0
    other = path.with_name("changed.zip")
    for _ in tqdm(range(changes), desc="bytes changed", unit="byte", disable=None):
        data, at = bytearray(good), draw.randrange(len(good))
        data[at] ^= draw.randrange(1, 256)
        other.write_bytes(data)
        count += verdict(other) == 1
    return count


def figures(changes: int = CHANGED) -> list[Figure]:
    """Return the figures of an archive."""
    with TemporaryDirectory(prefix="alphatrade-archive-") as folder:
        made = exported(Path(folder))
        began = time.monotonic()
        code = verdict(made.path)
        took, size = time.monotonic() - began, made.path.stat().st_size
        count = found(made.path, changes)
    return [
        Figure("live.archive", "sandbox: single bytes of an audit archive changed, and found", count, "bytes",
               f"== {changes}", count == changes, changes, None, COMMAND),
        Figure("live.verify", "sandbox: exit code of its verifier", code, "", "== 0", code == 0, 1, None, COMMAND),
        Figure("live.verify_s", "sandbox: time to verify it", round(took, 2), "s", "", None, 1, None, COMMAND),
        Figure("live.archive_mb", "sandbox: its size", round(size / 1e6, 2), "MB", "", None, 1, None, COMMAND),
    ]  # fmt: skip
