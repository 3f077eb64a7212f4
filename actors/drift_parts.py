"""Parts of the drift sentry: its parameters, what a chart says, what an alarm says, where a stream stands."""

from typing import Any, NamedTuple


class DriftParams(NamedTuple):
    """
    Parameters of a family (see ``conf/policy/drift``).

    Attributes
    ----------
    run_length : float
        Design: outcomes of the family between false alarms.
    k : float
        Reference value, baseline scales: half the shift that is to be found fastest.
    baseline : int
        Outcomes of the family before anything is watched.
    least : int
        Outcomes that a stream has before it is watched.
    quiet : int
        Outcomes without a warning after which severity falls by one level.
    horizon : int
        Primary horizon, decision steps: the length of an outcome's window.
    """

    run_length: float
    k: float
    baseline: int
    least: int
    quiet: int
    horizon: int


class Observation(NamedTuple):
    """One outcome of one stream and what its charts say; NaN while it learns."""

    stream: str
    value: float
    score: float
    up: float
    cusum: float
    page_hinkley: float
    threshold: float
    level: str

    @property
    def down(self) -> float:
        """The larger of the charts that look downwards."""
        return max(self.cusum, self.page_hinkley)


class Alarm(NamedTuple):
    """A change of severity; fields as in :class:`~alphatrade.actors.messages.DriftSignal`."""

    level: str
    stream: str
    statistic: float
    threshold: float
    chart: str
    change_point: int
    last_good: int
    last: int
    detail: str


class Stream:
    """Bookkeeping beside a stream's row of the state: where its windows and its change points are."""

    __slots__ = ("high", "instrument", "name", "ph", "side", "step", "watched", "zero")

    def __init__(self, instrument: str, name: str) -> None:
        self.instrument, self.name = instrument, name
        self.watched = False
        self.step, self.side = -(10**9), 0  # of the last outcome's window
        self.zero = self.high = (0, 0)  # stamp and id at the CUSUM's last zero, at Page-Hinkley's last maximum
        self.ph: Any = None


class Severity:
    """Of one instrument: place in `LEVELS`, and outcomes since the last warning."""

    __slots__ = ("calm", "level")

    def __init__(self) -> None:
        self.level = self.calm = 0
