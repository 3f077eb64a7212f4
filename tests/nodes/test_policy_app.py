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

from alphatrade.evolution import promotion
from alphatrade.evolution.dossier import opened
from alphatrade.nodes import dossier
from alphatrade.nodes.app import main
from alphatrade.nodes.kill_drill import Drill
from alphatrade.nodes.ledger_home import Home, home, key_file
from alphatrade.nodes.settings import compose_settings
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.strategies.policy import canonical
from tests.conftest import ROOT
from tests.nodes.make_dossier import Made, judged_at, make
from tests.reflection.make_ledger import NOW, Cast, digest, leaf, search, stage, verdict

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


def up(own: Home, n: int, why: str = "because") -> None:
    """Enter that policy `n` came to paper, with no dossier to show: what a ledger has, and no command would enter."""
    Home(own.ledger, SigningKey.load(key_file("person"))).append_stage(
        stage(n, "experiment", "paper", why=why), verdict(n)
    )


@pytest.fixture
def made(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A dossier of a policy in this machine's ledger, by a gate that asks for little: its results are made up."""
    monkeypatch.setattr(promotion, "CHECKS", {name: promotion.CHECKS[name] for name in ("ledger", "latency")})
    ledger = home().ledger.folder
    keys = [SigningKey.load(key_file(whose)) for whose in ("root", "person", "service")]
    made = make(tmp_path / "made", cast=Cast(ledger, *keys))
    (tmp_path / "dossier.zip").write_bytes(made.data)
    return made


def test_promoted_rolled_back_and_demoted_by_hand(door: Door, made: Made) -> None:
    name, own = made.policy_hash, home()
    up(own, 1)
    said = door("stage", "promote", name, "--why", "dsr", "--dossier", "dossier.zip", code=2).err
    assert "judge it again" in said, "another one is in charge now"
    door("stage", "demote", A, "--why", "alarm")
    said = door("stage", "promote", name, "--why", "dsr", "--dossier", "dossier.zip").out
    assert f"is in paper; in charge of paper: {name}" in said
    up(own, 2)
    shown = door("stage", "show").out
    assert f"paper         {B}\n              {name} before" in shown
    assert "pilot         nobody" in shown
    back = door("stage", "rollback", "paper", "--why", "drift", "--noticed", "2026-01-01T00:00:00Z").out
    assert f"{name} is in paper; in charge of paper: {name}" in back
    assert f"{B} is in experiment" in door("stage", "show", B).out
    service = ("--key", str(key_file("service")))
    assert f"{name} is in experiment" in door("stage", "demote", name, "--why", "alarm", *service).out
    moves = [entry for entry in home().ledger.entries() if entry.kind == "stage"]
    assert [entry.key for entry in moves] == ["owner"] * 5 + ["service"]
    assert moves[2].body["dossier"] == hashlib.sha256(made.data).hexdigest()
    assert moves[4].body["noticed"] == "1767225600000000000"
    assert verify(home().ledger.folder).problems == ()


def test_a_reason_is_shown_as_it_is_written(door: Door) -> None:
    up(home(), 1, "[/x] [bold]y[/bold]")
    for words in (("stage", "show"), ("stage", "show", A)):
        assert all(word in door(*words).out for word in ("[/x]", "[bold]y[/bold]"))


def test_a_promotion_without_proof_is_refused_in_one_line(door: Door, made: Made, tmp_path: Path) -> None:
    """Nobody's word counts: neither a file that says that the verdict holds, nor a dossier of anything else."""
    own, name = home(), made.policy_hash
    before = (own.ledger.folder / FILE).read_bytes()
    (tmp_path / "any.zip").write_bytes(b"any bytes")
    (tmp_path / "verdict.json").write_text(json.dumps({"holds": True, "policy_hash": A}))
    why, good, bad = ("--why", "because"), ("--dossier", "dossier.zip"), ("--dossier", "any.zip")
    cases: list[tuple[tuple[str, ...], str]] = [
        ((A, *why, *bad, "--verdict", "verdict.json"), "--verdict"),
        ((A, *why, *bad), "an intact zip file"),
        ((A, *why, *good), f"dossier, policy_hash: got '{name[:16]}'"),
        (("abc", *why, *good), "dossier, policy_hash"),
        ((name, *why, "--dossier", "none.zip"), "--dossier"),
        ((name, *why, *good, "--key", str(key_file("service"))), "a promotion signed by a person"),
        ((name, *why, *good, "--key", str(key_file("root"))), "stage signed by a person or service"),
        ((name, *good), "--why"),
        ((name, "--why", "", *good), "stage.why"),
    ]
    for words, message in cases:
        assert message in door("stage", "promote", *words, code=2).err
    for words, message in (
        (("rollback", "paper", *why), "a predecessor to go back to"),
        (("rollback", "moon", *why), "a predecessor to go back to"),
        (("demote", A, *why), "a lower stage than experiment"),
        (("demote", A, *why, "--to", "moon"), "stage.to"),
        (("demote", A, *why, "--to", "paper"), "stage.dossier"),
        (("demote", A, *why, "--to", "paper", "--noticed", "soon"), "--noticed"),
    ):
        assert message in door("stage", *words, code=2).err
    own.ledger.append("roster", {"revoke": "owner"}, SigningKey.load(key_file("root")), NOW)
    assert "not revoked" in door("stage", "promote", name, *why, *good, code=2).err
    assert (own.ledger.folder / FILE).read_bytes().startswith(before)
    assert [entry.kind for entry in own.ledger.entries()].count("stage") == 0


def test_nobody_goes_into_live_yet(door: Door, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill.model_validate_json(opened(made.data).members[dossier.DRILL])
    monkeypatch.setattr(dossier, "drilled", lambda *_: drill)  # time: the same one is drilled once
    words = ("stage", "promote", made.policy_hash, "--why", "dsr", "--dossier", "dossier.zip")
    door(*words)
    assert "judge it again" in door(*words, code=2).err, "a dossier opens one stage, once"
    (tmp_path / "dossier.zip").write_bytes(judged_at(made, home().ledger))
    door(*words)
    (tmp_path / "dossier.zip").write_bytes(judged_at(made, home().ledger))
    assert "needs two persons" in door(*words, code=2).err


def test_an_export_is_whole_and_verified_or_not_there(door: Door, tmp_path: Path) -> None:
    own = home()
    own.append("search", search())
    own.append_batch([leaf(n) for n in range(3)])
    (own.ledger.folder / BATCHES / ("0" * 64 + ".jsonl")).write_text("of no entry")
    up(own, 1)
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
        ("policy.cadence.n=3", "none beside policy_file, which is all of it"),
        ("genotype=default", "none beside a genotype"),
    ):
        assert message in door("sim", "policy_file=policy.json", word, code=2).err


def test_the_commands_of_the_page_work(door: Door, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the section on the ledger is run as it stands, with a hash and keys in their places.

    Those on permits: tests/nodes/test_permit_app.py.
    """
    page = (ROOT / "docs" / "evolution.md").read_text(encoding="utf-8").split("## Policy ledger")[1]
    page = re.sub(r"### Permits\n.*?(?=\n### )", "", page, flags=re.S)
    lines = [
        line.split("  #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", page, re.S)
        for line in block.splitlines()
    ]
    assert len(lines) == 15
    told, ran, words = "", list[str](), {"HASH": made.policy_hash, "FINGERPRINT": "", "NUMBER:HASH": "", "PUBLIC": ""}

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
            up(home(), 1)
        if not verb.startswith("sim"):  # which the test above replays
            told = one(line)
    assert len(ran) == len(lines) - 1
    one("alphatrade kpi")
