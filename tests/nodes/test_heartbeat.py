"""The heartbeat of a replay: one per second of event time that has an event, for whoever listens on the bus."""

from pathlib import Path

import numpy as np
import pytest
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from alphatrade.nodes import feed, wiring
from alphatrade.nodes.engine import build_engine, run_engine
from alphatrade.nodes.heartbeat import CLOCK, HEARTBEAT_TOPIC, Heartbeat, Pulse
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.tapes import Tape, load_tape

SECOND = 10**9


class Listener(Actor):
    """A plug-in that keeps the heartbeats of one topic, and the clock at each."""

    def __init__(self, topic: str = HEARTBEAT_TOPIC) -> None:
        super().__init__(ActorConfig(component_id="Listener"))
        self.topic = topic
        self.beats: list[Heartbeat] = []
        self.clocks: list[int] = []

    def on_start(self) -> None:
        self.msgbus.subscribe(self.topic, self.on_beat)

    def on_beat(self, beat: Heartbeat) -> None:
        self.beats.append(beat)
        self.clocks.append(self.clock.timestamp_ns())


def replay(listener: Listener | None, tmp_path: Path, *overrides: str) -> tuple[Tape, BacktestEngine]:
    settings = compose_settings(["tape=world", "tape.hours=1", "tape.step_s=0.4", "tape.gaps=3", *overrides])
    tape = load_tape(settings.run.tape, tmp_path)
    engine = build_engine(
        wiring.sim_config(settings.policy, [tape], settings.run, None),
        [feed.instrument(tape.instrument)],
        [feed.events(tape)],
        "SIM",
        wiring.venue_arguments([tape], settings.run),
        [] if listener is None else [listener],
    )
    run_engine(engine)
    return tape, engine


@pytest.mark.parametrize("topic", [HEARTBEAT_TOPIC, "alphatrade.*"])
@pytest.mark.parametrize("venue", ["default", "stock"])
def test_a_plug_in_hears_every_second_that_has_an_event(topic: str, venue: str, tmp_path: Path) -> None:
    listener = Listener(topic)
    tape, engine = replay(listener, tmp_path, f"venue={venue}")
    engine.dispose()
    beats = [beat for beat in listener.beats if isinstance(beat, Heartbeat)]
    stamps = np.array([event.ts_init for event in feed.events(tape)])  # quotes and halts
    seconds, first = np.unique(stamps // SECOND, return_index=True)
    assert len(seconds) < 0.95 * len(tape), "some seconds of this world have several quotes"
    assert np.diff(seconds).max() > 60, "and some have none"
    assert [beat.ts for beat in beats] == stamps[first].tolist()
    assert [beat.number for beat in beats] == list(range(1, len(seconds) + 1))
    assert (np.diff([beat.messages for beat in beats]) >= np.diff(first)).all(), "at least each quote was a message"
    assert {beat.clock for beat in beats} == {CLOCK}
    assert "simulated" in CLOCK
    if topic == HEARTBEAT_TOPIC:
        assert listener.clocks == [beat.ts for beat in beats], "heard at its time, not later"


def test_nothing_is_scheduled_for_it(tmp_path: Path) -> None:
    _, engine = replay(None, tmp_path)
    names = [name for component in engine.trader.actors() for name in component.clock.timer_names]
    assert not [name for name in (*names, *engine.kernel.clock.timer_names) if "beat" in name]
    engine.dispose()


def test_nobody_listens_nothing_is_published() -> None:
    sent: list[int] = []
    heard = [False]
    pulse = Pulse(lambda: heard[0], lambda ts, number: sent.append(number))
    for second in range(200):
        heard[0] = second >= 100
        pulse.beat(second * SECOND + 7)
        assert pulse.next == (second + 1) * SECOND
    assert pulse.beats == 200
    assert sent == list(range(121, 201)), "a latecomer hears it within a minute"


def test_a_reset_engine_beats_from_the_start(tmp_path: Path) -> None:
    listener = Listener()
    _, engine = replay(listener, tmp_path)
    first, listener.beats = listener.beats, []
    engine.reset()
    run_engine(engine)
    engine.dispose()
    assert [(beat.ts, beat.number) for beat in listener.beats] == [(beat.ts, beat.number) for beat in first]
