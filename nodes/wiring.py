"""Shim: policy, tapes and run spec as Nautilus configuration; the same for an engine, a node or a user's own node."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.backtest.config import BacktestDataConfig, BacktestEngineConfig, BacktestRunConfig
from nautilus_trader.config import (
    ImportableActorConfig,
    ImportableControllerConfig,
    ImportableStrategyConfig,
    RiskEngineConfig,
)

from alphatrade.actors.cadence import SECOND_NS
from alphatrade.actors.messages import BELIEF_TOPIC, DRIFT_TOPIC
from alphatrade.nodes import feed
from alphatrade.nodes.canary import law_of, strategies
from alphatrade.nodes.engine import engine_config
from alphatrade.nodes.settings import RunSpec
from alphatrade.nodes.tape import Market, Tape
from alphatrade.nodes.venue import venue_config, venue_kwargs
from alphatrade.risk.template import RiskTemplate
from alphatrade.strategies.policy import CadenceSpec, Policy

FLATTEN_S = 300  # seconds before the end of its tape from which an instrument's position is only closed, at the latest
FLATTEN_STEPS = 5  # decision steps kept for it: cancel, close, try again if denied; what the last one sends may be late
_DATA = {"quotes": "QuoteTick", "trades": "TradeTick", "bars": "Bar"}


def gate(policy: Policy, tapes: Sequence[Market], run: RunSpec, run_dir: Path | None) -> ImportableControllerConfig:
    """Return the law as a node's controller; a replay's kill latch is its own and ends with it."""
    canary = run.canary
    return ImportableControllerConfig(
        controller_path="alphatrade.risk.gate:RiskGate",
        config_path="alphatrade.risk.gate:RiskGateConfig",
        config={
            "component_id": "RiskGate",
            "template": law(policy, run).model_dump(mode="json"),
            "env": run.env.name,
            "run_dir": str(run_dir) if run_dir else None,
            "capital": str(run.venue.starting_balance),
            "currency": tapes[0].instrument.quote,
            "long_only": run.venue.account == "cash",
            "half_spread_bps": _half_spreads(tapes, run.venue.cost_multiple),
            "stale_after_s": {tape.instrument.id: tape.stale_after_s for tape in tapes},
            **({} if not run.exploration else _allowance(run)),
            **({} if canary is None else _cap(canary.share, len(tapes))),
        },
    )


def law(policy: Policy, run: RunSpec) -> RiskTemplate:
    """Return the limits of a run."""
    return law_of(policy, None if run.canary is None else run.canary.policy)


def _cap(share: float, count: int) -> dict[str, Any]:
    return {"cap_share": share, "capped": strategies(count, True), "free": strategies(count, False)}


def _allowance(run: RunSpec) -> dict[str, Any]:
    """Return what the law lets be explored; in a live environment it lets nothing, whatever this says."""
    return {
        "explored_share": run.explore.share,
        "explored_every": run.explore.every,
        "steps_topic": f"{BELIEF_TOPIC}.*",
        "alarms_topic": DRIFT_TOPIC,
    }


def second_layer(template: RiskTemplate) -> RiskEngineConfig:
    """
    Return Nautilus's own limits on the rate of orders and of modifications, from the same template as the law's.

    Each is twice what the law lets through of both, because Nautilus also counts what the law denies afterwards. The
    law's own closing orders do not pass Nautilus's risk engine. The limit of an order's notional follows when the
    capital is known, see :meth:`alphatrade.risk.gate.RiskGate.set_native_limit`.
    """
    rate = f"{2 * template.orders_per_second}/00:00:01"
    return RiskEngineConfig(max_order_submit_rate=rate, max_order_modify_rate=rate)


def perception(policy: Policy, tape: Market) -> ImportableActorConfig:
    """Return the perception of one instrument."""
    plain = policy.model_dump(mode="json", include={"features", "belief", "regime", "cadence"})
    return ImportableActorConfig(
        actor_path="alphatrade.actors.perception:Perception",
        config_path="alphatrade.actors.perception:PerceptionConfig",
        config={
            "component_id": f"Perception-{tape.instrument.symbol}",
            "instrument_id": tape.instrument.id,
            "data": tape.kind,
            "bar_type": str(feed.bar_type(tape)) if tape.kind == "bars" else None,
            "provides": sorted(tape.provides),
            "half_spread_bps": tape.half_spread_bps,
            **plain,
        },
    )


def scribe(policy: Policy, tapes: Sequence[Market], run: RunSpec, run_dir: Path) -> ImportableActorConfig:
    """Return the diary."""
    return ImportableActorConfig(
        actor_path="alphatrade.reflection.scribe:DiaryScribe",
        config_path="alphatrade.reflection.scribe:ScribeConfig",
        config={
            "component_id": "DiaryScribe",
            "run_dir": str(run_dir),
            "policy_hash": policy.policy_hash,
            "risk_template": policy.risk.name,
            "features": sorted(policy.features),
            "provides": {tape.instrument.id: sorted(tape.provides) for tape in tapes},
            "horizons": list(policy.expost.horizons),
            "flush_rows": run.output.flush_rows,
            "flush_ms": run.output.flush_ms,
            "ack_fd": run.output.ack_fd,
        },
    )


def outcomes(policy: Policy) -> ImportableActorConfig:
    """Return the actor that follows decisions until their outcomes are known, and says them."""
    return ImportableActorConfig(
        actor_path="alphatrade.reflection.outcomes:OutcomeFollower",
        config_path="alphatrade.reflection.outcomes:FollowerConfig",
        config={
            "component_id": "OutcomeFollower",
            "horizons": list(policy.expost.horizons),
            "width": len(policy.features),
        },
    )


def sentry(policy: Policy) -> ImportableActorConfig:
    """Return the drift sentry."""
    return ImportableActorConfig(
        actor_path="alphatrade.actors.sentry:DriftSentry",
        config_path="alphatrade.actors.sentry:SentryConfig",
        config={
            "component_id": "DriftSentry",
            "drift": policy.drift.model_dump(mode="json"),
            "horizons": list(policy.expost.horizons),
            "primary": policy.expost.primary,
        },
    )


def clerk(policy: Policy, run_dir: Path) -> ImportableActorConfig:
    """Return the sentry's clerk, who writes down what it says."""
    return ImportableActorConfig(
        actor_path="alphatrade.reflection.clerk:DriftClerk",
        config_path="alphatrade.reflection.clerk:ClerkConfig",
        config={
            "component_id": "DriftClerk",
            "run_dir": str(run_dir),
            "policy_hash": policy.policy_hash,
            "features": sorted(policy.features),
        },
    )


def organisms(policy: Policy, tapes: Sequence[Market], run: RunSpec) -> list[ImportableStrategyConfig]:
    """Return all Organisms: one a tape, and after them one a tape of the canary, if one flies beside the policy."""
    count = len(tapes)
    found = [organism(policy, tapes, index, run) for index in range(count)]
    if run.canary is None:
        return found
    return [*found, *(organism(run.canary.policy, tapes, count + index, run) for index in range(count))]


def organism(policy: Policy, tapes: Sequence[Market], index: int, run: RunSpec) -> ImportableStrategyConfig:
    """
    Return one Organism.

    Parameters
    ----------
    index : int
        Its place in the run: that of its tape, or, of a canary, as many more as there are tapes.
    """
    canary = run.canary if index >= len(tapes) else None
    tape, capital = tapes[index % len(tapes)], run.venue.starting_balance
    limits = law(policy, run)
    plain = policy.model_dump(mode="json", include={"topologies", "router", "sizing", "belief", "flags", "learning"})
    return ImportableStrategyConfig(
        strategy_path="alphatrade.strategies.organism:Organism",
        config_path="alphatrade.strategies.organism:OrganismConfig",
        config={
            "order_id_tag": f"{index:03d}",
            "log_events": False,  # Nautilus formats each, and each command, also where nothing is logged
            "log_commands": False,
            "instrument_id": tape.instrument.id,
            "features": sorted(policy.features),
            "horizon": policy.expost.primary,
            "capital": str(capital if canary is None else capital * Decimal(repr(canary.share))),
            "order_notional_max": limits.order_notional_max,
            "price_collar": limits.price_collar,
            "index": index,
            "stride": len(tapes) * (1 if run.canary is None else 2),
            "long_only": run.venue.account == "cash",
            "bounded": run.venue.bounded_market,
            "policy_hash": policy.policy_hash,
            "canary": "" if canary is None else policy.risk.name,
            "learned": str(learned_file(run.learned, tape)) if run.learned and canary is None else "",
            "seed": run.seed,
            "exploration": _explored(run) if run.exploration else {},
            "flat_after_ns": flat_after(tape, policy.cadence) if run.flat_at_end and isinstance(tape, Tape) else 0,
            **plain,
        },
    )


def _explored(run: RunSpec) -> dict[str, float]:
    low, high = run.explore.delta_bps
    return run.explore.model_dump(exclude={"delta_bps"}) | {"low": low, "high": high}


def learned_file(folder: Path, tape: Market) -> Path:
    """Return where an organism's learnt state is kept for the instrument of a tape."""
    return folder / f"{tape.instrument.id.replace('/', '-')}.bin"


def flat_after(tape: Tape, cadence: CadenceSpec) -> int:
    """Return the event time (UTC ns) from which a position is only closed: time and steps for it remain on the tape."""
    ts = tape.columns["ts"]
    if cadence.kind == "seconds":
        period = ts // (cadence.n * SECOND_NS)
        closing = ts[1:][period[1:] != period[:-1]]
    else:
        closing = ts[cadence.n - 1 :: cadence.n]
    in_steps = closing[-FLATTEN_STEPS] if len(closing) >= FLATTEN_STEPS else ts[0]
    return int(min(in_steps, ts[-1] - FLATTEN_S * SECOND_NS))


def sim_config(policy: Policy, tapes: Sequence[Market], run: RunSpec, run_dir: Path | None) -> BacktestEngineConfig:
    """Return a whole sim as the configuration of one BacktestEngine; without `run_dir` nothing is written."""
    diary = [scribe(policy, tapes, run, run_dir)] if run_dir and run.output.diary else []
    watch = [outcomes(policy), *([sentry(policy)] if policy.drift.enabled else [])]
    if policy.drift.enabled and diary:
        watch.append(clerk(policy, run_dir))
    return engine_config(
        gate(policy, tapes, run, run_dir),
        [*watch, *diary, *(perception(policy, tape) for tape in tapes)],
        organisms(policy, tapes, run),
        second_layer(law(policy, run)),
    )


def venue_arguments(tapes: Sequence[Market], run: RunSpec) -> dict[str, Any]:
    """Return the arguments of ``BacktestEngine.add_venue`` for these tapes."""
    return venue_kwargs(run.venue, tapes[0].instrument.quote, *_venue_facts(tapes), run.seed)


def node_config(
    policy: Policy, tapes: Sequence[Tape], run: RunSpec, run_dir: Path | None, catalog: Path
) -> BacktestRunConfig:
    """
    Return the same sim as the configuration of a stock BacktestNode, everything named by import path.

    Parameters
    ----------
    catalog : Path
        Nautilus catalog that holds the tapes, with the instruments as the venue prices them (see
        :func:`alphatrade.nodes.feed.catalog` and :meth:`VenueSpec.priced`).
    """
    first = tapes[0].instrument
    halts = [
        BacktestDataConfig(
            catalog_path=str(catalog),
            data_cls="nautilus_trader.model.data:InstrumentStatus",
            instrument_id=tape.instrument.id,
        )
        for tape in tapes
        if len(tape.status.ts)
    ]
    return BacktestRunConfig(
        engine=sim_config(policy, tapes, run, run_dir),
        venues=[venue_config(run.venue, first.venue, first.quote, *_venue_facts(tapes), run.seed)],
        data=halts
        + [
            BacktestDataConfig(
                catalog_path=str(catalog),
                data_cls=f"nautilus_trader.model.data:{_DATA[tape.kind]}",
                instrument_id=tape.instrument.id,
                bar_types=[str(feed.bar_type(tape))] if tape.kind == "bars" else None,
            )
            for tape in tapes
        ],
        raise_exception=True,
    )


def _venue_facts(tapes: Sequence[Market]) -> tuple[frozenset[str], frozenset[str], dict[str, float]]:
    kinds = frozenset(tape.kind for tape in tapes)
    provides = frozenset.intersection(*(tape.provides for tape in tapes))
    return kinds, provides, _half_spreads(tapes, 1.0)


def _half_spreads(tapes: Sequence[Market], times: float) -> dict[str, float]:
    return {tape.instrument.id: tape.half_spread_bps * times for tape in tapes}
