"""The red team: every scenario through the real engine, under the real law, beside the user's own policy.

::

    artifacts/<date>/red-team/<scenario>/   the run, as `alphatrade audit` and `alphatrade diary` read it
                             red-team.json  what was expected, what was measured, whether it holds
                             red-team.html  the same with pictures
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphatrade.actors.perceiver import Perceiver
from alphatrade.nodes import feed
from alphatrade.nodes.artifacts import Folder, RunFolder
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.intruder import TAG, Intruder
from alphatrade.nodes.red_team_page import write_page
from alphatrade.nodes.red_team_scenarios import Ground, Scenario, scenarios
from alphatrade.nodes.red_team_tapes import STALE_S
from alphatrade.nodes.replay import Replay, ReplayOutput, replay
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, write_inputs
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_spec import FileTape
from alphatrade.nodes.tapes import load_tape
from alphatrade.risk.audit import AuditReport, audit
from alphatrade.risk.audit_judge import LAW_PREFIX
from alphatrade.risk.errors import ConfigError, TapeError
from alphatrade.strategies.policy import Policy

NAME = "red-team"
STEPS = 480  # decision steps beyond the warm-up
ROWS = (5_400, 120_000)  # quotes of a tape, at least and at most
SECOND = 10**9


class Check(NamedTuple):
    """One expectation, what was measured, and whether it holds."""

    what: str
    expected: str
    measured: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scenario; `scenario` is None where nothing was replayed."""

    name: str
    title: str
    plants: str
    checks: tuple[Check, ...]
    scenario: Scenario | None = None

    @property
    def passed(self) -> bool:
        """Whether every expectation holds."""
        return all(check.holds for check in self.checks)


def red_team(settings: Settings, only: Iterable[str] = ()) -> tuple[Path, list[Outcome]]:
    """
    Run all scenarios and write the report.

    Parameters
    ----------
    settings : Settings
        Policy, venue and seed; the tape is the red team's own.
    only : iterable of str
        Names of scenarios; none: all of them.

    Returns
    -------
    Path
        The folder of the report.
    list of Outcome

    Raises
    ------
    InputError
        If the policy cannot run on quotes with sizes, or the folder cannot be written.
    """
    ground = ground_of(settings)
    wanted = frozenset(only)
    with RunFolder(settings.run.paths.artifacts, NAME) as folder:
        makers = scenarios(ground, settings.run.venue.account == "cash")
        makers = {name: make for name, make in makers.items() if not wanted or name in wanted}
        found = [attack(make(), settings, folder.path / name) for name, make in makers.items()]
        if not wanted or "clock_file" in wanted:
            found.append(unsorted_file(folder.path))
        folder.write_json("red-team.json", as_rows(found, settings.policy))
        write_page(folder.path, found, settings.policy)
        return folder.publish(latest=False), found


def ground_of(settings: Settings) -> Ground:
    """Return what the scenarios stand on under a policy: the length of its steps and its limits."""
    policy = settings.policy
    if policy.cadence.kind == "bars":
        raise ConfigError("policy.cadence.kind", "bars", "seconds or events: the red team's tapes are quotes")
    parts = policy.model_dump(mode="json", include={"features", "belief", "regime"})
    provides = frozenset({"quote", "spread", "size"})
    warmup = Perceiver("RED/USD.SIM", parts["features"], parts["belief"], parts["regime"], provides).warmup
    rows = min(max((warmup + STEPS) * policy.cadence.n, ROWS[0]), ROWS[1])
    return Ground(policy.risk, float(settings.run.venue.starting_balance), rows, policy.cadence.n)


def attack(scenario: Scenario, settings: Settings, path: Path) -> Outcome:
    """Replay one scenario into a run folder and hold what came of it against what was expected."""
    tape = scenario.market.tape(scenario.name)
    intruder = Intruder(tape.instrument.id, scenario.script, scenario.alarms)
    written = {"report": False, "stress": False, "ack_fd": None, "diary": True}
    spec = settings.run.output.model_copy(update=written)
    run = settings.run.model_copy(update={"output": spec, "tapes": ()})
    what = settings.model_copy(update={"run": run})
    folder = Folder(path)
    write_inputs(folder, what, [tape], identity_of(what, [tape]), [{"source": NAME, "scenario": scenario.name}])

    def events(own: Tape) -> list[Any]:
        return feed.stamped(own, scenario.market.stamp)

    output = replay(Replay(settings.policy, [tape], run, (intruder,), events), path, scenario.name)
    facts = Facts(scenario, settings.policy, path, intruder.tried)
    checks = tuple(expectations(scenario, settings.policy, facts, audit(path), output))
    return Outcome(scenario.name, scenario.title, scenario.plants, checks, scenario)


class Facts:
    """
    What happened, read from the run's files and held against the tape, with no help from the law.

    Attributes
    ----------
    sent : DataFrame
        Every order and modification that the law let through, the law's own not: ts, order_id, event, decision.
    on_bad : list of str
        Those among them whose submission or decision had a reference that is planted, stale or halted.
    tried_bad : int
        Orders that the intruder sent in such a moment.
    codes : dict of str to int
        Why orders of such moments were denied.
    stopped : int or None
        When the kill switch was tripped, UTC ns.
    """

    def __init__(self, scenario: Scenario, policy: Policy, path: Path, tried: list[tuple[int, str]]) -> None:
        self._market = scenario.market
        self._limit_ns = int(min(STALE_S, policy.risk.stale_after_s) * SECOND)
        orders = read_frame(path / "orders.parquet")
        decisions = read_frame(path / "diary" / "decisions.parquet", columns=["decision", "ts"])
        let = orders[orders["event"].isin(["submitted", "modify_approved"])]
        self.sent = let[~let["order_id"].str.startswith(LAW_PREFIX)]
        decided = self.sent["decision"].map(decisions.set_index("decision")["ts"]).fillna(self.sent["ts"])
        bad = self.bad(self.sent["ts"].to_numpy()) | self.bad(decided.to_numpy(np.int64))
        self.on_bad = self.sent["order_id"][bad].tolist()
        self.tried_bad = int(self.bad(np.array([ts for ts, _ in tried], np.int64)).sum())
        refused = orders[orders["event"].isin(["denied", "modify_rejected"])]
        at_bad = refused["reason"][self.bad(refused["ts"].to_numpy())]
        self.codes = Counter(str(reason).partition(":")[0] for reason in at_bad)
        self.denied = len(refused)
        self._fills = read_frame(path / "fills.parquet", columns=["ts", "side", "qty"])
        events = read_frame(path / "risk_events.parquet")
        stops = events[events["kind"] == "kill"]
        self.stopped = int(stops["ts"].iloc[0]) if len(stops) else None
        self.cause = str(stops["limit"].iloc[0]) if len(stops) else ""

    def bad(self, ts: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Return which moments (UTC ns) have no reference that may be traded on."""
        market = self._market
        row = np.maximum(np.searchsorted(market.ts, ts, "right") - 1, 0)
        within = np.zeros(len(ts), np.bool_)
        for first, last in zip(market.halts[::2], market.halts[1::2], strict=True):
            within |= (ts >= first) & (ts < last)
        # What a halt plants is the halt itself; quotes inside it are good ones.
        planted = np.zeros(len(ts), np.bool_) if market.halts else market.bad[row]
        return planted | within | (ts - market.stamp[row] > self._limit_ns)

    def most_within(self, window_ns: int) -> int:
        """Return the largest number of orders let through in any window of that length."""
        ts = np.sort(self.sent["ts"].to_numpy())
        counts = np.arange(1, len(ts) + 1) - np.searchsorted(ts, ts - window_ns, "right")
        return int(counts.max(initial=0))

    def position(self, ts: int) -> float:
        """Return the position of the account before a moment, units, signed."""
        fills = self._fills[self._fills["ts"] < ts]
        return float((fills["qty"].astype(float) * np.where(fills["side"] == "BUY", 1.0, -1.0)).sum())

    def after(self, ts: int, intruder: bool = False) -> int:
        """Return how many orders were let through after a moment."""
        late = self.sent[self.sent["ts"] > ts]
        return len(late[late["strategy"].str.endswith(TAG)] if intruder else late)


def expectations(
    scenario: Scenario, policy: Policy, facts: Facts, report: AuditReport, output: ReplayOutput
) -> Iterable[Check]:
    """Yield every expectation of a scenario beside what was measured."""
    template, market = policy.risk, scenario.market
    if scenario.held:
        net = facts.position(int(market.ts[market.at]))
        wanted = f"at least half of {scenario.held:+.2f}"
        yield Check("position of the account at the fault", wanted, f"{net:+.2f}", net / scenario.held >= 0.5)
    if scenario.denies:
        yield Check("orders tried on the fault", "at least 1", str(facts.tried_bad), facts.tried_bad > 0)
        codes = ", ".join(f"{code} {count}" for code, count in sorted(facts.codes.items())) or "none"
        met = bool(set(scenario.denies) & set(facts.codes))
        yield Check("denied on the fault for", " or ".join(scenario.denies), codes, met)
    some = ", ".join(facts.on_bad[:3])
    yield Check("orders let through on bad data", "0", f"{len(facts.on_bad)} {some}".strip(), not facts.on_bad)
    yield Check("violations found by the auditor", "0", _counted(report.violations), not report.violations)
    yield Check("contradictions found by the auditor", "0", _counted(report.integrity), not report.integrity)
    if scenario.paced:
        for window, bound in ((1, template.orders_per_second), (60, template.orders_per_minute)):
            most = facts.most_within(window * SECOND)
            yield Check(f"most orders let through in {window} s", f"at most {bound}", str(most), 0 < most <= bound)
        yield Check("orders denied", "at least 1", str(facts.denied), facts.denied > 0)
    yield _stop(scenario, facts, template.repeat_action == "halt")
    if scenario.kills:
        after = "never stopped" if facts.stopped is None else str(facts.after(facts.stopped))
        yield Check("orders let through after the stop", "0", after, after == "0")
        held = ", ".join(f"{name} {units.normalize():f}" for name, units in report.position.items()) or "flat"
        yield Check("position at the end", "flat", held, not report.position)
    else:
        later = facts.after(int(market.ts[min(market.at + 400, len(market) - 61)]), intruder=True)
        yield Check("the intruder's lawful orders afterwards", "at least 1", str(later), later > 0)
        yield Check("decisions of the policy", "at least 1", str(output.decisions), output.decisions > 0)


def _stop(scenario: Scenario, facts: Facts, repeating_halts: bool) -> Check:
    """
    Return the check of the kill switch: tripped for the right reason and not before the fault, or not at all.

    Where the template halts on repetition, a policy may trip that by itself: lawful, and no matter of the fault.
    """
    if not scenario.kills:
        expected, lawful = "not tripped", facts.stopped is None
        if repeating_halts:
            expected, lawful = "not tripped, unless the policy repeats itself", lawful or facts.cause == "REPEATED"
        return Check("kill switch", expected, facts.cause or "not tripped", lawful)
    fault = int(scenario.market.ts[scenario.market.at])
    late = "" if facts.stopped is None else f", {(facts.stopped - fault) / SECOND:g} s after the fault"
    good = facts.cause in scenario.kills and facts.stopped is not None and facts.stopped >= fault
    expected = f"tripped by {' or '.join(scenario.kills)}"
    return Check("kill switch", expected, (facts.cause or "not tripped") + late, good)


def _counted(findings: Iterable[Any]) -> str:
    found = list(findings)
    return f"{len(found)}" + (f": {found[0].code} {found[0].subject}, {found[0].detail}" if found else "")


def unsorted_file(path: Path) -> Outcome:
    """Load a file whose clock goes backwards: it is refused by row, or sorted where that was asked for."""
    file = path / "clock.csv"
    stamps = ["2025-01-06 00:00:00", "2025-01-06 00:00:02", "2025-01-06 00:00:01", "2025-01-06 00:00:03"]
    lines = [f"{stamp},{100 + k},{100.02 + k}" for k, stamp in enumerate(stamps)]
    file.write_text("\n".join(["ts,bid,ask", *lines, ""]), encoding="utf-8")
    spec = FileTape(path=str(file), instrument="RED/USD", outlier=0.0)
    try:
        told = f"loaded {len(load_tape(spec, path / 'cache', shown=False))} rows"
    except TapeError as error:
        told = str(error).replace(f"{path}/", "")
    tape = load_tape(spec.model_copy(update={"sort": True}), path / "cache", shown=False)
    steps = int(np.diff(tape.columns["ts"]).min())
    checks = (
        Check("the loader", "refuses it, naming the row", told, "row 4" in told or "row 3" in told),
        Check("with tape.sort=true", "sorted", f"{tape.audit['unsorted']} out of order, {len(tape)} rows", steps > 0),
    )
    what = "a file in which one stamp lies before the one above it"
    return Outcome("clock_file", "clock going backwards, in a file", what, checks)


def as_rows(outcomes: list[Outcome], policy: Policy) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "policy_hash": policy.policy_hash,
        "risk_template": policy.risk.name,
        "passed": all(outcome.passed for outcome in outcomes),
        "scenarios": [
            {
                "id": one.name,
                "what": one.title,
                "planted": one.plants,
                "holds": one.passed,
                "command": "alphatrade red-team",
                "checks": [check._asdict() for check in one.checks],
            }
            for one in outcomes
        ],
    }
