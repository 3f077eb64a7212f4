"""A regime fitted on a tape: the file that is written is a policy, and a run with it is deterministic and lawful."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from alphatrade.nodes import regime_fit
from alphatrade.nodes.app import app
from alphatrade.nodes.regime_fit import fit, logliks, steps_of, write_regime
from alphatrade.nodes.settings import compose_settings
from alphatrade.nodes.tape_spec import WorldTape
from alphatrade.nodes.worlds import make_world
from alphatrade.risk.audit import audit
from alphatrade.risk.errors import ConfigError, TapeError
from alphatrade.strategies.policy import RegimeSpec
from tests.conftest import Door, FrontDoor

WORLD = ("tape=world", "tape.seed=3", "tape.hours=10")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``--config-dir`` with a fitted regime in it."""
    pytest.importorskip("hmmlearn")
    root = tmp_path_factory.mktemp("conf")
    out = root / "policy" / "regime" / "mine.yaml"
    out.parent.mkdir(parents=True)
    done = CliRunner().invoke(app, ["regime", "fit", *WORLD, "--states", "4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "log-likelihood" in done.output
    return root


def test_the_file_is_a_policy_and_says_where_it_is_from(folder: Path, tmp_path: Path) -> None:
    text = (folder / "policy" / "regime" / "mine.yaml").read_text()
    spec = RegimeSpec.model_validate(yaml.safe_load(text))
    assert spec.hmm is not None
    assert len(spec.hmm.states) == 4
    tape = make_world(WorldTape(seed=3, hours=10))
    assert spec.hmm.fitted_tape == tape.tape_hash
    assert "15 seconds a step" in text
    assert f"alphatrade regime fit {' '.join(WORLD)}" in text
    write_regime(spec, tmp_path / "again.yaml", f"alphatrade regime fit {' '.join(WORLD)}")
    assert (tmp_path / "again.yaml").read_text() == text


def test_the_fit_describes_its_slice_better_than_any_it_could_have_shuffled() -> None:
    pytest.importorskip("hmmlearn")
    policy = compose_settings([]).policy
    mid, var = steps_of(make_world(WorldTape(seed=4, hours=10)), policy)
    plain = fit([(mid, var)], policy.regime, 4)
    params = regime_fit.hmm_params(plain)
    assert plain["loglik"] == pytest.approx(logliks(params, mid, var, 60)[240:].mean(), abs=1e-5)
    shuffled = params._replace(transition=np.full((4, 4), 0.25))
    assert logliks(shuffled, mid, var, 60)[240:].mean() < plain["loglik"] - 0.2, "the learnt transitions matter"
    level, worst = plain["loglik"], 0.0
    for value in logliks(params, mid, var, 60)[240:]:
        level += (value - level) / 241
        worst = max(worst, plain["loglik"] - level)
    assert worst < plain["band"], "the slice itself is no collapse"


@pytest.mark.long
def test_a_run_with_it_is_deterministic_lawful_and_not_that_of_the_fsm(
    folder: Path, front_door: FrontDoor, tmp_path: Path
) -> None:
    digests, names = [], []
    for at, choice in enumerate((["--config-dir", str(folder), "policy/regime=mine"],) * 2 + ([],)):
        env = {"PYTHONHASHSEED": str(at), "TZ": ("UTC", "Asia/Tokyo", "UTC")[at]}
        where = f"paths.artifacts={tmp_path / str(at)}"
        done = front_door("sim", *choice, *WORLD, "output.stress=false", "output.report=false", where, env=env)
        assert done.returncode == 0, done.stderr
        run = (tmp_path / str(at) / "latest").resolve()
        summary = json.loads((run / "summary.json").read_text())
        digests.append(summary["digests"])
        names.append(summary["run_id"])
        assert audit(run).ok
    assert digests[0] == digests[1] != digests[2]
    assert names[0] == names[1] != names[2]


def test_too_little_to_fit_on_is_one_clear_line(door: Door, tmp_path: Path) -> None:
    pytest.importorskip("hmmlearn")
    done = door("regime", "fit", "tape=world", "tape.hours=2", "--out", str(tmp_path / "x.yaml"))
    assert done.code == 2
    assert "240 steps after the warm-up" in done.err or "steps after the warm-up of 240" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_market_that_stands_still_is_refused() -> None:
    still = np.full(2000, 100.0), np.zeros(2000)
    with pytest.raises(TapeError, match="steps that are all alike"):
        fit([still], RegimeSpec(), 4)


def test_a_file_that_cannot_be_written_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    spec = RegimeSpec.model_validate(yaml.safe_load((folder / "policy" / "regime" / "mine.yaml").read_text()))
    (tmp_path / "a_file").write_text("")
    with pytest.raises(ConfigError, match="--out"):
        write_regime(spec, tmp_path / "a_file" / "x.yaml", "")
    write_regime(spec, tmp_path / "new" / "x.yaml", "")
    assert yaml.safe_load((tmp_path / "new" / "x.yaml").read_text())["kind"] == "hmm"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hmmlearn.hmm", None)
    rng = np.random.Generator(np.random.PCG64(1))
    moves = rng.normal(0.0, 1e-4, (2000, 5))
    stretch = 100.0 * np.cumprod(1.0 + moves.sum(axis=1)), (moves**2).sum(axis=1)
    with pytest.raises(ConfigError, match="the extra learn"):
        fit([stretch], RegimeSpec(), 4)
