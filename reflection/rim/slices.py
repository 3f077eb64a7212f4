"""A slice of a diary: the decisions of one instrument up to some moment, with what was known of them by then."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from alphatrade.reflection.query import open_views, read_mapping
from alphatrade.reflection.rim.proposals import Pointer
from alphatrade.risk.errors import ConfigError, RunDirError
from alphatrade.strategies.policy import Policy
from alphatrade.strategies.shadow import Costs

ROWS = 256  # of the last decisions, that an engine sees one by one
_NUMBERS = ("mid", "regime_confidence", "notional", "spread", "high", "low")
_ROWS = "SELECT min(row), max(row), count(*) FROM decisions"
_SQL = """
    WITH own AS (SELECT * FROM decisions WHERE instrument = $instrument AND policy_hash = $policy AND ts <= $end),
         signed AS (SELECT *, CASE side WHEN 'BUY' THEN qty ELSE -qty END AS units FROM fills
                    WHERE ts <= (SELECT max(ts) FROM own)),
         traded AS (SELECT decision, count(*) AS fills, sum(qty * price)::DOUBLE AS notional, sign(sum(units)) AS side,
                           sum(units)::DOUBLE AS units, (sum(units * price) + sum(fee))::DOUBLE AS paid
                    FROM signed GROUP BY decision)
    SELECT d.decision, d.ts, d.step, d.mid, d.spread, d.high, d.low, d.regime, d.regime_confidence, d.exec_topo,
           {features} t.fills, t.side, (t.paid - t.units * d.mid) / t.notional * 1e4 AS cost_bps, {markouts}
           coalesce(t.notional, 0) AS notional, x.decision IS NOT NULL AS followed
    FROM own d LEFT JOIN expost x ON x.decision = d.decision LEFT JOIN traded t ON t.decision = d.decision
    ORDER BY d.decision
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """
    Decisions, one row each, in their order.

    Attributes
    ----------
    run_id : str
    policy : Policy
        That made them.
    instrument : str
    capital : float
        Account currency.
    rows : DataFrame
        Columns ``decision, ts, step, mid, regime, regime_confidence, exec_topo``, a feature each as ``f_<name>``,
        ``fills, side, cost_bps, notional`` (of what its orders had filled by the end of the slice, quote currency),
        mark-outs as ``markout_<horizon>`` (bps of what was filled; NaN where it was not known then), and of the market
        ``spread`` at the decision, and ``high, low`` of the reference price within its step (quote currency).
    costs : Costs
        Of the instrument, as the venue charged them.
    """

    run_id: str
    policy: Policy
    instrument: str
    capital: float
    rows: pd.DataFrame
    costs: Costs

    @property
    def span(self) -> tuple[int, int]:
        """Event times of the first and the last decision, UTC ns."""
        ts = self.rows["ts"]
        return int(ts.iloc[0]), int(ts.iloc[-1])

    @property
    def hours(self) -> float:
        """How long it is."""
        start, end = self.span
        return (end - start) / 3.6e12

    def sha256(self) -> str:
        """Return the hash of all rows: column by column, numbers as they are in memory, words line by line."""
        told = hashlib.sha256(f"{self.run_id} {self.instrument} {len(self.rows)}\n".encode())
        for name in sorted(self.rows.columns):
            column = self.rows[name]
            told.update(f"{name}\n".encode())
            words = column.dtype == object
            told.update("\n".join(column).encode() if words else np.ascontiguousarray(column.to_numpy()).tobytes())
        return told.hexdigest()

    def pointer(self) -> Pointer:
        """Return what a proposal says it rests on."""
        start, end = self.span
        first, last = (int(self.rows["decision"].iloc[at]) for at in (0, -1))
        return Pointer(run_id=self.run_id, instrument=self.instrument, first=first, last=last,
                       start=str(start), end=str(end), sha256=self.sha256())  # fmt: skip


def read_slice(run_dir: Path, end: int | None = None, instrument: str = "") -> Slice:
    """
    Return the decisions of a run up to a moment.

    Parameters
    ----------
    run_dir : Path
        Of a finished run: fills are written at its end.
    end : int, optional
        Event time, UTC ns; the last decision if not given.
    instrument : str
        Of a run with several; its only one if not given.

    Raises
    ------
    RunDirError
        If there is no diary, no decision, one is missing, or what came of one is.
    """
    run, plain = read_mapping(run_dir, "run.yaml"), read_mapping(run_dir, "policy.json")
    if not run or not plain:
        raise RunDirError(str(run_dir), "a folder without run.yaml or policy.json", "the folder of a run")
    if not (run_dir / "fills.parquet").exists():
        raise RunDirError(str(run_dir), "no fills.parquet", "a finished run")
    policy, names = _policy(run_dir, plain), list(run.get("instruments") or [])
    if not instrument and len(names) != 1:
        raise RunDirError("instrument", instrument, f"one of {', '.join(names)}")
    name = instrument or names[0]
    found = _read(run_dir, policy, name, 2**63 - 1 if end is None else end)
    if found.empty:
        raise RunDirError(f"diary of {run_dir}", "no decision", f"decisions of {policy.policy_hash[:12]} in {name}")
    _check_whole(run_dir, found, name)
    facts = run["instruments"][name]
    costs = Costs(float(facts["taker_fee"]), float(facts["maker_fee"]), 0.5 * float(facts["tick"]))
    return Slice(str(run["run_id"]), policy, name, float(run["capital"]), _known(found, policy), costs)


def _policy(run_dir: Path, plain: dict[str, Any]) -> Policy:
    try:
        return Policy.model_validate(plain)
    except (ValidationError, ConfigError) as error:
        first = str(error).splitlines()[0]
        raise RunDirError(f"policy.json of {run_dir}", first, "a policy, as the run wrote it") from error


def _check_whole(run_dir: Path, found: pd.DataFrame, instrument: str) -> None:
    """Refuse a slice with holes: what is missing is no reason to believe that nothing happened."""
    where = f"diary of {run_dir}"
    holes = np.flatnonzero(np.diff(found["step"].to_numpy()) != 1)
    if len(holes):
        step = int(found["step"].iloc[holes[0]])
        raise RunDirError(where, f"a gap after step {step} of {instrument}", "every decision of a slice")
    if not found["followed"].all():
        decision = int(found["decision"][~found["followed"]].iloc[0])
        raise RunDirError(where, f"no outcome of decision {decision}", "one of every decision")


def _read(run_dir: Path, policy: Policy, instrument: str, end: int) -> pd.DataFrame:
    horizons = policy.expost.horizons
    features = "".join([f'd."f_{name}", ' for name in sorted(policy.features)])
    markouts = "".join([f"x.markout_{h}, x.known_{h}, " for h in horizons])
    with open_views(run_dir) as base:
        told: dict[str, Any] = {"instrument": instrument, "policy": policy.policy_hash, "end": end}
        try:
            first, last, rows = base.execute(_ROWS).fetchall()[0]
            if rows and (first, last) != (0, rows - 1):
                whole = "every row from 0 on"
                raise RunDirError(f"diary of {run_dir}", f"a gap: {rows} rows from {first} to {last}", whole)
            return base.execute(_SQL.format(features=features, markouts=markouts), told).df()
        except RunDirError:
            raise
        except Exception as error:  # whatever DuckDB says of a diary without these columns
            first = str(error).strip().splitlines()[0]
            raise RunDirError(f"diary of {run_dir}", first, "decisions with outcomes, as a run writes them") from error


def _known(found: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Return the rows without any outcome that was not known when the slice ended."""
    last, rows = int(found["ts"].iloc[-1]), found.drop(columns="followed")
    for horizon in policy.expost.horizons:
        known = rows.pop(f"known_{horizon}")
        early = known.notna() & (known.fillna(2**62).astype(np.int64) <= last)
        rows[f"markout_{horizon}"] = rows[f"markout_{horizon}"].astype(np.float64).where(early)
    kinds: dict[str, Any] = {"fills": np.int64, "side": np.int64}
    for name, kind in kinds.items():
        rows[name] = rows[name].fillna(0).astype(kind)
    rows["cost_bps"] = rows["cost_bps"].astype(np.float64).fillna(0.0)
    for name in rows.columns:
        if name.startswith("f_") or name in _NUMBERS:
            rows[name] = rows[name].astype(np.float64)
    return rows
