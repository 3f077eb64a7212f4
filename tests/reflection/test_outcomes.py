"""Outcomes as messages: each one once, at the belief that completes it, with or without a diary that listens."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from alphatrade.actors.messages import BELIEF_TOPIC, OUTCOME_TOPIC
from alphatrade.nodes import feed, wiring
from alphatrade.nodes.engine import build_engine, engine_config, run_engine
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.expost import Outcome

FILES = ("diary/decisions", "diary/expost", "belief_snapshots/beliefs")


class Listener(Actor):
    """Keeps outcomes, with the step whose belief was heard last."""

    def __init__(self) -> None:
        super().__init__(ActorConfig(component_id="Listener"))
        self.step = -1
        self.heard: list[tuple[int, Outcome]] = []

    def on_start(self) -> None:
        self.msgbus.subscribe(f"{BELIEF_TOPIC}.*", self.on_belief, 99)
        self.msgbus.subscribe(OUTCOME_TOPIC, lambda outcome: self.heard.append((self.step, outcome)))

    def on_belief(self, belief: Any) -> None:
        self.step = belief.step


def replay(folder: Path, *overrides: str, without: str = "") -> Listener:
    """Run a day of the embedded tape; `without` names an actor that is left out."""
    tape = ("tape.end=2026-08-18", "policy.drift.enabled=false", f"paths.state={folder}")
    settings = compose_settings([*tape, *overrides])
    tapes = load_tapes(settings.run)
    policy, run = settings.policy, settings.run
    actors = [wiring.outcomes(policy), wiring.scribe(policy, tapes, run, folder), wiring.perception(policy, tapes[0])]
    if not run.output.diary:
        del actors[1]
    config = engine_config(
        wiring.gate(policy, tapes, run, folder),
        [actor for actor in actors if not without or without not in actor.actor_path],
        [wiring.organism(policy, tapes, 0, run)],
    )
    listener = Listener()
    venue = wiring.venue_arguments(tapes, run)
    engine = build_engine(config, [feed.instrument(tapes[0].instrument)], [feed.events(tapes[0])], "SIM", venue, [listener])
    run_engine(engine)
    engine.dispose()
    return listener


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Listener]:
    folder = tmp_path_factory.mktemp("told")
    return folder, replay(folder)


def test_what_is_said_is_what_the_diary_holds(told: tuple[Path, Listener]) -> None:
    folder, listener = told
    written = pd.read_parquet(folder / "diary" / "expost.parquet")
    decisions = pd.read_parquet(folder / "diary" / "decisions.parquet").set_index("decision")
    said = [outcome for _, outcome in listener.heard]
    assert [o.decision for o in said] == written["decision"].tolist()
    assert [o.fills for o in said] == written["fills"].tolist()
    assert sum(o.fills for o in said) > 10
    for outcome in said:
        about = outcome.about
        assert about is not None
        assert about.decision == outcome.decision
        assert about.tactic == decisions.loc[outcome.decision, "exec_topo"]
        assert about.belief.regime == decisions.loc[outcome.decision, "regime"]
        assert outcome.step >= about.belief.step


def test_an_outcome_is_said_at_the_belief_that_completes_it_never_earlier(told: tuple[Path, Listener]) -> None:
    _, listener = told
    last = listener.heard[-1][0]
    complete = [(step, o) for step, o in listener.heard if step < last]
    assert len(complete) > 500
    for step, outcome in complete:
        assert step >= outcome.step + 20, "the longest horizon of its last fill"
        if not outcome.fills and outcome.about.action == "none":
            assert step == outcome.about.belief.step + 20


def test_a_diary_alone_follows_by_itself_and_writes_the_same_bytes(told: tuple[Path, Listener], tmp_path: Path) -> None:
    folder, _ = told
    assert not replay(tmp_path, without="OutcomeFollower").heard
    for name in FILES:
        assert (folder / f"{name}.parquet").read_bytes() == (tmp_path / f"{name}.parquet").read_bytes(), name


def test_outcomes_are_said_without_a_diary(told: tuple[Path, Listener], tmp_path: Path) -> None:
    heard = replay(tmp_path, "output.diary=false").heard
    assert not (tmp_path / "diary").exists()
    assert [(s, o.decision, o.markouts, o.known) for s, o in heard] == [
        (s, o.decision, o.markouts, o.known) for s, o in told[1].heard
    ]
