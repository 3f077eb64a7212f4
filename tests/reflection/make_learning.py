"""Adds to a synthetic run what a learning run on a world leaves: synapses, probes, truth, drift, packets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from make_run import INSTRUMENT, MINUTE, START

from alphatrade.reflection.parquet import write_parquet

NAME = INSTRUMENT.replace("/", "-")
UNITS = 128
KINDS = {"momentum": "taker_momentum", "breakout": "breakout_stop", "maker": "two_sided_maker",
         "reversion": "passive_reversion"}  # fmt: skip
THRESHOLDS = {
    "surge": {"unit": "deviations", "threshold": 4.0, "needs": ["size"]},
    "imbalance_surge": {"unit": "deviations", "threshold": 4.25, "needs": ["size"]},
    "sweep_risk": {"unit": "deviations", "threshold": 13.0, "needs": ["size"]},
}
# Planted: first and last decision, and the word of the truth.
EVENTS = ((100, 110, "surge"), (200, 205, "surge"), (300, 302, "sweep"))
FIRED = (*range(102, 106), 207, 250, 251, 301)  # decisions with imbalance_surge beyond its threshold
BEYOND = (4.0, 6.5, 1.0)  # charts of the stream `overall`, at the end of its watch


def add_learning(run: Path) -> Path:
    """Change a run of :func:`make_run` in place."""
    policy = json.loads((run / "policy.json").read_text())
    policy |= {"flags": {"linear_attention": True, "fast_weights": True}}
    policy["topologies"] = {name: {"kind": kind, "params": {}} for name, kind in KINDS.items()}
    (run / "policy.json").write_text(json.dumps(policy))
    record = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(record[: record.index("probes:")] + f"probes: {json.dumps(THRESHOLDS)}\n"
                                  + record[record.index("seed:") :])  # fmt: skip
    path = run / "diary" / "decisions.parquet"
    table = pq.read_table(path)
    n = table.num_rows
    fired = [5.0 if i in FIRED else 1.0 for i in range(n)]
    columns: dict[str, Any] = {
        "p_imbalance_surge": pa.array(fired), "p_sweep_risk": pa.array([None] * n, pa.float64()),
        "sigma_norm": pa.array([0.9 if i == n // 2 else 0.1 for i in range(n)]),
        "sigma_rank": pa.array(np.full(n, 3.0)), "sigma_post": pa.array(np.full(n, 4, np.int16)),
        "sigma_pre": pa.array(np.full(n, 7, np.int16)),
    }  # fmt: skip
    for name, column in columns.items():
        table = table.append_column(name, column)
    write_parquet(table, path)
    write_sigma(run)
    write_truth(run, n)
    _drift(run)
    return run


def write_sigma(run: Path, pre: list[int] | None = None) -> None:
    """Write synapses: a ring with a hub."""
    rng = np.random.default_rng(3)
    post = list(range(40)) + [50] * 40
    pre = pre or [(at + 1) % 40 for at in range(40)] + list(range(40))
    weight = rng.normal(0, 0.01, len(pre)) + 0.02
    columns = {"pre": pa.array(pre, pa.int16()), "post": pa.array(post, pa.int16()), "weight": pa.array(weight)}
    write_parquet(pa.table(columns).replace_schema_metadata({"n": str(UNITS)}), run / f"sigma-{NAME}.parquet")


def write_truth(run: Path, n: int, name: str = "truth") -> None:
    """Write the truth of a world with a quote a decision: momentum pays in the first half, then nothing does."""
    event = [next((word for first, last, word in EVENTS if first <= i <= last), "") for i in range(n)]
    nature = ["persist" if i < n // 2 else "wander" for i in range(n)]
    columns = {"ts": [START + i * MINUTE for i in range(n)], "nature": nature,
               "pays": ["taker_momentum" if word == "persist" else "flat" for word in nature], "event": event}  # fmt: skip
    write_parquet(pa.table(columns), run / f"{name}.parquet")


def _drift(run: Path) -> None:
    rows = [
        {"ts": START + at * MINUTE, "instrument": INSTRUMENT, "stream": stream, "value": -1.0, "score": 0.0,
         "cusum_up": 0.0, "cusum_down": down, "page_hinkley": down / 2, "threshold": 5.0, "level": level}
        for stream, charts, level in (
            ("overall", BEYOND, "watching"), ("tactic:maker", (float("nan"),) * 3, "learning"),
        )
        for at, down in enumerate(charts, 400)
    ]  # fmt: skip
    write_parquet(pa.Table.from_pylist(rows), run / "drift.parquet")
    known = {"design_run_length": 500.0, "days_between_false_alarms": 1.3, "threshold": 5.0, "calibrated_on": 600,
             "signals": {"warn": 0, "alert": 1, "flat": 0, "recovered": 0}, "faults": []}  # fmt: skip
    (run / "drift.json").write_text(json.dumps(known))
    (run / "packets").mkdir()
    moment = {"ts": str(START + 401 * MINUTE), "time": "2018-01-01T06:41:00+00:00"}
    packet = {
        "number": 1, "at": moment, "since": moment | {"last_good": 399},
        "what": {"instrument": INSTRUMENT, "stream": "overall", "level": "alert", "chart": "cusum",
                 "statistic": 6.5, "threshold": 5.0, "detail": "overall: cusum"},
        "evidence": {"rows": 12}, "action": {"factor": 0.5, "words": "halved"},
        "shifts": [{"name": "vol_20", "before": 0.1, "after": 0.4, "d": 2.25}, {"name": "x", "d": None}],
    }  # fmt: skip
    (run / "packets" / "001-overall.json").write_text(json.dumps(packet))
