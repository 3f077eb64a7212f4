"""``alphatrade live`` without a ledger: ``python -m tests.venue.make_pilot PERMIT WORDS…``; what is permitted is read from a file.

The file holds the fields of a permit that are not the default; a test that changes it is a ledger that changes.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from alphatrade.nodes.hydra_app import run_config
from alphatrade.nodes.ledger_home import ledger_dir
from alphatrade.nodes.live import run, settings
from alphatrade.nodes.live.anchor import Anchor
from alphatrade.nodes.live.preflight import require, table
from alphatrade.nodes.paper.entry import Entered
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import AlphaTradeError
from alphatrade.risk.permit import Permit
from benchmarks.faults.place import LIVELY

CAPITAL = 100
PERMIT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()  # before Hydra changes it
SHARES = ("order_notional_max=0.3", "gross_max=1", "net_max=1", "instrument_max=1", "daily_loss_max=0.2", "drawdown_max=0.2")
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


def main(words: list[str]) -> None:
    policy = compose_settings(POLICY).policy
    run.Watch = Watch  # type: ignore[misc,assignment]
    entry = {"policy_hash": policy.policy_hash, "stage": "limited_live", "seq": 0, "hash": "", "ledger": ""}
    settings.in_force = lambda name, anchor: Entered(policy, entry)  # type: ignore[assignment]
    place = Path(ledger_dir())
    check = "--check" in words
    composed = run_config(
        "live",
        [word for word in words if word != "--check"],
        "live",
        lambda config: settings.live_settings(config, Anchor(Path(config.paths.state), place, "")),
    )
    if check:
        checks = run.check(composed)
        print(table(checks))
        require(checks)
    else:
        run.live(composed)


if __name__ == "__main__":
    try:
        main(sys.argv[2:])
    except AlphaTradeError as error:
        print(f"alphatrade: {error}", file=sys.stderr)
        raise SystemExit(2) from None
