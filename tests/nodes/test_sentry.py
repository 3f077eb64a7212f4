"""The drift sentry in a node: an alarm is acted on by the very next decision, is written down, and can be looked up."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from alphatrade.actors.messages import DRIFT_TOPIC, MECHANISM_TOPIC, OUTCOME_TOPIC, MechanismFault
from alphatrade.actors.sentry import NAME
from alphatrade.nodes import feed, wiring
from alphatrade.nodes.engine import build_engine, run_engine
from alphatrade.nodes.heartbeat import HEARTBEAT_TOPIC, Heartbeat
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.wiring import sim_config
from alphatrade.reflection.packets import Row, digest
from alphatrade.strategies.messages import DECISION_TOPIC, Decision

WORLD = ("tape=world", "tape.hours=16", "tape.step_s=2", "policy.cadence.n=5", "tape.seed=3")
# Short run lengths, so that a world of hours has alarms; what is tested is what they lead to.
SHARP = ("policy.drift.run_length=50", "policy.drift.baseline=100", "policy.drift.least=20", "policy.drift.quiet=40")


class Listener(Actor):
    """Hears everything, and says once on the bus what it is told to say."""

    def __init__(self, say: Any = None) -> None:
        super().__init__(ActorConfig(component_id="Listener"))
        self.heard: list[Any] = []
        self.say = say

    def on_start(self) -> None:
        for topic in (DRIFT_TOPIC, MECHANISM_TOPIC, DECISION_TOPIC, HEARTBEAT_TOPIC):
            self.msgbus.subscribe(topic, self.hear)

    def hear(self, message: Any) -> None:
        self.heard.append(message)
        if self.say is not None and isinstance(message, Decision):
            self.msgbus.publish(OUTCOME_TOPIC, self.say(message))
            self.say = None

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.heard if isinstance(message, kind)]


@dataclass
class Done:
    folder: Path
    listener: Listener
    sentry: Any
    organism: Any


def replay(folder: Path, *overrides: str, say: Any = None, state: bytes | None = None) -> Done:
    settings = compose_settings([*WORLD, *overrides, f"paths.state={folder}", "output.report=false"])
    tapes = load_tapes(settings.run)
    listener = Listener(say)
    engine = build_engine(
        sim_config(settings.policy, tapes, settings.run, folder),
        [feed.instrument(tape.instrument) for tape in tapes],
        [feed.events(tape) for tape in tapes],
        "SIM",
        wiring.venue_arguments(tapes, settings.run),
        [listener],
    )
    named = {type(actor).__name__: actor for actor in engine.trader.actors()}
    if state is not None:
        named["DriftSentry"].on_load({NAME: state})
    organism = engine.trader.strategies()[0]
    run_engine(engine)
    for name in ("DiaryScribe", "DriftClerk"):
        if name in named:
            named[name].finish()
    engine.dispose()
    return Done(folder, listener, named.get("DriftSentry"), organism)


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return replay(tmp_path_factory.mktemp("sharp"), *SHARP)


def test_an_alarm_is_acted_on_by_the_decision_of_the_same_step(sharp: Done) -> None:
    diary = pq.read_table(sharp.folder / "diary" / "decisions.parquet").to_pandas().set_index("ts")
    acting = [signal for signal in sharp.sentry.alarms if signal.level in ("alert", "flat")]
    assert {"alert", "flat"} <= {signal.level for signal in acting}
    for signal in acting:
        words = diary.loc[signal.ts, "explanation"]
        assert f"; drift x{signal.factor:g} ({signal.detail})" in words
        assert signal.freeze
    order = [m for m in sharp.listener.heard if not isinstance(m, Heartbeat)]
    for at, message in enumerate(order):
        if message in acting:
            following = next(m for m in order[at:] if isinstance(m, Decision))
            assert following.belief.ts == message.ts, "the decision of the belief that completed the outcome"


def test_nothing_is_opened_while_flat(sharp: Done) -> None:
    diary = pq.read_table(sharp.folder / "diary" / "decisions.parquet").to_pandas()
    assert {signal.factor for signal in sharp.sentry.alarms} == {0.0, 0.5, 1.0}
    flat = diary["explanation"].str.contains("drift: only close")
    sent = {order for ids in diary.loc[flat, "order_ids"] for order in ids}
    orders = pq.read_table(sharp.folder / "orders.parquet").to_pandas()
    orders = orders[orders["order_id"].isin(sent) & (orders["event"] == "initialized")]
    assert len(orders) == len(sent) > 0
    assert orders["reduce_only"].all()
    assert flat.sum() > 50


def test_without_the_sentry_nothing_of_it_happens(tmp_path: Path) -> None:
    """Mutation: the explanation above is the sentry's doing."""
    done = replay(tmp_path, *SHARP, "policy.drift.enabled=false")
    diary = pq.read_table(tmp_path / "diary" / "decisions.parquet").to_pandas()
    assert not diary["explanation"].str.contains("drift").any()
    assert done.sentry is None
    assert not (tmp_path / "packets").exists()


def test_every_alarm_that_acts_has_a_packet_whose_evidence_is_in_the_diary(sharp: Done) -> None:
    acting = [signal for signal in sharp.sentry.alarms if signal.level in ("alert", "flat")]
    files = sorted((sharp.folder / "packets").glob("*.json"))
    assert len(files) == len(acting) == len(list((sharp.folder / "packets").glob("*.md")))
    diary = pq.read_table(sharp.folder / "diary" / "decisions.parquet").to_pandas()
    names = [name for name in diary if name.startswith("f_")]
    for file, signal in zip(files, acting, strict=True):
        made = json.loads(file.read_text())
        part = diary[(diary["ts"] > signal.change_point) & (diary["ts"] < signal.ts)]
        rows = [
            Row(r.decision, r.ts, r.instrument, r.step, r.exec_topo, r.regime, r.regime_confidence, r.action, f)
            for r, f in zip(part.itertuples(), part[names].to_numpy(), strict=True)
        ]
        assert made["evidence"]["sha256"] == digest(rows), "the slice can be checked from the diary alone"
        assert made["evidence"]["rows"] == len(part) > 0
        assert made["what"]["stream"] == signal.stream
        assert made["action"]["factor"] == signal.factor
        effects = [abs(row["d"] or 0.0) for row in made["shifts"]]
        assert effects == sorted(effects, reverse=True)
        assert f"d.ts > {signal.change_point} and d.ts < {signal.ts}" in made["reproduce"]
    changed = [rows[0]._replace(decision=-9), *rows[1:]]
    assert digest(changed) != digest(rows)


def test_the_statistics_of_every_stream_are_kept(sharp: Done) -> None:
    kept = pd.read_parquet(sharp.folder / "drift.parquet")
    assert {"ts", "stream", "value", "score", "cusum_up", "cusum_down", "page_hinkley", "threshold", "level"} <= set(
        kept
    )
    assert {"overall", "belief"} <= set(kept["stream"])
    assert kept["ts"].is_monotonic_increasing
    watching = kept[kept["level"] != "learning"]
    assert watching["cusum_down"].notna().all()
    assert (kept[kept["level"] == "learning"]["cusum_down"].isna()).all()
    told = sharp.sentry.summary()
    assert told["outcomes"] == (kept["stream"].isin(["overall", "belief"])).sum()
    assert told["days_between_false_alarms"] == pytest.approx(50 / told["outcomes_per_day"], abs=1e-3)
    assert sum(told["signals"].values()) == len(sharp.sentry.alarms)


def spoilt(decision: Decision) -> Any:
    from alphatrade.reflection.expost import Outcome

    return Outcome(decision.decision, decision.belief.ts, 1, 1, 0.0, [0.0, float("nan"), 0.0], [1, 1, 1], decision, 1)


def test_an_outcome_that_is_no_number_is_refused_said_and_traded_past(tmp_path: Path) -> None:
    done = replay(tmp_path, "tape.hours=3", say=spoilt)
    (fault,) = done.listener.of(MechanismFault)
    assert fault.mechanism == NAME
    assert "got nan, expected a finite number" in fault.reason
    beats = done.listener.of(Heartbeat)
    assert beats[0].faults == ()
    assert beats[-1].faults == (f"{NAME}: {fault.reason}",)
    assert done.organism.decisions > 300
    assert done.sentry.summary()["faults"] == [fault.reason]
    assert done.sentry.family.outcomes > 10, "it watches on"


def test_a_damaged_state_switches_the_sentry_off_and_nothing_else(tmp_path: Path) -> None:
    done = replay(tmp_path, "tape.hours=3", state=b"\x93not a state")
    assert done.sentry.family.outcomes == 0
    assert "off: saved state refused: damaged" in done.sentry.faults[0].reason
    assert done.organism.decisions > 300
    assert done.listener.of(Heartbeat)[-1].faults == (f"{NAME}: {done.sentry.faults[0].reason}",)


def test_what_was_learnt_and_its_severity_outlive_a_restart(sharp: Done, tmp_path: Path) -> None:
    family = sharp.sentry.family
    family.severity["WLD/USD.SIM"].level = 3
    done = replay(tmp_path, *SHARP, "tape.hours=3", state=sharp.sentry.on_save()[NAME])
    assert done.sentry.alarms[0].detail == "flat since before a restart"
    diary = pq.read_table(tmp_path / "diary" / "decisions.parquet").to_pandas()
    assert "drift x0 (flat since before a restart)" in diary["explanation"].iloc[0]
    assert done.sentry.family.outcomes > family.outcomes
    assert all(json.loads(p.read_text())["what"]["stream"] for p in (tmp_path / "packets").glob("*.json"))
