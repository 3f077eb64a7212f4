"""Rollback: a worse policy is in charge of paper; a command puts the one before in charge, and that one flies."""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from alphatrade.evolution import promotion
from alphatrade.nodes.ledger_home import Home, existing, home, key_file
from alphatrade.nodes.promote_stage import promote_stage
from alphatrade.reflection.keys import SigningKey
from benchmarks.drills.record import Trial
from tests.nodes.make_dossier import make
from tests.nodes.make_paper import Node
from tests.reflection.make_ledger import Cast, digest, stage, verdict

SMALL = (
    "feed.speed=max", "tape=world", "tape.hours=2", "tape.step_s=2", "output.stress=false", "output.report=false",
    "metrics.enabled=false",
)  # fmt: skip


class Seen(NamedTuple):
    """Who was in charge before and after, what a start of the one that was taken back said, and who flew then."""

    first: str
    second: str
    before: str
    after: str
    refusal: str
    flew: str


def rolled_back(place: Path, number: int) -> Trial:
    """Promote two policies, take the second back by command, and start by either."""
    node = Node(place)
    with patch.dict(os.environ, {"ALPHATRADE_STATE": node.env["ALPHATRADE_STATE"]}):
        first, second = _promoted(place)
        before = home().ledger.chain.stages.incumbent("paper")
        began = time.monotonic()
        node.run("rollback", "paper", "--why", "drill", verb="stage")
        took = time.monotonic() - began
        after = existing().ledger.chain.stages.incumbent("paper")
    refusal = node.run(f"policy_entry={second}", *SMALL, code=2)
    node.run(f"policy_entry={first}", *SMALL)
    flew = json.loads((place / "artifacts" / "latest" / "summary.json").read_text())["policy_hash"]
    wrong = judged(Seen(first, second, before, after, refusal, flew))
    return Trial(wrong, {"from the command to the entry in the ledger": 1000 * took}, {})


def judged(seen: Seen) -> str:
    """Return what is wrong; empty: nothing."""
    checks = (
        ("the second was not in charge before: nothing was drilled", seen.before == seen.second != seen.first),
        (f"{seen.after or 'nobody'} is in charge, not the policy before", seen.after == seen.first),
        ("a start of the one that was taken back was not refused for that", "(drill)" in seen.refusal),
        (f"{seen.flew or 'nobody'} has flown, not the policy before", seen.flew == seen.first),
    )
    return next((why for why, holds in checks if not holds), "")


def _promoted(place: Path) -> tuple[str, str]:
    """Return two policies in stage paper, the second in charge, by a gate that asks for little: they are made up."""
    ledger = home().ledger.folder
    keys = [SigningKey.load(key_file(whose)) for whose in ("root", "person", "service")]
    few = {name: promotion.CHECKS[name] for name in ("ledger", "latency")}
    with patch.object(promotion, "CHECKS", few):
        made = make(place / "made", cast=Cast(ledger, *keys))
        promote_stage(made.data, made.policy_hash, "drill", existing(key_file("person")))
    Home(home().ledger, keys[1]).append_stage(stage(2, "experiment", "paper"), verdict(2))
    return made.policy_hash, digest(1002)
