"""The report: one offline page, complete, escaped, honest about what is missing, the same each time."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from make_run import make_run

from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.report import write_report
from alphatrade.reflection.report_data import load
from alphatrade.reflection.report_stats import DAY_NS, sharpe
from alphatrade.reflection.report_tables import TIMES, moment, number, percent
from alphatrade.risk.errors import RunDirError

HOUR = 3_600_000_000_000
MINUTE = 60_000_000_000
LEARNING = ("routing", "attention", "probes", "sigma", "graph", "drift")
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, not to be changed."""
    return make_run(tmp_path_factory.mktemp("report") / "run", 900)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def page(run_dir: Path) -> str:
    """Return the page without the embedded Plotly."""
    text = write_report(run_dir).read_text(encoding="utf-8")
    start = text.index("<script>") + len("<script>")
    return text[:start] + text[text.index("</script>\n</head>") :]


def change(run_dir: Path, name: str, **values: object) -> None:
    """Overwrite keys of a JSON file."""
    path = run_dir / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def empty(run_dir: Path, *names: str) -> None:
    """Take all rows out of Parquet files."""
    for name in names:
        write_parquet(pq.read_table(run_dir / name).slice(0, 0), run_dir / name)


def test_the_page_is_complete_and_loads_nothing(run: Path) -> None:
    """Every section and figure, Plotly once, no address outside the page."""
    out = write_report(run)
    assert out == run / "report.html"
    text = page(run)
    sections = re.findall(r'<section id="([^"]+)">', text)
    assert sections == ["equity", "price-0", "topologies", "attribution", "belief", *LEARNING, "law", "costs",
                        "latency", "tape", "identity"]  # fmt: skip
    figures = re.findall(r'id="figure-([^"]+)"', text)
    assert figures == ["equity", "price-0", "topologies", "attribution", "belief", "routing", "probes-0",
                       "denials"]  # fmt: skip
    assert text.count('class="empty"') == 4, "this run learns nothing and nobody watched for drift"
    assert not re.search(r'(?:src|href)="(?!tearsheet\.html)', text)
    assert "default-src 'none'" in text
    assert out.read_text(encoding="utf-8").count("plotly.js v") == 1
    assert not list(run.glob("*.tmp"))


def test_headline_numbers_are_those_of_the_run(run: Path) -> None:
    """PnL, fees, fills and drawdown as in the summary; attribution adds up to realised less fees."""
    summary, text, data = json.loads((run / "summary.json").read_text()), page(run), load(run)
    for word in (number(summary["pnl"], 2, True), number(summary["fees"]), percent(summary["max_drawdown"]),
                 f"{summary['fills']:,} fills", f"{summary['orders']:,}", "simulated venue",
                 "assumed half spread",                 f"2{TIMES} costs", "250 ms"):  # fmt: skip
        assert word in text, word
    assert data.cells["net"].sum() == pytest.approx(data.fills["realized"].sum() - data.fills["fee"].sum())
    assert data.topologies["orders"].sum() == summary["orders"]
    assert data.topologies["fills"].sum() == summary["fills"] == len(data.fills)
    assert data.belief is not None
    assert int(data.belief.counts["steps"].sum()) == 900


def test_thinning_keeps_every_spike(run: Path) -> None:
    """Lowest and highest points stay, ends too, and a curve never grows beyond four points a pixel."""
    table = pq.read_table(run / "equity.parquet").to_pandas()
    data = load(run)
    values = table["equity"].astype(float)
    assert data.equity["y"].min() == values.min()
    assert data.equity["y"].max() == values.max()
    assert data.equity["y"].iloc[-1] == values.iloc[-1]
    assert data.drawdown["y"].max() == table["drawdown"].max()


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    """No clock, no random id."""
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_text_from_files_is_escaped(run: Path) -> None:
    """Names, reasons and details with markup in them are shown, not run."""
    for name, column in (("decisions", "exec_topo"), ("decisions", "regime"), ("decisions", "instrument")):
        path = run / "diary" / f"{name}.parquet"
        table = pq.read_table(path)
        at = table.schema.get_field_index(column)
        values = [EVIL + str(value) for value in table[column].to_pylist()]
        write_parquet(table.set_column(at, column, [values]), path)
    for name, column in (("risk_events", "detail"), ("risk_events", "limit"), ("risk_events", "kind")):
        table = pq.read_table(run / f"{name}.parquet")
        at = table.schema.get_field_index(column)
        write_parquet(table.set_column(at, column, [[EVIL] * table.num_rows]), run / f"{name}.parquet")
    tape = {"name": EVIL, "kind": EVIL, "instrument": EVIL, "from": EVIL, "to": EVIL, "reference": EVIL}
    change(run, "summary.json", tapes=[tape], killed=EVIL, policy_hash=EVIL, tape_audit={EVIL: {EVIL: 1}})
    change(run, "latency.json", **{EVIL: {"count": 1, "p50_ns": 1}})
    text = page(run)
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        (["fills.parquet"], "No fills, so there is no PnL"),
        (["orders.parquet", "risk_events.parquet"], "Nothing was denied"),
        (["diary/decisions.parquet"], "No decisions were recorded"),
        (["diary/decisions.parquet", "marks.parquet"], "No prices"),
        (["diary/decisions.parquet", "belief_snapshots/beliefs.parquet"], "No beliefs"),
        (["equity.parquet"], "No equity"),
    ],
)
def test_an_empty_section_says_why(run: Path, gone: list[str], reason: str) -> None:
    """Nothing happened: the page still comes out."""
    empty(run, *gone)
    assert reason in page(run)


def test_a_run_in_which_nothing_happened(run: Path) -> None:
    """All tables empty, no stress, no latency, no policy."""
    empty(run, *(str(path.relative_to(run)) for path in run.rglob("*.parquet")))
    for name in ("stress.json", "latency.json", "policy.json"):
        (run / name).unlink()
    text = page(run)
    for reason in (
        "No equity",
        "Not run: the folder has no stress.json",
        "latency.json is absent",
        "No beliefs",
    ):
        assert reason in text


def test_kill_tearsheet_and_synthetic_tape_are_shown(run: Path) -> None:
    """What a reader must not miss."""
    assert "tearsheet.html" not in page(run)
    assert "kill switch" not in page(run)
    (run / "tearsheet.html").write_text("<html></html>")
    write_parquet(pa.table({"ts": [0], "event": [""]}), run / "truth.parquet")
    change(run, "summary.json", killed="DRAWDOWN at noon")
    text = page(run)
    assert 'href="tearsheet.html"' in text
    assert "DRAWDOWN at noon" in text
    assert "synthetic world" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", None), ("run.yaml", None), ("summary.json", b"{half"), ("summary.json", b"[1, 2]"),
        ("fills.parquet", b"PAR1"), ("stress.json", b"{}"), ("run.yaml", b"a: [1"),
        ("summary.json", b"\xff\xfe"),
        ("stress.json", b'[{"costs": 1}]'), ("run.yaml", b"capital: much"),
    ],
)  # fmt: skip
def test_missing_and_foreign_files_are_one_line(run: Path, name: str, content: bytes | None) -> None:
    """The message names the folder or the file, and no page is left behind."""
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    with pytest.raises(RunDirError) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert str(run) in str(caught.value)
    assert not list(run.glob("report.html*"))


def test_sharpe_is_right_on_a_known_series() -> None:
    """Alternating returns around a mean: closed form, and an interval around it."""
    rng = np.random.default_rng(1)
    returns = rng.normal(2e-4, 1e-3, 24 * 40)
    ts = np.arange(len(returns)) * HOUR
    found = sharpe(ts, 100 * np.cumprod(1 + returns), 100.0)
    assert found.n == len(returns)
    expected = returns.mean() / returns.std(ddof=1) * np.sqrt(24 * 365)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.low < found.value < found.high
    assert found == sharpe(ts, 100 * np.cumprod(1 + returns), 100.0)
    width = found.high - found.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(24 * 365 / len(returns)), rel=0.35), "close to the iid width"


def test_sharpe_says_when_it_cannot_be_known() -> None:
    """Too few returns, no movement, no curve."""
    few = sharpe(np.arange(5) * HOUR, np.linspace(100, 101, 5), 100.0)
    assert (few.value, few.low) == (None, None)
    assert "too few: 5 one-minute returns" in few.basis
    assert "never moved" in sharpe(np.arange(2000) * HOUR, np.full(2000, 100.0), 100.0).basis
    assert sharpe(np.array([], np.int64), np.array([]), 100.0).basis == "no equity curve"
    days = [4 + 7 * week + day for week in range(4) for day in range(5)]
    weekdays = np.concatenate([day * DAY_NS + np.arange(8) * HOUR for day in days])
    walk = 100 + np.random.default_rng(2).normal(0, 1, len(weekdays))
    assert f"8 a day {TIMES} 252 days" in sharpe(weekdays, walk, 100.0).basis


def test_denied_modifications_are_counted_with_their_reason(run: Path) -> None:
    """Those that the law denied, not those that the venue rejected."""
    before = load(run).denied.set_index("code")["denied"]
    events, orders = pq.read_table(run / "risk_events.parquet"), pq.read_table(run / "orders.parquet")
    denied = next(row for row in events.to_pylist() if row["kind"] == "denied")
    by_law = orders.to_pylist()[0] | {"event": "modify_rejected", "order_id": denied["order_id"]}
    by_law["reason"] = denied["detail"] = "ORDER_RATE: n=9 > limit=8"
    by_venue = by_law | {"reason": "UNKNOWN_ORDER: gone"}
    more = pa.Table.from_pylist([by_law, by_venue], orders.schema)
    write_parquet(pa.concat_tables([orders, more]), run / "orders.parquet")
    write_parquet(
        pa.concat_tables([events, pa.Table.from_pylist([denied], events.schema)]), run / "risk_events.parquet"
    )
    after = load(run).denied.set_index("code")["denied"]
    assert after["ORDER_RATE"] == before.get("ORDER_RATE", 0) + 1
    assert "UNKNOWN_ORDER" not in after
    change(run, "summary.json", denied_modifications=7, law_orders=3)
    text = page(run)
    assert "7 modifications" in text
    assert "3 sent by the law" in text


def test_it_says_what_else_differs_under_stress_and_when_buy_and_hold_begins(run: Path) -> None:
    """Dearer cells of sized quotes have no liquidity consumption; buy and hold starts with the first decision."""
    assert "fills differ for that reason too" not in page(run)
    record = yaml.safe_load((run / "run.yaml").read_text())
    record |= {"instruments": {"EUR/USD.SIM": {"base": "EUR", "kind": "quotes"}}}
    record["venue"] = {**(record.get("venue") or {}), "liquidity_consumption": True}
    (run / "run.yaml").write_text(yaml.safe_dump(record))
    text, data = page(run), load(run)
    assert "fills differ for that reason too" in text
    first = pq.read_table(run / "diary" / "decisions.parquet")["ts"][0].as_py()
    assert data.hold["t"].iloc[0] == first / 1e6
    assert f"no costs, from {moment(first)}" in text
    assert "the price of the first decision" in text


def test_part_of_a_day_is_not_taken_for_a_day() -> None:
    """Eleven hours of a market that never closes, a mark in seven of ten minutes: the rate of those hours."""
    rng = np.random.default_rng(4)
    minutes = np.flatnonzero(np.arange(660) % 10 < 7)
    levels = 100 * np.cumprod(1 + rng.normal(1e-6, 1e-4, len(minutes)))
    returns = np.diff(np.concatenate(([100.0], levels))) / np.concatenate(([100.0], levels[:-1]))
    per_day = len(minutes) / (minutes[-1] + 1) * 1440
    found = sharpe(4 * DAY_NS + minutes * MINUTE, levels, 100.0)
    assert found.value == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(per_day * 365))
    assert f"1,013 a day {TIMES} 365 days) (the market never closed" in found.basis
    share = sharpe(4 * DAY_NS + minutes * MINUTE, levels, 100.0, shares=True)
    assert f"462 a day {TIMES} 252 days) (the market closes" in share.basis


def test_a_run_of_shares_has_the_days_of_the_exchange(run: Path) -> None:
    """What is traded is read from run.yaml; the page claims no marks in minutes without events."""
    assert "the market never closed" in load(run).sharpe.basis
    record = yaml.safe_load((run / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(record | {"instruments": {"SPY.SIM": {"base": "SPY"}}}))
    assert "the market closes" in load(run).sharpe.basis
    assert "every event-time minute that has an event" in page(run)


@pytest.mark.skipif(os.environ.get("ALPHATRADE_LONG") != "1", reason="drawing in a browser: ALPHATRADE_LONG=1")
def test_every_figure_is_drawn_in_chromium(run: Path, tmp_path: Path) -> None:
    """Headless, without network: each Plotly figure has its drawing."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    flags = ["headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
             "disable-component-update", "disable-sync", "virtual-time-budget=8000", "dump-dom"]  # fmt: skip
    command = [
        browser,
        *(f"--{flag}" for flag in flags),
        f"--user-data-dir={tmp_path / 'profile'}",
        write_report(run).as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert len(set(re.findall(r'id="(figure-[^"]+)"', dom))) == 8
    # Each figure has a main drawing and one for its hover layer.
    assert dom.count('class="main-svg"') >= 16
