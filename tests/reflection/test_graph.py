"""Graph diagnostics: each figure is right on graphs whose answer is known, and each alert has its mutant."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from alphatrade.nodes.app import app, main
from alphatrade.nodes.graph import graph_settings
from alphatrade.reflection.graph import GraphSpec, backbone, concentration, coreness, diagnose, gini, variation
from alphatrade.reflection.graph_files import read_sigmas
from alphatrade.risk.errors import ConfigError, RunDirError

igraph = pytest.importorskip("igraph")
SPEC = GraphSpec(nulls=100)
N = 64


def learnt(seed: int, factors: int = 40, groups: int = 4) -> np.ndarray:
    """Synapses as rewards make them: faded sums of outer products of sparse beliefs that come from a few groups."""
    rng = np.random.Generator(np.random.PCG64(seed))
    sigma = np.zeros((N, N))
    for at in range(factors):
        home = rng.integers(0, groups) * (N // groups)
        units = home + rng.permutation(N // groups)[:6]
        before, after = np.zeros(N), np.zeros(N)
        before[units[:4]], after[units[2:]] = rng.uniform(0.2, 1, 4), rng.uniform(0.2, 1, 4)
        sigma += 0.05 * 0.95 ** (factors - at) * rng.normal() * np.outer(after, before)
    return sigma


def of_pairs(n: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    sigma = np.zeros((n, n))
    for a, b in pairs:
        sigma[a, b] = 1.0
    return sigma


def test_gini_is_the_mean_difference() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    values = rng.exponential(1.0, 50)
    brute = np.abs(values[:, None] - values[None, :]).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(brute)
    assert gini(np.ones(9)) == pytest.approx(0.0)
    assert gini(np.eye(1, 100)[0]) == pytest.approx(0.99)
    assert gini(np.zeros(4)) == 0.0


def test_the_backbone_is_the_strongest_that_carry_the_share() -> None:
    bare = np.zeros((4, 4))
    bare[0, 1], bare[1, 0], bare[2, 3], bare[0, 3] = 6.0, 2.0, 1.5, 0.5
    pairs, weights, threshold = backbone(bare, 0.9)
    assert pairs.tolist() == [[0, 1], [2, 3]]
    assert weights.tolist() == [8.0, 1.5]
    assert threshold == 1.5
    assert backbone(bare, 0.5)[0].tolist() == [[0, 1]]
    assert backbone(np.zeros((3, 3)), 0.9)[0].shape == (0, 2)


def test_the_core_is_that_of_every_subset() -> None:
    """Against the correlation over the pairs themselves, for the core of each size."""
    graph = igraph.Graph(
        n=12, edges=[(a, b) for a in range(4) for b in range(a)] + [(a % 4, a) for a in range(4, 12)] + [(5, 6)]
    )
    pairs, degrees = np.array(graph.get_edgelist()), np.array(graph.degree())
    order, best = np.argsort(-degrees, kind="stable"), -1.0
    joined = np.array(graph.get_adjacency().data)
    for size in range(2, 11):
        inside = np.isin(np.arange(12), order[:size])
        rows = [(joined[a, b], inside[a]) for a in range(12) for b in range(a) if inside[a] == inside[b]]
        best = max(best, float(np.corrcoef(np.array(rows, float).T)[0, 1]))
    assert coreness(12, pairs, degrees) == pytest.approx(best)
    assert best > 0.8
    ring = np.array([(a, (a + 1) % 12) for a in range(12)])
    assert coreness(12, ring, np.full(12, 2)) < 0.5


def test_variation_and_concentration_of_known_matrices() -> None:
    assert variation(np.ones((9, 9)) - np.eye(9)) == pytest.approx(0.0)
    assert concentration(np.outer(np.arange(5.0), np.ones(5))) == pytest.approx(1.0)
    assert concentration(np.eye(8)) == pytest.approx(1 / 8)
    assert concentration(np.zeros((4, 4))) == 0.0


def test_planted_communities_and_core_stand_out_and_chance_does_not() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    groups = [(a, b) for a in range(N) for b in range(a) if rng.random() < (0.45 if a // 16 == b // 16 else 0.03)]
    found = diagnose(of_pairs(N, groups), SPEC)
    assert found.measures["modularity"].z is not None
    assert found.measures["modularity"].z > 5
    by_group = [found.groups[at : at + 16] for at in range(0, N, 16)]
    assert all(max(map(part.count, part)) >= 14 for part in by_group)
    core = [(a, b) for a in range(N) for b in range(a) if rng.random() < (0.9 if a < 12 else 0.25 if b < 12 else 0.02)]
    assert diagnose(of_pairs(N, core), SPEC).measures["core"].value > 0.7
    chance = [diagnose(of_pairs(N, igraph_pairs(seed)), SPEC) for seed in range(3)]
    for one in chance:
        assert abs(one.measures["modularity"].z or 0) < 4
        assert abs(one.measures["core"].z or 0) < 4
        assert abs(one.measures["max_over_mean"].z or 0) < 4


def igraph_pairs(seed: int) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    every = [(a, b) for a in range(N) for b in range(a)]
    return rng.sample(every, 200)


def test_the_null_graphs_keep_the_degrees() -> None:
    """The Gini of degrees, all weights being equal, is the same in each null graph: there is nothing to score."""
    one = diagnose(of_pairs(N, igraph_pairs(5)), SPEC).measures["gini"]
    assert one.null == "degrees"
    assert one.null_mean == pytest.approx(one.value)
    assert one.z is None


def test_the_same_matrix_gives_the_same_figures_and_igraph_is_left_as_it_was() -> None:
    sigma = learnt(3)
    random.seed(11)
    first = diagnose(sigma, SPEC)
    random.seed(12)
    assert diagnose(sigma, SPEC) == first
    assert diagnose(sigma, GraphSpec(nulls=100, seed=2)) != first


def test_a_learnt_graph_raises_no_alert() -> None:
    assert diagnose(learnt(4), graph_settings().model_copy(update={"nulls": 100})).alerts == ()


def test_a_collapse_is_an_alert_and_its_mutant_is_silent() -> None:
    faded = learnt(4) * 1e-4
    (line,) = diagnose(faded, SPEC).alerts
    assert line.startswith("collapse: norm ")
    assert diagnose(np.zeros((N, N)), SPEC).alerts == ("collapse: norm 0, below 0.01 of its bound 1",)
    assert diagnose(faded, SPEC.model_copy(update={"collapse": 1e-9})).alerts == ()
    assert diagnose(faded, SPEC.model_copy(update={"bound": 1e-4})).alerts == (), "it follows the bound"


@pytest.mark.parametrize(
    ("sigma", "off", "word"),
    [
        (0.02 + 0.001 * np.random.Generator(np.random.PCG64(5)).uniform(-1, 1, (N, N)), {"variation": 0.0, "concentration": 1.0}, "variation"),
        (0.02 * np.sign(np.random.Generator(np.random.PCG64(6)).normal(size=(N, N))), {"variation": 0.0}, "variation"),
        (0.02 * np.outer(np.arange(N) % 7 == 0, np.arange(N) ** 2 / N), {"concentration": 1.0}, "squared norm in one direction"),
    ],
    ids=["all equal", "equal but for the sign", "one pattern"],
)  # fmt: skip
def test_over_smoothing_is_an_alert_and_its_mutant_is_silent(
    sigma: np.ndarray, off: dict[str, float], word: str
) -> None:
    lines = diagnose(sigma, SPEC).alerts
    assert any(line.startswith("over-smoothing: ") and word in line for line in lines)
    assert not any(word in line for line in diagnose(sigma, SPEC.model_copy(update=off)).alerts)


def test_a_figure_outside_its_band_is_an_alert() -> None:
    sigma = learnt(6)
    value = diagnose(sigma, SPEC).measures["gini"].value
    banded = SPEC.model_copy(update={"bands": {"gini": (None, value - 0.01), "modularity_z": (None, 1e9)}})
    (line,) = diagnose(sigma, banded).alerts
    assert line.startswith(f"gini: {value:.3g}, outside open to")
    assert diagnose(sigma, SPEC.model_copy(update={"bands": {"gini": (0.0, value)}})).alerts == ()


# -- a run's folder and the command


def write(folder: Path, sigma: np.ndarray, name: str = "sigma.parquet", n: int | None = N) -> Path:
    post, pre = np.nonzero(sigma)
    columns = {"pre": pa.array(pre, pa.int16()), "post": pa.array(post, pa.int16()), "weight": sigma[post, pre]}
    table = pa.table(columns).replace_schema_metadata({"n": str(n)} if n else None)
    pq.write_table(table, folder / name)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "policy.json").write_text(json.dumps({"belief": {"n": N}}))
    return tmp_path


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["graph", *arguments])
    return done.exit_code, done.output


def test_a_healthy_run_is_written_and_shown(run: Path) -> None:
    for instrument in ("eur_usd", "xau_usd"):
        write(run, learnt(7), f"sigma-{instrument}.parquet", n=None)
    assert np.array_equal(read_sigmas(run)["eur_usd"], learnt(7))
    code, said = command(str(run))
    assert code == 0, said
    assert "modularity (Leiden)" in said
    found = json.loads((run / "graph.json").read_text())
    assert set(found["graphs"]) == {"eur_usd", "xau_usd"}
    one = found["graphs"]["eur_usd"]
    assert sum(one["degrees"]) == 2 * one["edges"]
    page = (run / "graph.html").read_text()
    assert page.count('class="plotly-graph-div"') == 2
    assert "http" not in page.split("</script>", 1)[0][:200]
    before = (run / "graph.json").read_bytes()
    assert command(str(run))[0] == 0
    assert (run / "graph.json").read_bytes() == before


def test_an_alert_is_exit_code_1(run: Path) -> None:
    write(run, learnt(8) * 1e-5)
    code, said = command(str(run))
    assert code == 1
    assert "ALERT collapse: norm" in said


def test_the_bound_is_that_of_the_policy(run: Path) -> None:
    policy = {"belief": {"n": N}, "learning": {"fast_weights": {"bound": 50.0}}}
    (run / "policy.json").write_text(json.dumps(policy))
    write(run, learnt(8))
    code, said = command(str(run))
    assert code == 1
    assert "of its bound 50" in said


def test_settings_of_the_users_own(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("bands: {gini: [0.999, 1.0]}\n")
    assert graph_settings(own).bands["max_over_mean"] == graph_settings().bands["max_over_mean"]
    code, said = command(str(write(run, learnt(9))), "--settings", str(own))
    assert code == 1
    assert "ALERT gini" in said
    for text, path in (
        ("nulls: 5", "graph.nulls"),
        ("bands: {gini: [2, 1]}", "graph.bands.gini"),
        ("- a", "--settings"),
        ("typo: 1", "graph.typo"),
    ):
        own.write_text(text)
        with pytest.raises(ConfigError, match=path):
            graph_settings(own)


def damaged(run: Path, how: str) -> None:
    if how == "nothing":
        return
    sigma = learnt(10)
    if how == "nan":
        sigma[3, 4] = np.nan
    write(run, sigma, n=16 if how == "shape" else N)
    path = run / "sigma.parquet"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:200])
    if how == "columns":
        pq.write_table(pa.table({"a": [1]}), path)
    if how == "twice":
        table = pq.read_table(path)
        pq.write_table(pa.concat_tables([table, table]), path)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nothing", "no sigma.parquet"),
        ("nan", "finite numbers"),
        ("shape", "units from 0 to 15"),
        ("cut", "columns pre, post, weight"),
        ("columns", "columns pre, post, weight"),
        ("twice", "one row for each"),
    ],
)
def test_a_folder_without_sound_synapses_is_exit_code_2(
    how: str, words: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(run, how)
    with pytest.raises(RunDirError, match=words):
        read_sigmas(run)
    monkeypatch.setattr("sys.argv", ["alphatrade", "graph", str(run)])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (run / "graph.json").exists()


def test_an_empty_sigma_is_a_collapse(run: Path) -> None:
    code, said = command(str(write(run, np.zeros((N, N)))))
    assert code == 1
    assert "ALERT collapse" in said


def test_the_shipped_settings_are_valid() -> None:
    spec: Any = graph_settings()
    assert spec.nulls >= 100
