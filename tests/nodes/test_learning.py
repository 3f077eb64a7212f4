"""Learning in whole runs: flags off are the table, flags on repeat to the byte, and a bad start is said aloud."""

import json
import shutil
from pathlib import Path

import pytest

from alphatrade.nodes import feed, run, wiring
from alphatrade.nodes.engine import build_engine
from alphatrade.nodes.result import RunResult
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.messages import DECISION_TOPIC, Decision
from tests.nodes.test_determinism import check_identical

WORLD = (
    "tape=world", "tape.payoff=drawn", "tape.price=1000", "tape.regime_s=900", "tape.step_s=2.5", "tape.hours=6",
    "policy/features=depth", "policy.cadence.kind=events", "policy.cadence.n=4", "policy.expost.primary=20",
)  # fmt: skip
ON = ("policy.flags.linear_attention=true", "policy.flags.fast_weights=true")
QUIET = ("output.stress=false", "output.report=false")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunResult]:
    folder = tmp_path_factory.mktemp("learning")

    def go(*more: str) -> RunResult:
        return run([*WORLD, *QUIET, f"paths.artifacts={folder}", f"paths.state={folder}", *more])

    off = go()
    return {
        "off": off,
        "set": go("policy.learning.attention.caution=0", "policy.learning.fast_weights.eta=1"),
        "on": go(*ON),
        "alone": go(ON[0]),
    }


def orders(result: RunResult) -> list[tuple[object, ...]]:
    columns = ["ts", "order_id", "event", "side", "type", "qty", "price", "trigger"]
    return list(result.orders[columns].astype(str).itertuples(index=False, name=None))


def test_flags_off_are_the_table_route_whatever_learning_is_set_to(runs: dict[str, RunResult]) -> None:
    assert runs["off"].summary["policy_hash"] != runs["set"].summary["policy_hash"]
    assert orders(runs["off"]) == orders(runs["set"])
    assert set(runs["off"].decisions["exec_topo"]) <= {"breakout", "maker", "momentum", "reversion"}
    assert not (runs["off"].path / "learned").exists()
    assert orders(runs["off"]) != orders(runs["alone"]), "the mutant that learns sends other orders"


def test_fast_weights_change_the_belief_and_are_kept(runs: dict[str, RunResult]) -> None:
    on, alone = runs["on"], runs["alone"]
    changed = on.decisions["belief_idx"].map(tuple) != alone.decisions["belief_idx"].map(tuple)
    assert changed.iloc[:20].sum() == 0, "nothing has been learnt yet"
    assert changed.mean() > 0.05
    assert sorted(path.name for path in on.path.glob("sigma-*")) == ["sigma-WLD-USD.SIM.parquet"]


@pytest.mark.parametrize("damage", ["cut", "another policy", "another instrument"])
def test_a_bad_start_is_said_in_diary_and_heartbeat_and_the_table_trades(
    runs: dict[str, RunResult], tmp_path: Path, damage: str
) -> None:
    learned = tmp_path / "learned"
    shutil.copytree(runs["on"].path / "learned", learned)
    file = next(learned.iterdir())
    more: tuple[str, ...] = ()
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "another policy":
        more = ("policy.learning.fast_weights.rank=32",)
    else:
        more = ("tape.instrument=TWO/USD",)
        file.rename(learned / "TWO-USD.SIM.bin")
    found = run(
        [*WORLD, *QUIET, *ON, *more, f"learned={learned}", f"paths.artifacts={tmp_path}", f"paths.state={tmp_path}"]
    )
    faults = json.loads((found.path / "heartbeat.json").read_text())["faults"]
    assert [fault.split(":")[0] for fault in faults] == ["linear_attention", "fast_weights"]
    assert found.decisions["explanation"].str.contains("linear_attention off: learned").all()
    assert len(orders(found)) > 100
    if damage == "cut":
        assert orders(found) == orders(runs["off"]), "the table alone"


def test_a_run_starts_from_what_an_earlier_one_has_learnt(runs: dict[str, RunResult], tmp_path: Path) -> None:
    words = [*WORLD, *QUIET, *ON, f"paths.artifacts={tmp_path}", f"paths.state={tmp_path}"]
    found = run([*words, f"learned={runs['on'].path / 'learned'}"])
    assert found.summary["run_id"] != runs["on"].summary["run_id"], "what it starts from is part of what it is"
    assert json.loads((found.path / "heartbeat.json").read_text())["faults"] == []
    first, blank = found.decisions["scores"].iloc[0], runs["on"].decisions["scores"].iloc[0]
    assert any(first)
    assert not any(blank)
    with pytest.raises(ConfigError, match=r"learned: got .*expected a folder with WLD-USD\.SIM\.bin"):
        run([*words, f"learned={tmp_path}"])


def test_what_nautilus_keeps_of_a_strategy_is_what_was_learnt(runs: dict[str, RunResult]) -> None:
    settings = compose_settings([*WORLD, *ON, "tape.hours=2"])
    tapes = load_tapes(settings.run)
    (file,) = (runs["on"].path / "learned").iterdir()
    saved = file.read_bytes()
    config = wiring.sim_config(settings.policy, tapes, settings.run, None)
    venue = wiring.venue_arguments(tapes, settings.run)
    first = {}
    for name, state in (("kept", saved), ("blank", b"")):
        engine = build_engine(config, [feed.instrument(tapes[0].instrument)], [feed.events(tapes[0])], "SIM", venue)
        (organism,) = engine.trader.strategies()
        if state:
            organism.load({"learned": state})
        heard: list[Decision] = []
        engine.kernel.msgbus.subscribe(DECISION_TOPIC, heard.append)
        engine.run()
        assert organism.save()["learned"][:21] == saved[:21]
        assert organism.adaptation.faults == {}
        first[name] = heard[0].scores
        engine.dispose()
        venue = wiring.venue_arguments(tapes, settings.run)
    assert any(first["kept"])
    assert not any(first["blank"])


@pytest.mark.long
def test_two_processes_agree_on_a_world_with_all_flags(tmp_path: Path, door_env: dict[str, str]) -> None:
    check_identical((*WORLD, *ON), door_env, tmp_path)


@pytest.mark.long
def test_planted_flips_are_routed_in_time_and_labels_alone_do_nothing() -> None:
    from benchmarks.learn_flips import rows

    found = {row.id.rpartition(".")[2]: row for row in rows()}
    assert {name: row.figure for name, row in found.items() if not row.holds} == {}
    assert found["planted"].n >= 50
