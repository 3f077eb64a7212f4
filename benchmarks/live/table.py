"""The table of checks of the live drill: what came of its runs, against what is wanted of each."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from benchmarks.drills.record import spread
from benchmarks.figures import Figure, meets
from benchmarks.live.falling import CAP
from benchmarks.live.mix import FAULTS, KINDS
from benchmarks.live.place import LOT
from benchmarks.live.steps import RUNS, STEPS
from tests.nodes.make_live import CAPITAL

COMMAND = "python -m benchmarks.live --only cycles"
Row = dict[str, Any]
TIMES = {
    "capital on": ("trading_s", "from the start to five fills"),
    "kill -9": ("adopted_s", "from the start again to a beat that agrees with the books"),
    "rollback": ("flat_s", "from the command to flat"), "kill": ("flat_s", "from the command to flat"),
    "revoked": ("flat_s", "from the ledger's entry to flat"), "expired": ("flat_s", "from the end to flat"),
    "fall": ("flat_s", "from the first lower price to flat"),
}  # fmt: skip
ROLLED = (
    ("rolled_back", "running_s", "the other policy"), ("handover.idle", "idle_s", "nothing works, of a hand-over"),
    ("handover.over", "over_s", "the other policy, which has what was held"),
)  # fmt: skip


def came(rows: list[Row], runs: int) -> list[Figure]:
    """Return the figures of runs, of which the rows of all are given."""
    wanted = {*STEPS, "end"}
    by_run = {seed: [row for row in rows if row["run"] == seed] for seed in range(1, runs + 1)}
    green = sum({row["step"] for row in of} == wanted and not any(row["wrong"] for row in of) for of in by_run.values())
    own = [row for of in by_run.values() for row in of]
    found = [
        _row("cycles", f"runs of {len(STEPS)} steps in which nothing was wrong", green, "runs", f"== {runs}", runs)
    ]
    for step in STEPS:
        of = [row for row in own if row["step"] == step]
        good = sum(not row["wrong"] for row in of)
        found.append(_row(f"step.{_name(step)}", STEPS[step].__doc__ or step, good, "times", f"== {runs}", len(of)))
        found += _times(step, of)
    return found + _caps(own, runs) + _faults(own, runs) + _law(own, runs)


def _name(step: str) -> str:
    return step.replace(" ", "_")


def _row(name: str, what: str, value: float, unit: str, target: str, n: int) -> Figure:
    what = " ".join(what.split("\n\n")[0].split())
    holds = (n > 0 and meets(value, target)) if target else None  # nothing was seen: nothing is shown
    return Figure(f"live.{name}", f"sandbox: {what}", value, unit, target, holds, n, None, COMMAND)


def _times(step: str, rows: list[Row]) -> list[Figure]:
    name, what = TIMES.get(step, ("", ""))
    times = [row[name] for row in rows if name in row]
    if step == "rollback":
        found = _spread("rollback", what, times)
        for name, field, words in ROLLED:
            found += _spread(name, f"from the command to {words}", [row[field] for row in rows if field in row])
        return found
    return _spread(_name(step), f"{step}: {what}", times)


def _spread(name: str, what: str, times: list[float]) -> list[Figure]:
    if not times:
        return []
    return [_row(f"{name}.{at}", f"{what}, {at}", value, "s", "", len(times)) for at, value in spread(times).items()]


def _caps(rows: list[Row], runs: int) -> list[Figure]:
    most = max(_decimals(rows, "most_out"), default=Decimal(0))
    falls = [row for row in rows if row["step"] == "fall" and "lost" in row]
    held = max(_decimals([row for row in falls if not row["gap"]], "lost"), default=Decimal(0))
    gaps = list(_decimals([row for row in falls if row["gap"]], "lost"))
    capped = 0 < most <= CAPITAL
    what = f"sandbox: most that was paid out or on offer at any moment, by the exchange's books, of {CAPITAL}"
    found = [
        Figure("live.caps", what, float(most), "USDT", f"<= {CAPITAL}", capped, runs, None, COMMAND),
        _row("loss", f"most that was lost while prices fell, of {CAP}", float(held), "USDT", f"<= {CAP}", len(falls)),
        _row("dust", "stops that left a step of quantity or more, too little to be sold", sum(_dust(rows)), "stops", "",
             runs),
    ]  # fmt: skip
    what = f"most that was lost in a gap, which no cap of {CAP} can hold"
    return found + ([_row("gap", what, float(max(gaps)), "USDT", "", len(gaps))] if gaps else [])


def _decimals(rows: Iterable[Row], name: str) -> Iterable[Decimal]:
    return (Decimal(row[name]) for row in rows if name in row)


def _dust(rows: list[Row]) -> Iterable[bool]:
    return (found >= LOT for found in _decimals(rows, "dust"))


def _faults(rows: list[Row], runs: int) -> list[Figure]:
    names = [name for row in rows for name in row.get("faults", ())]
    hits = sum(sum(row["hits"].values()) for row in rows if "hits" in row)
    kinds, wanted = len({*names}), min(len(KINDS), runs * FAULTS // 5)
    adopted = [row for row in rows if row["step"] == "kill -9" and "open" in row]
    return [
        _row("faults", f"faults injected while it trades, which hit {hits} messages", len(names), "faults",
             f"== {runs * FAULTS}", runs),
        _row("faults.kinds", f"kinds of these, of {len(KINDS)}", kinds, "kinds", f">= {wanted}", len(names)),
        _row("adopted", "orders that were open at a kill -9, and adopted", sum(row["open"] for row in adopted),
             "orders", ">= 1", len(adopted)),
    ]  # fmt: skip


def _law(rows: list[Row], runs: int) -> list[Figure]:
    of = [row for row in rows if row["step"] == "archived" and "k2" in row]
    broken, near = (sum(row[name] for row in of) for name in ("violations", "near_misses"))
    total, count = sum(row["runs"] for row in of), sum(row["promotions"] for row in of)
    least = min((row["k2"] for row in of), default=0.0)
    logged = sum(row["logged"] for row in of)
    return [
        _row("k2", "K2: promotions with dossier, holding verdict and lineage; into live by two persons", least,
             "share", "== 1", count),
        _row("k3", "K3: violations that the auditor finds in the node's runs", broken, "orders", "== 0", total),
        _row("k3.runs", f"runs of the node that the auditor has read, {RUNS} of each", total, "runs",
             f">= {RUNS * runs}", len(of)),
        _row("k3.logged", f"of these, whose near-misses are logged, {near} in all", logged, "runs", f"== {total}",
             total),
    ]  # fmt: skip
