"""Rows of measured figures, the table that shows them, and interleaved pairs with medians and bootstrap intervals.

A row says what was measured, what was wanted and whether it holds; a missed target is a row with ``holds: false``,
never a missing row.
"""

import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "artifacts" / "bench"
_PACKAGES = ("nautilus_trader", "numpy", "pandas", "pyarrow")
_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One measured figure.

    Attributes
    ----------
    id : str
        Stable name, ``target.figure``.
    what : str
        What was measured, in words.
    figure : float
        The value; a median where several runs were made.
    unit : str
        Its unit; ``x`` for ratios.
    target : str
        What was wanted, such as ``">= 3"``; empty for plain information.
    holds : bool or None
        Whether the target was met; None without a target.
    n : int
        Number of runs, or of pairs of runs, behind the figure.
    interval : tuple of float, optional
        Bootstrap 95 % interval of the median; None for a single run.
    command : str
        What to run to measure it again.
    """

    id: str
    what: str
    figure: float
    unit: str
    target: str
    holds: bool | None
    n: int
    interval: tuple[float, float] | None
    command: str


def figure(
    id: str,
    what: str,
    values: float | Sequence[float],
    unit: str,
    target: str = "",
    *,
    command: str,
    digits: int = 4,
) -> Figure:
    """
    Return a row: the median of `values`, held against `target`.

    Parameters
    ----------
    id, what, unit, command
        See `Figure`.
    values : float or sequence of float
        One measurement, or one for each run or pair.
    target : str
        ``"<op> <number>"`` with one of ``>= <= > < ==``, or empty.
    digits : int
        Significant digits that are kept.

    Raises
    ------
    ValueError
        If `values` is empty or `target` cannot be read.
    """
    runs = [float(values)] if isinstance(values, int | float) else [float(value) for value in values]
    if not runs:
        raise ValueError(f"{id}: at least one measurement is needed, got none")
    middle = statistics.median(runs)
    interval = None
    if len(runs) > 1:
        low, high = bootstrap(runs)
        interval = (_round(low, digits), _round(high, digits))
    holds = meets(middle, target) if target else None
    return Figure(id, what, _round(middle, digits), unit, target, holds, len(runs), interval, command)


def meets(value: float, target: str) -> bool:
    """
    Return whether `value` satisfies `target`, such as ``"<= 0.25"``.

    Raises
    ------
    ValueError
        If the target is not an operator and a number.
    """
    sign, _, bound = target.partition(" ")
    checks: dict[str, Callable[[float, float], bool]] = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
        "==": lambda a, b: a == b,
    }
    if sign not in checks:
        raise ValueError(f"target: got {target!r}, expected an operator, a space and a number")
    return checks[sign](value, float(bound))


def bootstrap(values: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """Return the 95 % percentile interval of the median of `values` (Efron 1979), from a seeded resampling."""
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES) - 1]


def _round(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def interleave[Sample](sides: Mapping[str, Callable[[], Sample]], pairs: int, label: str) -> dict[str, list[Sample]]:
    """
    Run every side once per pair, in turn, so that a slow minute of the machine hits all of them.

    Parameters
    ----------
    sides : mapping of str to callable
        What to run; the order alternates from pair to pair.
    pairs : int
        Runs of each side.
    label : str
        Of the progress bar, which shows where nothing else would for minutes.

    Returns
    -------
    dict of str to list
        Samples by side; position k of every list belongs to pair k.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    with tqdm(total=pairs * len(sides), desc=label, unit="run", disable=None) as bar:
        for pair in range(pairs):
            for name in list(sides) if pair % 2 == 0 else list(sides)[::-1]:
                bar.set_postfix_str(name)
                samples[name].append(sides[name]())
                bar.update()
    return samples


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio within each pair."""
    return [a / b for a, b in zip(above, below, strict=True)]


def child(
    module: str, *arguments: str, python: str | None = None, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """
    Run a benchmark module (or a script, if it ends in .py) in a fresh process and return the JSON it printed last.

    Its environment is that of this process, with the variables of `env` set.

    Raises
    ------
    RuntimeError
        If the process fails; its last lines of stderr are in the message.
    """
    target = [module] if module.endswith(".py") else ["-m", module]
    done = subprocess.run(
        [python or sys.executable, "-W", "ignore", *target, *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise RuntimeError(f"{module} {' '.join(arguments)}: exit {done.returncode}: {tail}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Run `work` and return its wall seconds, CPU seconds and the process's peak RSS in MB until then."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_rss_mb": peak_rss_mb(),
    }


def peak_rss_mb() -> float:
    """Return this process's peak resident memory in MB, on Linux; elsewhere 0."""
    # Not ru_maxrss: a child inherits its parent's peak through fork and exec.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def machine() -> dict[str, str]:
    """Describe the machine and the versions that matter."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return {
        "cpu": f"{os.cpu_count()} x {cpu}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "versions": ", ".join(f"{name} {number}" for name, number in found.items()),
    }


def publish(target: str, rows: Sequence[Figure], out: Path | None = None) -> Path:
    """
    Print the rows as one table and write them, with the machine in each, as ``<out>/<target>.json``, atomically.

    Returns
    -------
    Path
        The file.
    """
    here = machine()
    measured = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    plain = [asdict(row) | {"measured_at": measured, "machine": here} for row in rows]
    folder = out or OUT
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target}.json"
    part = path.with_suffix(".json.tmp")
    with part.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    print(table(rows))
    print(f"{here['cpu']}, {here['memory']}, load {here['load']}; {here['versions']}\n{path}")
    return path


def measured(target: str, parts: Mapping[str, Callable[[], list[Figure]]], out: Path) -> int:
    """
    Measure parts of a target and publish after each; rows of parts that are not measured stay as they were.

    Returns
    -------
    int
        1 where a target was missed, else 0.
    """
    missed = False
    for name, part in parts.items():
        started = time.monotonic()
        print(f"-- {name}", flush=True)
        rows = part()
        missed |= any(row.holds is False for row in rows)
        publish(target, _merged(rows, out / f"{target}.json"), out)
        print(f"   {time.monotonic() - started:.0f} s", flush=True)
    return int(missed)


def _merged(new: Sequence[Figure], path: Path) -> list[Figure]:
    """Return the rows of a file with those that were measured again in place of the old ones."""
    old = json.loads(path.read_text("utf-8")) if path.is_file() else []
    fields, names = Figure.__dataclass_fields__, {row.id for row in new}
    kept = [Figure(**{name: row[name] for name in fields}) for row in old if row["id"] not in names]
    return [*kept, *new]


def table(rows: Sequence[Figure]) -> str:
    """Return the rows as aligned text."""
    head = ("id", "what", "figure", "95 %", "n", "target", "holds")
    marks = {True: "yes", False: "NO", None: "-"}
    cells = [
        (
            row.id,
            row.what,
            f"{row.figure:,.6g} {row.unit}".strip(),
            "" if row.interval is None else f"{row.interval[0]:,.4g} .. {row.interval[1]:,.4g}",
            str(row.n),
            row.target,
            marks[row.holds],
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, tuple("-" * width for width in widths), *cells]
    ]
    return "\n".join(lines)
