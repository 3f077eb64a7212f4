"""``summary.json``: what a run came to, from its output and its files."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.canary import figures, strategies
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.identity import Identity, file_digest, joint_digest
from alphatrade.nodes.replay import ReplayOutput
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.tape import Market, Tape
from alphatrade.reflection.coverage import coverage
from alphatrade.risk.audit_judge import LAW_PREFIX

NS = 1_000_000_000
NANO = Decimal("0.000000001")


def summarise(
    folder: Folder, settings: Settings, tapes: Sequence[Market], identity: Identity, output: ReplayOutput
) -> dict[str, Any]:
    """
    Return the summary of a run.

    Parameters
    ----------
    folder : Folder
        Holds the finished files.
    settings, tapes, identity
        What was run.
    output : ReplayOutput
        What the replay counted.

    Returns
    -------
    dict
        Plain values; money as decimal strings, returns and drawdown as fractions.
    """
    capital = settings.run.venue.starting_balance
    pnl = output.equity.quantize(NANO, ROUND_FLOOR) - capital  # as equity.parquet has it
    digests = _digests(folder.path)
    former = folder.former()
    covered = coverage(folder.path, output.warmup) if settings.run.output.diary else None
    return {
        "run_id": identity.run_id,
        "policy_hash": identity.policy_hash,
        **({} if identity.entry is None else {"policy_entry": dict(identity.entry)}),
        "tape_hash": identity.tape_hash,
        "code_hash": identity.code_hash,
        "seed": settings.run.seed,
        "env": settings.run.env.name,
        "tapes": [_tape(tape, folder.path) for tape in tapes],
        "currency": tapes[0].instrument.quote,
        "capital": str(capital),
        "events": output.events,
        "warmup": output.warmup,
        "decisions": output.decisions,
        **_counts(folder.path),
        **_held(folder.path, settings.run.env.name),
        "regime_transitions": output.transitions,
        "topologies_used": _topologies(folder.path),
        "pnl": _money(pnl),
        "return": float(pnl / capital),
        "max_drawdown": _max_drawdown(folder.path),
        "fees": _fees(folder.path),
        "killed": output.killed,
        "attribution": covered.attribution if covered else 0.0,
        "diary_coverage": covered.diary_coverage if covered else 0.0,
        **_canary(folder.path, settings, tapes, output),
        "tape_audit": {tape.name: tape.audit for tape in tapes if isinstance(tape, Tape)},
        "digests": digests,
        "replaced": None if former is None else _comparison(former, digests),
        "wall_s": round(output.run_s, 3),
        "events_per_s": round(output.events / output.run_s, 1),
    }


def _canary(path: Path, settings: Settings, tapes: Sequence[Market], output: ReplayOutput) -> dict[str, Any]:
    """Return what a canary came to, and the policy beside it; nothing where none flew."""
    canary, capital, count = settings.run.canary, settings.run.venue.starting_balance, len(tapes)
    if canary is None:
        return {}
    beside = figures(path, strategies(count, False), tapes, capital)
    own = figures(path, strategies(count, True), tapes, capital * Decimal(repr(canary.share)))
    return {
        "canary": {
            "policy_hash": canary.policy.policy_hash,
            "share": canary.share,
            "decisions": output.canary_decisions,
            **own,
            "beside": {"decisions": output.decisions - output.canary_decisions, **beside},
        }
    }


def _counts(path: Path) -> dict[str, int]:
    """
    Return counts of what happened to orders.

    ``orders`` are all that existed, ``law_orders`` those with which the law itself flattened, ``denied`` those that
    never reached the venue, but for those that were only held. Every ``denied`` row of ``risk_events`` is of one of
    these or of a denied modification.
    """
    orders = read_frame(path / "orders.parquet", columns=["order_id", "event", "reason"])
    events = read_frame(path / "risk_events.parquet", columns=["kind", "order_id", "detail"])
    ids, denials = orders["order_id"].drop_duplicates(), events[events["kind"] == "denied"]
    rejected = orders[orders["event"] == "modify_rejected"]  # by the law or by the venue
    held = events.loc[events["kind"] == "shadow", "order_id"]
    by_law = set(zip(denials["order_id"], denials["detail"], strict=True))
    return {
        "orders": len(ids),
        "law_orders": int(ids.str.startswith(LAW_PREFIX).sum()),
        "fills": int((orders["event"] == "filled").sum()),
        "denied": orders.loc[(orders["event"] == "denied") & ~orders["order_id"].isin(held), "order_id"].nunique(),
        "denied_modifications": sum(
            row in by_law for row in zip(rejected["order_id"], rejected["reason"], strict=True)
        ),
        "near_misses": int((events["kind"] == "near_miss").sum()),
    }


def _held(path: Path, env: str) -> dict[str, int]:
    """Return how many orders would have been sent, in an environment where none is."""
    if env != "live-shadow":
        return {}
    kinds = read_frame(path / "risk_events.parquet", columns=["kind"])["kind"]
    return {"shadow": int((kinds == "shadow").sum())}


def _max_drawdown(path: Path) -> float:
    drawdown = read_frame(path / "equity.parquet", columns=["drawdown"])["drawdown"]
    return float(drawdown.max()) if len(drawdown) else 0.0


def _fees(path: Path) -> str:
    return _money(sum(read_frame(path / "fills.parquet", columns=["fee"])["fee"], Decimal(0)))


def _digests(path: Path) -> dict[str, str]:
    """Return the sha256 of the digested files; the diary is its decisions and their outcomes."""
    diary = [path / "diary" / "decisions.parquet", path / "diary" / "expost.parquet"]
    found = {name: file_digest(path / f"{name}.parquet") for name in ("fills", "equity")}
    return ({"diary": joint_digest(diary)} if all(file.exists() for file in diary) else {}) | found


def _comparison(former: dict[str, Any], digests: dict[str, str]) -> str:
    different = [name for name, digest in digests.items() if former.get("digests", {}).get(name) != digest]
    return f"DIFFERENT {', '.join(different)}" if different else "identical digests"


def _topologies(path: Path) -> dict[str, dict[str, int]]:
    decisions = path / "diary" / "decisions.parquet"
    if not decisions.exists():
        return {}
    topology = read_frame(decisions, columns=["decision", "exec_topo"]).set_index("decision")["exec_topo"]
    fills = read_frame(path / "fills.parquet", columns=["decision"])["decision"].map(topology).value_counts()
    counts = topology.value_counts().sort_index()
    return {name: {"decisions": int(n), "fills": int(fills.get(name, 0))} for name, n in counts.items()}


def _tape(tape: Market, path: Path) -> dict[str, Any]:
    last = tape.span[1] if isinstance(tape, Tape) else _last(path)
    return {
        "name": tape.name,
        "kind": tape.kind,
        "instrument": tape.instrument.id,
        "from": _time(tape.begin),
        "to": _time(last),
        "reference": tape.reference,
        "half_spread_bps": tape.half_spread_bps,
    }


def _last(path: Path) -> int:
    return int(read_frame(path / "equity.parquet", columns=["ts"])["ts"].max())


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).strftime("%Y-%m-%d %H:%M")


def _money(amount: Decimal) -> str:
    return f"{amount.quantize(NANO).normalize() + 0:f}"
