"""What the ledger permits a node: the forged list, an anchor and clocks that nothing overrides, and each mechanism off."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.live import anchor as anchors
from alphatrade.nodes.live import permits as module
from alphatrade.nodes.live.anchor import Anchor, agree, pin, read
from alphatrade.nodes.live.clocks import Clocks
from alphatrade.nodes.live.permits import CLOCK, HEAD, WHOLE_NS, Asked, Watch, margin_of
from alphatrade.reflection import ledger_check
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.permits import Permits
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.permit import Permit
from alphatrade.risk.units import ATTO
from tests.reflection.make_ledger import HOUR, NOW, SEARCH, Cast, digest, leaf, make_cast, search, stage
from tests.reflection.make_permits import CODE, POLICY, Pair, make_pair

ASKED = Asked(POLICY, CODE, "sandbox", "PILOT", ("BTCUSDT.BINANCE",))
MINUTE = 60 * 10**9
LATER = NOW + MINUTE


class Hands:
    """The clocks of a test: the wall's can be set, the other goes on."""

    def __init__(self) -> None:
        self.wall, self.since = LATER, 0

    def go(self, ns: int) -> None:
        self.wall += ns
        self.since += ns


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands()
    monkeypatch.setattr(Clocks, "_wall", staticmethod(lambda: made.wall))
    monkeypatch.setattr(Clocks, "_since", staticmethod(lambda: made.since))
    return made


def bred(pair: Cast, account: str | None = "cash", n: int = 1, name: str = SEARCH) -> None:
    """Enter a search on an account, and the trial of policy `n` in it."""
    venue = {} if account is None else {"account": account}
    body = search(search=name, evaluator={"run": {"venue": venue}})
    pair.ledger.append("search", body, pair.service, NOW)
    pair.ledger.append("trial", leaf(n, search=name), pair.service, NOW)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = make_pair(tmp_path)
    bred(made.cast)
    (tmp_path / "fingerprint").write_text(made.ledger.chain.fingerprint)
    return made


def anchored(pair: Pair) -> Anchor:
    root = pair.cast.folder.parent
    return Anchor(root / "state", pair.cast.folder, (root / "fingerprint").read_text())


def watch(pair: Pair, asked: Asked = ASKED) -> Watch:
    return Watch(anchored(pair), asked, pair.cast.folder.parent / "state" / "live" / "PILOT")


def refusal(pair: Pair, asked: Asked = ASKED) -> str:
    return watch(pair, asked).look().refused


# -- one that stands


def test_what_two_persons_have_signed_comes_out_as_plain_numbers(pair: Pair, hands: Hands) -> None:
    name = pair.enter()
    assert watch(pair).look() == Permit(
        name, POLICY, CODE, "sandbox", "PILOT", ("BTCUSDT.BINANCE",), "USDT", 50 * ATTO, 55 * ATTO // 10,
        NOW, NOW + 24 * HOUR, at=LATER,
    )  # fmt: skip


def test_of_two_that_stand_the_later_one_counts_and_of_one_that_does_not_the_other(pair: Pair, hands: Hands) -> None:
    first = pair.enter()
    second = pair.enter(pair.terms(nonce="1" * 32, capital="60"))
    looking = watch(pair)
    assert looking.look().entry == second
    pair.ledger.append("revocation", {"permit": second, "why": "enough"}, pair.cast.person, NOW)
    assert looking.look().entry == first
    assert not looking.look().refused


# -- the forged, the ended, the foreign: nothing is permitted, and it is said why


def nothing(pair: Pair) -> None:
    """No entry at all."""


def revoked(pair: Pair) -> None:
    pair.ledger.append("revocation", {"permit": pair.enter(), "why": "enough"}, pair.cast.service, NOW)


def signer_gone(pair: Pair) -> None:
    pair.enter()
    pair.ledger.append("roster", {"revoke": "ben"}, pair.cast.root, NOW)


def demoted(pair: Pair) -> None:
    pair.enter()
    pair.ledger.append("stage", stage(1, "limited_live", "pilot"), pair.cast.service, NOW)


def given(**parts: Any) -> Callable[[Pair], None]:
    return lambda pair: (pair.enter(pair.terms(**parts)), None)[1]


def torn(pair: Pair) -> None:
    pair.enter()
    with (pair.cast.folder / FILE).open("ab") as file:
        file.write(b'{"body":{')


def edited(pair: Pair) -> None:
    pair.enter()
    text = (pair.cast.folder / FILE).read_bytes()
    (pair.cast.folder / FILE).write_bytes(text.replace(b'"capital":"50"', b'"capital":"90"'))


def unsigned(pair: Pair) -> None:
    """An entry whose signature was changed by one digit."""
    pair.enter()
    text = (pair.cast.folder / FILE).read_bytes()
    at = text.rindex(b'"sig":"') + 7
    (pair.cast.folder / FILE).write_bytes(text[:at] + (b"0" if text[at : at + 1] != b"0" else b"1") + text[at + 1 :])


def cut(pair: Pair) -> None:
    """A revocation that was seen, and whose line is gone."""
    name = pair.enter()
    pair.ledger.append("revocation", {"permit": name, "why": "enough"}, pair.cast.person, NOW)
    watch(pair).look()
    lines = (pair.cast.folder / FILE).read_bytes().splitlines(keepends=True)
    (pair.cast.folder / FILE).write_bytes(b"".join(lines[:-1]))


def another_ledger(pair: Pair) -> None:
    """A whole ledger of somebody else, with two persons of his own, in its place."""
    other = pair.cast.folder.parent / "other"
    other.mkdir()
    foreign = make_pair(other)
    bred(foreign.cast)
    foreign.enter()
    (pair.cast.folder / FILE).write_bytes((foreign.cast.folder / FILE).read_bytes())


def gone(pair: Pair) -> None:
    pair.enter()
    (pair.cast.folder / FILE).unlink()


def unwritable_head(pair: Pair) -> None:
    pair.enter()
    folder = pair.cast.folder.parent / "state" / "live" / "PILOT"
    (folder / HEAD).mkdir(parents=True)


def malformed_head(pair: Pair) -> None:
    pair.enter()
    folder = pair.cast.folder.parent / "state" / "live" / "PILOT"
    folder.mkdir(parents=True)
    (folder / HEAD).write_text("6")


def on_margin(pair: Pair) -> None:
    pair.enter()
    bred(pair.cast, "margin", name="6" * 64)


def missing_batch(pair: Pair) -> None:
    pair.enter()
    pair.ledger.append_batch([leaf(3)], pair.cast.service, NOW)
    next((pair.cast.folder / "batches").iterdir()).unlink()


BROKEN: dict[str, tuple[Callable[[Pair], None], dict[str, Any], str]] = {
    "absent": (nothing, {}, "no entry limited_live permits"),
    "of another policy": (given(), {"policy": digest(1002)}, "no entry limited_live permits"),
    "revoked": (revoked, {}, "was revoked by service"),
    "a signer revoked since": (signer_gone, {}, "the key of ben"),
    "the policy demoted": (demoted, {}, "left limited_live in entry"),
    "expired": (given(ends=str(NOW + 1)), {}, "ended at"),
    "not begun": (given(begins=str(NOW + HOUR)), {}, "begins at"),
    "of other code": (given(code_hash=digest(3)), {}, "is for code"),
    "of another venue": (given(venue="mainnet"), {}, "is for venue mainnet, not sandbox"),
    "of another account": (given(account="OTHER"), {}, "is for account OTHER"),
    "of another symbol": (given(), {"instruments": ("BTCUSDT.BINANCE", "ETHUSDT.BINANCE")}, "is not for ETHUSDT.BINANCE"),
    "in another currency": (given(currency="EUR"), {}, "counts in EUR, which BTCUSDT.BINANCE is not paid in"),
    "half-written": (torn, {}, "without an end"),
    "terms edited in the file": (edited, {}, "a wrong signature"),
    "a signature changed": (unsigned, {}, "a wrong signature"),
    "the end cut off": (cut, {}, "the end was cut off"),
    "another ledger in its place": (another_ledger, {}, "genesis: got"),
    "no ledger": (gone, {}, "a folder with ledger.jsonl"),
    "no place for the head": (unwritable_head, {}, "directory"),
    "a head that is none": (malformed_head, {}, "head: got '6'"),
    "bred on margin": (on_margin, {}, "on a margin account"),
    "a batch missing": (missing_batch, {}, "the 1 trials of the batch"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_is_permitted_by_what_is_not_whole_and_of_now(pair: Pair, hands: Hands, name: str) -> None:
    act, other, message = BROKEN[name]
    act(pair)
    assert message.lower() in refusal(pair, ASKED._replace(**other)).lower()


@pytest.mark.parametrize(
    "name", sorted(set(BROKEN) - {"no place for the head", "a head that is none", "bred on margin"})
)
def test_nor_at_the_next_look_of_a_node_that_runs(pair: Pair, hands: Hands, name: str) -> None:
    act, other, _ = BROKEN[name]
    looking = watch(pair, ASKED._replace(**other))
    looking.look()
    act(pair)
    hands.go(MINUTE if name in ("half-written", "revoked", "no ledger", "not begun") else WHOLE_NS)
    assert looking.look().refused
    assert looking.look().refused, "and again"


def test_a_ledger_that_is_mended_is_believed_again(pair: Pair, hands: Hands) -> None:
    pair.enter()
    looking = watch(pair)
    assert not looking.look().refused
    with (pair.cast.folder / FILE).open("ab") as file:
        file.write(b"{")
    assert "cut off in an entry" in looking.look().refused
    pair.ledger.append("operator", {"action": "kill", "target": "x", "who": "me", "why": "x"}, pair.cast.service, NOW)
    assert not looking.look().refused


def test_between_two_whole_looks_what_was_added_is_taken(
    pair: Pair, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = pair.enter()
    looking = watch(pair)
    looking.look()
    monkeypatch.setattr(module, "verify", None)  # it would fail, and be asked for after an hour alone
    hands.go(WHOLE_NS - 1)
    pair.ledger.append("revocation", {"permit": name, "why": "enough"}, pair.cast.person, NOW)
    assert "was revoked by person" in looking.look().refused
    hands.go(1)
    assert "TypeError" in looking.look().refused


def test_a_writer_at_work_is_waited_for(pair: Pair, hands: Hands) -> None:
    pair.enter()
    handle = os.open(pair.cast.folder / "ledger.lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH)  # another reader
    assert not refusal(pair)
    os.close(handle)


def test_a_memory_that_is_garbled_while_it_runs_is_no_crash(pair: Pair, hands: Hands) -> None:
    pair.enter()
    looking = watch(pair)
    assert not looking.look().refused
    (pair.cast.folder.parent / "state" / "live" / "PILOT" / HEAD).write_bytes(b"\xff\xfe")
    assert "UnicodeDecodeError" in looking.look().refused
    assert "head: got" in looking.look().refused


# -- margin


@pytest.mark.parametrize(
    ("accounts", "message"),
    [((), "no search of the ledger"), (("cash",), ""), (("margin",), "a margin account"), ((None,), "a margin account"),
     (("cash", "margin"), "a margin account")],
)  # fmt: skip
def test_only_a_policy_that_was_bred_for_cash_is_for_cash(
    tmp_path: Path, accounts: tuple[Any, ...], message: str
) -> None:
    cast = make_cast(tmp_path)
    for at, account in enumerate(accounts):
        bred(cast, account, name=str(at) * 64)
    found = margin_of(cast.ledger, POLICY)
    assert message in found
    assert bool(found) == bool(message)


# -- clocks


def test_a_clock_that_is_set_back_is_wrong_and_time_does_not_go_back(tmp_path: Path, hands: Hands) -> None:
    clocks = Clocks(tmp_path / "x" / CLOCK)
    hands.go(MINUTE)
    clocks.keep()
    assert (clocks.wrong(), clocks.now()) == ("", LATER + MINUTE)
    hands.wall -= 2 * 10**9
    assert clocks.wrong() == "it is 2.0 s behind itself when the node started"
    assert clocks.now() == LATER + MINUTE
    again = Clocks(tmp_path / "x" / CLOCK)
    assert again.wrong() == "it is 2.0 s behind an earlier look"
    assert again.now() == LATER + MINUTE


@pytest.mark.parametrize(
    ("ahead_ms", "message"), [(1500, "1.5 s behind the exchange's"), (-1500, "1.5 s ahead"), (900, "")]
)
def test_a_clock_that_is_not_where_the_exchanges_is_is_wrong(
    tmp_path: Path, hands: Hands, ahead_ms: float, message: str
) -> None:
    clocks = Clocks(tmp_path / CLOCK)
    clocks.hear(ahead_ms)
    hands.go(MINUTE)
    assert message in clocks.wrong()
    assert bool(clocks.wrong()) == bool(message)


@pytest.mark.parametrize("text", ["", "now", "-1\n", "1" * 20 + "\n", "1\n1\n"])
def test_a_memory_that_is_none_is_no_reason_to_trade(tmp_path: Path, hands: Hands, text: str) -> None:
    (tmp_path / CLOCK).write_text(text)
    assert "holds no moment" in Clocks(tmp_path / CLOCK).wrong()


def test_a_memory_that_cannot_be_written_is_not_either(tmp_path: Path, hands: Hands) -> None:
    (tmp_path / "file").write_text("")
    clocks = Clocks(tmp_path / "file" / CLOCK)
    clocks.keep()
    assert "cannot be" in clocks.wrong()


def test_a_wrong_clock_permits_nothing_and_an_ended_permit_stays_ended(pair: Pair, hands: Hands) -> None:
    pair.enter(pair.terms(ends=str(LATER + HOUR)))
    looking = watch(pair)
    assert not looking.look().refused
    hands.go(HOUR)
    assert "ended at" in looking.look().refused
    hands.wall -= HOUR // 2  # to within its time again
    for one in (looking, watch(pair)):
        assert "1800.0 s behind" in one.look().refused


def test_an_hour_ahead_is_wrong_and_not_remembered(pair: Pair, hands: Hands) -> None:
    pair.enter()
    looking = watch(pair)
    looking.clocks.hear(0)
    looking.look()
    hands.wall += HOUR
    assert "ahead of the exchange's" in looking.look().refused
    hands.wall -= HOUR
    assert not looking.look().refused


# -- the anchor


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("etc", "home"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setattr(anchors, "PLACES", (tmp_path / "etc" / "live.json", tmp_path / "home" / anchors.HOME))
    return tmp_path / "etc" / "live.json"


MADE = Anchor(Path("/srv/state"), Path("/srv/ledger"), "a" * 64)


def test_an_anchor_is_pinned_once(place: Path) -> None:
    with pytest.raises(ConfigError, match="`alphatrade permit anchor` makes one"):
        read()
    where = pin(MADE)
    assert read() == MADE
    assert pin(MADE) == where
    with pytest.raises(ConfigError, match="remove it first"):
        pin(MADE._replace(fingerprint="b" * 64))
    assert read() == MADE


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"state": "/a", "ledger": "/b"}', json.dumps({"state": "a", "ledger": "/b", "fingerprint": "a" * 64}),
             json.dumps({"state": "/a", "ledger": "/b", "fingerprint": "A" * 64}), "[" * 10**5]
)  # fmt: skip
def test_an_anchor_that_is_none_is_refused_and_the_next_place_not_asked(place: Path, text: str) -> None:
    anchors.PLACES[1].write_text(json.dumps({"state": "/a", "ledger": "/b", "fingerprint": "a" * 64}))
    anchors.PLACES[1].chmod(0o600)
    assert read().state == Path("/a")
    place.write_text(text)
    place.chmod(0o600)
    with pytest.raises(ConfigError, match=r"live\.json"):
        read()


def test_an_anchor_that_others_can_write_or_that_leads_elsewhere_is_refused(place: Path) -> None:
    pin(MADE)
    found = next(one for one in anchors.PLACES if one.exists())
    for mode in (0o646, 0o664):
        found.chmod(mode)
        with pytest.raises(ConfigError, match=f"mode {mode:o}"):
            read()
    found.chmod(0o600)
    found.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="a folder of mode 777"):
        read()
    found.parent.chmod(0o755)
    real = found.with_name("real")
    found.rename(real)
    found.symlink_to(real)
    with pytest.raises(ConfigError, match="no link"):
        read()
    found.unlink()
    found.symlink_to("nowhere")
    with pytest.raises(ConfigError, match="no link"):
        read()


def test_an_anchor_that_is_no_file_or_cannot_be_looked_at_is_refused_and_the_next_place_not_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors.PLACES[1].write_text(json.dumps({"state": "/a", "ledger": "/b", "fingerprint": "a" * 64}))
    anchors.PLACES[1].chmod(0o600)
    place.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="no file"):
        read()
    place.rmdir()
    assert read().state == Path("/a")

    def locked(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", locked)
    monkeypatch.setattr(anchors.os, "open", lambda *_: locked(place))
    with pytest.raises(ConfigError, match="Permission denied"):
        read()


def test_no_other_folder_than_the_anchors_is_taken(tmp_path: Path) -> None:
    made = Anchor(tmp_path / "state", tmp_path / "ledger", "a" * 64)
    agree(made, tmp_path / "state", tmp_path / "x" / ".." / "ledger")
    with pytest.raises(ConfigError, match=r"paths\.state"):
        agree(made, tmp_path / "other", made.ledger)
    with pytest.raises(ConfigError, match="ledger"):
        agree(made, made.state, tmp_path / "other")


# -- mutations: each mechanism off permits what it has to refuse


OFF: dict[str, tuple[str, Any, str, Any]] = {
    "the head": ("the end cut off", Watch, "_seen", lambda self: None),
    "the standing": ("a signer revoked since", Permits, "standing", lambda *_: ""),
    "the likeness": ("of other code", module, "_unlike", lambda *_: ""),
    "the time": ("expired", module, "_unfit", lambda *_: ""),
    "the margin": ("bred on margin", module, "margin_of", lambda *_: ""),
    "what lies beside": ("a batch missing", ledger_check, "_missing", lambda *_: []),
}


@pytest.mark.parametrize("name", OFF)
def test_without_a_mechanism_it_is_permitted(
    pair: Pair, hands: Hands, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    broken, *patch = OFF[name]
    act, other, _ = BROKEN[broken]
    act(pair)
    monkeypatch.setattr(*patch)
    if name == "what lies beside":
        monkeypatch.setattr(module, "margin_of", lambda *_: "")
    assert refusal(pair, ASKED._replace(**other)) == ""


def test_without_the_fingerprint_a_foreign_ledger_permits(
    pair: Pair, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_ledger(pair)
    real = module.verify
    monkeypatch.setattr(module, "verify", lambda folder, _fingerprint, known: real(folder, None, known))
    assert refusal(pair) == ""


def test_without_the_memory_of_moments_an_ended_permit_begins_anew(
    pair: Pair, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clocks, "_remembered", lambda self: 0)
    pair.enter(pair.terms(ends=str(LATER + HOUR)))
    hands.go(2 * HOUR)
    assert "ended at" in watch(pair).look().refused
    hands.wall -= 2 * HOUR
    assert watch(pair).look().refused == ""


def test_without_the_look_at_the_clock_a_wrong_one_permits(
    pair: Pair, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clocks, "wrong", lambda self: "")
    pair.enter()
    looking = watch(pair)
    hands.go(MINUTE)
    looking.look()
    hands.wall -= 30 * 10**9
    assert looking.look().refused == ""
