"""The drift sentry as a Nautilus Actor: outcomes and beliefs in, drift signals out, before the next decision is made.

It acts through its signals alone: the Organism sizes by their factor. An outcome that is no number, or a saved state
that cannot be read, is refused: the sentry says so and trading goes on.
"""

from importlib import import_module
from math import sqrt
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import LiveClock
from nautilus_trader.common.config import ActorConfig

from alphatrade.actors.drift import FACTORS, LEVELS, DriftFamily
from alphatrade.actors.drift_parts import DriftParams, Observation
from alphatrade.actors.drift_saved import load, save
from alphatrade.actors.messages import (
    BELIEF_TOPIC,
    DRIFT_STATE_TOPIC,
    DRIFT_TOPIC,
    MECHANISM_TOPIC,
    OUTCOME_TOPIC,
    WATCH,
    BeliefSnapshot,
    DriftSignal,
    DriftState,
    MechanismFault,
)

NAME = "drift_sentry"
_LEAST_VOL = 1e-6  # of a step: what a claim is measured in where nothing moved
_DIRECTION = {"up": 1, "down": -1}


class SentryConfig(ActorConfig, frozen=True):
    """
    Configuration of :class:`DriftSentry`.

    Parameters
    ----------
    drift : dict
        The part ``drift`` of the policy.
    horizons : list of int
        Of the mark-outs, decision steps.
    primary : int
        The one that is watched.
    """

    drift: dict[str, Any]
    horizons: tuple[int, ...] = (1, 5, 20)
    primary: int = 5


class DriftSentry(Actor):
    """
    Watches the outcomes of every instrument of the node.

    Attributes
    ----------
    family : DriftFamily
        The statistics.
    alarms : list of DriftSignal
        All signals so far.
    faults : list of MechanismFault
        What was refused.
    off : bool
        What it should have started from was refused: it watches nothing.
    """

    def __init__(self, config: SentryConfig) -> None:
        super().__init__(config)
        drift = config.drift
        self._params = DriftParams(
            float(drift["run_length"]), float(drift["k"]), int(drift["baseline"]), int(drift["least"]),
            int(drift["quiet"]), config.primary,
        )  # fmt: skip
        self._at = config.horizons.index(config.primary)
        self._clear()

    def _clear(self) -> None:
        self.family = DriftFamily(self._params)
        self._claims: dict[str, tuple[BeliefSnapshot, int]] = {}  # the open one of each instrument, and its direction
        self._restored: dict[str, int] = {}  # severities of before a restart that nobody has been told of
        self.off = False
        self._now = 0
        self.first = self.last = 0
        self.alarms: list[DriftSignal] = []
        self.faults: list[MechanismFault] = []

    def on_start(self) -> None:
        """Listen: the belief comes first, then the outcomes that it completes, then the decision."""
        if isinstance(self.clock, LiveClock):
            import_module("river.drift")  # more than a second: not within a decision; a replay waits until it is needed
        self.msgbus.subscribe(f"{BELIEF_TOPIC}.*", self.on_belief, WATCH)
        self.msgbus.subscribe(OUTCOME_TOPIC, self.on_outcome)

    def on_reset(self) -> None:
        """Learn anew."""
        self._clear()

    # -- what arrives -------------------------------------------------------------------------------------------

    def on_outcome(self, outcome: Any) -> None:
        """Take the outcome of a decision of the run's own policy, if it traded and its primary horizon was reached."""
        if not outcome.fills or self.off or outcome.about is None:
            return
        value = outcome.markouts[self._at]
        if value is None:
            return
        if getattr(outcome.about, "maker", None) is not None:
            return  # a canary is judged by what it earns; its outcomes say nothing of the policy beside it
        about, place = outcome.about, (outcome.step, outcome.side)
        instrument, ts = about.belief.instrument, self._now
        try:
            found = self.family.traded(instrument, about.tactic, value, place, ts, outcome.decision)
        except ValueError as error:
            self._fault(ts, f"ignored: {error}")
            return
        self._tell(instrument, ts, *found)

    def on_belief(self, belief: BeliefSnapshot) -> None:
        """Settle the claim that is due, and note the next one: windows of claims do not overlap."""
        if self.first == 0:
            self.first = belief.ts
        self.last = self._now = belief.ts
        if self._restored and (level := self._restored.pop(belief.instrument, 0)):
            self._restate(belief, level)
        if self.off or not belief.warm:
            return
        open_claim = self._claims.get(belief.instrument)
        if open_claim is not None:
            then, side = open_claim
            if belief.step - then.step < self._params.horizon:
                return
            del self._claims[belief.instrument]
            self._settle(then, side, belief)
        direction = _DIRECTION.get(belief.regime.partition("-")[0], 0)
        if direction:
            self._claims[belief.instrument] = (belief, direction)

    def _settle(self, then: BeliefSnapshot, side: int, now: BeliefSnapshot) -> None:
        expected = max(then.vol, _LEAST_VOL) * sqrt(self._params.horizon)
        value = side * (now.mid / then.mid - 1.0) / expected if then.mid else float("nan")
        try:
            found = self.family.believed(now.instrument, value, (then.step, side), now.ts, then.step)
        except ValueError as error:
            self._fault(now.ts, f"ignored: {error}")
            return
        self._tell(now.instrument, now.ts, *found)

    # -- what leaves --------------------------------------------------------------------------------------------

    def _tell(self, instrument: str, ts: int, observations: list[Observation], alarms: list[Any]) -> None:
        for alarm in alarms:
            level = self.family.level(instrument)
            signal = DriftSignal(
                ts, instrument, alarm.level, alarm.stream, alarm.statistic, alarm.threshold, alarm.chart,
                FACTORS[level], level > 0, alarm.change_point, alarm.last_good, alarm.last, alarm.detail,
            )  # fmt: skip
            self.alarms.append(signal)
            self.msgbus.publish(DRIFT_TOPIC, signal)
        for seen in observations:
            state = DriftState(
                ts, instrument, seen.stream, seen.value, seen.score, seen.up, seen.cusum, seen.page_hinkley,
                seen.threshold, seen.level,
            )  # fmt: skip
            self.msgbus.publish(DRIFT_STATE_TOPIC, state)

    def _restate(self, belief: BeliefSnapshot, level: int) -> None:
        """Say the severity that outlived a restart, before the first decision."""
        nan, word = float("nan"), LEVELS[level]
        signal = DriftSignal(
            belief.ts, belief.instrument, word, "", nan, nan, "", FACTORS[level], True, 0, 0, 0,
            f"{word} since before a restart",
        )  # fmt: skip
        self.alarms.append(signal)
        self.msgbus.publish(DRIFT_TOPIC, signal)

    def _fault(self, ts: int, reason: str) -> None:
        fault = MechanismFault(ts, NAME, reason)
        self.faults.append(fault)
        self.msgbus.publish(MECHANISM_TOPIC, fault)

    # -- state --------------------------------------------------------------------------------------------------

    def on_save(self) -> dict[str, bytes]:
        """Return what has been learnt."""
        return {NAME: save(self.family)}

    def on_load(self, state: dict[str, bytes]) -> None:
        """Take up what was learnt before; the sentry stays off where that cannot be read."""
        if NAME not in state:
            return
        try:
            load(self.family, state[NAME])
            self._restored = {name: severity.level for name, severity in self.family.severity.items() if severity.level}
        except ValueError as error:
            self.off = True
            self._fault(self.clock.timestamp_ns(), f"off: saved state refused: {error}")

    def summary(self) -> dict[str, Any]:
        """Return design and what was measured, plain values (``drift.json``)."""
        family, days = self.family, (self.last - self.first) / 86_400e9
        rate = family.outcomes / days if days > 0 else 0.0
        design, counted = family.design, {level: 0 for level in ("warn", "alert", "flat", "recovered")}
        for alarm in self.alarms:
            counted[alarm.level] += 1
        return {
            "design_run_length": self._params.run_length,
            "simulated_run_length": design and design.run_length,
            "threshold": design and design.threshold,
            "k": self._params.k,
            "calibrated_on": design and design.outcomes,
            "outcomes": family.outcomes,
            "days": round(days, 6),
            "outcomes_per_day": round(rate, 3),
            "days_between_false_alarms": round(self._params.run_length / rate, 3) if rate else None,
            "signals": counted,
            "streams": family.counts(),
            "faults": [fault.reason for fault in self.faults],
        }
