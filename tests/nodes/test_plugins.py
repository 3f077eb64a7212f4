"""The suite as plug-ins of stock Nautilus nodes, everything named by importable configuration.

The programs under a third-party strategy are those of docs/plugins.md, cut out of the page and run outside the
repository: what the page says is what is tested.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import yaml
from nautilus_trader.backtest.config import BacktestRunConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.config import NautilusConfig
from nautilus_trader.model.enums import OrderSide

from alphatrade.actors.perception import PerceptionConfig
from alphatrade.actors.sentry import SentryConfig
from alphatrade.nodes import feed, wiring
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.settings import Settings, compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.clerk import ClerkConfig
from alphatrade.reflection.outcomes import FollowerConfig
from alphatrade.reflection.scribe import ScribeConfig
from alphatrade.risk.audit import AuditReport, audit
from alphatrade.risk.gate import RiskGateConfig
from alphatrade.risk.gate_market import Market
from alphatrade.strategies.organism import OrganismConfig
from tests.risk.rig import BTCUSDT, Scripted, engine, flat_quotes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
RECORDS = ("orders", "fills", "marks", "equity", "risk_events")
FILES = ("diary/decisions", "diary/expost", "belief_snapshots/beliefs", *RECORDS)

# -- our own sim in a stock BacktestNode


def loaded(state: Path, *overrides: str) -> tuple[Settings, list[Tape]]:
    settings = compose_settings([f"paths.state={state}", "output.report=false", *overrides])
    return settings, load_tapes(settings.run)


def run_node(settings: Settings, tapes: list[Tape], run_dir: Path, catalog: Path) -> None:
    """Run a sim in a BacktestNode whose configuration went through JSON: no object of ours is in it."""
    for tape in tapes:
        feed.catalog(replace(tape, instrument=settings.run.venue.priced(tape.instrument)), catalog)
    config = wiring.node_config(settings.policy, tapes, settings.run, run_dir, catalog)
    node = BacktestNode([BacktestRunConfig.parse(config.json())])
    node.run()
    node.dispose()


def different(one: Path, other: Path) -> list[str]:
    """Return the names of the files whose bytes differ."""
    return [
        name
        for name in FILES
        if one.joinpath(f"{name}.parquet").read_bytes() != other.joinpath(f"{name}.parquet").read_bytes()
    ]


@pytest.mark.parametrize(
    "tape",
    [
        ("tape.end=2026-08-18T00:00:00Z", "venue.cost_multiple=2"),
        ("tape=world", "tape.hours=6", "tape.step_s=3", "policy.cadence.n=15"),
    ],
    ids=["bars of the embedded tape", "quotes of a world"],
)
def test_a_stock_node_writes_the_bytes_that_the_engine_writes(
    tape: tuple[str, ...], tmp_path: Path, state_dir: Path
) -> None:
    settings, tapes = loaded(state_dir, *tape)
    output = replay(Replay(settings.policy, tapes, settings.run), tmp_path / "engine")
    assert output.decisions > 300
    assert output.fills > 5
    run_node(settings, tapes, tmp_path / "node", tmp_path / "catalog")
    assert different(tmp_path / "engine", tmp_path / "node") == []


def test_another_seed_or_config_writes_other_bytes(tmp_path: Path, state_dir: Path) -> None:
    """Mutation: the comparison above can fail."""
    for name, more in (("one", ()), ("other", ("seed=2",)), ("third", ("policy.sizing.fraction=0.04",))):
        settings, tapes = loaded(state_dir, "tape.end=2026-08-17T18:00:00Z", *more)
        run_node(settings, tapes, tmp_path / name, tmp_path / f"catalog-{name}")
    assert {"fills", "equity"} <= set(different(tmp_path / "one", tmp_path / "other"))
    assert {"diary/decisions", "orders"} <= set(different(tmp_path / "one", tmp_path / "third"))


def test_the_halts_of_a_tape_reach_the_law_in_a_stock_node(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    heard = Market.on_status
    monkeypatch.setattr(Market, "on_status", lambda self, s: (seen.append(s.action.name), heard(self, s))[1])
    settings, tapes = loaded(state_dir, "tape=world", "tape.hours=6", "tape.step_s=30", "tape.halts=2", "tape.gaps=0")
    assert len(tapes[0].status.ts) == 4
    run_node(settings, tapes, tmp_path / "run", tmp_path / "catalog")
    assert seen == ["HALT", "TRADING", "HALT", "TRADING"]


# -- the programs of the page


Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Programs:
    """The page's programs in a folder outside the repository."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str, check: bool = True, **env: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-P", *command], cwd=self.folder, env=self.env | env, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def python(self, name: str, *arguments: str) -> Done:
        return self.run(name, *arguments, PYTHONPATH=os.pathsep.join([str(ROOT), str(self.folder)]))

    def shell(self, line: str) -> Done:
        """Run one command line of the page; `python` and `alphatrade` are those of this environment."""
        program, *words = shlex.split(line)
        if program == "python":
            return self.python(*words)
        assert program == "alphatrade", f"the page calls {program}"
        return self.run("-m", "alphatrade", *words)


def blocks() -> dict[str, str]:
    """Return the named programs and files of the page."""
    return {name: code for name, code in re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", PAGE, re.S | re.M)}


def commands(first: str) -> list[str]:
    """Return the command lines of the page's shell block whose first line begins with `first`."""
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M):
        if block.startswith(first):
            return [line for line in block.splitlines() if line]
    raise AssertionError(f"no block of commands begins with {first!r}")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, door_env: dict[str, str]) -> Programs:
    """Write all programs of the page, and make the catalog."""
    folder = tmp_path_factory.mktemp("mine")
    for name, code in blocks().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    made = Programs(folder, door_env | {"ALPHATRADE_STATE": str(folder / "state")})
    made.shell(commands("python make_catalog.py")[0])
    return made


@pytest.fixture(scope="module", autouse=True)
def live(programs: Programs) -> Iterator[dict[str, Future[list[Done]]]]:
    """Start the live programs beside the other tests: they mostly wait."""
    ungated = without_gate(programs, "live.py")
    with ThreadPoolExecutor(2) as pool:
        yield {
            "gated": pool.submit(lambda: [programs.shell(line) for line in commands("python live.py")]),
            "ungated": pool.submit(lambda: [programs.python(ungated, "3")]),
        }


def orders_of(run_dir: Path) -> pd.DataFrame:
    return pd.read_parquet(run_dir / "orders.parquet")


def without_gate(programs: Programs, name: str) -> str:
    """Write a program of the page with its gate taken away, and return its name."""
    code = blocks()[name]
    assert code.count("controller=gate,") == 1
    path = programs.folder / f"ungated_{name}"
    code = code.replace("controller=gate,", "").replace('"run-', '"ungated-')
    path.write_text(code, encoding="utf-8")
    return path.name


def check_third_party_run(run_dir: Path) -> AuditReport:
    """Check what the three plug-ins leave behind under two copies of EMACross; return the auditor's report."""
    orders = orders_of(run_dir)
    denied = orders[orders["event"] == "denied"]
    filled = orders[orders["event"] == "filled"]
    assert len(denied) > 0
    assert len(filled) > 0
    assert set(denied["strategy"]) == {"EMACross-002"}
    assert set(filled["strategy"]) == {"EMACross-001"}
    assert denied["reason"].str.startswith("ORDER_NOTIONAL: order_notional=").all()
    assert not set(denied["order_id"]) & set(orders.loc[orders["event"] == "submitted", "order_id"])

    diary = pd.read_parquet(run_dir / "diary" / "decisions.parquet")
    sent = orders.loc[(orders["event"] == "initialized") | (orders["event"] == "denied"), "order_id"].unique()
    assert diary["decision"].tolist() == list(range(-1, -len(diary) - 1, -1))
    assert sorted(order for ids in diary["order_ids"] for order in ids) == sorted(sent)
    assert set(diary["exec_topo"]) == {"EMACross-001", "EMACross-002"}
    assert set(diary["risk_template"]) == {"tight"}
    assert diary["mid"].notna().all()
    assert (diary["belief_idx"].str.len() > 0).mean() > 0.5
    assert diary["regime"].str.fullmatch(r"(up|down|flat)-(low|high)").all()
    assert diary["f_ret_1"].abs().max() > 0

    beliefs = pd.read_parquet(run_dir / "belief_snapshots" / "beliefs.parquet")
    assert beliefs["step"].tolist() == list(range(len(beliefs)))
    outcomes = pd.read_parquet(run_dir / "diary" / "expost.parquet")
    assert sorted(outcomes["decision"]) == sorted(diary["decision"])
    of_denied = outcomes["decision"].isin(diary.loc[diary["exec_topo"] == "EMACross-002", "decision"])
    assert (outcomes.loc[of_denied, "side"] == 0).all()
    assert outcomes.loc[~of_denied, "realized"].notna().any()
    for name in RECORDS:
        assert run_dir.joinpath(f"{name}.parquet").exists()
    assert len(pd.read_parquet(run_dir / "fills.parquet")) == len(filled)
    return audit(run_dir)


def test_the_page_in_a_backtest_node(programs: Programs) -> None:
    lines = commands("python make_catalog.py")
    said = [programs.shell(line).stdout for line in lines[1:]]
    assert "'EMACross-002 DENIED'" in said[0]
    assert "AUDIT PASSED" in said[1]
    assert "EMACross-001" in said[2]
    assert "ORDER_NOTIONAL" in said[3]
    report = check_third_party_run(programs.folder / "run-backtest")
    assert report.ok
    assert report.submitted > 50


def test_without_the_gate_the_denied_orders_fill(programs: Programs) -> None:
    """Mutation: it is the gate that denies."""
    said = programs.python(without_gate(programs, "backtest.py")).stdout
    assert "'EMACross-002 FILLED'" in said
    assert "DENIED" not in said


def test_the_auditor_notices_an_order_that_the_gate_should_have_denied(programs: Programs, tmp_path: Path) -> None:
    """Mutation: the same records, judged by a tighter template than the gate had."""
    source = programs.folder / "run-backtest"
    for name in RECORDS:
        (tmp_path / f"{name}.parquet").write_bytes(source.joinpath(f"{name}.parquet").read_bytes())
    policy = json.loads((source / "policy.json").read_text())
    policy["risk"]["order_notional_max"] = 0.01
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    (tmp_path / "run.yaml").write_text((source / "run.yaml").read_text())
    report = audit(tmp_path)
    assert {finding.code for finding in report.violations} == {"ORDER_NOTIONAL"}


@pytest.mark.long
def test_a_second_run_never_keeps_the_diary_of_the_first(programs: Programs) -> None:
    code = blocks()["backtest.py"].replace('"run-', '"again-')
    programs.folder.joinpath("again.py").write_text(code, encoding="utf-8")
    programs.python("again.py")
    programs.folder.joinpath("again.py").write_text(code.replace(', ema_cross("002", "2")', ""), encoding="utf-8")
    refused = programs.run("again.py", check=False, PYTHONPATH=str(ROOT)).returncode != 0
    diary = pd.read_parquet(programs.folder / "again-backtest" / "diary" / "decisions.parquet")
    assert refused or set(diary["exec_topo"]) == {"EMACross-001"}


@pytest.mark.parametrize("limits", [{"order_notional_max": 0.05}, {"instrument_max": 0.1}], ids=lambda d: next(iter(d)))
def test_closing_and_reversing_at_once_is_no_way_around_a_limit(limits: dict[str, float]) -> None:
    """What EMACross does at each crossing, while both orders are on their way to the venue."""

    def order(side: OrderSide, qty: float, reduce: bool = False) -> Callable[[Scripted], None]:
        def send(s: Scripted) -> None:
            s.submit_order(s.order_factory.market(BTCUSDT.id, side, BTCUSDT.make_qty(qty), reduce_only=reduce))

        return send

    def reverse(s: Scripted) -> None:
        order(OrderSide.SELL, 1.5, reduce=True)(s)
        order(OrderSide.SELL, 1.5)(s)
        for qty in (0.81, 0.82):
            order(OrderSide.SELL, qty)(s)

    script = Scripted({2: order(OrderSide.BUY, 0.74), 4: order(OrderSide.BUY, 0.76), 9: reverse})
    late = LatencyModel(300_000_000)  # nanoseconds
    made = engine(flat_quotes(BTCUSDT, 50_000, 30), [script], {"template": limits}, latency=late)
    made.run()
    position = made.portfolio.net_position(BTCUSDT.id)
    made.dispose()
    # Order limit 1 BTC, or instrument limit 2 BTC: the reversal of 1.5 breaks the first, its sequel the second.
    lowest = Decimal("-1.63") if "order_notional_max" in limits else Decimal(-2)
    assert position >= lowest


def test_the_page_in_a_trading_node(programs: Programs, live: dict[str, Future[list[Done]]]) -> None:
    said = [done.stdout for done in live["gated"].result()]
    assert "'EMACross-002 DENIED'" in said[0]
    assert "AUDIT PASSED" in said[1]
    assert said[2].startswith("paper/DEMO: ACTIVE")
    report = check_third_party_run(programs.folder / "run-live")
    assert report.ok


def test_without_the_gate_they_reach_the_sandbox(live: dict[str, Future[list[Done]]]) -> None:
    """Mutation, in the TradingNode."""
    said = live["ungated"].result()[0].stdout
    assert "'EMACross-002 FILLED'" in said
    assert "DENIED" not in said


def test_a_topology_and_a_feature_of_the_users_own(programs: Programs) -> None:
    sim, why = commands("alphatrade sim '+policy.features.gap")
    assert re.search(r"^fade +[\d,]+ +[1-9]", programs.shell(sim).stdout, re.M)
    assert ": fade it" in programs.shell(why).stdout
    run = (programs.folder / "artifacts" / "latest").resolve()
    decisions = pd.read_parquet(run / "diary" / "decisions.parquet")
    assert decisions["f_gap"].abs().max() > 0
    assert json.loads((run / "policy.json").read_text())["topologies"]["fade"]["kind"] == "mine:Fade"
    assert audit(run).ok

    groups = commands("alphatrade sim --config-dir my_conf")
    programs.shell(groups[0])
    again = json.loads((programs.folder / "artifacts" / "latest" / "summary.json").read_text())
    assert again["digests"] == json.loads((run / "summary.json").read_text())["digests"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "policy.topologies.flat.kind=mine:Gap",
            "expected a subclass of alphatrade.strategies.topologies.base:Topology",
        ),
        ("policy.topologies.flat.kind=nowhere:Fade", "No module named 'nowhere'"),
        ('+policy.features.gap={kind: "mine:Fade", n: 3}', "expected a subclass of alphatrade.actors.features:Feature"),
        (
            '+policy.topologies.fade={kind: "mine:Fade", params: {enter: 9}}',
            "policy.topologies.fade.params.enter: got 9",
        ),
        ('+policy.topologies.fade={kind: "mine:Fade", params: {}}', "policy.topologies.fade.params.signal: got 'gap'"),
    ],
)
def test_a_wrong_class_or_parameter_is_refused_by_its_path(
    override: str, said: str, programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from alphatrade.nodes import run
    from alphatrade.risk.errors import ConfigError

    monkeypatch.syspath_prepend(str(programs.folder))
    fast = [f"paths.artifacts={tmp_path}", f"paths.state={tmp_path}", "tape.end=2026-08-18T00:00:00Z"]
    with pytest.raises(ConfigError, match=re.escape(said)):
        run([override, *fast])


# -- the rest of the page


@pytest.mark.parametrize(
    "config",
    [RiskGateConfig, PerceptionConfig, ScribeConfig, FollowerConfig, SentryConfig, ClerkConfig, OrganismConfig],
    ids=lambda c: c.__name__,
)
def test_the_reference_names_every_field_and_no_other(config: type[NautilusConfig]) -> None:
    section = PAGE.split(f"### {config.__name__}\n")[1].split("\n### ")[0]
    cells = re.findall(r"^\| (.+?) \| (.+?) \|", section, re.M)[1:]  # not the head
    named = {name: default for first, default in cells for name in re.findall(r"`(\w+)`", first)}
    base = {field.name for field in msgspec.structs.fields(config.__mro__[1])}
    fields = {f.name: f for f in msgspec.structs.fields(config) if f.name not in base}
    assert set(named) == set(fields)
    for name, field in fields.items():
        required = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        assert (named[name] == "required") is required, name


def test_the_page_shows_nothing_that_is_not_run() -> None:
    tested: list[Callable[[], list[str]]] = [
        lambda: commands("python make_catalog.py"),
        lambda: commands("python live.py"),
        lambda: commands("alphatrade sim '+policy.features.gap"),
        lambda: commands("alphatrade sim --config-dir my_conf"),
    ]
    assert len(re.findall(r"^```sh$", PAGE, re.M)) == len({tuple(block()) for block in tested})
    assert len(re.findall(r"^```(?:python|yaml)$", PAGE, re.M)) == len(blocks())
    assert all(yaml.safe_load(code) for name, code in blocks().items() if name.endswith(".yaml"))
