"""A canary in whole runs: both policies trade, the cap holds on every prefix, and all that is written can tell them apart."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from alphatrade.nodes import run as front
from alphatrade.nodes import wiring
from alphatrade.nodes.canary import figures, strategies
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.settings import CanarySpec, Settings, compose_settings
from alphatrade.nodes.sim import simulate
from alphatrade.nodes.whynot import why_not
from alphatrade.reflection.coverage import coverage
from alphatrade.reflection.diary import DecisionBuffer
from alphatrade.reflection.explain import explain_order
from alphatrade.reflection.following import Follower
from alphatrade.reflection.probes import BUILT_IN
from alphatrade.reflection.report_data import load
from alphatrade.risk.audit import audit
from alphatrade.risk.caps import CappedLaw
from alphatrade.risk.errors import ConfigError, RunDirError
from alphatrade.strategies.messages import Decision
from alphatrade.strategies.policy import Policy
from tests.nodes.test_determinism import DIGESTED, TABLES, hashes

WORLD = (
    "tape=world", "tape.payoff=drawn", "tape.price=1000", "tape.regime_s=900", "tape.step_s=2.5", "tape.hours=3",
    "policy/features=depth", "policy.cadence.kind=events", "policy.cadence.n=4", "policy.expost.primary=20",
    "output.stress=false", "output.report=false",
)  # fmt: skip
BASE, CANARY = "Organism-000", "Organism-001"
SHARE = 0.2


def settings(folder: Path, *more: str) -> Settings:
    return compose_settings([*WORLD, f"paths.artifacts={folder}", f"paths.state={folder}", *more])


def rerouted(base: Policy, **risk: Any) -> Policy:
    """The same policy with each regime given to another tactic, and with a tighter risk template."""
    names = sorted(set(base.router.table.values()))
    after = dict(zip(names, [*names[1:], names[0]], strict=True))
    router = base.router.model_copy(update={"table": {k: after[v] for k, v in base.router.table.items()}})
    return base.model_copy(update={"router": router, "risk": base.risk.model_copy(update=risk)})


def beside(base: Settings, canary: Policy, share: float = SHARE) -> Settings:
    flown = base.run.model_copy(update={"canary": CanarySpec(policy=canary, share=share)})
    return Settings(policy=base.policy, run=flown)


def fly(folder: Path, *more: str, **risk: Any) -> RunResult:
    base = settings(folder, *more)
    return simulate(beside(base, rerouted(base.policy, **risk)))


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return fly(tmp_path_factory.mktemp("flown"), name="careful")


# -- both fly


def test_both_trade_and_the_diary_says_who_decided(flown: RunResult) -> None:
    rows, fills = flown.decisions, flown.fills
    own, canary = flown.summary["policy_hash"], flown.summary["canary"]["policy_hash"]
    assert own != canary
    assert dict(rows.groupby("policy_hash").size()) == {own: len(rows) // 2, canary: len(rows) // 2}
    assert set(zip(rows["policy_hash"], rows["risk_template"], rows["decision"] % 2, strict=True)) == {
        (own, "default", 0), (canary, "careful", 1)
    }  # fmt: skip
    assert rows["decision"].is_unique
    made = rows.set_index("decision")["policy_hash"]
    by = fills.assign(policy=fills["decision"].map(made)).groupby(["strategy", "policy"]).size()
    assert set(by.index) == {(BASE, own), (CANARY, canary)}
    assert by.min() >= 5


def test_its_clips_are_its_share_of_the_policys(flown: RunResult) -> None:
    orders = flown.orders.merge(flown.decisions[["decision", "mid"]], on="decision")
    opened = orders[(orders["event"] == "submitted") & ~orders["reduce_only"]]
    notional = (opened["qty"].astype(float) * opened["mid"]).groupby(opened["strategy"]).max()
    assert notional[CANARY] / notional[BASE] < 2.5 * SHARE, "a turn is two clips"
    assert notional[CANARY] <= 0.15 * SHARE * 1e6


def test_no_prefix_of_the_run_is_beyond_the_cap(flown: RunResult) -> None:
    most, left = 0.0, {}
    rows = pd.concat([flown.orders.assign(k="order"), flown.fills.assign(k="fill"), flown.marks.assign(k="mark")])
    position, mid = Decimal(0), Decimal(0)
    for row in rows.sort_values("seq").itertuples():
        if row.k == "mark":
            mid = (row.bid + row.ask) / 2
        elif row.strategy == CANARY and row.k == "fill":
            position += row.qty if row.side == "BUY" else -row.qty
        elif row.strategy == CANARY and not row.reduce_only:
            closed = row.event in ("canceled", "denied", "expired", "rejected")
            left[row.order_id] = row.side, Decimal(0) if closed else row.leaves
        ways = [sum((q for s, q in left.values() if s == side), Decimal(0)) for side in ("BUY", "SELL")]
        most = max(most, float(max(abs(position + ways[0]), abs(position - ways[1])) * mid))
    assert 0 < most <= SHARE * 1.0 * 1e6
    found = audit(flown.path)
    assert found.ok
    assert 0 < found.utilisation["CAP"] <= 1


def test_the_summary_tells_what_each_came_to(flown: RunResult) -> None:
    own, fills = flown.summary["canary"], flown.fills
    other = own["beside"]
    assert (own["share"], own["fills"]) == (SHARE, (fills["strategy"] == CANARY).sum())
    assert own["decisions"] == other["decisions"] == flown.summary["decisions"] // 2
    assert own["fills"] + other["fills"] == flown.summary["fills"]
    assert Decimal(own["pnl"]) + Decimal(other["pnl"]) == Decimal(flown.summary["pnl"])
    assert own["return"] == pytest.approx(float(Decimal(own["pnl"])) / (SHARE * 1e6))
    whole = (fills["qty"] * fills["price"]).sum()
    assert Decimal(own["turnover"]) + Decimal(other["turnover"]) == whole


def test_an_open_position_is_worth_its_last_mark(flown: RunResult, tmp_path: Path) -> None:
    fills, marks = flown.fills.iloc[:1], flown.marks
    fills.to_parquet(tmp_path / "fills.parquet")
    marks.to_parquet(tmp_path / "marks.parquet")
    row, last = fills.iloc[0], marks.iloc[-1]
    names = [row.strategy]

    class Named:
        class instrument:
            id, base = row.instrument, "WLD"

    found = figures(tmp_path, names, [Named], Decimal(1000))  # type: ignore[list-item]
    sign = 1 if row.side == "BUY" else -1
    worth = sign * row.qty * ((last.bid + last.ask) / 2 - row.price) - row.fee
    assert Decimal(found["pnl"]) == worth.quantize(Decimal("1e-9"))


def test_the_realised_pnl_of_a_decision_is_of_its_own_position(flown: RunResult) -> None:
    fills, told = flown.fills, flown.expost.set_index("decision")["realized"]
    for strategy in (BASE, CANARY):
        own = fills[fills["strategy"] == strategy]
        cash = -(own["qty"] * own["price"] * own["side"].map({"BUY": 1, "SELL": -1})).sum()
        assert not (own["qty"] * own["side"].map({"BUY": 1, "SELL": -1})).sum(), "flat at the end"
        realized = told[told.index % 2 == int(strategy[-1])].dropna().sum()
        assert float(realized) == pytest.approx(float(cash), abs=1e-4)


def test_the_same_twice(flown: RunResult, tmp_path: Path) -> None:
    files = (*DIGESTED, *TABLES, "run.yaml")
    again = fly(tmp_path, name="careful")
    assert again.summary["run_id"] == flown.summary["run_id"]
    assert hashes(again.path, files) == hashes(flown.path, files)
    assert again.summary["digests"] == flown.summary["digests"]


def test_readers_cope(flown: RunResult) -> None:
    found = coverage(flown.path)
    assert (found.attribution, found.diary_coverage) == (1.0, 1.0)
    sent = flown.orders.drop_duplicates("order_id").set_index("strategy")["order_id"]
    for name, policy in ((BASE, flown.summary["policy_hash"]), (CANARY, flown.summary["canary"]["policy_hash"])):
        assert f"policy {policy[:12]}" in explain_order(flown.path, sent[name].iloc[0])
    with pytest.raises(RunDirError, match="without a canary"):
        why_not(flown.path, sent[BASE].iloc[0], flown.path, check=False)
    rows = flown.decisions
    own = rows[rows["policy_hash"] == flown.summary["policy_hash"]].sort_values("ts")["exec_topo"]
    learning = load(flown.path).learning
    assert learning.switches == (own != own.shift()).sum() - 1
    assert sum(route.n for route in learning.routes.itertuples()) == len(own)


def test_a_step_that_only_one_of_them_wrote_is_a_gap(flown: RunResult, tmp_path: Path) -> None:
    for name in ("orders", "fills", "marks", "risk_events", "equity"):
        (tmp_path / f"{name}.parquet").symlink_to(flown.path / f"{name}.parquet")
    for name in ("run.yaml", "summary.json", "belief_snapshots"):
        (tmp_path / name).symlink_to(flown.path / name)
    (tmp_path / "diary").mkdir()
    rows = flown.decisions
    rows[rows["decision"] != rows["decision"].max()].to_parquet(tmp_path / "diary" / "decisions.parquet")
    found = coverage(tmp_path)
    assert found.steps - found.written == 1


# -- the cap is needed, and seen


def greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the canary size as if it had the capital of the whole account."""
    own = wiring.organism

    def organism(policy: Policy, tapes: Any, index: int, run: Any) -> Any:
        made = own(policy, tapes, index, run)
        made.config["capital"] = str(run.venue.starting_balance)
        return made

    monkeypatch.setattr(wiring, "organism", organism)


def test_a_greedy_canary_is_denied_what_is_beyond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy(monkeypatch)
    result = fly(tmp_path)
    denied = result.risk_events[result.risk_events["kind"] == "denied"]
    assert (denied["limit"] == "CAP").sum() >= 3
    assert set(denied["order_id"]) <= set(result.orders.loc[result.orders["strategy"] == CANARY, "order_id"])
    assert audit(result.path).ok


def test_without_the_laws_cap_the_auditor_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy(monkeypatch)
    monkeypatch.setattr(CappedLaw, "_check_capped", lambda *_: None)
    found = audit(fly(tmp_path).path)
    assert {finding.code for finding in found.violations} == {"CAP"}
    assert not found.integrity


def test_the_law_is_the_tighter_of_both(tmp_path: Path) -> None:
    result = fly(tmp_path, order_notional_max=0.02, name="careful")
    sent = result.orders.merge(result.decisions[["decision", "mid"]], on="decision")
    opened = sent[(sent["event"] == "submitted") & ~sent["reduce_only"]]
    notional = (opened["qty"].astype(float) * opened["mid"]).groupby(opened["strategy"]).max()
    assert 0.01 * 1e6 < notional[BASE] <= 0.02 * 1e6, "the policy's own clip is 5 %"
    assert result.summary["denied"] == 0
    assert audit(result.path).ok


# -- what is refused, and what stays as it was


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda p: p, "canary.policy:"),
        (lambda p: rerouted(p).model_copy(update={"sizing": p.sizing.model_copy(update={"fraction": 0.06})}), "sizing"),
        (lambda p: rerouted(p).model_copy(update={"cadence": p.cadence.model_copy(update={"n": 5})}), "cadence"),
        (lambda p: rerouted(p).model_copy(update={"belief": p.belief.model_copy(update={"k": 8})}), "belief"),
        (lambda p: rerouted(p, gross_max=1.1), "canary.policy.risk"),
        (lambda p: rerouted(p, repeat_window_s=1.0), "canary.policy.risk"),
    ],
)  # fmt: skip
def test_a_canary_that_does_not_fit_is_refused(change: Callable[[Policy], Policy], field: str, tmp_path: Path) -> None:
    base = settings(tmp_path)
    with pytest.raises(ConfigError, match=field):
        beside(base, change(base.policy))


def test_exploration_beside_a_canary_is_refused(tmp_path: Path) -> None:
    base = settings(tmp_path, "exploration=true")
    with pytest.raises(ConfigError, match="one experiment at a time"):
        beside(base, rerouted(base.policy))


@pytest.mark.parametrize("share", [0, -0.1, 0.6, float("nan")])
def test_a_share_is_a_small_part(share: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share"):
        CanarySpec(policy=settings(tmp_path).policy, share=share)


@pytest.mark.parametrize(
    "words", [("canary=x",), ("canary.share=0.1",), ("+canary=x",), ("+canary.share=0.1",),
              ("+canary.share=0.1", "+canary.policy=${policy}")],
)  # fmt: skip
def test_nobody_flies_one_from_the_command_line_by_mistake(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="canary"):
        settings(tmp_path, *words)


def test_a_canary_is_part_of_the_runs_identity_and_its_absence_is_not(tmp_path: Path) -> None:
    base = settings(tmp_path)
    assert "canary" not in base.run.identity()
    some = beside(base, rerouted(base.policy))
    assert some.run.identity() == base.run.identity() | {
        "canary": {"policy": some.run.canary and some.run.identity()["canary"]["policy"], "share": SHARE}
    }
    assert beside(base, rerouted(base.policy), 0.1).run.identity() != some.run.identity()


def test_without_a_canary_nothing_of_it_is_there(tmp_path: Path) -> None:
    result = front([*WORLD, f"paths.artifacts={tmp_path}", f"paths.state={tmp_path}"])
    assert "canary" not in result.summary
    assert "canary" not in (result.path / "run.yaml").read_text()
    assert "CAP" not in audit(result.path).utilisation
    assert set(result.orders["strategy"]) == {BASE}
    assert list(result.decisions["decision"]) == list(result.decisions["step"]), "ids as before: one Organism"


def test_several_tapes_have_a_canary_each_and_one_cap(tmp_path: Path) -> None:
    assert strategies(2, False) == ["Organism-000", "Organism-001"]
    assert strategies(2, True) == ["Organism-002", "Organism-003"]
    one = "source: world, payoff: drawn, price: 1000, regime_s: 900, step_s: 2.5, hours: 2"
    result = fly(tmp_path, f"tapes=[{{{one}, seed: 1}},{{{one}, seed: 2, instrument: TWO/USD}}]")
    rows, orders = result.decisions, result.orders
    assert rows["decision"].is_unique
    names = {"WLD/USD.SIM": (0, 2), "TWO/USD.SIM": (1, 3)}
    assert set(zip(rows["instrument"], rows["decision"] % 4, strict=True)) == {
        (name, index) for name, both in names.items() for index in both
    }
    assert set(zip(orders["instrument"], orders["strategy"], strict=True)) == {
        (name, f"Organism-{index:03d}") for name, both in names.items() for index in both
    }
    assert audit(result.path).ok
    assert coverage(result.path).diary_coverage == 1.0


def test_the_diary_of_one_policy_has_the_columns_it_always_had() -> None:
    blind = Follower((1,), 1).ordered("o", "X", "S", (), 1)
    assert isinstance(blind, Decision)
    buffer = DecisionBuffer(4, 0, ["a"], "h" * 64, "default")
    for _ in range(2):
        buffer.append(blind, tuple(np.full(len(BUILT_IN), np.nan)))
    table = buffer.table()
    assert table["policy_hash"].chunk(0).equals(pa.repeat("h" * 64, 2))
    assert table["risk_template"].chunk(0).equals(pa.repeat("default", 2))
