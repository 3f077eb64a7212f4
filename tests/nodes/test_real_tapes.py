"""Real tapes through `tape=file` with the default policy: to the end, trading, and lawful by the auditor's own count."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from alphatrade.risk.audit import AuditReport, audit
from tests.conftest import FrontDoor

pytestmark = pytest.mark.long

HOUR = 3600 * 10**9
# Folder, kind, instrument: nothing else is said, as somebody would who meets the tape for the first time.
TAPES = {
    "eurusd_ticks_201405": ("quotes", "EUR/USD"),
    "usdjpy_1m_2013": ("bidask_bars", "USD/JPY"),
    "btcusd_1m_2018": ("bars", "BTC/USD"),
    "spy_trades_201310": ("trades", "SPY"),
}


class Ran(NamedTuple):
    """A run of a real tape: its name, summary, folder and audit."""

    name: str
    summary: dict[str, Any]
    path: Path
    report: AuditReport


@pytest.fixture(scope="module", params=TAPES)
def ran(
    request: pytest.FixtureRequest, tapes_dir: Path, front_door: FrontDoor, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    name = request.param
    kind, instrument = TAPES[name]
    source = tapes_dir / name / "data.parquet"
    if not source.exists():
        pytest.skip(f"no {source}")
    artifacts = tmp_path_factory.mktemp(name)
    tape = ("tape=file", f"tape.path={source}", f"tape.kind={kind}", f"tape.instrument={instrument}")
    done = front_door("sim", *tape, "output.stress=false", f"paths.artifacts={artifacts}", timeout=3600)
    assert done.returncode == 0, done.stderr
    path = (artifacts / "latest").resolve()
    summary = json.loads((path / "summary.json").read_text())
    found = Ran(name, summary, path, audit(path))
    keys = ("events", "decisions", "orders", "fills", "denied", "pnl", "killed", "wall_s")
    print(name, {key: summary[key] for key in keys}, summary["topologies_used"], file=sys.stderr)
    return found


def test_it_trades_enough(ran: Ran) -> None:
    assert ran.summary["orders"] >= 200
    assert ran.summary["fills"] >= 50
    submitted = pd.read_parquet(ran.path / "orders.parquet", columns=["event"])["event"].eq("submitted").sum()
    assert submitted >= 200, "orders that the law let through, not denials"


def test_it_runs_to_the_end(ran: Ran) -> None:
    decisions = pd.read_parquet(ran.path / "diary" / "decisions.parquet", columns=["ts"])["ts"]
    end = pd.Timestamp(ran.summary["tapes"][0]["to"], tz="UTC")
    assert (end - pd.Timestamp(decisions.iloc[-1], tz="UTC")).total_seconds() < 3600, "decides until the tape is over"
    assert decisions.iloc[-1] - decisions.iloc[0] >= 4 * HOUR
    assert ran.summary["events"] == next(iter(ran.summary["tape_audit"].values()))["rows_used"]
    assert ran.summary["diary_coverage"] == 1.0


def test_the_auditor_finds_no_violation(ran: Ran) -> None:
    assert ran.report.violations == ()
    assert ran.report.integrity == ()
    assert ran.report.fills == ran.summary["fills"]


def test_it_is_flat_in_the_end(ran: Ran) -> None:
    assert ran.report.position == {}


def test_what_is_wrong_with_the_tape_is_counted(ran: Ran) -> None:
    counts = next(iter(ran.summary["tape_audit"].values()))
    expected = {
        "eurusd_ticks_201405": {"rows_read": 532_903},
        "usdjpy_1m_2013": {"rows_read": 366_456},
        "btcusd_1m_2018": {"rows_read": 520_499},
        "spy_trades_201310": {"rows_read": 1_887_460},
    }
    assert {key: counts[key] for key in expected[ran.name]} == expected[ran.name]
    if ran.name == "usdjpy_1m_2013":
        assert counts["crossed"] > 10_000, "3.3 % of the closes are crossed"
    if ran.name == "btcusd_1m_2018":
        assert counts["gap"] > 0, "minutes without a trade are absent"
