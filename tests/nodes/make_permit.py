"""A run of env live from a tape, with a permit that is given to it, for tests without an exchange."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from alphatrade.nodes.paper.assembly import Flight, LiveParts, Parts
from alphatrade.nodes.paper.broker import Broker
from alphatrade.nodes.paper.link import Exchange
from alphatrade.nodes.paper.node import fly
from alphatrade.nodes.replay import Replay, ReplayOutput
from alphatrade.nodes.settings import EnvSpec, Settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.risk.approval import Approvals, fresh_key
from alphatrade.risk.permit import Permit
from alphatrade.risk.units import ATTO
from tests.nodes.make_paper import settings

CAPITAL = 1000
WORDS = (
    *("tape.end=2026-08-18T02:00:00Z", "venue.account=cash", "venue.bounded_market=true"),
    *(f"venue.starting_balance={CAPITAL}", "policy.router.table.down-high=flat", "policy.router.table.up-high=flat"),
)
LIVE = EnvSpec(name="live", exploration=False, governed_feedback=False)


def own(*words: str) -> Settings:
    """Return settings of env live, which no words may ask for."""
    made = settings(*WORDS, *words)
    return made.model_copy(update={"run": made.run.model_copy(update={"env": LIVE})})


def permit_for(made: Settings, **parts: Any) -> Permit:
    tapes = load_tapes(made.run)
    fee = max(Decimal(tape.instrument.taker_fee) for tape in tapes)
    return Permit(
        "e" * 64, made.policy.policy_hash, "c" * 64, "sandbox", "SIM", tuple(tape.instrument.id for tape in tapes),
        tapes[0].instrument.quote, CAPITAL * ATTO, CAPITAL * ATTO, 0, 2**62, fee=int(fee * 10**9),
    )._replace(**parts)  # fmt: skip


def flown_live(made: Settings, folder: Path, give: Callable[[Parts], None] | None, **flight: Any) -> ReplayOutput:
    """Fly a tape in env live; `give` is called once the node keeps what comes, as a guardian's first look would be."""

    def ready(parts: Parts) -> None:
        keep = parts.intake.keep

        def kept(recorder: Any) -> None:
            keep(recorder)
            if give is not None:
                give(parts)

        parts.intake.keep = kept  # type: ignore[method-assign]
        if flight.get("journal") is None and give is not None:
            give(parts)

    folder.mkdir()
    live = LiveParts(Exchange(None, None, ()), Broker, Approvals(fresh_key(), time.monotonic_ns))
    what = Replay(made.policy, load_tapes(made.run), made.run)
    return fly(what, folder, Flight(live=live, ready=ready, **flight))
