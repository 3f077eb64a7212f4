"""``alphatrade permit`` as two persons use it, and what it says when something is not as it has to be."""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from alphatrade.nodes.identity import code_hash
from alphatrade.nodes.ledger_home import home, key_file
from alphatrade.nodes.live import anchor as anchors
from alphatrade.nodes.live.anchor import Anchor
from alphatrade.reflection.keys import SigningKey
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.kill import latch_dir, status
from tests.conftest import ROOT
from tests.nodes.test_permits import bred
from tests.nodes.test_policy_app import Door, door  # noqa: F401
from tests.reflection.make_ledger import NOW, Cast, digest, stage, verdict

POLICY = digest(1001)
ASKED = (
    *("--venue", "sandbox", "--account", "PILOT", "--symbols", "BTCUSDT.BINANCE", "--capital", "50", "--loss", "5"),
    *("--hours", "24", "--out", "permit.json"),
)


class Two(NamedTuple):
    """A machine with a ledger, and the key of a second person beside it."""

    cast: Cast
    ben: Path


@pytest.fixture
def two(tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> Two:  # noqa: F811
    (tmp_path / "etc").mkdir(mode=0o700)
    monkeypatch.setattr(anchors, "PLACES", (tmp_path / "etc" / "live.json",))
    keys = [SigningKey.load(key_file(whose)) for whose in ("root", "person", "service") if home()]
    cast = Cast(home().ledger.folder, *keys)
    ben = SigningKey.generate(tmp_path / "ben.pem")
    member = {"name": "ben", "role": "person", "public": ben.public}
    cast.ledger.append("roster", {"add": member}, cast.root, NOW)
    bred(cast)
    for step in (("experiment", "paper"), ("paper", "pilot")):
        cast.ledger.append_stage(stage(1, *step), cast.person, NOW, verdict(1))
    return Two(cast, tmp_path / "ben.pem")


def granted(door: Door) -> str:  # noqa: F811
    """Draft, cosign and enter a permit, and return its id."""
    door("permit", "draft", POLICY, *ASKED)
    door("permit", "cosign", "permit.json", "--name", "ben", "--key", "ben.pem")
    said = door("permit", "enter", "permit.json", "--why", "a pilot").out
    return said.splitlines()[-1].split()[1].strip(",")


def test_one_drafts_one_cosigns_one_enters_and_all_see_the_terms(two: Two, door: Door) -> None:  # noqa: F811
    said = door("permit", "draft", POLICY, *ASKED).out
    assert f"code      {code_hash()}" in said
    assert "money     50 USDT, of which 5 may be lost" in said
    signed = door("permit", "cosign", "permit.json", "--name", "ben", "--key", "ben.pem").out
    entered = door("permit", "enter", "permit.json", "--why", "a pilot").out
    assert said.splitlines()[:7] == signed.splitlines()[:7] == entered.splitlines()[:7]
    chain = two.cast.ledger.chain
    (found,) = chain.permits.all
    assert entered.splitlines()[-1] == f"permit {found.id}, by owner and ben"
    assert chain.stages.stage_of(POLICY) == "limited_live"
    shown = door("permit", "show").out
    assert found.id[:12] in shown
    assert "yes" in shown


def test_the_same_file_is_entered_once(two: Two, door: Door) -> None:  # noqa: F811
    granted(door)
    assert "were not entered before" in door("permit", "enter", "permit.json", "--why", "again", code=2).err


def test_nobody_enters_alone(two: Two, door: Door) -> None:  # noqa: F811
    door("permit", "draft", POLICY, *ASKED)
    assert "no second signature" in door("permit", "enter", "permit.json", "--why", "x", code=2).err
    door("permit", "cosign", "permit.json", "--name", "owner", "--key", str(key_file("person")))
    assert "another person" in door("permit", "enter", "permit.json", "--why", "x", code=2).err
    service = str(key_file("service"))
    door("permit", "cosign", "permit.json", "--name", "ben", "--key", "ben.pem")
    assert "signed by a person" in door("permit", "enter", "permit.json", "--why", "x", "--key", service, code=2).err
    plain = json.loads(Path("permit.json").read_text())
    plain["terms"]["capital"] = "500"
    Path("permit.json").write_text(json.dumps(plain))
    assert "a wrong signature" in door("permit", "enter", "permit.json", "--why", "x", code=2).err
    assert two.cast.ledger.chain.permits.all == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"terms": {}}', "\x00", "[" * 10**5])
def test_a_file_that_is_no_permit_is_one_line(two: Two, door: Door, text: str) -> None:  # noqa: F811
    Path("permit.json").write_text(text)
    assert "permit.json" in door("permit", "cosign", "permit.json", "--name", "ben", "--key", "ben.pem", code=2).err
    assert door("permit", "enter", "permit.json", "--why", "x", code=2).err


def test_who_has_no_name_or_no_key_of_their_own_signs_nothing(two: Two, door: Door) -> None:  # noqa: F811
    door("permit", "draft", POLICY, *ASKED)
    before = Path("permit.json").read_bytes()
    assert "--name: got ''" in door("permit", "cosign", "permit.json", "--name", "", "--key", "ben.pem", code=2).err
    two.ben.chmod(0o644)
    shown = door("permit", "cosign", "permit.json", "--name", "ben", "--key", "ben.pem", code=2)
    assert "only its owner can read" in shown.err
    missing = door("permit", "cosign", "none.json", "--name", "ben", "--key", "ben.pem", code=2).err
    assert "none.json: got 'No such file or directory'" in missing
    assert Path("permit.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--capital", "1001"), "0 < loss <= capital <= 1000, not 5 and 1001"),
        (("--venue", "moon"), "--venue: got 'moon', expected mainnet, testnet, sandbox"),
        (("--loss", "51"), "0 < loss <= capital"),
        (("--loss", "5.0"), "terms.loss"),
        (("--symbols", "BTCUSDT"), "terms.symbols"),
        (("--account", "../PILOT"), "terms.account"),
        (("--begins", "tomorrow"), "--begins"),
        (("--begins", "2020-01-01T00:00:00Z"), "--hours: got 24, expected an end that is not over already"),
    ],
)
def test_what_cannot_be_asked_for_is_not_written(two: Two, door: Door, words: tuple[str, ...], message: str) -> None:  # noqa: F811
    assert message in door("permit", "draft", POLICY, *ASKED, *words, code=2).err
    assert not Path("permit.json").exists()


def test_only_a_policy_in_pilot_that_was_bred_for_cash_is_asked_for(two: Two, door: Door) -> None:  # noqa: F811
    assert "in stage experiment" in door("permit", "draft", digest(1002), *ASKED, code=2).err
    bred(two.cast, "margin", name="6" * 64)
    assert "a margin account" in door("permit", "draft", POLICY, *ASKED, code=2).err


@pytest.mark.parametrize("whose", ["person", "service"])
def test_one_takes_it_back_and_the_node_of_the_account_is_stopped(two: Two, door: Door, whose: str) -> None:  # noqa: F811
    name, state = granted(door), Path("state").absolute()
    folder = latch_dir(state, "live", "PILOT")
    folder.mkdir(parents=True)
    anchors.pin(Anchor(state, two.cast.folder, two.cast.ledger.chain.fingerprint))
    with FolderLock(folder):  # a node
        said = door("permit", "revoke", name[:8], "--why", "enough", "--key", str(key_file(whose))).out
    assert "the node of live/PILOT is stopping" in said
    assert status(state, "live", "PILOT").request_pending
    assert "enough" in door("permit", "show").out
    assert "not revoked" in door("permit", "revoke", name, "--why", "again", code=2).err


def test_where_no_node_runs_none_is_asked_to_stop(two: Two, door: Door) -> None:  # noqa: F811
    name = granted(door)
    assert "stopping" not in door("permit", "revoke", name, "--why", "enough").out
    assert not latch_dir(Path("state"), "live", "PILOT").exists()
    assert "the id of one permit" in door("permit", "revoke", "0" * 7, "--why", "x", code=2).err


def test_the_commands_of_the_page_work(two: Two, door: Door) -> None:  # noqa: F811
    """Every line of the section on permits is run as it stands, with a hash and an id in their places."""
    page = (ROOT / "docs" / "evolution.md").read_text(encoding="utf-8").split("### Permits\n")[1].split("\n### ")[0]
    lines = [
        line.split("  #")[0] for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()
    ]
    assert len(lines) == 6
    for line in lines:
        found = [one.id for one in two.cast.ledger.chain.permits.all]
        words = {"HASH": POLICY, "ID": found[-1] if found else ""}
        door(*[words.get(word, word) for word in shlex.split(line)[1:]])
    (permit,) = two.cast.ledger.chain.permits.all
    assert (permit.terms.policy_hash, bool(permit.revoked)) == (POLICY, True)
    assert "enough" in door("permit", "show").out
    assert anchors.read().fingerprint == two.cast.ledger.chain.fingerprint


def test_an_anchor_is_of_this_machines_ledger(two: Two, door: Door) -> None:  # noqa: F811
    door("permit", "anchor")
    found = anchors.read()
    assert (found.ledger, found.fingerprint) == (two.cast.folder.resolve(), two.cast.ledger.chain.fingerprint)
    assert found.state == Path("state").resolve()
    door("permit", "anchor")
