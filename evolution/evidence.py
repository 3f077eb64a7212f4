"""Evidence for a promotion: plain values, from which anybody computes the same verdict.

What the ledger says is kept as it was entered; what the gate has replayed by itself is kept beside it. ``canonical``
and ``model_validate`` take evidence to RFC 8785 JSON and back.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import fsum
from typing import Annotated, Any

import rfc8785
from pydantic import ConfigDict, Field

from alphatrade.evolution.grid import NS, Cell
from alphatrade.evolution.leakage import Found, LeakageSpec
from alphatrade.evolution.schedule import fair
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec, canonical


class Plain(Spec):
    """Base of what is evidence: no number is anything but a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VenueFloor(Spec):
    """
    What replays have to be charged: at least this, and limit orders filled at most so often.

    Fees are fractions of the notional; `half_spread_bps` is that around the price of a tape without quotes.
    """

    maker_fee: Annotated[float, Field(ge=0, le=0.01)]
    taker_fee: Annotated[float, Field(ge=0.000005, le=0.01)]
    half_spread_bps: Annotated[float, Field(ge=0.1, le=100)]
    cost_multiple: Annotated[float, Field(ge=1, le=10)]
    prob_slippage: Annotated[float, Field(ge=0.25, le=1)]
    latency_ms: Annotated[float, Field(ge=1, le=60_000)]
    prob_fill_on_limit: Annotated[float, Field(ge=0, le=0.5)]


class PromotionSpec(Spec):
    """The gate's thresholds, ``conf/promotion``; none can be set to where it would pass anything."""

    cells: Annotated[int, Field(ge=2)]
    regimes: Annotated[int, Field(ge=1, le=6)]
    least: Annotated[int, Field(ge=30)]
    period_s: Annotated[float, Field(ge=60, le=86_400)]
    periods: Annotated[int, Field(ge=30)]
    cost_multiple: Annotated[float, Field(ge=1.5, le=10)]
    dsr: Annotated[float, Field(ge=0.9, le=0.999)]
    looks: Annotated[int, Field(ge=1, le=20)]
    pbo: Annotated[float, Field(gt=0, le=0.4)]
    families: Annotated[int, Field(ge=4)]
    lead: Annotated[float, Field(gt=0, le=0.1)]
    spot: Annotated[int, Field(ge=1, le=100)]
    scenarios: Annotated[int, Field(ge=5)]
    latency_p99_us: Annotated[float, Field(gt=0, le=100_000)]
    latency_ratio: Annotated[float, Field(ge=1, le=10)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    leakage: LeakageSpec
    venue: VenueFloor
    never: dict[str, tuple[str, ...]]


class GridCell(Plain):
    """A cell of the grid as the house cuts it, ``start <= ts < end`` (UTC ns)."""

    instrument: str
    regime: str
    start: int
    end: int
    holdout: bool = False


class Result(Plain):
    """What came of a replay of one cell, in the words of the ledger; None and empty where it was not made."""

    instrument: str
    regime: str
    start: int
    end: int
    decisions: int
    fills: int
    violations: int
    net_return: float | None
    sharpe: float | None
    drawdown: float | None
    turnover: float | None
    killed: str
    fault: str
    returns: tuple[float, ...]
    exposure: float | None
    passive: float | None

    @property
    def place(self) -> tuple[str, int, int]:
        """Instrument, start and end of its cell."""
        return self.instrument, self.start, self.end


class Record(Plain):
    """An entry of the ledger, with the role of who has signed it; of a batch, with the trials that lie beside it."""

    seq: int
    hash: str
    kind: str
    body: dict[str, Any]
    trials: tuple[dict[str, Any], ...] = ()
    role: str = ""

    @property
    def tried(self) -> tuple[dict[str, Any], ...]:
        """The trials that it tells of."""
        return (self.body,) if self.kind == "trial" else self.trials


class Again(Plain):
    """A trial of the search, replayed again by the gate on the cells that it may see."""

    generation: int
    index: int
    cells: tuple[Result, ...]


class Incumbent(Plain):
    """Who is in charge, or was until a service took it down, on the same held-out cells."""

    policy_hash: str
    holdout: tuple[Result, ...]


class Attack(Plain):
    """A scenario of the red team, and whether everything that was expected held."""

    name: str
    passed: bool


class Latency(Plain):
    """
    Wall-clock durations of decisions, ns; `base_p99` is measured beside it.

    It is the incumbent's; without one the default policy's, which tells nothing but how fast this machine is.
    """

    n: int
    p99: int
    base_p99: int


class Evidence(Plain):
    """
    All that a verdict is computed from.

    Attributes
    ----------
    policy_hash : str
        Of the policy that the gate has replayed.
    genotype : dict or None
        That it is said to come from.
    search : str
        Hash of its search; `generation` and `index` are its place in it.
    code_hash : str
        Of the code that the gate has replayed with.
    evaluator : dict
        The gate's own: ``run`` (the identity of its run spec, with ``venue``) and ``grid`` (``period_s``, ``least``).
    tapes : dict of str to str
        Instrument to the hash of its tape.
    grid : tuple of GridCell
        As the gate has cut these tapes.
    ledger : tuple of Record
        All entries.
    ledger_problems : tuple of str or None
        What a check has found, against what was kept elsewhere of it; None if there was no check.
    fingerprint, head : str
        As they were kept elsewhere; empty where nobody has told: then the ledger was checked in itself and no more.
    again : tuple of Again
        The candidate and the trials of :func:`spots`.
    holdout, costly : tuple of Result
        The candidate on the held-out cells, at the evaluator's costs and at `cost_multiple` times them.
    incumbent : Incumbent or None
        None if nobody is in charge: then the candidate has to be better than not trading.
    leakage : tuple of Found
    red_team : tuple of Attack
    latency : Latency or None
        Never the same again; no part of what has to be.
    """

    policy_hash: str
    genotype: dict[str, Any] | None = None
    search: str
    generation: int
    index: int
    code_hash: str
    evaluator: dict[str, Any]
    tapes: dict[str, str]
    grid: tuple[GridCell, ...]
    ledger: tuple[Record, ...]
    ledger_problems: tuple[str, ...] | None = None
    fingerprint: str = ""
    head: str = ""
    again: tuple[Again, ...] = ()
    holdout: tuple[Result, ...] = ()
    costly: tuple[Result, ...] = ()
    cost_multiple: float = 1.0
    incumbent: Incumbent | None = None
    leakage: tuple[Found, ...] = ()
    red_team: tuple[Attack, ...] = ()
    latency: Latency | None = None

    @property
    def period(self) -> int:
        """Length of a period of returns, ns."""
        return int(self.evaluator["grid"]["period_s"] * NS)

    @property
    def held_out(self) -> tuple[GridCell, ...]:
        """The cells that no search may see."""
        return tuple(cell for cell in self.grid if cell.holdout)

    @property
    def seen(self) -> tuple[GridCell, ...]:
        """Those that its search replays each candidate in: all others, or the first ``search.cells`` in their order."""
        others = tuple(cell for cell in self.grid if not cell.holdout)
        most = search_of(self)["spec"].get("cells")
        if most is None:
            return others
        order = {(cell.instrument, cell.start) for cell in fair([Cell(**cell.model_dump()) for cell in others], most)}
        return tuple(cell for cell in others if (cell.instrument, cell.start) in order)


def digest(model: Spec, without: Iterable[str] = ()) -> str:
    """Return the sha256 of a model's canonical JSON, without some of its fields."""
    plain = {name: value for name, value in canonical(model).items() if name not in set(without)}
    return hashlib.sha256(rfc8785.dumps(plain)).hexdigest()


def trials_of(evidence: Evidence, search: str | None = None) -> list[dict[str, Any]]:
    """Return every trial of a ledger, alone or in a batch, manual replays included; or those of one search."""
    found = [trial for record in evidence.ledger for trial in record.tried]
    return [trial for trial in found if search is None or trial["search"] == search]


def search_of(evidence: Evidence) -> dict[str, Any]:
    """
    Return the entry of the candidate's search.

    Raises
    ------
    ConfigError
        If there is none, or more than one.
    """
    found = [r for r in evidence.ledger if r.kind == "search" and r.body["search"] == evidence.search]
    if len(found) != 1 or not evidence.search:
        raise ConfigError("search", f"{len(found)} entries of {evidence.search[:12]}", "one in the ledger")
    return found[0].body


def spots(evidence: Evidence, number: int) -> list[tuple[int, int]]:
    """
    Return which other scored trials of the search the gate replays again: (generation, index), in order.

    They are drawn by a hash over all its trials, so that nobody knows them before the last trial is entered. Who enters
    trials that he made up can change them and draw again: against him, a verifier draws by himself.
    """
    trials = trials_of(evidence, evidence.search)
    whole: Any = trials
    seed = hashlib.sha256(rfc8785.dumps(whole)).digest()
    places = {(int(t["generation"]), int(t["index"])) for t in trials if t["status"] == "scored"}
    others = sorted(places - {(evidence.generation, evidence.index)})
    others.sort(key=lambda place: hashlib.sha256(seed + repr(place).encode()).digest())
    return sorted(others[:number])


def series(results: Sequence[Result], cells: Sequence[GridCell], period: int) -> tuple[float, ...]:
    """
    Return the returns over cells, period by period in time order.

    Where cells of several instruments share a period, it is their mean: one sample of that time, not several.

    Raises
    ------
    ConfigError
        If a cell has no result or more than one, or not one return for each of its whole periods.
    """
    by_place: dict[tuple[str, int, int], list[Result]] = defaultdict(list)
    for result in results:
        by_place[result.place].append(result)
    parts = []
    for cell in cells:
        found = by_place.pop((cell.instrument, cell.start, cell.end), [])
        whole = (cell.end - cell.start) // period
        if len(found) != 1 or len(found[0].returns) != whole:
            got = f"{len(found)} results" if len(found) != 1 else f"{len(found[0].returns)} returns"
            raise ConfigError(f"{cell.instrument} from {cell.start}", got, f"one result with {whole} returns")
        parts.append((cell.start, found[0].returns))
    if by_place:
        raise ConfigError("cells", f"{len(by_place)} results elsewhere", "results of the grid's cells and no others")
    return pooled(parts, period)


def pooled(parts: Iterable[tuple[int, Sequence[float]]], period: int) -> tuple[float, ...]:
    """Return one series of several: each has a start (UTC ns), and where they share a period their mean counts."""
    by_time: dict[int, list[float]] = defaultdict(list)
    for start, returns in parts:
        for at, value in enumerate(returns):
            by_time[start // period + at].append(float(value))
    return tuple(fsum(values) / len(values) for _, values in sorted(by_time.items()))
