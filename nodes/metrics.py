"""What a node shows to Prometheus: one reading of its parts a second, rendered when somebody asks.

A reading is plain values. The loop that trades only makes it; the text is made by whoever serves it. What is not known
has no sample: there is no invented 0. `FAMILIES` is the list of all names.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from math import isnan
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.latency import Reached
from alphatrade.nodes.stages import BOUNDS_NS
from alphatrade.risk.kill import State

PREFIX = "alphatrade_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WINDOW = 45  # beats whose worst lag is shown: were it one, nobody would see what is late between two scrapes
ABOUT = ("policy", "code", "run", "env", "account")
_BREATH_S = 50e-6  # between two families
_LE = (*(f"{bound / 1e9:g}" for bound in BOUNDS_NS), "+Inf")

Values = Mapping[tuple[str, ...], float | None]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a node says of itself in one second. None, NaN and what a mapping does not have is not known.

    Attributes
    ----------
    beat : Beat
    journal_left : int
        Records of the journal that are still to be read before it trades.
    heard : bool
        The feed has given something since the journal was read, or nothing is expected of it now.
    late_s : float, optional
        By how much the loop was late at worst in the latest `WINDOW` beats, seconds.
    orders : int, optional
        Of the run so far, those that were denied and those of the law itself included.
    denials, near_misses : dict of str to int
        So far, by the code of the limit.
    stages : dict of str to Reached
        How many durations of a stage are within each of `BOUNDS_NS`.
    queues : dict of str to int
        What waits, by queue.
    currency : str
        Of the account.
    equity, cash, day_change, drawdown : float, optional
        Money, and a fraction of the highest equity.
    positions : dict of str to float
        Units by instrument.
    used : dict of str to (float, float)
        What is used of a limit, and the limit.
    drift : dict of (str, str) to (float, float)
        By stream and detector: its statistic and threshold.
    drift_alarms, feed_gaps : int, optional
        So far.
    sigma : dict of str to (float, float)
        By instrument: norm of the fast weights, and its bound.
    decisions, diary_rows : int, optional
        Of the run so far; rows of decisions that a diary has on the disk, or on their way there.
    diary_lag_s : float, optional
        For how long the oldest row has waited for the disk.
    faults : dict of str to int
        By mechanism: whether it is off; where there are several, how many.
    refusals : dict of str to int
        By mechanism: what it has lost or refused so far, and went on.
    session_open : bool, optional
    journal_records : int, optional
    alerts : dict of str to int
        Of the guardian of real orders, so far, by kind.
    reconcile_differences : int, optional
        Of the last full reconciliation.
    reconciled_at, permit_end : float, optional
        When journal, cache and exchange last agreed, and when the permit ends (0: none stands), seconds UTC.
    reconcile_every_s : float, optional
        From one full reconciliation to the next.
    permit_used : dict of str to (float, float)
        What is used of each cap of the permit, and the cap, money.
    """

    beat: Beat
    journal_left: int = 0
    heard: bool = False
    late_s: float | None = None
    orders: int | None = None
    denials: Mapping[str, int] = {}
    near_misses: Mapping[str, int] = {}
    stages: Mapping[str, Reached] = {}
    queues: Mapping[str, int] = {}
    currency: str = ""
    equity: float | None = None
    cash: float | None = None
    day_change: float | None = None
    drawdown: float | None = None
    positions: Mapping[str, float] = {}
    used: Mapping[str, tuple[float, float]] = {}
    drift: Mapping[tuple[str, ...], tuple[float, float]] = {}
    drift_alarms: int | None = None
    sigma: Mapping[str, tuple[float, float]] = {}
    decisions: int | None = None
    diary_rows: int | None = None
    diary_lag_s: float | None = None
    faults: Mapping[str, int] = {}
    refusals: Mapping[str, int] = {}
    feed_gaps: int | None = None
    session_open: bool | None = None
    journal_records: int | None = None
    alerts: Mapping[str, int] = {}
    reconcile_differences: int | None = None
    reconciled_at: float | None = None
    permit_end: float | None = None
    reconcile_every_s: float | None = None
    permit_used: Mapping[str, tuple[float, float]] = {}


class Family(NamedTuple):
    """One metric: its name without the prefix, what it says, its labels, and its samples of a reading."""

    name: str
    words: str
    labels: tuple[str, ...]
    samples: Callable[[Reading], Values]

    def rendered(self, reading: Reading) -> Metric:
        """Return the samples that are known."""
        if self.name.endswith("_total"):
            made: CounterMetricFamily | GaugeMetricFamily = CounterMetricFamily(
                PREFIX + self.name.removesuffix("_total"), self.words, labels=self.labels
            )
        else:
            made = GaugeMetricFamily(PREFIX + self.name, self.words, labels=self.labels)
        for labels, value in self.samples(reading).items():
            if value is not None and not isnan(value):
                made.add_metric(labels, value)
        return made


def _one(name: str, words: str, value: Callable[[Reading], float | None]) -> Family:
    return Family(name, words, (), lambda r: {(): value(r)})


def _by(name: str, words: str, label: str, values: Callable[[Reading], Mapping[str, float]]) -> Family:
    return Family(name, words, (label,), lambda r: {(key,): value for key, value in values(r).items()})


def _money(name: str, words: str, value: Callable[[Reading], float | None]) -> Family:
    return Family(name, words, ("currency",), lambda r: {(r.currency,): value(r)} if r.currency else {})


def _at[K](pairs: Mapping[K, tuple[float, float]], place: int) -> dict[K, float]:
    return {key: pair[place] for key, pair in pairs.items()}


FAMILIES = (
    _one("beats_total", "heartbeats of this process", lambda r: r.beat.number),
    _one("beat_timestamp_seconds", "time of the latest beat, of the wall", lambda r: r.beat.ts / 1e9),
    _one("loop_lag_seconds", "by how much the loop was late, at worst in the latest 45 beats", lambda r: r.late_s),
    _one("events_total", "market events taken", lambda r: None if r.journal_left else r.beat.events),
    _one("orders_total", "orders, denied ones and those of the law itself included", lambda r: r.orders),
    _one("fills_total", "fills", lambda r: None if r.journal_left else r.beat.fills),
    _by("denials_total", "commands that the law denied, by code", "reason", lambda r: r.denials),
    _by("near_misses_total", "limits used beyond the near-miss share, by code", "reason", lambda r: r.near_misses),
    _by("queue_length", "what waits in a queue", "queue", lambda r: r.queues),
    _money("equity", "equity at the latest prices", lambda r: r.equity),
    _money("cash", "cash", lambda r: r.cash),
    _money("day_change", "change of the equity since the first price of the UTC day", lambda r: r.day_change),
    _one("drawdown_ratio", "loss from the highest equity, fraction of it", lambda r: r.drawdown),
    _by("position", "units held, negative if short", "instrument", lambda r: r.positions),
    _by("exposure", "what is used of a limit, in its unit", "limit", lambda r: _at(r.used, 0)),
    _by("exposure_limit", "the limit, in the same unit", "limit", lambda r: _at(r.used, 1)),
    Family("drift_statistic", "what a chart says", ("stream", "detector"), lambda r: _at(r.drift, 0)),
    Family("drift_threshold", "where it alarms", ("stream", "detector"), lambda r: _at(r.drift, 1)),
    _one("drift_alarms_total", "alarms of the drift sentry that act", lambda r: r.drift_alarms),
    _by("sigma_norm", "Frobenius norm of the fast weights", "instrument", lambda r: _at(r.sigma, 0)),
    _by("sigma_bound", "what that norm is held below", "instrument", lambda r: _at(r.sigma, 1)),
    _one("decisions_total", "decisions", lambda r: r.decisions),
    _one("diary_rows_total", "decisions that are in the diary", lambda r: r.diary_rows),
    _one("diary_lag_seconds", "how long the oldest diary row has waited for the disk", lambda r: r.diary_lag_s),
    _one("resident_memory_bytes", "resident memory", lambda r: r.beat.rss or None),
    _by("faults", "1 while a mechanism is off", "mechanism", lambda r: r.faults),
    _by("refusals_total", "what a mechanism has lost or refused, and went on", "mechanism", lambda r: r.refusals),
    _one("feed_age_seconds", "since the latest event of the feed; absent while none is expected",
         lambda r: r.beat.feed_age_s),
    _one("feed_age_limit_seconds", "age from which on the feed is silent; absent with a tape",
         lambda r: r.beat.feed_limit_s),
    _one("feed_gaps_total", "times that the feed was lost and came back", lambda r: r.feed_gaps),
    _one("session_open", "1 while may be traded by the calendar", lambda r: r.session_open),
    _one("journal_records_total", "records of the journal", lambda r: r.journal_records),
    _by("live_alerts_total", "alerts of the guardian of real orders, by kind", "kind", lambda r: r.alerts),
    _one("reconcile_differences", "what the last full reconciliation has found", lambda r: r.reconcile_differences),
    _one("reconcile_timestamp_seconds", "when journal, cache and exchange last agreed", lambda r: r.reconciled_at),
    _one("reconcile_interval_seconds", "from one full reconciliation to the next", lambda r: r.reconcile_every_s),
    _one("permit_end_timestamp_seconds", "when the permit ends; 0: none stands", lambda r: r.permit_end),
    _by("permit_used", "what is used of a cap of the permit, money", "cap", lambda r: _at(r.permit_used, 0)),
    _by("permit_cap", "the cap, likewise", "cap", lambda r: _at(r.permit_used, 1)),
    _by("kill_state", "1 for the state of the kill switch, 0 for the others", "state",
        lambda r: {str(state): float(state == r.beat.kill) for state in State}),
)  # fmt: skip
STAGE_FAMILY = "stage_duration_seconds"
NAMES = (PREFIX + "info", PREFIX + STAGE_FAMILY, *(PREFIX + family.name for family in FAMILIES))


class NodeMetrics(Collector):
    """
    The metrics of one node, in a registry of their own.

    Attributes
    ----------
    about : mapping of str to str
        Values of the labels `ABOUT`.
    latest : Reading or None
        What is shown; another thread may put the next one here at any time.
    """

    def __init__(self) -> None:
        self.about: Mapping[str, str] = {}
        self.latest: Reading | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give the families one by one; after each, whoever trades in this process may go first."""
        reading = self.latest
        if self.about:
            info = GaugeMetricFamily(PREFIX + "info", "what runs here", labels=ABOUT)
            info.add_metric([self.about[name] for name in ABOUT], 1.0)
            yield info
        if reading is None:
            return
        for family in FAMILIES:
            yield family.rendered(reading)
            time.sleep(_BREATH_S)
        yield _stages(reading)

    def text(self) -> bytes:
        """Return all samples in Prometheus's text format."""
        return generate_latest(self._registry)


def _stages(reading: Reading) -> Metric:
    made = HistogramMetricFamily(PREFIX + STAGE_FAMILY, "how long a stage takes", labels=("stage",))
    for name, stage in reading.stages.items():
        made.add_metric((name,), list(zip(_LE, (*stage.within, stage.all), strict=True)), stage.total_ns / 1e9)
    return made
