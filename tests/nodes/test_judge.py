"""``alphatrade judge``: a search before the gate, refused for what it is; the look counts however it ends."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alphatrade.nodes.app import app
from alphatrade.nodes.judge import judge_search
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import ConfigError, InputError, RunDirError
from alphatrade.strategies.policy import canonical
from tests.evolution.test_operators import founder
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


@cache
def finished() -> dict[str, Any]:
    """Return the files of a finished search as plain values, as far as they are read before the ledger is."""
    genotype = canonical(founder())
    leaf = {"generation": 0, "index": 0, "genotype": genotype, "policy_hash": "0" * 64, "fitness": 1.0}
    parts: dict[str, Any] = {key: {} for key in ("run", "grid", "search", "domain")}
    return {"search.json": {"search": "0" * 64}, "settings.json": parts, "trials.jsonl": leaf}


FIELDS = [
    ("search.json", "search"), *(("settings.json", name) for name in ("run", "grid", "search", "domain")),
    *(("trials.jsonl", name) for name in ("generation", "index", "genotype", "policy_hash", "fitness")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_that_is_missing_is_named(tmp_path: Path, name: str, field: str) -> None:
    """Or is none of what belongs there; and with them all there is something else to refuse."""
    plain = finished()
    for file, value in plain.items():
        (tmp_path / file).write_text(json.dumps(value))
    other = CliRunner().invoke(app, ["judge", str(tmp_path)]).exception
    assert isinstance(other, ConfigError)
    assert "run.env" in str(other)
    (tmp_path / name).write_text(json.dumps({key: value for key, value in plain[name].items() if key != field}))
    error = CliRunner().invoke(app, ["judge", str(tmp_path)]).exception
    assert isinstance(error, InputError), error
    assert name in str(error)
    assert field in str(error)
    assert "\n" not in str(error)
    for text in ("[]", "1", "null", "{", '{"a":' * 100_000, "{}"):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            judge_search(tmp_path, "", "default", sign=False)


def test_a_genotype_that_is_none_is_one_line(tmp_path: Path) -> None:
    plain = finished()
    for file, value in (plain | {"trials.jsonl": plain["trials.jsonl"] | {"genotype": {"features": {}}}}).items():
        (tmp_path / file).write_text(json.dumps(value))
    error = CliRunner().invoke(app, ["judge", str(tmp_path)]).exception
    assert isinstance(error, ConfigError)
    assert "trials.jsonl.genotype" in str(error)
