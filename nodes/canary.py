"""A canary: another policy that trades beside the run's own, on the same tapes, under the same law and with a cap."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

from alphatrade.nodes.tape import Market
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.tightness import as_tight, meet
from alphatrade.strategies.policy import Policy

OWN_PARTS = ("router", "topologies", "risk")  # in which a canary may differ from the policy that it flies beside
NANO = Decimal("0.000000001")


def check_canary(base: Policy, canary: Policy) -> None:
    """
    Refuse a canary that cannot fly beside `base`.

    Raises
    ------
    ConfigError
        If it is the same policy, differs in what both see by or learn with, or is looser in any limit.
    """
    if canary.policy_hash == base.policy_hash:
        raise ConfigError("canary.policy", canary.policy_hash[:16], "another policy than the one it flies beside")
    for name in Policy.model_fields:
        if name not in OWN_PARTS and getattr(canary, name) != getattr(base, name):
            expected = f"as policy.{name}: a canary differs in {', '.join(OWN_PARTS)} only"
            raise ConfigError(f"canary.policy.{name}", "another one", expected)
    if not as_tight(canary.risk, base.risk):
        raise ConfigError("canary.policy.risk", canary.risk.name, "no limit looser than in policy.risk")


def law_of(base: Policy, canary: Policy | None) -> RiskTemplate:
    """Return the limits of the law: those of the policy, or the tighter of both where a canary flies beside it."""
    return base.risk if canary is None else meet(base.risk, canary.risk)


def strategy_id(index: int) -> str:
    """Return the id of the Organism at a place among those of a run; a canary's come after all of the policy's own."""
    return f"Organism-{index:03d}"


def strategies(tapes: int, canary: bool) -> list[str]:
    """Return the ids of the Organisms of the policy or of the canary, one a tape."""
    first = tapes if canary else 0
    return [strategy_id(index) for index in range(first, first + tapes)]


def told(canary: Policy, tapes: int) -> dict[str, Any]:
    """Return what ``run.yaml`` says of a canary beside policy and share: whose orders count as whose."""
    return {
        "policy_hash": canary.policy_hash,
        "strategies": strategies(tapes, True),
        "beside": strategies(tapes, False),
    }


def figures(path: Path, names: Sequence[str], tapes: Sequence[Market], capital: Decimal) -> dict[str, Any]:
    """
    Return what some strategies came to, from the fills of a run and its last marks.

    Parameters
    ----------
    path : Path
        Folder with ``fills.parquet`` and ``marks.parquet``.
    names : sequence of str
        Strategy ids.
    tapes : sequence of Market
    capital : Decimal
        What the return refers to.

    Returns
    -------
    dict
        Fills; turnover and net PnL in the quote currency, decimals as text; return, a fraction of `capital`.
    """
    from alphatrade.nodes.frames import read_frame  # not before: every command reads settings, few read frames

    fills = read_frame(path / "fills.parquet")
    fills = fills[fills["strategy"].isin(names)]
    marks = read_frame(path / "marks.parquet", columns=["instrument", "bid", "ask"]).groupby("instrument").last()
    bases = {tape.instrument.id: tape.instrument.base for tape in tapes}
    turnover = pnl = Decimal(0)
    position = dict.fromkeys(bases, Decimal(0))
    with localcontext(prec=60):
        for row in fills.itertuples():
            signed = row.qty if row.side == "BUY" else -row.qty
            turnover += row.qty * row.price
            pnl -= signed * row.price + (row.fee * row.price if row.currency == bases[row.instrument] else row.fee)
            position[row.instrument] += signed
        for name, units in position.items():
            if units:
                pnl += units * (marks["bid"][name] + marks["ask"][name]) / 2
    return {
        "fills": len(fills),
        "turnover": f"{turnover.quantize(NANO).normalize() + 0:f}",
        "pnl": f"{pnl.quantize(NANO).normalize() + 0:f}",
        "return": float(pnl / capital),
    }
