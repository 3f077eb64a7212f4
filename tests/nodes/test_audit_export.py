"""The audit archive of a real paper run and a ledger with promotions: whole, the same each time, free of secrets."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from alphatrade.evolution.dossier import unpack
from alphatrade.nodes.app import main
from alphatrade.nodes.audit import export as module
from alphatrade.nodes.audit import tables
from alphatrade.nodes.audit.export import Exported, Places, export, gathered
from alphatrade.nodes.audit.known import leaks
from alphatrade.nodes.audit.tables import Span, portable, runs_of
from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.errors import InputError, RunDirError
from alphatrade.risk.kill import KillSwitch
from tests.nodes.make_audit import VERIFY, loaded
from tests.nodes.make_canaries import KEY, SECRET, Canaries
from tests.nodes.make_live import Ready, ready
from tests.nodes.make_paper import Node

PEM = b"-----BEGIN PRIVATE" + b" KEY-----"


class Machine(NamedTuple):
    """A node's place with a finished paper run, promotions, secrets, and what was exported of it."""

    node: Node
    ready: Ready
    places: Places
    signers: list[SigningKey]
    secrets: Path
    span: Span
    found: Exported

    def again(self, **parts: object) -> Exported:
        asked = {"span": self.span, "places": self.places, "signers": self.signers, "secrets": [self.secrets]} | parts
        return export(**asked)  # type: ignore[arg-type]

    @property
    def run(self) -> Path:
        return next(path.parent for path in self.places.artifacts.glob("*/*/run.yaml"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    place = tmp_path_factory.mktemp("machine")
    made, node = ready(place), Node(place)
    node.run(
        f"policy_entry={made.policy_hash}", "feed.speed=max", "tape=world", "tape.hours=2", "tape.step_s=2", "venue.account=cash",
        "output.report=false",
    )  # fmt: skip
    shutil.copytree(made.artifacts, place / "artifacts", dirs_exist_ok=True)
    secrets = place / "secrets"
    secrets.mkdir(mode=0o700)
    for name, value in (("binance_api_key", KEY), ("binance_api_secret", SECRET)):
        (secrets / name).write_text(value)
    latch = KillSwitch(place / "state" / "paper" / "OTHER")
    latch.trip("OPERATOR", "seen enough", "ada", 1)
    today = datetime.now(UTC).date()
    span, places = Span(today - timedelta(1), today), Places(place / "artifacts", made.state, made.ledger)
    signers = [SigningKey.load(made.state / "keys" / "service.pem"), SigningKey.load(made.second)]
    with patch.dict(os.environ, node.env):
        yield Machine(node, made, places, signers, secrets, span, export(span, places, signers, [secrets]))


def members(machine: Machine) -> dict[str, bytes]:
    return unpack(machine.found.path.read_bytes())


def test_it_verifies_itself_as_a_stranger_runs_it(machine: Machine, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{SigningKey.load(machine.ready.second).public} person ben\n")
    words = [sys.executable, "-I", "-S", str(VERIFY), str(machine.found.path), "--trust", str(keys)]
    done = subprocess.run(words, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "rules kept"), done.stdout + done.stderr
    assert "signed by whom you trust" in done.stdout
    assert machine.found.kept


def test_it_has_ledger_diary_orders_fills_events_settings_signoffs_drills_and_dossiers(machine: Machine) -> None:
    found, run = members(machine), machine.run.name
    assert {
        f"runs/{run}/{name}.jsonl" for name in ("orders", "fills", "risk_events", "equity", "decisions", "expost")
    } <= set(found)
    assert (
        len(found[f"runs/{run}/fills.jsonl"].splitlines()) == json.loads(found[f"runs/{run}/summary.json"])["fills"] > 3
    )
    assert json.loads(found[f"runs/{run}/audit.json"])["ok"]
    assert json.loads(found[f"runs/{run}/run.json"])["policy_entry"]["policy_hash"] == machine.ready.policy_hash
    assert found["ledger/ledger.jsonl"] == (machine.ready.ledger / "ledger.jsonl").read_bytes()
    assert len(found["signoffs.jsonl"].splitlines()) == 5  # three members, two promotions
    assert sum(name.startswith("dossiers/") for name in found) == 2
    assert [one["drill"]["sent"] for one in json.loads(found["kill_drills.json"])] == [0, 0]
    assert [(one["account"], one["latch"]["code"]) for one in json.loads(found["latches.json"])] == [
        ("OTHER", "OPERATOR")
    ]
    told = json.loads(found["manifest.json"])
    assert told["first"] == machine.span.first.isoformat()
    assert told["head"].startswith("8:")


def test_the_same_state_gives_the_same_archive(machine: Machine) -> None:
    assert machine.again().sha256 == machine.found.sha256
    assert {path.name for path in machine.found.path.parent.iterdir()} == {machine.found.path.name}


def test_the_command_writes_it_and_says_its_hashes(machine: Machine) -> None:
    words = ("--from", str(machine.span.first), "--to", str(machine.span.last), "--secrets-dir", str(machine.secrets))
    out = machine.node.run(*words, "--key", str(machine.ready.second), verb="audit-export")
    assert f"sha256     {machine.found.sha256}" in out
    assert f"verify.py  {machine.found.verifier}" in out


def test_no_secret_and_no_path_of_this_machine_is_in_it(machine: Machine, tmp_path: Path) -> None:
    with zipfile.ZipFile(BytesIO(machine.found.path.read_bytes())) as file:
        file.extractall(tmp_path)
    assert Canaries(KEY, SECRET).in_files(tmp_path) == []
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert str(machine.node.root).encode() not in path.read_bytes(), path.name
            assert PEM not in path.read_bytes()


@pytest.mark.parametrize("text", [f"Bearer {SECRET}", PEM.decode()])
def test_mutations_a_planted_secret_is_refused_and_nothing_written(machine: Machine, text: str) -> None:
    path, kept = machine.run / "summary.json", (machine.run / "summary.json").read_text()
    before = sorted(machine.places.artifacts.rglob("*.zip"))
    path.write_text(json.dumps(json.loads(kept) | {"note": text}))
    try:
        with pytest.raises(InputError, match="no secret in what is handed to others") as refused:
            machine.again()
    finally:
        path.write_text(kept)
    assert text not in str(refused.value)
    assert sorted(machine.places.artifacts.rglob("*.zip")) == before


def test_private_keys_of_the_machine_are_looked_for_in_every_form(machine: Machine) -> None:
    raw = (machine.ready.state / "keys" / "service.pem").read_bytes()
    body = b"".join(raw.splitlines()[1:-1])
    secret = SECRET.encode()
    for form in (secret, secret.hex().encode(), base64.b64encode(b"id:" + secret)):
        assert list(leaks({"a": b"x" + form + b"x"}, machine.ready.state, [machine.secrets]))
    for form in (raw, body):
        assert list(leaks({"a": form}, machine.ready.state, ()))
    assert not list(leaks({"a": body[: len(body) // 2]}, machine.ready.state, ()))
    (machine.secrets / "binance_live_api_secret").write_bytes(
        body
    )  # a key of an exchange is such a one, without its frame
    try:
        for form in (base64.b64decode(body)[-32:], base64.b64decode(body)[-32:].hex().encode()):
            assert list(leaks({"a": b"x" + form}, machine.node.root / "other", [machine.secrets]))
    finally:
        (machine.secrets / "binance_live_api_secret").unlink()
    with pytest.raises(InputError, match="a folder of secrets that can be read"):
        list(leaks({}, machine.ready.state, [machine.ready.state / "nowhere"]))


def test_what_was_left_out_is_said(machine: Machine) -> None:
    day = machine.run.parent
    for name in (".partial-0000000000000000", "1111111111111111", "2222222222222222"):
        (day / name).mkdir()
    (day / ".partial-0000000000000000" / "run.yaml").write_text("{}")
    (day / "1111111111111111" / "run.yaml").write_text("env: {name: sim}")
    (day / "2222222222222222" / "run.yaml").write_text("env: [")
    try:
        found, facts = gathered(machine.span, machine.places)
    finally:
        for path in (day / ".partial-0000000000000000", day / "1111111111111111", day / "2222222222222222"):
            shutil.rmtree(path)
    left = "\n".join(facts["left_out"])
    for words in (
        "marks, beliefs",
        ".partial-0000000000000000: not finished",
        "2222222222222222: cannot be read",
        "1 replays",
    ):
        assert words in left
    assert "2222222222222222: cannot be read" in "\n".join(json.loads(found["assessment.json"])["deficiencies"])


def took(place: Path, run: Path, *origins: str, under: str = "", row: dict[str, str] | None = None) -> None:
    """Put a run that says that others have left something to it, and under which permit it was."""
    shutil.copytree(run, place)
    table = pq.read_table(place / "risk_events.parquet")
    told = [{"kind": "handover", "detail": f"left by run {of}"} for of in origins]
    told += [{"kind": "permit", "detail": json.dumps({"entry": under, "refused": ""})}] if under else []
    told += [row] if row is not None else []
    rows = [dict.fromkeys(table.schema.names) | one for one in told]
    pq.write_table(
        pa.Table.from_pylist([*table.to_pylist(), *rows], schema=table.schema), place / "risk_events.parquet"
    )


def test_who_has_left_something_to_a_run_is_in_it_of_whatever_day(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth, gone = (letter * 16 for letter in "abcde")
    early, day = "2026-01-29", machine.span.last.isoformat()
    took(tmp_path / early / first, machine.run)
    took(tmp_path / "2026-01-30" / second, machine.run, first)
    took(tmp_path / "2026-01-30" / fourth, machine.run, first)  # nobody has anything of this one
    took(tmp_path / day / third, machine.run, second, gone, third, f"../{early}/{first}")
    taken = runs_of(tmp_path, machine.span)
    assert set(taken.runs) == {first, second, third}
    assert f"runs/{first}/orders.jsonl" in taken.members
    assert taken.left_out == [f"run {gone}, which has left something to run {third}: not found"]
    (tmp_path / early / first / "summary.json").write_text("{")
    (unread,) = (line for line in runs_of(tmp_path, machine.span).left_out if "cannot be read" in line)
    assert unread.startswith(f"{early}/{first}")
    monkeypatch.setattr(tables, "_take_earlier", lambda *_: None)  # mutation
    assert set(runs_of(tmp_path, machine.span).runs) == {third}


def test_what_a_permit_has_cost_before_is_in_it(machine: Machine, tmp_path: Path) -> None:
    first, second, third, fourth, later = (letter * 16 for letter in "abcde")
    took(tmp_path / "2026-01-28" / first, machine.run, under="one")
    took(tmp_path / "2026-01-29" / second, machine.run, first, under="two")  # nobody of the span has to do with it
    took(tmp_path / "2026-01-30" / third, machine.run, under="one")
    took(tmp_path / machine.span.last.isoformat() / fourth, machine.run, under="one")
    took(tmp_path / "2999-01-01" / later, machine.run, under="one")
    assert set(runs_of(tmp_path, machine.span).runs) == {first, third, fourth}
    (tmp_path / "2026-01-29" / second / "risk_events.parquet").write_bytes(b"torn")
    (unread,) = runs_of(tmp_path, machine.span).left_out
    assert unread.startswith(f"2026-01-29/{second}: cannot be read"), "it might have been under the same one"


def of_env(folder: Path, name: str) -> None:
    """Say that a run was one of an environment."""
    told = yaml.safe_load((folder / "run.yaml").read_text())
    told["env"]["name"] = name
    (folder / "run.yaml").write_text(yaml.safe_dump(told))


def test_a_live_run_of_before_that_nobody_can_judge_is_not_passed_over(machine: Machine, tmp_path: Path) -> None:
    day, names = tmp_path / "2026-01-29", [letter * 16 for letter in "abcdef"]
    own = tmp_path / machine.span.last.isoformat() / names[0]
    took(own, machine.run)
    for name, env in zip(names[1:4], ("live", "paper", "sim"), strict=True):
        for folder in (day / name, day / f".partial-{name}", day / f".replaced-{name}"):
            shutil.copytree(machine.run, folder)
            of_env(folder, env)
        (day / name / "risk_events.parquet").unlink()
    for name in (names[4], f".partial-{names[4]}"):
        (day / name).mkdir()
        (day / name / "run.yaml").write_text("{")
    alone = runs_of(tmp_path, machine.span)
    assert not [line for line in alone.left_out if "not finished" in line], "nothing of the span was under a permit"
    shutil.rmtree(own)
    took(own, machine.run, under="one")
    taken = runs_of(tmp_path, machine.span)
    assert set(taken.runs) == {names[0], names[1]}
    unread, *killed = taken.left_out
    assert unread.startswith(f"{day.name}/{names[4]}: cannot be read")
    assert killed == [f"{day.name}/.partial-{name}: not finished" for name in (names[1], names[4])]


@pytest.mark.parametrize("detail", ["", "{", "[]", "7", '{"entry":"one"}', '{"refused":""}', '{"entry":[],"refused":""}'])
@pytest.mark.parametrize("early", [True, False])
def test_a_permit_that_cannot_be_read_is_said_in_a_line(
    machine: Machine, tmp_path: Path, detail: str, early: bool
) -> None:
    own, before = tmp_path / machine.span.last.isoformat() / ("a" * 16), tmp_path / "2026-01-29" / ("b" * 16)
    took(own, machine.run, under="one")
    took(before, machine.run, under="one")
    odd = before if early else own
    shutil.rmtree(odd)
    took(odd, machine.run, row={"kind": "permit", "detail": detail})
    taken = runs_of(tmp_path, machine.span)
    assert set(taken.runs) == ({own.name} if early else set())
    assert not [name for name in taken.members if odd.name in name]
    (unread,) = taken.left_out
    assert unread.startswith(f"{odd.parent.name}/{odd.name}: cannot be read")


def test_a_run_whose_files_were_changed_is_in_it_and_is_said_to_be_wrong(machine: Machine) -> None:
    path, kept = machine.run / "summary.json", (machine.run / "summary.json").read_text()
    path.write_text(json.dumps(json.loads(kept) | {"fees": "0.00"}))
    try:
        found = machine.again()
    finally:
        path.write_text(kept)
    assert not found.kept
    assert "fees do not add up" in found.said
    assert found.path.is_file()
    assert machine.again().kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "2026-13-01", "--to", "2026-01-01"), "--from: got '2026-13-01'"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "--to: got '2026-01-01'"),
        (("--from", "2026-01-01", "--to", "2999-01-01"), "--to: got '2999-01-01'"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--folder", "none"), "no ledger"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--key", "none.pem"), "none.pem"),
        (("--from", "2026-01-01", "--to", "2026-01-02"), "days: got '2026-01-01 to 2026-01-02: nothing'"),
        (("--from", "2026-01-01", "--to", "2026-01-02", "--artifacts", "nowhere"), "nowhere: got 'No such file"),
        (("--from", "TODAY", "--to", "TODAY", "--secrets-dir", "none"), "--secrets-dir"),
        (("--from", "", "--to", ""), "--from: got ''"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    machine: Machine,
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    today, before = machine.span.last.isoformat(), sorted(machine.node.root.rglob("*"))
    monkeypatch.chdir(machine.node.root)
    monkeypatch.setattr(sys, "argv", ["alphatrade", "audit-export", *(word.replace("TODAY", today) for word in words)])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert (left.value.code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
    assert sorted(machine.node.root.rglob("*")) == before


def test_what_cannot_be_read_or_written_ends_it_in_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    day, real = machine.run.parent, Path.iterdir
    before = sorted(machine.node.root.rglob("*"))
    for locked in (machine.places.artifacts, day):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "iterdir", lambda self, locked=locked: refuse(self) if self == locked else real(self))
            with pytest.raises(InputError, match="a folder that can be read"):
                machine.again()
    monkeypatch.setattr(tempfile, "tempdir", str(machine.node.root / "nowhere"))
    with pytest.raises(InputError, match=r"set \$TMPDIR"):
        machine.again()
    monkeypatch.setattr(tempfile, "tempdir", None)
    (machine.run / "summary.json").touch()  # the same, later

    def full(path: Path, data: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(RunDirError, match="No space left"):
        machine.again()
    assert sorted(machine.node.root.rglob("*")) == before


def test_an_alert_that_was_cut_off_keeps_no_other_from_the_auditor(machine: Machine) -> None:
    path, ts = machine.places.state / "live" / "PILOT" / "alerts.jsonl", 10**9 * int(datetime.now(UTC).timestamp())
    path.parent.mkdir(parents=True)
    path.write_text(
        f'{{"ts":{ts},"kind":"permit","words":"a"}}\n{{"ts":1,"wo\n[1]\n{{"ts":{ts},"kind":"guard","words":"b"}}\n'
    )
    try:
        found, _ = gathered(machine.span, machine.places)
    finally:
        shutil.rmtree(path.parent)
    rows = [json.loads(line) for line in found["alerts.jsonl"].splitlines()]
    assert [one.get("words", "cut off") for one in rows] == ["a", "cut off", "cut off", "b"]
    assert "cannot be read" in "\n".join(json.loads(found["assessment.json"])["deficiencies"])


def test_a_damaged_ledger_and_a_key_of_nobody_are_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="somebody in the roster"):
        machine.again(signers=[SigningKey.generate(tmp_path / "eve.pem")])
    copy = tmp_path / "ledger"
    shutil.copytree(machine.ready.ledger, copy)
    whole = (copy / "ledger.jsonl").read_bytes()
    (copy / "ledger.jsonl").write_bytes(whole + b'{"half')
    with pytest.raises(InputError, match="6 bytes without an end"):
        machine.again(places=machine.places._replace(ledger=copy))
    (copy / "ledger.jsonl").write_bytes(whole)
    next(iter((copy / "verdicts").iterdir())).write_text("{}")
    with pytest.raises(InputError, match="another verdict"):
        machine.again(places=machine.places._replace(ledger=copy))


def test_numbers_are_exact_and_paths_relative() -> None:
    assert portable({"a": 2**53 + 1, "b": [1, True, float("nan")], "c": "/home/x/tape.csv"}) == {
        "a": "9007199254740993", "b": [1, True, None], "c": "tape.csv",
    }  # fmt: skip


@pytest.mark.long
def test_200_bytes_of_a_real_archive_changed_are_200_found(machine: Machine) -> None:
    import random

    good, draw, verify = machine.found.path.read_bytes(), random.Random(1), loaded()
    for _ in range(200):
        at = draw.randrange(len(good))
        data = bytearray(good)
        data[at] ^= draw.randrange(1, 256)
        assert verify.judged(bytes(data))[0], at


def test_days_are_counted_from_both_ends(tmp_path: Path) -> None:
    span = Span(date(2026, 1, 30), date(2026, 2, 1))
    for name in (
        "2026-01-29",
        "2026-01-30",
        "2026-01-31",
        "2026-02-01",
        "2026-02-02",
        "2026-01-30x",
        "latest",
        "bench",
    ):
        (tmp_path / name).mkdir()
    assert [path.name for path in span.folders(tmp_path)] == ["2026-01-30", "2026-01-31", "2026-02-01"]
    noon = int(datetime(2026, 2, 1, 12, tzinfo=UTC).timestamp()) * 10**9
    assert [span.has(noon + n * 86_400 * 10**9) for n in (-3, -2, 0, 1)] == [False, True, True, False]
