"""The shape of a drill, and what is made of its trials: a verdict, durations, a table, a file."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from alphatrade.risk.disk import write_whole
from benchmarks.figures import machine


class Trial(NamedTuple):
    """
    One go at a drill.

    Attributes
    ----------
    wrong : str
        Why it has failed; empty: it has not.
    took : dict of str to float
        Durations, ms; the first is the one that the drill is about.
    seen : dict of str to float
        What was counted.
    """

    wrong: str
    took: dict[str, float]
    seen: dict[str, float]


@dataclass(frozen=True, slots=True)
class Drill:
    """
    One drill.

    Attributes
    ----------
    name : str
    what : str
        What is done and checked.
    run : callable
        Does it once: a folder of its own beside those of the other trials, the number of the trial.
    times : int
        How often, where nothing is said.
    """

    name: str
    what: str
    run: Callable[[Path, int], Trial]
    times: int


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a drill: its trials, in their order."""

    drill: Drill
    trials: tuple[Trial, ...]

    @property
    def wrong(self) -> list[str]:
        """Why trials have failed, those that have."""
        return [f"trial {number}: {trial.wrong}" for number, trial in enumerate(self.trials) if trial.wrong]

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Return p50, p99 and maximum of each duration, ms, by nearest rank, of the trials that did not fail."""
        good = [trial.took for trial in self.trials if not trial.wrong]
        names = dict.fromkeys(name for took in good for name in took)
        return {name: spread([took[name] for took in good if name in took]) for name in names}

    def row(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = self.quantiles()
        first = next(iter(found.values()), None)
        return {
            "id": f"drill.{self.drill.name}",
            "what": f"{self.drill.what}; {next(iter(found), 'no duration')}, p50",
            "figure": None if first is None else first["p50"],
            "unit": "ms",
            "target": "no trial fails",
            "holds": bool(self.trials) and not self.wrong,
            "n": len(self.trials),
            "interval": None,
            "command": f"python -m benchmarks.drills --only {self.drill.name} --times {len(self.trials)}",
            "failed": self.wrong,
            "took_ms": found,
            "trials": [{"took_ms": trial.took, "seen": trial.seen, "wrong": trial.wrong} for trial in self.trials],
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the maximum of values, by nearest rank, to a tenth."""
    ranked = sorted(values)
    at = {name: ranked[max(0, math.ceil(share * len(ranked)) - 1)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: round(value, 1) for name, value in {**at, "max": ranked[-1]}.items()}


def carried_out(drill: Drill, times: int, root: Path) -> Came:
    """Do a drill so many times, each in a folder below `root`; one that could not be carried out has failed."""
    trials = []
    for number in tqdm(range(times), desc=drill.name, unit="trial", disable=None):
        place = root / f"{drill.name}-{number}"
        place.mkdir()
        try:
            trials.append(drill.run(place, number))
        except Exception as error:  # whatever it is, it goes into the table, and the other drills are still made
            trials.append(Trial(f"not carried out: {type(error).__name__}: {error}", {}, {}))
    return Came(drill, tuple(trials))


def shown(came: Sequence[Came], path: Path) -> bool:
    """Print a table, put the rows into a file, where those of other drills stay; return whether nothing has failed."""
    _print(came)
    here, measured = machine(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rows = [one.row() | {"measured_at": measured, "machine": here} for one in came]
    names = {row["id"] for row in rows}
    old = json.loads(path.read_text("utf-8")) if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps([row for row in old if row["id"] not in names] + rows, indent=1) + "\n")
    print(f"{here['cpu']}, load {here['load']}\n{path}")
    return all(row["holds"] for row in rows)


def _print(came: Sequence[Came]) -> None:
    heads = "drill", "what was done and checked", "times", "what took so long", "p50 ms", "p99 ms", "max ms", "verdict"
    table = Table(*heads, box=None)
    for one in came:
        verdict = f"{len(one.wrong)} FAILED" if one.wrong else "pass"
        told = [(name, *(f"{ms:,.0f}" for ms in took.values())) for name, took in one.quantiles().items()]
        first, *more = told or [("", "", "", "")]
        table.add_row(one.drill.name, one.drill.what, str(len(one.trials)), *first, verdict)
        for line in more:
            table.add_row("", "", "", *line, "")
    Console(width=200).print(table)
    for one in came:
        for wrong in one.wrong:
            print(f"{one.drill.name}: {wrong}")
