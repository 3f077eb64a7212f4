"""The promotion gate: a verdict that is computed from evidence, with a row per check; nobody declares anything.

:func:`judge` is a pure function, and what is missing, unreadable or not finite does not hold. ``docs/promotion.md``
says what each check proves and what it does not.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from math import fsum, isfinite

from alphatrade.evolution import provenance
from alphatrade.evolution.counts import counted, looked
from alphatrade.evolution.evidence import Evidence, PromotionSpec, Result, digest, series, trials_of
from alphatrade.evolution.families import families
from alphatrade.evolution.grid import NS
from alphatrade.evolution.provenance import Check, Finding
from alphatrade.evolution.statistics import (
    DIGITS,
    Moments,
    deflated_sharpe,
    expected_maximum,
    lead,
    moments,
    overfitting,
    sampling_variance,
)
from alphatrade.reflection.ledger_bodies import Stage, checked
from alphatrade.reflection.stages import STAGES, Stages
from alphatrade.risk.errors import AlphaTradeError, ConfigError
from alphatrade.strategies.policy import Spec

INEXACT = frozenset({"latency"})  # of the wall clock: never the same again
REFUSED = (AlphaTradeError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class Checked(Spec):
    """
    One check.

    Attributes
    ----------
    name : str
    figure : float, int or str
        Measured.
    target : str
    holds : bool
    why : str
        It does not; empty where it does.
    exact : bool
        Whether it has to come out the same wherever it is computed again.
    """

    name: str
    figure: float | int | str
    target: str
    holds: bool
    why: str
    exact: bool


class Verdict(Spec):
    """
    What the gate says of a policy.

    Attributes
    ----------
    policy_hash : str
    spec_hash : str
        Of the thresholds.
    evidence_hash : str
        Of the evidence without wall-clock figures.
    checks : tuple of Checked
    """

    policy_hash: str
    spec_hash: str
    evidence_hash: str
    checks: tuple[Checked, ...]

    @property
    def promoted(self) -> bool:
        """Whether every check holds."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    @property
    def refused(self) -> tuple[str, ...]:
        """Names of the checks that do not hold."""
        return tuple(check.name for check in self.checks if not check.holds)

    @property
    def exact(self) -> "Verdict":
        """What has to come out the same when it is computed again: all but the wall clock."""
        return self.model_copy(update={"checks": tuple(check for check in self.checks if check.exact)})


def judge(evidence: Evidence, spec: PromotionSpec) -> Verdict:
    """
    Return the verdict: a pure function of evidence and thresholds.

    Parameters
    ----------
    evidence : Evidence
    spec : PromotionSpec
    """
    rows = []
    for name, check in CHECKS.items():
        try:
            found = check(evidence, spec)
        except REFUSED as error:  # evidence is foreign: whatever cannot be read does not hold
            words = str(error) if isinstance(error, AlphaTradeError) else f"unreadable: {type(error).__name__} {error}"
            found = Finding("none", "evidence that can be read", " ".join(words.split())[:200])
        if isinstance(found.figure, float) and not isfinite(found.figure):
            found = Finding("none", found.target, found.why or "not a finite figure")
        figure, target, why = found
        rows.append(Checked(name=name, figure=figure, target=target, holds=not why, why=why, exact=name not in INEXACT))
    hashes = {"spec_hash": digest(spec), "evidence_hash": digest(evidence, INEXACT)}
    return Verdict(policy_hash=evidence.policy_hash, checks=tuple(rows), **hashes)


def out_of_sample(evidence: Evidence) -> tuple[float, ...]:
    """Return the candidate's returns over the held-out cells, period by period."""
    return series(evidence.holdout, evidence.held_out, evidence.period)


def stages_of(evidence: Evidence) -> Stages:
    """Return where every policy is by the ledger's moves; that each was signed by who it says, the chain checks."""
    stages = Stages()
    for record in evidence.ledger:
        if record.kind == "stage":
            move = checked(record.kind, record.body, f"ledger entry {record.seq}")
            assert isinstance(move, Stage)
            stages = stages.after(move, record.role, "", record.seq, int(move.noticed or 0))
    return stages


def in_charge(evidence: Evidence) -> str:
    """Return whom the candidate has to beat, demoted or not (:meth:`Stages.to_beat`); empty if nobody."""
    return stages_of(evidence).to_beat(evidence.policy_hash)


def holdout(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for every held-out cell, and for enough of them, in enough regimes, in which enough was decided."""
    out_of_sample(evidence)
    good = {each.place for each in evidence.holdout if not each.fault and each.decisions >= spec.least}
    regimes = {cell.regime for cell in evidence.held_out if (cell.instrument, cell.start, cell.end) in good}
    target = f"{spec.cells} cells of {spec.regimes} regimes with {spec.least} decisions"
    few = len(good) < spec.cells or len(regimes) < spec.regimes
    return Finding(len(good), target, f"{len(good)} cells of {len(regimes)} regimes count" if few else "")


def sample(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for enough periods, none of them counted twice."""
    n, target = len(out_of_sample(evidence)), f"{spec.periods} held-out periods of {spec.period_s:g} s, each once"
    if n < spec.periods or evidence.period != int(spec.period_s * NS):
        return Finding(n, target, f"{n} periods of {evidence.period / NS:g} s")
    if len(set(evidence.tapes.values())) < len(evidence.tapes):
        return Finding(n, target, "one tape under two names")
    held = sorted(evidence.grid, key=lambda cell: (cell.instrument, cell.start))
    for one, other in pairwise(held):
        if one.instrument == other.instrument and other.start < one.end:
            return Finding(n, target, f"cells of {one.instrument} overlap")
    moved = [each.returns for each in evidence.holdout if len(set(each.returns)) > 1]
    return Finding(n, target, "two cells have the same returns" if len(set(moved)) < len(moved) else "")


def net(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for a profit on the held-out cells at a multiple of the costs."""
    target = f"above 0 bps at {spec.cost_multiple:g} times the costs"
    series(evidence.costly, evidence.held_out, evidence.period)
    if evidence.cost_multiple < spec.cost_multiple:
        return Finding("none", target, f"it was replayed at {evidence.cost_multiple:g} times the costs")
    total = round(1e4 * fsum(_net(each) for each in evidence.costly), 6)
    if any(each.fills for each in evidence.holdout) and evidence.costly == evidence.holdout:
        return Finding(total, target, "the costs change nothing, though it trades")
    return Finding(total, target, "" if total > 0 else f"{total:g} bps")


def dsr(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for a Sharpe ratio that luck among all trials of the ledger, and earlier looks, would not show."""
    found, count = moments(out_of_sample(evidence)), len(looked(evidence))
    trials, hidden = counted(evidence)
    needed = round(1.0 - (1.0 - spec.dsr) / max(1, count), 9)
    spread, usable = _spread(evidence, found.n)
    value = deflated_sharpe(found, spread, trials)
    best = expected_maximum(spread, trials)
    words = f"{found.sharpe:.4f} a period over {found.n}; the best of {trials} by chance {best:.4f}"
    target = f"at least {needed:g} after {trials} trials ({usable} of its search with a Sharpe ratio), look {count}"
    target += f"; {hidden} of them may have been seen and are not entered" * bool(hidden)
    return Finding(value, target, "" if value >= needed else words)


def looks(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that the held-out cells are not used up, and that the look at them was entered."""
    found, target = looked(evidence), f"at most {spec.looks} policies, this one among them"
    if evidence.policy_hash not in found:
        return Finding(len(found), target, "its own look at the held-out cells is not in the ledger")
    why = f"{len(found)} policies have seen the held-out cells" if len(found) > spec.looks else ""
    return Finding(len(found), target, why)


def pbo(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that the best trial of one half of the time is good in the other half, whatever the halves."""
    rows, target = families(_seen_series(evidence)), f"at most {spec.pbo:g} over {spec.families} families of trials"
    if len(rows) < spec.families:
        return Finding(len(rows), target, f"{len(rows)} families were replayed on all cells")
    found = overfitting(rows)
    words = f"{found.pbo:g} over {found.trials} families, {found.blocks} blocks"
    return Finding(found.pbo, target, "" if found.pbo <= spec.pbo else words)


def incumbent(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for more than the incumbent earned at the same time, or than not trading where nobody is in charge."""
    own, rival, stages = out_of_sample(evidence), evidence.incumbent, stages_of(evidence)
    due = stages.to_beat(evidence.policy_hash)
    demoted = due != "" and due not in map(stages.incumbent, STAGES)
    target = f"p at most {spec.lead:g} against {due[:12] or 'not trading'}" + " (demoted, but by no person)" * demoted
    given = rival.policy_hash if rival else ""
    if due != given:
        return Finding("none", target, f"it was compared with {given[:12] or 'nobody'}")
    other = series(rival.holdout, evidence.held_out, evidence.period) if rival else (0.0,) * len(own)
    found = lead(own, other, spec.seed)
    return Finding(found.p, target, "" if found.p <= spec.lead else f"{found.p:g}, {1e4 * found.mean:g} bps a period")


def leakage(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask for all leakage tests on every instrument, in what was seen and in what was held out, with nothing found."""
    asked, wanted = spec.leakage, {"truncation": spec.leakage.cuts, "shuffle": spec.leakage.cuts, "echo": 1}
    target = f"{asked.cuts} cuts and an echo of each instrument, seen and held out, nothing found"
    for name in sorted(evidence.tapes):
        own = [each for each in evidence.leakage if each.instrument == name and each.rows >= asked.least]
        first = min((cell.start for cell in evidence.grid if cell.holdout and cell.instrument == name), default=0)
        for part, late in (("seen", False), ("held-out", True)):
            tests = [(each.test, each.at) for each in own if (each.at >= first) == late]
            short = [test for test, n in wanted.items() if sum(each == test for each, _ in set(tests)) < n]
            if short:
                return Finding(len(own), target, f"{name}: no complete {short[0]} test of the {part} part")
    found = [each for each in evidence.leakage if each.leak or not abs(each.score) <= asked.echo_max]
    why = f"{found[0].instrument}, {found[0].test} test: {found[0].leak or found[0].score}" if found else ""
    return Finding(len(found), target, why)


def law(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that no replay of the candidate broke the law, or was stopped by it."""
    place = evidence.generation, evidence.index
    own = [each for again in evidence.again if (again.generation, again.index) == place for each in again.cells]
    if not own or not evidence.holdout or not evidence.costly:
        return Finding("none", "0 in all replays", "not every replay is there")
    every = [*own, *evidence.holdout, *evidence.costly]
    broken, stopped = sum(each.violations for each in every), [each.killed for each in every if each.killed]
    words = [f"{broken} violations"] if broken else []
    words += [f"stopped by the law in {len(stopped)} cells: {stopped[0]}"] if stopped else []
    return Finding(broken + len(stopped), f"0 in {len(every)} replays", ", ".join(words))


def red_team(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that it stood every attack."""
    target, names = f"{spec.scenarios} scenarios, all passed", {each.name for each in evidence.red_team}
    failed = sorted(each.name for each in evidence.red_team if not each.passed)
    few = f"{len(names)} scenarios" if len(names) < spec.scenarios else ""
    return Finding(len(names) - len(set(failed)), target, ", ".join(failed) or few)


def latency(evidence: Evidence, spec: PromotionSpec) -> Finding:
    """Ask that it decides in time, and not much later than an incumbent; a figure of the wall clock of one machine."""
    found, rival = evidence.latency, evidence.incumbent is not None
    target = f"p99 within {spec.latency_p99_us:g} us"
    target += f" and {spec.latency_ratio:g} times the incumbent's" * rival
    if found is None or found.n < spec.least or found.p99 <= 0 or found.base_p99 <= 0:
        return Finding("none", target, "not measured")
    us, ratio = found.p99 / 1e3, found.p99 / found.base_p99
    slow = us > spec.latency_p99_us or (rival and ratio > spec.latency_ratio)
    return Finding(round(us, 3), target, f"{us:.0f} us, {ratio:.2f} times" if slow else "")


CHECKS: dict[str, Check] = {
    **provenance.CHECKS, "holdout": holdout, "sample": sample, "net": net, "dsr": dsr, "looks": looks, "pbo": pbo,
    "incumbent": incumbent, "leakage": leakage, "law": law, "red_team": red_team, "latency": latency,
}  # fmt: skip


def _net(result: Result) -> float:
    if result.net_return is None:
        raise ConfigError(f"{result.instrument} from {result.start}", "no net return", "a replay")
    return result.net_return


def null_variance(trials: Sequence[Moments], held: int) -> float:
    """
    Return the variance of the Sharpe ratios of trials without an edge.

    It is the mean of what their estimates vary by, and never less than that of normal returns of the usual length, or
    of the `held` periods out of sample: a long part to search lowers no bar for a short one to judge. Their variance
    around each other would also hold the edges that a good search finds again and again: the better, the higher.
    """
    lengths = sorted(each.n for each in trials)
    least = 1.0 / (min(lengths[len(lengths) // 2], held) - 1)
    return round(max(fsum(map(sampling_variance, trials)) / len(trials), least), 2 * DIGITS)


def _spread(evidence: Evidence, held: int) -> tuple[float, int]:
    """Return :func:`null_variance` of the search's trials, and how many have told of it."""
    found = []
    for returns in _seen_series(evidence):
        with suppress(ConfigError):  # too short, or it never moved
            found.append(moments(returns))
    return null_variance(found, held), len(found)


def _seen_series(evidence: Evidence) -> Iterator[tuple[float, ...]]:
    """Yield the returns of the search's trials that were replayed on all cells that it may see."""
    for each in trials_of(evidence, evidence.search):
        if each["status"] == "scored":
            with suppress(ConfigError):
                results = [Result.model_validate(cell) for cell in each["cells"]]
                yield series(results, evidence.seen, evidence.period)
