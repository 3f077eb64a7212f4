"""The cause of each alert that is planted: what a stand-in for a node says of itself, and the past that it has.

A stand-in renders its readings as a node does (``nodes/metrics.py``); the readings are planted.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.latency import Reached
from alphatrade.nodes.live.alerts import KINDS
from alphatrade.nodes.metrics import Reading
from alphatrade.nodes.stages import BOUNDS_NS

STEP_S, DAY_S = 60, 86_400
Cause = Callable[[Reading, float], Reading]


def well(second: float) -> Reading:
    """Return what a node says that is well, so many seconds after the causes: before them the number is negative."""
    lived = 100_000 + round(second)
    beat = Beat(
        ts=time.time_ns(), number=lived, pid=1, lag_s=0.001, feed_age_s=0.5, feed_limit_s=60.0,
        events=20 * lived, orders=lived, fills=lived // 2, rss=500_000_000, kill="ACTIVE", journal=lived,
    )  # fmt: skip
    return Reading(
        beat=beat, late_s=0.001, heard=True, orders=lived, denials={"COLLAR": 3}, near_misses={"GROSS_EXPOSURE": 3},
        stages={"decision": stage(10 * lived, 0)}, queues={"journal": 0}, currency="USD", equity=100_000.0,
        cash=100_000.0, day_change=100.0, drawdown=0.01,
        used={"GROSS_EXPOSURE": (10.0, 100.0), "DRAWDOWN": (0.01, 0.1)}, drift={("reward", "cusum"): (1.0, 5.0)},
        drift_alarms=2, decisions=lived, diary_rows=lived, diary_lag_s=0.1, faults={"graph": 0},
        feed_gaps=0, session_open=True, journal_records=lived, alerts=dict.fromkeys(KINDS, 0), reconcile_differences=0,
        reconciled_at=time.time(), reconcile_every_s=900.0, permit_end=time.time() + 30 * DAY_S,
        permit_used={"capital": (40.0, 100.0), "loss": (1.0, 10.0)},
    )  # fmt: skip


def stage(good: int, slow: int) -> Reached:
    """Return so many durations of 0.2 ms, and so many of 8 ms."""
    within = tuple(good * (bound >= 200_000) + slow * (bound >= 8_000_000) for bound in BOUNDS_NS)
    return Reached(within, good + slow, good * 200_000 + slow * 8_000_000)


def _beat(**fields: Any) -> Cause:
    return lambda now, _: replace(now, beat=replace(now.beat, **fields))


def _is(**fields: Any) -> Cause:
    return lambda now, _: replace(now, **fields)


def _early(now: Reading, _: float) -> Reading:
    return replace(now, beat=replace(now.beat, ts=now.beat.ts + 3_000_000_000))


def _grown(now: Reading, second: float) -> Reading:
    return replace(now, beat=replace(now.beat, rss=round(800_000_000 + second * 40e6 / 3600)))


def _slow(share: float) -> Cause:
    def cause(now: Reading, second: float) -> Reading:
        every = 10 * (100_000 + round(second))
        return replace(now, stages={"decision": stage(round(every * (1 - share)), round(every * share))})

    return cause


def _rows(share: float) -> Cause:
    return lambda now, second: replace(now, diary_rows=round((100_000 + round(second)) * share))


def _slower(now: Reading, second: float) -> Reading:
    slow = round(second)
    return replace(now, stages={"decision": stage(now.stages["decision"].all - slow, slow)})


def _now_and_then(now: Reading, second: float) -> Reading:
    return replace(now, beat=replace(now.beat, feed_age_s=61.0 if second % 40 < 20 else 0.5))


# Of each alert, what is said from its cause on.
PLANTED: dict[str, Cause] = {
    "LateLoop": _is(late_s=3.0),
    "ClockOff": _early,
    "MechanismOff": _is(faults={"graph": 1}),
    "MemoryLarge": _beat(rss=2_100_000_000),
    "DriftNear": _is(drift={("reward", "cusum"): (4.2, 5.0)}),
    "DriftAlarm": _is(drift_alarms=3),
    "NearMisses": lambda now, s: replace(now, near_misses={"GROSS_EXPOSURE": 3 + round(0.4 * s)}),
    "Denials": lambda now, s: replace(now, denials={"COLLAR": 3 + round(0.4 * s)}),
    "Runaway": lambda now, s: replace(now, denials={"ORDER_RATE": 3 + round(3 * s)}),
    "ProfitSwing": _is(day_change=-2_500.0),
    "LossLimitNear": _is(drawdown=0.085, used={"DRAWDOWN": (0.085, 0.1)}),
    "ExposureNear": _is(used={"GROSS_EXPOSURE": (95.0, 100.0)}),
    "LatencySpike": _slower,
    "ReconcileStale": lambda now, s: replace(now, reconciled_at=time.time() - 3601 - s),
    "PermitEnds": lambda now, s: replace(now, permit_end=time.time() + DAY_S - 60 - s),
    "LossCapNear": _is(permit_used={"capital": (40.0, 100.0), "loss": (8.1, 10.0)}),
}
# Of each alert whose windows are longer than a drill, what is said; the past is given to Prometheus before it starts.
REMEMBERED: dict[str, Cause] = {
    "MemoryGrows": _grown,
    "DecisionLatencyBurnsFast": _slow(0.2),
    "DecisionLatencyBurnsSlowly": _slow(0.02),
    "DiaryCoverageBurnsFast": _rows(0.8),
    "DiaryCoverageBurnsSlowly": _rows(0.98),
    "FeedAgeBurnsFast": _now_and_then,
    "FeedAgeBurnsSlowly": lambda now, _: now,
}


def past(end: int) -> str:
    """Return three days of minutes until `end`, UTC s, of what alerts of long windows are about, as OpenMetrics."""
    by_series = sorted(_lines(end), key=lambda line: line.partition("}")[0])  # in each, time goes on
    return "\n".join(by_series) + "\n# EOF\n"


def _lines(end: int) -> Iterator[str]:
    for at in range(end - 3 * DAY_S, end + 1, STEP_S):
        hours = (end - at) / 3600
        number = (at - (end - 3 * DAY_S)) // STEP_S
        fast, minute = hours <= 2, number % 50 == 0
        yield _line("alphatrade_resident_memory_bytes", "MemoryGrows", at, 800e6 - hours * 40e6)
        yield _line("alphatrade_beats_total", "MemoryGrows", at, 100_000 - hours * 3600)
        yield _line("alphatrade:stage_p99:5m", "LatencySpike", at, 0.0004, ',stage="decision"')
        yield _line("alphatrade:feed_silent", "FeedAgeBurnsFast", at, int(fast and number % 5 == 0))
        yield _line("alphatrade:feed_silent", "FeedAgeBurnsSlowly", at, int(minute))
        good = {
            "Fast": 600 * number - 120 * max(0, number - (3 * DAY_S - 7200) // STEP_S),
            "Slowly": round(588 * number),
        }
        for speed, within in good.items():
            name, labels = f"DecisionLatencyBurns{speed}", ',stage="decision"'
            yield _line("alphatrade_stage_duration_seconds_count", name, at, 600 * number, labels)
            yield _line("alphatrade_stage_duration_seconds_bucket", name, at, within, f'{labels},le="0.005"')
            yield _line("alphatrade_decisions_total", f"DiaryCoverageBurns{speed}", at, 600 * number)
            yield _line("alphatrade_diary_rows_total", f"DiaryCoverageBurns{speed}", at, within)


def _line(name: str, instance: str, at: int, value: float, labels: str = "") -> str:
    return f'{name}{{job="alphatrade",instance="{instance}"{labels}}} {value} {at}'
