"""``alphatrade judge``, and the door to a higher stage: whoever knocks is judged again, by his dossier alone."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alphatrade.evolution import promotion
from alphatrade.evolution.dossier import dumped, opened, sha
from alphatrade.evolution.evidence import Incumbent
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.nodes import dossier, promote_stage
from alphatrade.nodes import judge as gate
from alphatrade.nodes.app import app
from alphatrade.nodes.judge import judge_search
from alphatrade.nodes.kill_drill import Drill
from alphatrade.nodes.ledger_home import Home
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_files import read_verdict
from alphatrade.reflection.trials import read
from alphatrade.risk.errors import ConfigError, InputError, LedgerError, RunDirError
from alphatrade.strategies.policy import canonical
from tests.evolution.test_operators import founder
from tests.nodes import test_dossier as tampers
from tests.nodes.make_dossier import Made, judged_at, make
from tests.nodes.test_dossier import edited, resealed
from tests.nodes.test_evolve import Place
from tests.reflection.make_ledger import NOW, stage, verdict


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
    assert "nothing wrong in itself" in done.output, "no fingerprint and no head were given"
    words = ["stage", "promote", dossier.stem, "--why", "because", "--dossier", str(dossier)]
    with pytest.raises(LedgerError, match="dossier, verdict: got 'refused by"):
        CliRunner().invoke(app, words, catch_exceptions=False)
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


# -- the look


class Replayed(Exception):
    """So far it came: the cells are about to be shown."""


def test_the_look_is_of_what_is_replayed_whatever_the_folder_says(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name that was shown them before, or under that of nobody, the look would be free."""
    home = at_home(made, tmp_path)
    monkeypatch.setenv("ALPHATRADE_LEDGER", str(home.ledger.folder))
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path))
    (tmp_path / "keys").mkdir()
    shutil.copy(made.cast.folder.parent / "service.pem", tmp_path / "keys")
    claimed = dict[str, Any](policy_hash="0" * 64, generation=9)
    trials = [trial for record in made.evidence.ledger for trial in record.trials]
    best = max(trials, key=lambda one: one["fitness"])
    Home(home.ledger, made.cast.service).append_batch([best | claimed])
    (tmp_path / "search.json").write_text(json.dumps({"search": made.evidence.search}))
    (tmp_path / "settings.json").write_text(json.dumps(made.settings))
    monkeypatch.setattr(gate, "gather", lambda *_: _raised(Replayed()))

    def judged(leaf: dict[str, Any]) -> None:
        (tmp_path / "trials.jsonl").write_text(json.dumps(leaf))
        judge_search(tmp_path, "", "default", sign=False)

    other = next(trial for trial in trials if trial["genotype"] != best["genotype"])
    for part in ({"policy_hash": "0" * 64}, {"genotype": other["genotype"]}, {"fitness": 1e9}, {"generation": 9}):
        with pytest.raises(RunDirError, match=r"trials\.jsonl: got 'another trial \d\.\d than in the ledger'"):
            judged(best | part)
    with pytest.raises(LedgerError, match=r"trial: got '7\.7'"):
        judged(best | {"generation": 7, "index": 7})
    assert not read(home.ledger).looks
    for leaf in (best, best | claimed):  # the second is in the ledger, with the name of nobody
        with pytest.raises(Replayed):
            judged(leaf)
        (look,) = read(home.ledger).looks
        assert look.look.policy_hash == develop(Genotype.model_validate(best["genotype"])).policy_hash


def _raised(error: Exception) -> Any:
    raise error


# -- the door


def lenient(patch: pytest.MonkeyPatch) -> None:
    """Let the gate ask for little: the results of the search are made up."""
    patch.setattr(promotion, "CHECKS", {name: promotion.CHECKS[name] for name in ("ledger", "latency")})


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    with pytest.MonkeyPatch.context() as patch:
        lenient(patch)
        return make(tmp_path_factory.mktemp("door"))


@pytest.fixture
def made(made_once: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A dossier that is promoted; those that are written after it are of the same drill."""
    lenient(monkeypatch)
    drill = Drill.model_validate_json(opened(made_once.data).members[dossier.DRILL])
    monkeypatch.setattr(dossier, "drilled", lambda *_: drill)
    return made_once


def door(made: Made, folder: Path, data: bytes | None = None, home: Home | None = None) -> Any:
    return promote_stage.promote_stage(data or made.data, made.policy_hash, "dsr", home or at_home(made, folder))


def at_home(made: Made, folder: Path) -> Home:
    """A machine with a copy of the ledger."""
    made.cast.ledger.copy_to(tampers._empty(folder / "ledger"))
    return Home(Ledger(folder / "ledger"), made.cast.person)


def written(made: Made, **parts: Any) -> bytes:
    """Return a dossier of other evidence, signed by the service as if all were well."""
    evidence = made.evidence.model_copy(update=parts)
    return dossier.write_dossier(
        evidence, made.spec, made.settings, made.own, made.cast.folder, [made.cast.service]
    ).read_bytes()


def test_a_dossier_opens_the_door_step_by_step(made: Made, tmp_path: Path) -> None:
    home = at_home(made, tmp_path)
    entry = door(made, tmp_path, home=home)
    assert home.ledger.chain.stages.incumbent("paper") == made.policy_hash
    assert entry.body["dossier"] == sha(made.data)
    kept = read_verdict(home.ledger.folder, entry)
    assert kept == {"holds": True, **canonical(promotion.judge(made.evidence, made.spec))}
    again = judged_at(made, home.ledger)
    assert door(made, tmp_path, again, home).body == entry.body | {
        "from": "paper", "to": "pilot", "dossier": sha(again), "verdict": home.entries()[-1].body["verdict"],
    }  # fmt: skip
    with pytest.raises(LedgerError, match="needs two persons"):
        door(made, tmp_path, judged_at(made, home.ledger), home)
    assert not verify(home.ledger.folder).problems


def test_a_dossier_opens_the_door_once(made: Made, tmp_path: Path) -> None:
    """Not to the next stage, not after a demotion, whoever has moved with it, and not after any move of its policy."""
    home = at_home(made, tmp_path)
    first = door(made, tmp_path, home=home)
    with pytest.raises(LedgerError, match=f"^dossier, judgement: got 'the dossier of entry {first.seq}'"):
        door(made, tmp_path, home=home)
    unused = judged_at(made, home.ledger)
    down = home.append_stage(
        {"policy_hash": made.policy_hash, "from": "paper", "to": "experiment", "why": "x", "dossier": ""}
    )
    with pytest.raises(LedgerError, match=f"^dossier, judgement: got 'the dossier of entry {first.seq}'"):
        door(made, tmp_path, home=home)
    with pytest.raises(LedgerError, match=f"judged at entry {first.seq}.*a judgement after entry {down.seq}"):
        door(made, tmp_path, unused, home)
    assert home.ledger.chain.stages.stage_of(made.policy_hash) == "experiment"
    assert door(made, tmp_path, judged_at(made, home.ledger), home).body["to"] == "paper"


def test_a_rollback_that_takes_a_policy_down_is_a_move_of_it(made: Made, tmp_path: Path) -> None:
    home = at_home(made, tmp_path)
    home.append_stage(stage(1, "experiment", "paper"), verdict(1))
    rival = Incumbent(policy_hash=stage(1, "", "")["policy_hash"], holdout=())
    door(made, tmp_path, judged_at(made, home.ledger, incumbent=rival), home)
    unused = judged_at(made, home.ledger, incumbent=rival)
    back = home.append_stage(stage(1, "paper", "paper"))
    with pytest.raises(LedgerError, match=f"a judgement after entry {back.seq}"):
        door(made, tmp_path, unused, home)


def test_a_dossier_that_moved_another_policy_is_used_up(made: Made, tmp_path: Path) -> None:
    home = at_home(made, tmp_path)
    body = stage(1, "experiment", "paper") | {"dossier": sha(made.data)}
    home.append_stage(body, verdict(1))
    with pytest.raises(LedgerError, match=r"^dossier, judgement: got 'the dossier of entry"):
        door(made, tmp_path, home=home)


Tamper = Callable[[Made, Path, pytest.MonkeyPatch], tuple[bytes, Home]]


def _as(name: str) -> Tamper:
    """What the verification has at a step."""

    def tamper(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Home]:
        return tampers.TAMPERS[name](made, folder, patch)[0], at_home(made, folder)

    return tamper


def _facts(**facts: str) -> Tamper:
    return lambda made, folder, patch: (resealed(made, {}, facts), at_home(made, folder))


def _evidence(**parts: Any) -> Tamper:
    return lambda made, folder, patch: (written(made, **parts), at_home(made, folder))


def _other_ledger(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Home]:
    """The same entries by the same people, made up at once: nobody has kept anything of the ledger."""
    own = Ledger.create(folder / "again", made.cast.root, "root", NOW + 1)
    keys = {"root": made.cast.root, "person": made.cast.person, "service": made.cast.service}
    for entry, record in zip(made.cast.ledger.entries()[1:], made.evidence.ledger[1:], strict=True):
        if record.trials:
            own.append_batch(record.trials, keys[entry.key], NOW + 1)
        else:
            own.append(entry.kind, entry.body, keys[entry.key], NOW + 1)
    return written(made, fingerprint="", head=""), Home(own, made.cast.person)


def _no_drill(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Home]:
    return resealed(made, {dossier.DRILL: dumped(canonical(Drill()))}), at_home(made, folder)


def _never_tried(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Home]:
    """A policy that no trial of the ledger has, in the place of one."""
    bred = Genotype.model_validate(made.evidence.genotype)
    other = bred.model_copy(update={"cadence": bred.cadence.model_copy(update={"n": bred.cadence.n + 1})})
    data = written(made, genotype=canonical(other), policy_hash=develop(other).policy_hash)
    patch.setattr(Made, "policy_hash", develop(other).policy_hash)
    return data, at_home(made, folder)


def _moved(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Home]:
    """It went up and down since it was judged."""
    home = at_home(made, folder)
    door(made, folder, home=home)
    home.append_stage({"policy_hash": made.policy_hash, "from": "paper", "to": "experiment", "why": "x", "dossier": ""})
    return made.data, home


def _overtaken(made: Made, folder: Path, patch: pytest.MonkeyPatch) -> tuple[bytes, Home]:
    """Somebody else has come to paper since it was judged."""
    home = at_home(made, folder)
    home.append_stage(stage(1, "experiment", "paper"), verdict(1))
    return made.data, home


CASES: dict[str, tuple[Tamper, str]] = {
    "archive": (_as("archive"), ""),
    "members": (_as("members"), "more.json"),
    "signatures": (_as("signatures"), "signature of service is wrong|not the key of service"),
    "policy_hash": (_facts(policy_hash="0" * 64), "0000"),
    "ledger": (_facts(head=f"0:{'1' * 64}"), "it was rewritten"),
    "copies": (_other_ledger, "is another one"),
    "genotype and policy": (_as("genotype and policy"), "develops into another one"),
    "evidence": (_evidence(fingerprint="1" * 64), "genesis: got"),
    "judgement": (_moved, "one that no move was made with"),
    "thresholds": (_as("thresholds"), r"0\.95 in conf/promotion/default\.yaml'?, expected dsr 0\.9"),
    "verdict": (_as("verdict"), "which follows from the evidence"),
    "kill drill": (_no_drill, "it held no position"),
    "lineage": (_never_tried, "no trial of it"),
    "incumbent": (_overtaken, "who is in charge by now"),
}
ALSO = {"policy_hash": ("genotype and policy",)}  # where the policy is developed again


@pytest.mark.parametrize("name", promote_stage.CHECKS)
def test_without_a_check_the_door_opens_to_what_it_is_for(
    made: Made, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutation: with the check it is refused there and nothing is entered, without it nothing else notices."""
    tamper, message = CASES[name]
    data, home = tamper(made, tmp_path, monkeypatch)
    with pytest.raises(LedgerError, match=f"^dossier, {name}: .*({message})"):
        door(made, tmp_path, data, home)
    assert not home.ledger.chain.stages.to_beat("") or name == "incumbent"
    for each in (name, *ALSO.get(name, ())):
        monkeypatch.delitem(promote_stage.CHECKS, each)
    door(made, tmp_path, data, home)
    assert home.ledger.chain.stages.incumbent("paper") == made.policy_hash


def test_a_verdict_that_was_only_declared_opens_nothing(made: Made, tmp_path: Path) -> None:
    """Signed by a member of the roster, with every row and the manifest saying that it holds: the evidence decides."""
    home = at_home(made, tmp_path)
    slow = written(made, latency=made.evidence.latency.model_copy(update={"p99": 9_000_000}))  # type: ignore[union-attr]
    with pytest.raises(LedgerError, match="dossier, verdict: got 'refused by latency'"):
        door(made, tmp_path, slow, home)
    forged = made._replace(data=slow)
    rows = [canonical(row) | {"holds": True, "why": ""} for row in promotion.judge(made.evidence, made.spec).checks]
    data = resealed(forged, edited(forged, dossier.VERDICT, checks=rows), {"promoted": True})
    with pytest.raises(LedgerError, match="which follows from the evidence"):
        door(made, tmp_path, data, home)
    with pytest.raises(InputError, match="intact zip file"):
        door(made, tmp_path, b"dossier", home)
    assert home.ledger.chain.stages.history == ()


def test_who_signs_has_to_be_in_the_roster_of_today(made: Made, tmp_path: Path) -> None:
    home = at_home(made, tmp_path)
    with pytest.raises(LedgerError, match="a promotion signed by a person"):
        door(made, tmp_path, home=Home(home.ledger, made.cast.service))
    home.ledger.append("roster", {"revoke": "service"}, made.cast.root, NOW)
    with pytest.raises(LedgerError, match="none of the 2 trusted keys has signed"):
        door(made, tmp_path, home=home)
    assert home.ledger.chain.stages.history == ()
