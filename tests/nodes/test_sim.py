"""One verb to a finished, audited run folder: the embedded tape in full, and small worlds for what needs several runs."""

import hashlib
import json
import re
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from alphatrade.nodes import run
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.summary import _counts
from alphatrade.nodes.tapes import load_tape, parse_spec
from alphatrade.reflection.query import query
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.exposure import Order
from alphatrade.risk.record import RunRecord

WORLD = ("tape=world", "tape.hours=8", "policy.cadence.n=10")
ONE = "{source: world, seed: 1, hours: 8}"
TWO = "{source: world, seed: 2, hours: 8, instrument: TWO/USD}"
FILES = (
    "summary.json",
    "run.yaml",
    "policy.json",
    "diary/decisions.parquet",
    "diary/expost.parquet",
    "belief_snapshots/beliefs.parquet",
    "orders.parquet",
    "fills.parquet",
    "marks.parquet",
    "equity.parquet",
    "risk_events.parquet",
    "latency.json",
    "report.html",
)
KINDS: dict[str, type] = {
    **dict.fromkeys(("run_id", "policy_hash", "tape_hash", "code_hash", "currency", "pnl", "fees"), str),
    **dict.fromkeys(("seed", "events", "decisions", "orders", "fills", "denied", "near_misses"), int),
    **dict.fromkeys(("law_orders", "denied_modifications", "warmup"), int),
    **dict.fromkeys(("return", "max_drawdown", "diary_coverage", "attribution", "wall_s", "events_per_s"), float),
    **dict.fromkeys(("topologies_used", "tape_audit", "digests"), dict),
    "regime_transitions": int,
}


class Simulate:
    """Runs without stress and report, into one folder of artifacts."""

    def __init__(self, artifacts: Path, state: Path) -> None:
        self.artifacts = artifacts
        self._fixed = ("output.stress=false", f"paths.artifacts={artifacts}", f"paths.state={state}")

    def __call__(self, *overrides: str, report: bool = False) -> RunResult:
        return run([*self._fixed, f"output.report={str(report).lower()}", *overrides])


@pytest.fixture(scope="module")
def simulate(tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Simulate:
    return Simulate(tmp_path_factory.mktemp("artifacts"), state_dir)


@pytest.fixture(scope="module")
def embedded(simulate: Simulate) -> RunResult:
    """The embedded tape with the default policy: what `make run-sim` does, without the stress table."""
    return simulate(report=True)


@pytest.fixture(scope="module")
def world(simulate: Simulate) -> RunResult:
    return simulate(*WORLD)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- the embedded tape ----------------------------------------------------------------------------------------------


def test_the_summary_has_every_key_with_its_type(embedded: RunResult) -> None:
    s = embedded.summary
    assert json.loads((embedded.path / "summary.json").read_text()) == s
    wrong = {k: s.get(k) for k, kind in KINDS.items() if type(s.get(k)) is not kind}
    assert wrong == {}
    for name in ("policy_hash", "tape_hash", "code_hash"):
        assert re.fullmatch(r"[0-9a-f]{64}", s[name])
    for name in ("pnl", "fees"):
        assert re.fullmatch(r"-?\d+(\.\d+)?", s[name]), "money is a plain decimal string"
    assert set(s["digests"]) == {"diary", "fills", "equity"}
    assert all(set(used) == {"decisions", "fills"} for used in s["topologies_used"].values())
    assert s["tape_audit"]["btc_usd"]["rows_used"] == s["events"] == 20_160
    assert 0 <= s["max_drawdown"] < 1


def test_the_summary_agrees_with_the_files(embedded: RunResult) -> None:
    s, fills, equity = embedded.summary, embedded.fills, embedded.equity
    capital = Decimal(s["capital"])
    assert Decimal(s["pnl"]) == equity["equity"].iloc[-1] - capital
    assert s["return"] == pytest.approx(float(Decimal(s["pnl"]) / capital), rel=1e-12)
    assert Decimal(s["fees"]) == sum(fills["fee"])
    assert s["max_drawdown"] == equity["drawdown"].max()
    assert s["fills"] == len(fills) == (embedded.orders["event"] == "filled").sum()
    assert s["orders"] == embedded.orders["order_id"].nunique()
    assert s["decisions"] == len(embedded.decisions) == sum(u["decisions"] for u in s["topologies_used"].values())
    assert s["fills"] == sum(u["fills"] for u in s["topologies_used"].values()), "every fill has a decision"
    assert embedded.path.name == s["run_id"]


def test_the_digests_are_of_the_files(embedded: RunResult) -> None:
    diary = "\n".join(digest(embedded.path / "diary" / f"{name}.parquet") for name in ("decisions", "expost"))
    assert embedded.summary["digests"] == {
        "diary": hashlib.sha256(diary.encode()).hexdigest(),
        "fills": digest(embedded.path / "fills.parquet"),
        "equity": digest(embedded.path / "equity.parquet"),
    }


def test_at_least_three_topologies_really_trade(embedded: RunResult) -> None:
    used, decisions = embedded.summary["topologies_used"], embedded.summary["decisions"]
    busy = [name for name, u in used.items() if u["decisions"] >= 0.05 * decisions and u["fills"] >= 10]
    assert len(busy) >= 3, used


def test_the_auditor_finds_no_violation(embedded: RunResult) -> None:
    report = audit(embedded.path)
    assert report.ok, report
    assert (report.submitted, report.fills) == (embedded.summary["orders"], embedded.summary["fills"])
    assert embedded.summary["killed"] is None


def test_every_file_is_there_and_nothing_else_is_left(embedded: RunResult, simulate: Simulate) -> None:
    assert [name for name in FILES if not (embedded.path / name).is_file()] == []
    assert (simulate.artifacts / "latest").resolve().is_dir()
    assert embedded.path.parent.parent == simulate.artifacts
    leftovers = [p.name for p in simulate.artifacts.rglob("*") if p.suffix == ".tmp" or p.name.startswith(".")]
    assert leftovers == []


def test_run_yaml_and_policy_say_what_was_run(embedded: RunResult) -> None:
    record = yaml.safe_load((embedded.path / "run.yaml").read_text())
    assert {k: record[k] for k in ("run_id", "policy_hash", "code_hash", "seed")} == {
        k: embedded.summary[k] for k in ("run_id", "policy_hash", "code_hash", "seed")
    }
    assert (record["capital"], record["currency"], record["long_only"]) == ("1000000", "USD", False)
    assert list(record["instruments"]) == ["BTC/USD.SIM"]
    policy = json.loads((embedded.path / "policy.json").read_text())
    assert policy["risk"]["name"] == "default"
    assert not {"seed", "tape", "venue", "paths"} & set(policy), "a policy says nothing of where it runs"


def test_the_diary_covers_every_decision(embedded: RunResult) -> None:
    decisions, expost = embedded.decisions, embedded.expost
    assert embedded.summary["diary_coverage"] == 1.0
    assert decisions["decision"].is_unique
    assert sorted(expost["decision"]) == sorted(decisions["decision"]), "one outcome for each decision"
    ordered = embedded.orders["decision"].dropna().unique()
    assert set(ordered) <= set(decisions["decision"]), "every order of the organism has its decision"
    listed = decisions["order_ids"].explode().dropna()
    assert set(listed) == set(embedded.orders["order_id"]), "and every decision names its orders"
    assert decisions["explanation"].str.len().min() > 0
    features = [name for name in decisions if name.startswith("f_")]
    assert len(features) >= 7
    assert decisions[features].notna().all().all(), "no decision before the features are warm"


def test_outcomes_are_known_later_and_zero_without_an_order(embedded: RunResult) -> None:
    both = embedded.expost.merge(embedded.decisions[["decision", "order_ids"]], on="decision")
    for horizon in (1, 5, 20):
        known = both[f"known_{horizon}"]
        assert (known.dropna() > both.loc[known.notna(), "ts"]).all()
        idle = both[(both["order_ids"].str.len() == 0) & (both["side"] == 0)]
        assert (idle[f"markout_{horizon}"].dropna() == 0).all()
    assert (both["side"] != 0).sum() > 100


def test_belief_snapshots_have_a_row_for_each_step(embedded: RunResult) -> None:
    beliefs = embedded.beliefs
    # One bar a minute and a cadence of a minute: every event is a step, warm-up included.
    assert len(beliefs) == embedded.summary["events"]
    assert (beliefs["step"].diff().dropna() == 1).all()
    assert (beliefs["ts"].diff().dropna() > 0).all()
    active = beliefs["idx"].str.len()
    assert active.max() <= 16
    assert active.iloc[-1] > 0
    assert (np.concatenate(beliefs["val"].to_list()) > 0).all(), "losers of ReLU and top-k are not stored"
    decided = embedded.decisions["step"]
    assert set(decided) <= set(beliefs["step"])


def test_latency_is_counted_for_each_stage(embedded: RunResult) -> None:
    latency = json.loads((embedded.path / "latency.json").read_text())
    assert set(latency) == {"decision", "step", "ingest_signal", "signal_order", "order_ack"}
    assert latency["decision"]["p99_ns"] <= latency["step"]["p99_ns"], "without the orders that were sent in it"
    for stage, figures in latency.items():
        assert figures["count"] > 0, stage
        ladder = [figures[name] for name in ("p50_ns", "p99_ns", "p999_ns", "max_ns")]
        assert ladder[0] > 0, stage
        assert ladder == sorted(ladder), stage
    assert latency["step"]["count"] == len(embedded.beliefs)
    assert latency["signal_order"]["count"] == embedded.summary["orders"]


def test_heartbeat_is_of_event_time_and_says_so(embedded: RunResult, world: RunResult) -> None:
    heart = json.loads((embedded.path / "heartbeat.json").read_text())
    assert "event time" in heart["clock"]
    assert heart["beats"] == 20_160, "one bar a minute, so one beat a bar"
    tape = load_tape(parse_spec({"source": "world", "hours": 8}), "unused")
    seconds = len(np.unique(np.concatenate((tape.columns["ts"], tape.status.ts)) // 10**9))
    assert json.loads((world.path / "heartbeat.json").read_text())["beats"] == seconds


def test_the_diary_answers_sql(embedded: RunResult) -> None:
    sql = "select exec_topo, count(*) as n from decisions group by 1"
    counted = query(embedded.path, sql).set_index("exec_topo")["n"].to_dict()
    assert counted == {name: used["decisions"] for name, used in embedded.summary["topologies_used"].items()}


class Loads(HTMLParser):
    """Collects what a browser would fetch for a page: everything with an address, links to click left out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.styles: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if name in {"src", "srcset", "data", "poster", "background"} or (tag == "link" and name == "href"):
                self.found.append((tag, value or ""))
            elif name == "style":
                self.styles.append(value or "")
            elif name == "http-equiv" and (value or "").lower() == "refresh":
                self.found.append((tag, "refresh"))

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)


def outside(html: str) -> list[str]:
    """Return what a page would load from elsewhere."""
    page = Loads()
    page.feed(html)
    loads = [f"<{tag}> {address[:80]}" for tag, address in page.found if not address.startswith("data:")]
    return loads + re.findall(r"@import[^;]*|url\((?!['\"]?(?:data:|#))[^)]*\)", " ".join(page.styles))


def test_the_report_is_one_self_contained_page(embedded: RunResult) -> None:
    html = (embedded.path / "report.html").read_text(encoding="utf-8")
    assert outside(html) == []
    assert embedded.summary["run_id"] in html
    assert len(html) > 100_000, "the plots are inside"
    assert (embedded.path / "tearsheet.html").is_file()
    assert "tearsheet.html" in html


@pytest.mark.parametrize(
    "piece",
    [
        '<script src="https://cdn.example/plotly.js"></script>',
        '<link rel="stylesheet" href="http://example/style.css">',
        '<img src="//example/logo.png">',
        "<style>@import 'https://example/f.css';</style>",
        '<meta http-equiv="refresh" content="0; url=https://example/">',
        '<div style="background: url(https://example/x.png)"></div>',
    ],
)
def test_the_check_for_self_containedness_sees_each_kind_of_load(piece: str) -> None:
    assert outside(f"<html>{piece}</html>")


# -- several runs of small worlds ---------------------------------------------------------------------------------


def test_the_same_run_is_replaced_whole_and_called_identical(simulate: Simulate, world: RunResult) -> None:
    before = {path.name: path.stat().st_ino for path in world.path.glob("*.parquet")}
    (world.path / "stray.txt").write_text("of the former run")
    again = simulate(*WORLD)
    assert again.path == world.path
    assert again.summary["replaced"] == "identical digests"
    assert world.summary["replaced"] is None
    assert again.summary["digests"] == world.summary["digests"]
    assert not (again.path / "stray.txt").exists(), "never mixed"
    assert all(path.stat().st_ino != before[path.name] for path in again.path.glob("*.parquet"))
    assert [p.name for p in again.path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_run_that_differs_from_its_former_self_is_reported(simulate: Simulate, world: RunResult) -> None:
    summary = json.loads((world.path / "summary.json").read_text())
    summary["digests"]["fills"] = "0" * 64
    (world.path / "summary.json").write_text(json.dumps(summary))
    assert simulate(*WORLD).summary["replaced"] == "DIFFERENT fills"


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("seed=2", {"diary", "fills", "equity"}),
        ("policy.belief.k=8", {"diary"}),
        ("policy.sizing.fraction=0.04", {"diary", "fills", "equity"}),
        ("venue.latency_ms=250", {"fills", "equity"}),
        ("tape.seed=2", {"diary", "fills", "equity"}),
    ],
)
def test_a_changed_seed_or_value_changes_run_and_digests(
    simulate: Simulate, world: RunResult, override: str, changed: set[str]
) -> None:
    other = simulate(*WORLD, override)
    assert other.path != world.path
    assert other.summary["run_id"] != world.summary["run_id"]
    differ = {k for k, v in world.summary["digests"].items() if other.summary["digests"][k] != v}
    assert changed <= differ
    policy = override.startswith("policy")
    assert (other.summary["policy_hash"] != world.summary["policy_hash"]) == policy


def test_output_and_paths_do_not_shape_a_run(simulate: Simulate, world: RunResult, tmp_path: Path) -> None:
    other = Simulate(tmp_path / "elsewhere", tmp_path / "state")(*WORLD, "output.flush_rows=100", "output.flush_ms=50")
    assert other.summary["run_id"] == world.summary["run_id"]
    assert other.summary["digests"] == world.summary["digests"]


def test_frames_for_notebooks(world: RunResult) -> None:
    names = ("decisions", "expost", "beliefs", "orders", "fills", "marks", "equity", "risk_events")
    frames = {name: getattr(world, name) for name in names}
    assert all(isinstance(frame, pd.DataFrame) and len(frame.columns) for frame in frames.values())
    assert [name for name, frame in frames.items() if frame.empty] in ([], ["risk_events"]), "nothing was refused here"
    assert isinstance(frames["fills"]["price"].iloc[0], Decimal), "money stays exact"
    truth = pd.read_parquet(world.path / "truth.parquet")
    assert len(truth) > 0


def test_a_wrong_override_is_an_exception_of_ours() -> None:
    with pytest.raises(ConfigError, match=r"policy\.belief\.kk"):
        run(["policy.belief.kk=1"])


@pytest.fixture(scope="module")
def pair(simulate: Simulate) -> dict[str, RunResult]:
    """Two worlds apart and together under a gross limit that only both together can reach."""
    fixed = ("policy.cadence.n=10", "policy.risk.gross_max=0.08", "policy.risk.near_miss_action=notify")
    tapes = {"one": f"tapes=[{ONE}]", "two": f"tapes=[{TWO}]", "both": f"tapes=[{ONE},{TWO}]"}
    return {name: simulate(tape, *fixed) for name, tape in tapes.items()}


def test_several_tapes_are_merged_in_time_with_an_organism_each(pair: dict[str, RunResult]) -> None:
    both = pair["both"]
    assert both.summary["events"] == pair["one"].summary["events"] + pair["two"].summary["events"]
    assert both.summary["decisions"] == pair["one"].summary["decisions"] + pair["two"].summary["decisions"]
    decisions = both.decisions
    assert set(decisions["instrument"]) == {"WLD/USD.SIM", "TWO/USD.SIM"}
    assert decisions["decision"].is_unique
    assert decisions["ts"].is_monotonic_increasing
    assert both.orders.groupby("instrument")["strategy"].nunique().eq(1).all()
    assert both.orders["strategy"].nunique() == 2
    assert set(both.summary["tape_audit"]) == {"world_1", "world_2"}
    assert sorted(path.name for path in both.path.glob("truth*")) == ["truth-world_1.parquet", "truth-world_2.parquet"]


def test_one_law_judges_all_instruments_together(pair: dict[str, RunResult]) -> None:
    denied = {name: set(r.risk_events.query("kind == 'denied'")["limit"]) for name, r in pair.items()}
    assert "GROSS_EXPOSURE" in denied["both"]
    assert "GROSS_EXPOSURE" not in denied["one"] | denied["two"]
    assert audit(pair["both"].path).ok
    assert pair["both"].fills["instrument"].nunique() == 2


def test_each_world_of_a_pair_is_seen_as_when_alone(pair: dict[str, RunResult]) -> None:
    features = [name for name in pair["both"].decisions if name.startswith("f_")]
    for name, instrument in (("one", "WLD/USD.SIM"), ("two", "TWO/USD.SIM")):
        together = pair["both"].decisions
        together = together.loc[together["instrument"] == instrument, ["ts", *features]]
        pd.testing.assert_frame_equal(together.reset_index(drop=True), pair[name].decisions[["ts", *features]])


@pytest.fixture(scope="module")
def killed(simulate: Simulate) -> RunResult:
    """Two worlds in which the law denies orders and modifications until a loss trips the kill switch."""
    tapes = f"tapes=[{TWO.replace('seed: 2', 'seed: 55')},{ONE.replace('seed: 1', 'seed: 5, alpha: 0')}]"
    limits = ("policy.risk.orders_per_minute=4", "policy.risk.daily_loss_max=0.0003")
    return simulate(tapes, "policy.cadence.n=5", *limits)


def test_counts_of_a_killed_run_agree_across_its_files(killed: RunResult) -> None:
    s, orders, fills = killed.summary, killed.orders, killed.fills
    denials = killed.risk_events.query("kind == 'denied'")
    assert min(s["denied"], s["denied_modifications"], s["fills"]) > 0, "what this test is about has happened"
    assert s["killed"].startswith("DAILY_LOSS")
    own = {order for order in orders["order_id"] if order.startswith("LAW-")}
    assert s["law_orders"] == len(own) > 0
    assert own <= set(fills["order_id"]), "the law's orders closed what was open"

    denied = orders.query("event == 'denied'")
    rejected = orders.query("event == 'modify_rejected'")
    assert s["denied"] == len(denied) == denied["order_id"].nunique()
    assert s["denied_modifications"] == len(rejected), "this venue rejects none by itself"
    refused = pd.concat([denied, rejected])
    stated = Counter(zip(denials["order_id"], denials["detail"], strict=True))
    assert Counter(zip(refused["order_id"], refused["reason"], strict=True)) == stated

    sent = set(orders.query("event == 'submitted'")["order_id"])
    assert s["orders"] == orders["order_id"].nunique() == len(sent) + s["denied"], "each was sent or denied, none both"
    assert not sent & set(denied["order_id"])
    assert set(fills["order_id"]) <= sent
    listed = killed.decisions["order_ids"].explode().dropna()
    assert set(listed) == set(orders["order_id"]) - own, "all but the law's have their decision"
    last = orders.groupby("order_id")["event"].last()
    assert set(last) <= {"filled", "canceled", "denied", "expired"}, "nothing is left working"


def test_orders_are_counted_once_however_often_they_are_told_of(tmp_path: Path) -> None:
    record, events = RunRecord(), ("initialized", "emulated", "initialized", "submitted", "modify_rejected", "filled")
    for name, told in (("O-1", events), ("LAW-1-1", ("submitted", "filled")), ("O-2", ("initialized", "denied"))):
        order = Order(name, "A.SIM", 1, "MARKET", 10**9, None, None, False, False, None, "S-1", None)
        for event in told:
            record.order(1, order, event, 10**9, reason="of the venue" if event == "modify_rejected" else None)
    record.event(1, "denied", "A.SIM", "O-2", "GROSS_EXPOSURE", "", "", "GROSS_EXPOSURE: …")
    record.write(tmp_path)
    counts = {"orders": 3, "law_orders": 1, "fills": 2, "denied": 1, "denied_modifications": 0, "near_misses": 0}
    assert _counts(tmp_path) == counts


def test_two_tapes_of_one_instrument_are_refused(simulate: Simulate) -> None:
    with pytest.raises(ConfigError, match="a different instrument in each tape"):
        simulate("tapes=[{source: world, hours: 1},{source: world, hours: 1, seed: 2}]")


def test_a_cash_account_never_goes_short(simulate: Simulate, world: RunResult) -> None:
    assert world.fills["position_after"].min() < 0, "with margin the same world goes short"
    cash = simulate(*WORLD, "venue.account=cash")
    assert cash.summary["fills"] > 0
    assert cash.fills["position_after"].min() >= 0
    denied = set(cash.risk_events.query("kind == 'denied'")["limit"])
    assert not {"LONG_ONLY", "NATIVE"} & denied, (
        "the organism does not even ask; that the law denies is shown in tests/risk"
    )
    sold = cash.orders.query("event == 'submitted' and side == 'SELL'")
    assert len(sold) > 0, "what was bought is sold again"
    assert audit(cash.path).ok
    assert yaml.safe_load((cash.path / "run.yaml").read_text())["long_only"] is True
