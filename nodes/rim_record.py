"""What the stages read of a finished run: its files, typed and finite, and held against one another.

``summary.json`` is a file that anybody can write. What speaks for a change is computed again, from fills and marks
that the auditor has found to fit together; what speaks against it counts wherever it is said.
"""

from collections.abc import Mapping
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from alphatrade.nodes.canary import strategies
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.refusals import checked
from alphatrade.reflection.ledger_fields import Count, RunId, Sha
from alphatrade.reflection.query import read_mapping
from alphatrade.risk.audit import AuditReport, audit
from alphatrade.risk.audit_limits import read_limits
from alphatrade.risk.errors import RunDirError
from alphatrade.strategies.policy import Policy

Money = Annotated[Decimal, Field(strict=False)]  # text in the files
SAME = 1e-12  # of two fractions


class _Part(BaseModel):
    """What is used of a file: of the right type, finite; the rest of it is others' business."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _Came(_Part):
    gain: Annotated[float, Field(alias="return")]


class _Told(_Came):
    policy_hash: Sha
    beside: _Came


class _Summary(_Part):
    run_id: RunId
    policy_hash: Sha
    pnl: Money
    max_drawdown: float
    killed: str | None
    canary: _Told | None = None


class _Signals(_Part):
    signals: dict[str, Count]


class _Instrument(_Part):
    base: str | None = None


class _Flown(_Part):
    policy: dict[str, object]
    share: float


class _Run(_Part):
    run_id: RunId
    capital: Annotated[Money, Field(gt=0)]
    instruments: dict[str, _Instrument]
    canary: _Flown | None = None


class Record(NamedTuple):
    """
    A finished run.

    Attributes
    ----------
    path : Path
    summary, run
        ``summary.json`` and ``run.yaml``.
    canary : str
        Hash of the policy that flew as a canary; empty: none did.
    signals : mapping of str to int
        Of the drift sentry; empty where none watched.
    """

    path: Path
    summary: _Summary
    run: _Run
    canary: str
    signals: Mapping[str, int]


class Law(NamedTuple):
    """What the law has to say of a run: orders that it must not have let through, why it stopped, and drawdown."""

    violations: int
    killed: str
    drawdown: float


class Earned(NamedTuple):
    """What one side of a run came to after a moment: fills, and net return, a fraction of its capital."""

    fills: int
    gain: float


def read_record(run_dir: Path, policy: Policy) -> Record:
    """
    Read a finished run.

    Raises
    ------
    ConfigError, RunDirError
        If it is not finished, a value is missing, of another type or no finite number, or two files tell of two runs.
    """
    plain, drift = (read_mapping(run_dir, name) for name in ("summary.json", "drift.json"))
    if not plain:
        raise RunDirError(str(run_dir), "no summary.json", "a finished run")
    summary = checked(_Summary, plain, "summary.json")
    run = checked(_Run, read_mapping(run_dir, "run.yaml"), "run.yaml")
    if policy.drift.enabled and not drift:
        raise RunDirError(str(run_dir), "no drift.json", "what the drift sentry of its policy has to say")
    signals = checked(_Signals, drift, "drift.json").signals if drift else {}
    flown = "" if run.canary is None else checked(Policy, run.canary.policy, "run.yaml.canary.policy").policy_hash
    told = "" if summary.canary is None else summary.canary.policy_hash
    here, there = (run.run_id, policy.policy_hash, flown), (summary.run_id, summary.policy_hash, told)
    for name, one, other in zip(("run_id", "policy_hash", "canary.policy_hash"), here, there, strict=True):
        if one != other:
            raise RunDirError(f"summary.json.{name} of {run_dir}", other[:16], f"{one[:16]}, as its other files say")
    return Record(run_dir, summary, run, flown, signals)


def law_of(record: Record) -> Law:
    """
    Let the auditor judge a run.

    Raises
    ------
    RunDirError
        If its files contradict one another: then nothing can be said.
    """
    path, summary, found = record.path, record.summary, audit(record.path)
    if found.integrity:
        first, many = found.integrity[0], len(found.integrity)
        told = f"{many} contradictions, the first {first.code} of {first.subject}: {first.detail}"
        raise RunDirError(str(path), told[:300], "files that fit together (alphatrade audit)")
    curve = read_frame(path / "equity.parquet", columns=["equity", "drawdown"])
    end = curve["equity"].iloc[-1] - record.run.capital if len(curve) else Decimal(0)
    deepest = float(curve["drawdown"].max()) if len(curve) else 0.0
    if end != summary.pnl:
        raise RunDirError(f"summary.json.pnl of {path}", str(summary.pnl), f"{end}, as equity.parquet has it")
    if not abs(deepest - summary.max_drawdown) <= SAME:
        expected = f"{deepest}, as equity.parquet has it"
        raise RunDirError(f"summary.json.max_drawdown of {path}", summary.max_drawdown, expected)
    events = read_frame(path / "risk_events.parquet", columns=["kind", "limit", "detail"])
    kills = events[events["kind"] == "kill"]
    killed = [summary.killed or "", *[f"{row.limit}: {row.detail}" for row in kills.itertuples()]]
    return Law(len(found.violations), next(filter(None, killed), ""), max(deepest, _sunk(path, found)))


def _sunk(path: Path, found: AuditReport) -> float:
    """Return the drawdown that the auditor has found from fills and marks, at every mark."""
    return found.utilisation.get("DRAWDOWN", 0.0) * float(read_limits(path).drawdown)


def earned(record: Record, canary: bool, since: int) -> Earned:
    """
    Return what the canary of a run came to after a moment, or the policy beside it, from fills and marks.

    Parameters
    ----------
    record : Record
        Of a run with a canary.
    canary : bool
    since : int
        UTC ns; what was held then counts with its worth at that time.

    Raises
    ------
    RunDirError
        If the summary says another return of the whole run than fills and marks.
    """
    run, told = record.run, record.summary.canary
    assert run.canary is not None
    assert told is not None
    capital = run.capital * (Decimal(repr(run.canary.share)) if canary else 1)
    fills, marks = (read_frame(record.path / f"{name}.parquet") for name in ("fills", "marks"))
    fills = fills[fills["strategy"].isin(strategies(len(run.instruments), canary))]
    whole = _worth(run, fills, marks)
    name, said = ("canary.return", told.gain) if canary else ("canary.beside.return", told.beside.gain)
    if not abs(float(whole / capital) - said) <= SAME:
        expected = f"{float(whole / capital)}, as fills and marks have it"
        raise RunDirError(f"summary.json.{name} of {record.path}", said, expected)
    before = _worth(run, fills[fills["ts"] <= since], marks[marks["ts"] <= since])
    return Earned(int((fills["ts"] > since).sum()), float((whole - before) / capital))


def _worth(run: _Run, fills: pd.DataFrame, marks: pd.DataFrame) -> Decimal:
    """Return what fills have brought in, fees off, and what they leave at the last marks."""
    last = marks.groupby("instrument")[["bid", "ask"]].last()
    worth = Decimal(0)
    with localcontext(prec=60):
        for row in fills.itertuples():
            units = row.qty if row.side == "BUY" else -row.qty
            in_base = row.currency == run.instruments[row.instrument].base
            mid = (last["bid"][row.instrument] + last["ask"][row.instrument]) / 2
            worth += units * (mid - row.price) - (row.fee * row.price if in_base else row.fee)
    return worth
