"""A policy is on paper by its entry in the ledger, if the ledger is sound and has it in stage paper or above."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from alphatrade.evolution import promotion
from alphatrade.evolution.rebuild import policy_file, rebuild_strategy
from alphatrade.nodes.app import main
from alphatrade.nodes.ledger_home import Home, home, key_file
from alphatrade.nodes.paper import entry
from alphatrade.nodes.paper.entry import entered
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.reflection.stages import Stages
from alphatrade.risk.errors import LedgerError
from tests.nodes.make_dossier import Made, make
from tests.reflection.make_ledger import Cast, digest, stage, verdict

SMALL = (
    "feed.speed=max",
    "tape=world",
    "tape.hours=2",
    "tape.step_s=2",
    "output.stress=false",
    "output.report=false",
    "metrics.enabled=false",
)
Door = Callable[..., str]


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Door:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.chdir(tmp_path)

    def call(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["alphatrade", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert ended.value.code == code, out + err
        if code == 2:
            assert len(err.splitlines()) == 1, err
            assert not (tmp_path / "artifacts").exists()
        return out + err

    return call


@pytest.fixture
def made(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A policy in this machine's ledger, and its dossier, by a gate that asks for little: its results are made up."""
    monkeypatch.setattr(promotion, "CHECKS", {name: promotion.CHECKS[name] for name in ("ledger", "latency")})
    ledger = home().ledger.folder
    keys = [SigningKey.load(key_file(whose)) for whose in ("root", "person", "service")]
    made = make(tmp_path / "made", cast=Cast(ledger, *keys))
    (tmp_path / "dossier.zip").write_bytes(made.data)
    return made


def promoted(door: Door, made: Made) -> str:
    door("stage", "promote", made.policy_hash, "--why", "it is good", "--dossier", "dossier.zip")
    return made.policy_hash


def test_a_promoted_policy_is_on_paper_byte_for_byte(door: Door, made: Made, tmp_path: Path) -> None:
    name = promoted(door, made)
    last = home().ledger.entries()[-1]
    door("paper", f"policy_entry={name[:12]}", *SMALL)
    run = tmp_path / "artifacts" / "latest"
    told = json.loads((run / "summary.json").read_text())
    named = {
        "policy_hash": name,
        "stage": "paper",
        "seq": last.seq,
        "hash": last.hash,
        "ledger": home().ledger.chain.fingerprint,
    }
    assert told["policy_entry"] == named == yaml.safe_load((run / "run.yaml").read_text())["policy_entry"]
    door("rebuild-policy", name, "--out", "one.json")
    door(
        "paper", "policy_file=one.json", "paths.artifacts=again", "account=AGAIN", *SMALL
    )  # losses are remembered by account
    again = json.loads((tmp_path / "again" / "latest" / "summary.json").read_text())
    assert (again["run_id"], again["digests"], again["policy_hash"]) == (told["run_id"], told["digests"], name)
    assert "policy_entry" not in again
    assert policy_file(rebuild_strategy(name, home().ledger.folder)) == (tmp_path / "one.json").read_bytes()


def test_what_may_not_be_on_paper_is_refused_in_one_line(door: Door, made: Made, tmp_path: Path) -> None:
    name, wanted = made.policy_hash, "in stage paper or above"
    for bad in ("7", "deadbeef", name.upper(), f"'{name[:7]}'", f"{name}0", "[1]"):
        assert "policy_entry: got " in door("paper", f"policy_entry={bad}", *SMALL, code=2)
    assert wanted in door("paper", f"policy_entry={name}", *SMALL, code=2), "tried, never promoted"
    promoted(door, made)
    for word in ("policy.cadence.n=3", "policy/risk=tight", "genotype=default", "policy_file=x.json"):
        assert "none beside" in door("paper", f"policy_entry={name}", word, *SMALL, code=2)
    door("sim", f"policy_entry={name}", code=2)
    door("stage", "demote", name, "--why", "it drifts")
    told = door("paper", f"policy_entry={name[:16]}", *SMALL, code=2)
    assert wanted in told
    assert "in stage experiment since entry" in told
    assert "it drifts" in told


def test_one_that_was_rolled_back_is_refused_and_the_one_before_is_not(door: Door, made: Made) -> None:
    name, own = promoted(door, made), home()
    other = digest(1002)
    Home(own.ledger, SigningKey.load(key_file("person"))).append_stage(stage(2, "experiment", "paper"), verdict(2))
    assert entered(name).policy.policy_hash == name, "it is still in the stage"
    door("stage", "rollback", "paper", "--why", "losses")
    assert "(losses)" in door("paper", f"policy_entry={other}", *SMALL, code=2)
    assert entered(name).entry["seq"] == home().ledger.chain.head.seq


def test_two_of_a_prefix_need_more_digits(door: Door, made: Made) -> None:
    own = home()
    for n in (1, 2):
        Home(own.ledger, SigningKey.load(key_file("person"))).append_stage(stage(n, "experiment", "paper"), verdict(n))
    assert "more digits" in door("paper", f"policy_entry='{digest(1001)[:20]}'", *SMALL, code=2)
    assert "that was bred" in door("paper", f"policy_entry='{digest(1001)}'", *SMALL, code=2), (
        "in the stage, and no trial has it"
    )


def test_a_damaged_ledger_is_refused_and_so_is_none(door: Door, made: Made, tmp_path: Path) -> None:
    name, folder = promoted(door, made), home().ledger.folder
    file = folder / FILE
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    batch = next(iter(sorted((folder / BATCHES).iterdir())))
    for damage in (
        whole.replace(b'"to":"paper"', b'"to":"pilot"'), b"".join(lines[:-2] + lines[-1:]), whole[:-7], b"", whole.replace(b"it is good", b"it is Good"),
    ):  # fmt: skip
        assert damage != whole
        file.write_bytes(damage)
        door("paper", f"policy_entry={name}", *SMALL, code=2)
    file.write_bytes(whole)
    data = batch.read_bytes()
    batch.write_bytes(data[:-3] + b"   ")
    door("paper", f"policy_entry={name}", *SMALL, code=2)
    batch.write_bytes(data)
    assert entered(name).policy.policy_hash == name
    file.rename(tmp_path / "elsewhere")
    door("paper", f"policy_entry={name}", *SMALL, code=2)


def test_mutations_without_the_stage_or_without_the_check_it_would_fly(
    door: Door, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = promoted(door, made), home().ledger.folder
    batch = next(iter(sorted((folder / BATCHES).iterdir())))
    data = batch.read_bytes()
    with monkeypatch.context() as patch:
        batch.write_bytes(data + b"{}\n")
        with pytest.raises(LedgerError, match="nothing is wrong"):
            entered(name)
        sound = entry.verify(folder)._replace(problems=())
        patch.setattr(entry, "verify", lambda *_: sound)
        with pytest.raises(LedgerError):
            entered(name)  # the batch that has its genotype is damaged
        batch.write_bytes(data)
    door("stage", "demote", name, "--why", "it drifts")
    with pytest.raises(LedgerError, match="stage experiment"):
        entered(name)
    monkeypatch.setattr(Stages, "policies", lambda *_: (name,))
    monkeypatch.setattr(entry, "STAGES", ("experiment", "paper"))
    assert entered(name).policy.policy_hash == name
