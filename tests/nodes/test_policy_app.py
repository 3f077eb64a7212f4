"""``alphatrade stage``, ``kpi``, ``rebuild-policy`` and ``ledger export`` as an operator uses them."""

import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from alphatrade.evolution.genotype import develop
from alphatrade.nodes.app import main
from alphatrade.nodes.ledger_home import home, key_file
from alphatrade.nodes.settings import compose_settings
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.strategies.policy import ExpostSpec, canonical
from tests.conftest import ROOT
from tests.reflection.make_ledger import NOW, digest, leaf, search, verdict

A, B = digest(1001), digest(1002)
SMALL = ("tape=world", "tape.hours=2", "tape.step_s=2", "output.stress=false", "output.report=false")


class Said(NamedTuple):
    """What the front door said."""

    out: str
    err: str


Door = Callable[..., Said]


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Door:
    """The command line in this process, in a folder and with a state of its own."""
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.chdir(tmp_path)

    def call(*words: str, code: int = 0) -> Said:
        monkeypatch.setattr(sys, "argv", ["alphatrade", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = Said(*capfd.readouterr())
        assert ended.value.code == code, said
        if code == 2:
            assert len(said.err.splitlines()) == 1, said.err
            assert said.err.startswith("alphatrade: ")
        return said

    return call


def proof(folder: Path, n: int, **parts: object) -> tuple[str, ...]:
    name = "-".join(["verdict", str(n), *map(str, parts.values())])
    (folder / "dossier.zip").write_bytes(b"dossier %d" % n)
    (folder / f"{name}.json").write_text(json.dumps(verdict(n, **parts)))
    return ("--dossier", str(folder / "dossier.zip"), "--verdict", str(folder / f"{name}.json"))


def test_promoted_rolled_back_and_demoted_by_hand(door: Door, tmp_path: Path) -> None:
    home()
    assert "is in paper; in charge of paper: " + A in door("stage", "promote", A, "--why", "dsr", *proof(tmp_path, 1)).out
    door("stage", "promote", B, "--why", "better", *proof(tmp_path, 2))
    shown = door("stage", "show").out
    assert f"paper         {B}\n              {A} before" in shown
    assert "pilot         nobody" in shown
    back = door("stage", "rollback", "paper", "--why", "drift", "--noticed", "2026-01-01T00:00:00Z").out
    assert f"{A} is in paper; in charge of paper: {A}" in back
    assert f"{B} is in experiment" in door("stage", "show", B).out
    service = ("--key", str(key_file("service")))
    assert f"{A} is in experiment" in door("stage", "demote", A, "--why", "alarm", *service).out
    moves = [entry for entry in home().ledger.entries() if entry.kind == "stage"]
    assert [entry.key for entry in moves] == ["owner", "owner", "owner", "service"]
    assert moves[0].body["dossier"] == hashlib.sha256(b"dossier 1").hexdigest()
    assert moves[2].body["noticed"] == "1767225600000000000"
    assert verify(home().ledger.folder).problems == ()


def test_a_reason_is_shown_as_it_is_written(door: Door, tmp_path: Path) -> None:
    home()
    door("stage", "promote", A, "--why", "[/x] [bold]y[/bold]", *proof(tmp_path, 1))
    for words in (("stage", "show"), ("stage", "show", A)):
        assert all(word in door(*words).out for word in ("[/x]", "[bold]y[/bold]"))


def test_a_promotion_without_proof_is_refused_in_one_line(door: Door, tmp_path: Path) -> None:
    own = home()
    before = (own.ledger.folder / FILE).read_bytes()
    good = proof(tmp_path, 1)
    why = ("--why", "because")
    cases: list[tuple[tuple[str, ...], str]] = [
        ((A, *why, *proof(tmp_path, 1, holds=False)), "verdict.holds: got False"),
        ((B, *why, *proof(tmp_path, 1)), "verdict.policy_hash"),
        ((A, *why, *good[:3], str(tmp_path / "none.json")), "--verdict"),
        ((A, *why, *good[2:], "--dossier", str(tmp_path / "none")), "--dossier"),
        (("abc", *why, *proof(tmp_path, 1, policy_hash="abc")), "stage.policy_hash"),
        ((A, *why, *proof(tmp_path, 1), "--key", str(key_file("service"))), "a promotion signed by a person"),
        ((A, *why, *good, "--key", str(key_file("root"))), "stage signed by a person or service"),
        ((A, *good), "--why"),
        ((A, "--why", "", *good), "stage.why"),
    ]
    for words, message in cases:
        assert message in door("stage", "promote", *words, code=2).err
    (tmp_path / "verdict-1.json").write_text("[]")
    assert "--verdict" in door("stage", "promote", A, *why, *good, code=2).err
    for words, message in (
        (("rollback", "paper", *why), "a predecessor to go back to"),
        (("rollback", "moon", *why), "a predecessor to go back to"),
        (("demote", A, *why), "a lower stage than experiment"),
        (("demote", A, *why, "--to", "moon"), "stage.to"),
        (("demote", A, *why, "--to", "paper"), "a promotion"),
        (("demote", A, *why, "--to", "paper", "--noticed", "soon"), "--noticed"),
    ):
        assert message in door("stage", *words, code=2).err or message == "a promotion"
    own.ledger.append("roster", {"revoke": "owner"}, SigningKey.load(key_file("root")), NOW)
    assert "not revoked" in door("stage", "promote", A, *why, *proof(tmp_path, 1), code=2).err
    assert (own.ledger.folder / FILE).read_bytes().startswith(before)
    assert [entry.kind for entry in own.ledger.entries()].count("stage") == 0


def test_nobody_goes_into_live_yet(door: Door, tmp_path: Path) -> None:
    home()
    for _ in range(2):
        door("stage", "promote", A, "--why", "dsr", *proof(tmp_path, 1))
    assert "needs two persons" in door("stage", "promote", A, "--why", "dsr", *proof(tmp_path, 1), code=2).err


def test_an_export_is_whole_and_verified_or_not_there(door: Door, tmp_path: Path) -> None:
    own = home()
    own.append("search", search())
    own.append_batch([leaf(n) for n in range(3)])
    (own.ledger.folder / BATCHES / ("0" * 64 + ".jsonl")).write_text("of no entry")
    door("stage", "promote", A, "--why", "dsr", *proof(tmp_path, 1))
    folder = Path(door("ledger", "export").out.strip())
    assert folder.parent.parent == Path("artifacts")
    assert folder.name == "ledger"
    names = {path.relative_to(folder).as_posix().partition("/")[0] for path in folder.rglob("*")}
    assert names == {"ledger.jsonl", "batches", "verdicts", "head.txt", "roster.txt", "README.txt"}
    assert len(list((folder / BATCHES).iterdir())) == 1, "only what an entry names"
    head = (folder / "head.txt").read_text().strip()
    assert "owner                person" in (folder / "roster.txt").read_text()
    trust = own.ledger.chain.fingerprint
    assert "nothing wrong\n" in door("ledger", "verify", "--folder", str(folder), "--trust", trust, "--head", head).out
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    own.append_batch([leaf(5)])
    batch = own.ledger.folder / BATCHES / f"{own.ledger.entries()[-1].body['root']}.jsonl"
    whole = batch.read_bytes()
    batch.write_bytes(whole.replace(b"op_x", b"op_y"))
    assert "other trials" in door("ledger", "export", code=2).err
    batch.unlink()
    assert "names" in door("ledger", "export", code=2).err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before, "the earlier one stays"
    batch.write_bytes(whole)
    assert Path(door("ledger", "export").out.strip()) == folder
    assert len(list((folder / BATCHES).iterdir())) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["ledger"], "nothing half written"


def test_the_key_figures_are_shown_and_written(door: Door, tmp_path: Path) -> None:
    assert "no ledger" in door("kpi", code=2).err
    own = home()
    own.append("search", search())
    own.append_batch([leaf(n) for n in range(3)])
    out = door("kpi").out
    assert "missing" in out
    page = Path(out.splitlines()[-1].split()[-1])
    found = json.loads(page.with_name("kpi.json").read_text())
    assert page.parent.name == found["as_of"][:10]
    assert found["trials"] == 3
    door("kpi", "--date", "2026-03-01")
    assert (tmp_path / "artifacts" / "2026-03-01" / "kpi.json").read_bytes() == page.with_name("kpi.json").read_bytes()
    assert "--date" in door("kpi", "--date", "yesterday", code=2).err
    file = own.ledger.folder / FILE
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"generations":2', b'"generations":9'))
    assert "a wrong signature" in door("kpi", code=2).err
    for text in (whole[:-30], whole + b"{"):
        file.write_bytes(text)
        assert "without an end" in door("kpi", code=2).err
        assert "without an end" in door("ledger", "export", code=2).err
    assert not (tmp_path / "artifacts" / page.parent.name / "ledger").exists()


def test_a_policy_is_found_again_byte_for_byte_and_replays_the_same(door: Door, tmp_path: Path) -> None:
    genotype = compose_settings(["genotype=default", "genotype.cadence.n=10"]).genotype
    assert genotype is not None
    door("sim", "genotype=default", "genotype.cadence.n=10", *SMALL)
    first = json.loads((tmp_path / "artifacts" / "latest" / "summary.json").read_text())
    name = first["policy_hash"]
    own = home()
    trial = leaf(0, genotype=canonical(genotype), genotype_hash=genotype.genotype_hash, policy_hash=name)
    own.append_batch([leaf(1), trial])
    shutil.copytree(own.ledger.folder, tmp_path / "copy" / "ledger")
    assert door("rebuild-policy", name, "--out", "one.json").out == "one.json\n"
    printed = door("rebuild-policy", name, "--folder", "copy/ledger").out
    data = (tmp_path / "one.json").read_bytes()
    assert data == printed.encode()
    assert hashlib.sha256(data).hexdigest() == name
    door("sim", "policy_file=one.json", "paths.artifacts=again", *SMALL)
    again = json.loads((tmp_path / "again" / "latest" / "summary.json").read_text())
    assert (again["digests"], again["run_id"]) == (first["digests"], first["run_id"])
    assert "that was bred" in door("rebuild-policy", "0" * 64, "--out", "two.json", code=2).err
    assert not (tmp_path / "two.json").exists()
    assert "a file that can be written" in door("rebuild-policy", name, "--out", "none/two.json", code=2).err
    assert "a dossier" in door("rebuild-policy", name, "--dossier", "one.json", code=2).err


def test_a_policy_file_is_the_whole_policy(door: Door, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(b"\xff{")
    assert "policy_file: got 'policy.json'" in door("sim", "policy_file=policy.json", code=2).err
    file.write_text("{}")
    assert "policy.features" in door("sim", "policy_file=policy.json", code=2).err
    for word, message in (
        ("policy.cadence.n=3", "none beside the file of all of it"),
        ("genotype=default", "none beside a genotype"),
    ):
        assert message in door("sim", "policy_file=policy.json", word, code=2).err


def test_the_commands_of_the_page_work(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the section on the ledger is run as it stands, with a hash and keys in their places."""
    page = (ROOT / "docs" / "evolution.md").read_text(encoding="utf-8").split("## Policy ledger")[1]
    lines = [line.split("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(lines) == 15
    genotype = compose_settings(["genotype=default"]).genotype
    assert genotype is not None
    first, second = (develop(one) for one in (genotype, genotype.model_copy(update={"expost": ExpostSpec(horizons=(5,))})))
    proof(tmp_path, 0, policy_hash=first.policy_hash)
    (tmp_path / f"verdict-0-{first.policy_hash}.json").rename(tmp_path / "verdict.json")
    told, ran, words = "", list[str](), {"HASH": first.policy_hash, "FINGERPRINT": "", "NUMBER:HASH": "", "PUBLIC": ""}

    def one(line: str) -> str:
        ran.append(line)
        return door(*[words.get(word, word) for word in shlex.split(line)[1:]]).out

    for line in lines:
        verb = " ".join(line.split()[1:3])
        if verb == "ledger verify":
            words |= {"FINGERPRINT": home().ledger.chain.fingerprint, "NUMBER:HASH": told.strip()}
        if verb == "ledger key":
            monkeypatch.setenv("ALPHATRADE_LEDGER", str(tmp_path / "joint"))
        if verb == "ledger add":
            words["PUBLIC"] = SigningKey.generate(tmp_path / f"{len(ran)}.pem").public
        if verb == "stage promote":
            monkeypatch.delenv("ALPHATRADE_LEDGER")
        if verb == "stage rollback":
            door("stage", "promote", second.policy_hash, "--why", "x", *proof(tmp_path, 1, policy_hash=second.policy_hash))
        if verb.startswith("rebuild-policy"):
            plain = leaf(genotype=canonical(genotype), genotype_hash=genotype.genotype_hash, policy_hash=first.policy_hash)
            home().append_batch([plain])
        if not verb.startswith("sim"):  # which the test above replays
            told = one(line)
    assert len(ran) == len(lines) - 1
    one("alphatrade kpi")
