"""``alphatrade judge``: a search before the gate, refused for what it is; the look counts however it ends."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatrade.nodes.app import app
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import ConfigError, RunDirError
from tests.nodes.test_evolve import Place


@pytest.mark.long
def test_a_search_is_judged_and_its_look_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "place")
    place.run("hydra/launcher=basic", "tape.step_s=1", "cadence.n=3")  # the leakage tests need some hundred decisions
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("ALPHATRADE_STATE", str(place.root / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    done = CliRunner().invoke(app, ["judge", "--sign"])
    assert done.exit_code == 0, done.output
    assert "NOT promoted, refused by" in done.output
    assert "sample" in done.output, "six hours of a world are no sample"
    (dossier,) = place.root.glob("artifacts/*/dossiers/*.zip")
    ledger = place.root / "state" / "ledger"
    (look,) = read(Ledger(ledger)).looks
    assert look.look.policy_hash == dossier.stem
    assert not verify(ledger).problems
    assert not Ledger(ledger).chain.stages.history, "nobody goes up without a verdict that holds"
    CliRunner().invoke(app, ["judge"])
    assert len(read(Ledger(ledger)).looks) == 1, "the same policy again shows nothing new"
    done = CliRunner().invoke(app, ["judge", "--trial", "7.7"])
    assert isinstance(done.exception, ConfigError)


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["judge", str(tmp_path)])
    assert isinstance(done.exception, RunDirError)
    assert "a finished search" in str(done.exception)
    done = CliRunner().invoke(app, ["judge", str(tmp_path), "--thresholds", "lax"])
    assert done.exception is not None
