"""The report about learning: what there is is counted right, what there is not is said, what is damaged is one line."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from make_learning import EVENTS, FIRED, NAME, UNITS, add_learning, write_sigma, write_truth
from make_run import INSTRUMENT, TABLE, make_run

from alphatrade.reflection import report_learning
from alphatrade.reflection import report_learning_plots as plots
from alphatrade.reflection.explain import explain_order
from alphatrade.reflection.graph import diagnose
from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.report import write_report
from alphatrade.reflection.report_data import load
from alphatrade.risk.errors import RunDirError

EVIL = "<script>alert(1)</script>"
STEPS = 900
SECTIONS = ("routing", "attention", "probes", "sigma", "graph", "drift")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run without and one with learning, not to be changed."""
    folder = tmp_path_factory.mktemp("learning")
    return make_run(folder / "plain", STEPS), add_learning(make_run(folder / "learning", STEPS))


@pytest.fixture(autouse=True)
def few_null_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What chance gives is another test's matter, and takes two seconds a page."""
    few = {"nulls": 3}
    monkeypatch.setattr(report_learning, "diagnose", lambda sigma, spec: diagnose(sigma, spec.model_copy(update=few)))


@pytest.fixture
def run(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the learning one."""
    return Path(shutil.copytree(made[1], tmp_path / "run"))


def sections(run: Path) -> dict[str, str]:
    """Return the sections of the page."""
    text = write_report(run).read_text("utf-8")
    return dict(re.findall(r'<section id="([^"]+)">(.*?)</section>', text, re.DOTALL))


def section(run: Path, name: str) -> str:
    """Return one section of the page."""
    return sections(run)[name]


def cells(html: str) -> list[list[str]]:
    """Return the rows of the tables in it."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows if "<td" in row]


def change(path: Path, **columns: list[object]) -> None:
    """Replace columns of a Parquet file."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, [values])
    write_parquet(table, path)


def test_every_section_has_its_figure(run: Path) -> None:
    """Nothing is said to be missing, and the page is the same each time."""
    shown = sections(run)
    text = (run / "report.html").read_text("utf-8")
    assert [name for name in SECTIONS if 'class="empty"' in shown[name]] == []
    figures = re.findall(r'id="figure-([^"]+)"', text)
    wanted = ["routing", "routing-paid", "attention-0", "probes-0", "sigma-0", "graph-0", "drift"]
    assert [name for name in figures if name in wanted] == wanted
    assert write_report(run).read_text("utf-8") == text


def test_without_any_of_it_each_section_says_so(made: tuple[Path, Path], tmp_path: Path) -> None:
    """A run of the plain policy on a real tape."""
    run = Path(shutil.copytree(made[0], tmp_path / "run"))
    shown = sections(run)
    assert "linear_attention off" in shown["attention"]
    assert "fast_weights off" in shown["sigma"]
    assert "fast_weights off" in shown["graph"]
    assert "No sentry watched" in shown["drift"]
    assert "what pays" not in shown["routing"]
    assert "planted" not in shown["probes"], "a tape without truth has no planted events"
    (run / "run.yaml").write_text((run / "run.yaml").read_text().replace("probes:", "other:"))
    assert "No probe has a value" in section(run, "probes")
    record = json.loads((run / "policy.json").read_text()) | {"flags": {"fast_weights": True}}
    (run / "policy.json").write_text(json.dumps(record))
    assert "no synapses were recorded" in section(run, "sigma")


def test_routes_are_counted_against_the_table_and_against_the_truth(run: Path) -> None:
    """Each decision once; who is in charge late is not the table's choice; what pays comes from the truth."""
    diary, learning = pq.read_table(run / "diary" / "decisions.parquet").to_pandas(), load(run).learning
    outcomes = pq.read_table(run / "diary" / "expost.parquet").to_pandas()
    agreed = (diary["regime"].map(TABLE) == diary["exec_topo"]).mean()
    assert 0.5 < agreed < 1.0
    text = section(run, "routing")
    assert f"{100 * agreed:.1f} % of {STEPS}" in text
    assert learning.routes["n"].sum() == STEPS
    traded = outcomes[(outcomes["fills"] > 0) & outcomes["markout_5"].notna()]
    assert learning.routes["traded"].sum() == len(traded)
    assert learning.routes["total"].sum() == pytest.approx(traded["markout_5"].sum())
    early = diary["decision"] < STEPS // 2
    paid = (early & (diary["exec_topo"] == "momentum")).sum() / STEPS  # flat pays later, and is nobody's kind here
    assert f"in charge in {100 * paid:.1f} % of {STEPS}" in text
    by_table = (early & (diary["regime"].map(TABLE) == "momentum")).sum() / STEPS
    assert f"would have had one in {100 * by_table:.1f} %" in text


def test_probes_are_counted_against_what_was_planted(run: Path) -> None:
    """Of two surges one is seen; what fired within four steps after an event is not held against the probe."""
    probe = load(run).learning.probes[INSTRUMENT]["imbalance_surge"]
    assert (probe.steps, probe.fired, probe.planted, probe.caught, probe.outside) == (STEPS, len(FIRED), 2, 1, 2)
    assert probe.curve["y"].max() == 5.0
    text = section(run, "probes")
    row = next(row for row in cells(text) if row[0] == "imbalance surge")
    assert row[2:] == ["4.25", str(STEPS), str(len(FIRED)), "2", "1", "2"]
    assert "lacks what they need: sweep risk" in text
    assert len(load(run).learning.planted) == len(EVENTS)


def test_a_truth_without_a_drawn_payoff_has_events_only(run: Path) -> None:
    """Worlds of a schedule of regimes say nothing of what pays; a truth per tape belongs to its instrument."""
    table = pq.read_table(run / "truth.parquet")
    write_parquet(table.drop(["nature", "pays"]), run / "truth.parquet")
    assert "what pays" not in section(run, "routing")
    assert load(run).learning.probes[INSTRUMENT]["imbalance_surge"].planted == 2
    (run / "truth.parquet").unlink()
    write_truth(run, STEPS, "truth-elsewhere")
    assert load(run).learning.probes[INSTRUMENT]["imbalance_surge"].planted == 0
    write_truth(run, STEPS, "truth-btcusd_1m")
    assert load(run).learning.probes[INSTRUMENT]["imbalance_surge"].planted == 2


def test_scores_are_means_of_slices(run: Path) -> None:
    """Of every candidate; only a router that learns has them."""
    diary, scores = pq.read_table(run / "diary" / "decisions.parquet").to_pandas(), load(run).learning.scores
    frame = scores[INSTRUMENT]
    assert set(frame["tactic"]) == set(TABLE.values())
    first = diary[(diary["ts"] - diary["ts"].iloc[0]) // ((diary["ts"].iloc[-1] - diary["ts"].iloc[0]) // 240 + 1) == 0]
    at = sorted(set(TABLE.values())).index("maker")
    found = frame[(frame["slice"] == 0) & (frame["tactic"] == "maker")]["score"].iloc[0]
    assert found == pytest.approx(np.mean([row[at] for row in first["scores"]]))


def test_the_norm_keeps_its_spike_and_the_bound_is_counted(run: Path) -> None:
    """One decision in nine hundred stands out; at a bound of 0.9 it was clamped."""
    norms = load(run).learning.norms[INSTRUMENT]
    assert (norms["high"].max(), norms["low"].max()) == (0.9, 0.1)
    assert load(run).learning.clamped == 0.0
    policy = json.loads((run / "policy.json").read_text()) | {"learning": {"fast_weights": {"bound": 0.9}}}
    (run / "policy.json").write_text(json.dumps(policy))
    assert load(run).learning.clamped == pytest.approx(1 / STEPS)
    assert "bound of 0.90 in 0.1 %" in section(run, "sigma")


def test_synapses_without_a_norm_and_a_norm_without_synapses(run: Path) -> None:
    """Each is shown alone, and what is not there is said: a run from before the columns, a run that was cut."""
    path = run / "diary" / "decisions.parquet"
    table = pq.read_table(path)
    (run / f"sigma-{NAME}.parquet").unlink()
    shown = sections(run)
    assert "were not written" in shown["sigma"]
    assert "no synapses were recorded" in shown["graph"]
    write_sigma(run)
    write_parquet(table.drop([name for name in table.column_names if name.startswith("sigma_")]), path)
    shown = sections(run)
    assert "no norm of these" in shown["sigma"]
    assert 'id="figure-graph-0"' in shown["graph"]


def test_many_units_are_drawn_as_the_strongest_of_each_block() -> None:
    """No synapse that is strong gets lost, and its sign stays."""
    sigma = np.zeros((1000, 1000))
    sigma[3, 998], sigma[2, 998], sigma[999, 0] = -2.0, 1.0, 0.5
    shown = plots._blocks(sigma, 4)
    assert shown.shape == (250, 250)
    assert (shown[0, 249], shown[249, 0], np.count_nonzero(shown)) == (-2.0, 0.5, 2)


def test_streams_alarms_and_packets_are_listed(run: Path) -> None:
    """An outcome beyond the threshold is an alarm; a stream that learns has no chart."""
    learning, text = load(run).learning, section(run, "drift")
    assert [(chart.stream, len(chart.alarms)) for chart in learning.charts] == [("overall", 1)]
    rows = cells(text)
    assert ["overall", "watched", "3", "−1.00", "6.50", "5.00", "1"] in rows
    assert ["tactic:maker", "still learning", "3", "−1.00", "–", "–", "–"] in rows
    assert ["001-overall", "alert", "2018-01-01 06:41", "cusum 6.50 &gt; 5.00", "2018-01-01 06:41", "vol_20 +2.2",
            "12", "0.5"] in rows  # fmt: skip
    assert "one false alarm in 500 outcomes" in text
    table = pq.read_table(run / "drift.parquet")
    change(run / "drift.parquet", level=["learning"] * table.num_rows)
    shutil.rmtree(run / "packets")
    text = section(run, "drift")
    assert "still learning what is usual" in text
    assert "None: no alarm acted" in text
    (run / "drift.parquet").unlink()
    assert "drift.parquet is absent" in section(run, "drift")


def test_text_from_these_files_is_escaped(run: Path) -> None:
    """Names of tactics, regimes, streams, events, natures, features; faults and levels."""
    diary = pq.read_table(run / "diary" / "decisions.parquet")
    change(run / "diary" / "decisions.parquet", candidates=[[EVIL]] * diary.num_rows, scores=[[1.0]] * diary.num_rows,
           exec_topo=[EVIL] * diary.num_rows)  # fmt: skip
    truth = pq.read_table(run / "truth.parquet")
    change(run / "truth.parquet", nature=[EVIL] * truth.num_rows, pays=[EVIL] * truth.num_rows)
    drift = pq.read_table(run / "drift.parquet")
    change(run / "drift.parquet", stream=[EVIL] * drift.num_rows)
    path = run / "packets" / "001-overall.json"
    path.write_text(path.read_text().replace("vol_20", EVIL).replace('"alert"', json.dumps(EVIL)))
    (run / "drift.json").write_text(json.dumps({"faults": [EVIL], "signals": {EVIL: 1}}))
    (run / "run.yaml").write_text((run / "run.yaml").read_text().replace("deviations", EVIL))
    text = write_report(run).read_text("utf-8")
    assert EVIL not in text
    assert text.count("&lt;script&gt;alert(1)") > 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("truth.parquet", b"PAR1"), ("drift.parquet", b""), ("drift.json", b"{half"), ("drift.json", b"[]"),
        (f"sigma-{NAME}.parquet", b"PAR1"), ("packets/001-overall.json", b"[1]"),
        ("packets/001-overall.json", b"{}"), ("packets/001-overall.json", b"{"), ("policy.json", b'{"router": 3}'),
        ("policy.json", b'{"topologies": {"a": 1}}'), ("drift.json", b'{"signals": 3}'),
    ],
)  # fmt: skip
def test_damaged_files_are_one_line(run: Path, name: str, content: bytes) -> None:
    """The message names the file or the folder, and no page is left behind."""
    (run / name).write_bytes(content)
    with pytest.raises(RunDirError) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert str(run) in str(caught.value)
    assert not list(run.glob("report.html*"))


@pytest.mark.parametrize("name", ["truth", "drift"])
def test_a_foreign_table_is_named_with_what_it_lacks(run: Path, name: str) -> None:
    """A whole Parquet file, but of something else."""
    write_parquet(pa.table({"ts": [1], "other": [2]} if name == "drift" else {"other": [2]}), run / f"{name}.parquet")
    with pytest.raises(RunDirError, match=rf"{name}\.parquet") as caught:
        write_report(run)
    assert "\n" not in str(caught.value)


def test_a_synapse_of_a_unit_that_is_none(run: Path) -> None:
    """As `alphatrade graph` refuses it."""
    write_sigma(run, pre=[UNITS] * 80)
    with pytest.raises(RunDirError, match="units from 0 to 127"):
        write_report(run)


def test_an_order_is_explained_with_the_synapses(made: tuple[Path, Path]) -> None:
    """One line; a run without says that they are off."""
    off, on = (explain_order(run, _an_order(run)) for run in made)
    assert "synapses    none: fast_weights off" in off
    assert "synapses    norm 0.1, rank 3; strongest in this step 7 to 4" in on


def _an_order(run: Path) -> str:
    return str(pq.read_table(run / "orders.parquet")["order_id"][0])
