"""The verifier of audit archives: every byte counts, every check finds what it is for and nothing else does."""

import ast
import json
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alphatrade.evolution.dossier import MANIFEST, SIGNATURES, dumped, pack
from alphatrade.nodes.audit import export
from alphatrade.nodes.audit.records import VIEWS, copies, ledger_of
from alphatrade.nodes.audit.tables import lines
from alphatrade.reflection.ledger_chain import MAY, Head
from alphatrade.reflection.merkle import merkle_root
from alphatrade.reflection.permit_entries import CEILING, LONGEST_NS
from alphatrade.reflection.permits import PURPOSE
from tests.nodes.make_audit import (
    BTC,
    CODE,
    KEYS,
    POLICY,
    POLICY_HASH,
    RUN,
    VERIFY,
    Pilot,
    keyed,
    loaded,
    permit_body,
    written,
)
from tests.reflection.make_ledger import HOUR, NOW, digest
from tests.reflection.make_permits import make_pair


@pytest.fixture
def verify() -> ModuleType:
    return loaded()


@pytest.fixture(scope="module")
def good() -> bytes:
    return Pilot().permitted().archive()


def alone(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run it as a stranger does, with nothing but the standard library."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFY), *map(str, words)], capture_output=True, text=True, check=False
    )


# -- signatures


def test_signatures_are_those_of_the_library(verify: ModuleType) -> None:
    draw = random.Random(8)
    for n in range(12):
        private = Ed25519PrivateKey.from_private_bytes(draw.randbytes(32))
        public, message = private.public_key().public_bytes_raw().hex(), draw.randbytes(n * 7)
        sig = private.sign(message)
        assert verify.signed(public, sig.hex(), message)
        at = draw.randrange(64)
        wrong = sig[:at] + bytes([sig[at] ^ 1 << draw.randrange(8)]) + sig[at + 1 :]
        assert not verify.signed(public, wrong.hex(), message)
        assert not verify.signed(public, sig.hex(), message + b"x")
        assert not verify.signed(keyed(9).public, sig.hex(), message)


def test_signatures_of_the_standard_and_none_in_another_form(verify: ModuleType) -> None:
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1, test 1
    sig = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    assert verify.signed(public, sig, b"")
    s = int.from_bytes(bytes.fromhex(sig)[32:], "little") + verify.L
    assert not verify.signed(public, sig[:64] + s.to_bytes(32, "little").hex(), b"")  # the same number, written twice
    beyond = (verify.P + 1).to_bytes(32, "little").hex()  # y = 1 in another form
    assert not verify.signed(beyond, sig, b"")
    for odd in ("", sig[:-2], sig.upper(), sig + "00"):
        assert not verify.signed(public, odd, b"")


# -- permits of a real ledger


def test_a_permit_of_a_real_ledger_is_one(tmp_path: Path, verify: ModuleType) -> None:
    pair = make_pair(tmp_path)
    first = pair.enter()
    pair.ledger.append("revocation", {"permit": first, "why": "enough"}, pair.cast.service, NOW + 1)
    second = pair.enter(pair.terms(nonce="1" * 32, capital="60"), NOW + 2)
    kept = ledger_of(pair.cast.folder)
    facts = {"fingerprint": kept.entries[0].hash, "head": f"{kept.entries[-1].seq}:{kept.entries[-1].hash}"}
    members = {**kept.members, **copies(kept.entries, kept.lines)}
    data = export.sealed(members, facts, [("service", pair.cast.service)])
    assert verify.judged(data) == ([], [])
    found = verify.permits(verify.Archive(data))
    assert list(found) == [first, second]
    assert found[first].over == NOW + 1 + verify.GRACE_NS
    assert found[second].over == int(found[second].terms["ends"])
    assert (verify.COSIGN, Decimal(verify.CEILING), verify.LONGEST_NS) == (PURPOSE, CEILING, LONGEST_NS)


# -- what it shares with what makes archives is said twice


def test_it_needs_the_standard_library_alone_and_says_the_same_as_the_code() -> None:
    tree = ast.parse(VERIFY.read_text())
    names = [
        one.names[0].name if isinstance(one, ast.Import) else one.module
        for one in ast.walk(tree)
        if isinstance(one, ast.Import | ast.ImportFrom)
    ]
    assert {str(name).partition(".")[0] for name in names} <= sys.stdlib_module_names
    verify = loaded()
    assert {name: tuple(kinds) for name, kinds in verify.COPIES.items()} == VIEWS
    assert verify.MAY == MAY
    assert (verify.PURPOSE, verify.MANIFEST, verify.SIGNATURES) == (export.PURPOSE, MANIFEST, SIGNATURES)
    leaves = [bytes([n]) * n for n in range(9)]
    assert [verify.merkle(leaves[:n]) for n in range(9)] == [merkle_root(leaves[:n]) for n in range(9)]


def test_it_packs_as_the_code_does(verify: ModuleType) -> None:
    members = {"b.json": b"{}", "a/b": b"", "a": b"x" * 70_000, "a-1/c.zip": bytes(range(256))}
    assert verify.packed(members) == pack(members)


# -- as a stranger


def test_an_archive_verifies_with_nothing_but_python(tmp_path: Path, good: bytes) -> None:
    path = written(tmp_path / "audit.zip", good)
    keys = written(tmp_path / "keys.txt", f"{KEYS['service'].public}  service\n".encode())
    found = alone(path, "--trust", keys)
    assert (found.returncode, found.stderr) == (0, "")
    assert "signed by whom you trust" in found.stdout
    assert "nobody was named whom you trust" in alone(path).stdout
    inside = written(tmp_path / "inside.py", zipfile.ZipFile(path).read("verify.py"))
    assert (
        subprocess.run(
            [sys.executable, "-I", "-S", str(inside), str(path)], capture_output=True, check=False
        ).returncode
        == 0
    )


def test_what_was_left_out_is_told(tmp_path: Path, good: bytes) -> None:
    assert "left out: 3 replays" in alone(written(tmp_path / "a.zip", good)).stdout


@pytest.mark.parametrize("words", [("missing.zip",), (), ("--head", "x"), ("--trust", "empty")])
def test_what_cannot_be_asked_is_exit_code_2(tmp_path: Path, words: tuple[str, ...], good: bytes) -> None:
    path, empty = written(tmp_path / "audit.zip", good), written(tmp_path / "empty", b"no key")
    own = [word.replace("empty", str(empty)) for word in words]
    found = alone(*own) if words in (("missing.zip",), ()) else alone(path, *own)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip file", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_not_genuine(tmp_path: Path, data: bytes) -> None:
    found = alone(written(tmp_path / "audit.zip", data))
    assert (found.returncode, "NOT GENUINE" in found.stdout, found.stderr) == (1, True, "")


# -- tampering


def test_200_single_bytes_changed_are_200_found(verify: ModuleType, good: bytes) -> None:
    draw = random.Random(200)
    for _ in range(200):
        at = draw.randrange(len(good))
        data = bytearray(good)
        data[at] ^= draw.randrange(1, 256)
        assert verify.judged(bytes(data))[0], at


def test_200_truncations_and_additions_are_found(verify: ModuleType, good: bytes) -> None:
    draw = random.Random(7)
    for _ in range(200):
        at = draw.randrange(len(good))
        assert verify.judged(good[:at])[0], at
    for more in (b"\0", b"PK\x05\x06" + bytes(18), good):
        assert verify.judged(good + more)[0]
        assert verify.judged(more + good)[0]


def repacked(data: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    return pack(members)


def test_swapped_added_and_missing_members_are_found(verify: ModuleType, good: bytes) -> None:
    with zipfile.ZipFile(BytesIO(good)) as file:
        names = file.namelist()
    for one, other in pairwise(names):

        def swap(members: dict[str, bytes], one: str = one, other: str = other) -> None:
            members[one], members[other] = members[other], members[one]

        def drop(members: dict[str, bytes], one: str = one) -> None:
            del members[one]

        assert verify.judged(repacked(good, swap))[0], (one, other)
        assert verify.judged(repacked(good, drop))[0], one
    assert verify.judged(repacked(good, lambda members: members.update(extra=b"")))[0]


def test_the_signed_manifest_of_another_archive_is_found(verify: ModuleType, good: bytes) -> None:
    other = Pilot().permitted(nonce="1" * 32).archive()
    with zipfile.ZipFile(BytesIO(other)) as file:
        foreign = {name: file.read(name) for name in (MANIFEST, SIGNATURES)}
    assert verify.judged(repacked(good, lambda members: members.update(foreign)))[0]
    only = {SIGNATURES: foreign[SIGNATURES]}
    assert verify.judged(repacked(good, lambda members: members.update(only)))[0]


def test_an_archive_that_somebody_has_made_up_is_found_by_whom_one_trusts(verify: ModuleType, good: bytes) -> None:
    assert verify.judged(good, frozenset({KEYS["ada"].public}))[0] == [
        "signatures: nobody of those who are trusted has signed it"
    ]
    assert verify.judged(good, frozenset({KEYS["service"].public, KEYS["ada"].public})) == ([], [])


# -- every check, alone


def book(change: Callable[[Pilot], object]) -> bytes:
    pilot = Pilot().permitted()
    change(pilot)
    return pilot.archive()


def before(change: Callable[[Pilot], object], **parts: Any) -> bytes:
    pilot = Pilot()
    change(pilot)
    return pilot.permitted(**parts).archive()


def dated(data: bytes) -> bytes:
    return data.replace(struct.pack("<H", 33) + data[14:18], struct.pack("<H", 34) + data[14:18])


def without(name: str, **parts: Any) -> bytes:
    pilot = Pilot().permitted()
    key = next(one for one in pilot.members() if one.startswith(name))
    return pilot.archive({key: b"", **parts})


def traded(change: Callable[[Pilot], object], **parts: Any) -> bytes:
    pilot = Pilot().permitted(**parts)
    change(pilot)
    return pilot.archive()


def sent(
    name: str = "O-9", side: str = "BUY", qty: str = "0.1", price: str | None = "20", at: int = 9, **parts: Any
) -> bytes:
    return traded(lambda pilot: pilot.order(name, side, qty, price, at, **parts))


def foreign_terms(pilot: Pilot) -> None:
    terms = {"policy_hash": POLICY_HASH}
    pilot.book.add("limited_live", permit_body(terms, "ben"), "ada")


def late(kind: str, body: dict[str, Any], by: str) -> bytes:
    """Return what has traded on after its permit was over."""

    def change(pilot: Pilot) -> None:
        own = {name: pilot.permit if value == "PERMIT" else value for name, value in body.items()}
        pilot.book.add(kind, own, by, NOW + 5 * 10**9)
        pilot.order("LAW-1", "SELL", "0.1", None, at=900)
        pilot.order("O-9", "BUY", "0.1", "20", at=90)

    return traded(change)


def earlier(pilot: Pilot, told: str = "3", sold: str = "27", **change: str) -> None:
    """Let an earlier run of the same permit have bought for 30 and sold for 27; this one says what it knows of that."""
    name = "cd" * 8
    same = {"run_id": name, "policy_hash": POLICY_HASH, "code_hash": CODE}
    run = same | {"env": {"name": "live"}, "capital": "50", "instruments": {BTC: {"quote": "USDT"}}}
    buy, sale = pilot.orders[1] | {"ts": str(NOW), "qty": "1"}, {"order_id": "O-2", "side": "SELL", "price": sold}
    fill = pilot.fills[0] | {"price": "30", "fee": "0"}
    made = {
        "run.json": dumped(run), "summary.json": dumped(same | {"fees": "0", "fills": 2, "orders": 2}),
        "policy.json": dumped(POLICY), "journal.json": dumped(pilot.journal),
        "orders.jsonl": lines([buy | {"seq": 1, "price": "30"}, buy | {"seq": 3} | sale]),
        "fills.jsonl": lines([fill | {"seq": 2}, fill | {"seq": 4, "trade_id": "T-2"} | sale]),
        "risk_events.jsonl": lines([pilot.events[0] | {"seq": 5}]),
    }  # fmt: skip
    pilot.other = {f"runs/{name}/{part}": data for part, data in made.items()}
    pilot.events[0] = pilot.given({}, str(int(told) * 10**18))
    for what, value in change.items():
        pilot.equity.append(value) if what == "equity" else pilot.order("O-9", "BUY", value, "20", 9)


def over(pilot: Pilot, fee: str = "0", late: bool = False, first: str = "", trades: Any = (), **told: str) -> None:
    """Let a run take over half a bitcoin for 10, as its record says that it was handed over, but for what is `told`."""
    of = ran(pilot, 9, [*trades] or [("O-1", "BUY", "0.5", "10")])
    row = {"order_id": "HANDOVER-1", "instrument": BTC, "value": "0.5", "bound": "20", "detail": f"left by run {of}"}
    pilot.seq += 1
    seq = 999 if late else pilot.seq
    pilot.events.append({"seq": seq, "ts": str(NOW), "kind": "handover", **row, **told})
    if first:  # is bought before it
        pilot.order("O-9", "BUY", first, "20", at=9)
    pilot.order("HANDOVER-1", "BUY", "0.5", "20", at=9)
    pilot.fill("HANDOVER-1", "BUY", "0.5", "20", fee)


def sold_by_law(
    pilot: Pilot, qty: str = "0.5", stops: bool = True, taken: bool = False, more: bool = False, at: int = 9, **terms: str
) -> None:
    """Let the law of a run deny what it was to take over, take it over itself, and sell it."""
    of = ran(pilot, 9, [("O-1", "BUY", qty, "10")])
    row = {"order_id": "HANDOVER-1", "instrument": BTC, "value": qty, "bound": "20", "detail": f"left by run {of}"}
    for one in ({"kind": "handover", **row}, {"kind": "kill"} if stops else {}):
        if taken and one.get("kind") == "kill":
            pilot.order("HANDOVER-1", "BUY", qty, "20", at=at)
            pilot.fill("HANDOVER-1", "BUY", qty, "20", "0")
        pilot.seq += 1
        pilot.events.append({"kind": "state", "seq": pilot.seq, "ts": str(NOW), "value": "", "detail": "", **one})
    asked = {"qty": qty, "price": "20"} | terms
    pilot.order("HANDOVER-1-LAW", "BUY", asked["qty"], asked["price"], at=at)
    pilot.fill("HANDOVER-1-LAW", "BUY", asked["qty"], asked["price"], "0")
    if more:
        pilot.order("O-9", "BUY", "0.1", "20", at=at)
    pilot.order("LAW-1", "SELL", asked["qty"], None, at=at)
    pilot.fill("LAW-1", "SELL", asked["qty"], "20", "0")


OTHER = {"cadence": {"n": 7}}
OTHER_HASH = sha256(dumped(OTHER)).hexdigest()
Trade = tuple[str, str, str, str]  # order, side, quantity, price
SOLD: list[Trade] = [("O-1", "BUY", "0.5", "10"), ("O-2", "SELL", "0.5", "30")]


def ran(pilot: Pilot, number: int, trades: list[Trade], left: dict[str, Any] | None = None, policy: Any = POLICY) -> str:
    """Let a run have traded before, the `number`-th of them; return its id. What was `left` to it, its record tells."""
    name, digest_of = f"{number:016x}", sha256(dumped(policy)).hexdigest()
    same = {"run_id": name, "policy_hash": digest_of, "code_hash": CODE}
    run = same | {"env": {"name": "live"}, "capital": "50", "instruments": {BTC: {"quote": "USDT", "base": "BTC"}}}
    told = json.loads(pilot.events[0]["detail"]) | {"spent": "0"}
    if policy is not POLICY:
        told["entry"] = pilot.book.permit(policy_hash=digest_of, nonce="7" * 32)
    events, orders, fills = [pilot.events[0] | {"seq": 1, "detail": json.dumps(told)}], [], []
    if left is not None:
        events.append({"seq": 2, "ts": str(NOW), "kind": "handover", "order_id": "HANDOVER-1", "instrument": BTC, **left})
    for at, (order, side, qty, price) in enumerate(trades, 1):
        row = {"ts": str(NOW + number), "order_id": order, "instrument": BTC, "side": side, "qty": qty, "price": price}
        orders.append(row | {"seq": 10 * at, "event": "submitted", "type": "LIMIT"})
        fills.append(row | {"seq": 10 * at + 1, "trade_id": f"T-{at}", "fee": "0", "currency": "USDT"})
    made = {
        "run.json": dumped(run), "policy.json": dumped(policy), "journal.json": dumped(pilot.journal),
        "summary.json": dumped(same | {"fees": "0", "fills": len(fills), "orders": len(orders)}),
        "orders.jsonl": lines(orders), "fills.jsonl": lines(fills), "risk_events.jsonl": lines(events),
    }  # fmt: skip
    pilot.other |= {f"runs/{name}/{part}": data for part, data in made.items()}
    return name


def admitted(pilot: Pilot) -> None:
    """Let another policy have come as far as to be permitted."""
    pilot.book.stage("experiment", "paper", policy_hash=OTHER_HASH, **pilot.proof)
    pilot.book.stage("paper", "pilot", policy_hash=OTHER_HASH, **pilot.proof)


def handed_on(pilot: Pilot, told: str, value: str = "1", again: str = "", bought: str = "1") -> None:
    """Let one policy buy for 30, another take it over for 33 and sell it for 36, and lose 10 then; this run is told."""
    admitted(pilot)
    first = ran(pilot, 1, [("O-1", "BUY", bought, "30")], policy=OTHER)
    left = {"value": value, "bound": "33", "detail": f"left by run {first}"}
    ran(pilot, 2, [("HANDOVER-1", "BUY", value, "33"), ("O-1", "SELL", value, "36")], left)
    more = {"value": again, "bound": "33", "detail": f"left by run {first}"} if again else None
    ran(pilot, 3, [("O-1", "BUY", "1", "20"), ("O-2", "SELL", "1", "10")], more)
    pilot.events[0] = pilot.given({}, str(int(told) * 10**18))


def left_by(pilot: Pilot, number: int, journal: dict[str, str] | None = None, env: dict[str, str] | None = None) -> None:
    """Let a run take over what one that is not the run before it on its account has bought."""
    admitted(pilot)
    of = ran(pilot, number, [("O-1", "BUY", "0.5", "10")], policy=OTHER)
    over(pilot, detail=f"left by run {of}")
    if journal:
        pilot.book.permit(policy_hash=OTHER_HASH, account=journal["account"], nonce="3" * 32)
        pilot.other[f"runs/{of}/journal.json"] = dumped(journal)
    if env:
        run = json.loads(pilot.other[f"runs/{of}/run.json"])
        pilot.other[f"runs/{of}/run.json"] = dumped(run | {"env": env})


DOWN = {
    "policy_hash": POLICY_HASH,
    "from": "limited_live",
    "to": "paper",
    "why": "x",
    "dossier": "",
    "verdict": "",
    "noticed": "",
}
PLANTS: dict[str, list[Callable[[], bytes]]] = {
    "archive": [lambda: dated(Pilot().permitted().archive())],
    "manifest": [
        lambda: repacked(Pilot().permitted().archive(), lambda members: members.update({"README.txt": b"other"}))
    ],
    "signatures": [
        lambda: Pilot().permitted().archive(by="eve"),
        lambda: Pilot().permitted().archive(by="eve", name="eve"),
        lambda: repacked(Pilot().permitted().archive(), lambda members: members.update({SIGNATURES: b"[]"})),
        lambda: book(lambda pilot: pilot.book.add("roster", {"add": None, "revoke": "service"}, "root")),
    ],
    "told": [lambda: Pilot().permitted().archive()],
    "chain": [
        lambda: book(lambda pilot: pilot.book.add("operator", {}, "service", head=Head(pilot.book.head.seq, "1" * 64))),
        lambda: book(
            lambda pilot: pilot.book.add(
                "operator", {}, "service", head=Head(pilot.book.head.seq + 1, pilot.book.head.hash)
            )
        ),
        lambda: book(lambda pilot: pilot.book.lines.append(b"{}")),
    ],
    "roster": [
        lambda: book(
            lambda pilot: pilot.book.add(
                "roster", {"add": pilot.book.member("eve", "person", "ada"), "revoke": None}, "root"
            )
        ),
        lambda: book(lambda pilot: pilot.book.add("roster", {"add": None, "revoke": "eve"}, "root")),
    ],
    "roles": [
        lambda: book(lambda pilot: pilot.book.add("signoff", {}, "service")),
        lambda: book(
            lambda pilot: pilot.book.add("roster", {"add": pilot.book.member("eve", "person"), "revoke": None}, "ada")
        ),
        lambda: book(lambda pilot: pilot.book.add("other", {}, "ada")),
    ],
    "signers": [
        lambda: book(lambda pilot: pilot.book.add("operator", {}, "service", key="eve")),
        lambda: book(lambda pilot: pilot.book.add("operator", {}, "ben", key="ada")),
    ],
    "beside": [lambda: without("ledger/batches"), lambda: without("ledger/verdicts")],
    "copies": [lambda: without("signoffs"), lambda: without("dossiers")],
    "tables": [
        lambda: traded(lambda pilot: pilot.summary.update(fees="0.04")),
        lambda: traded(lambda pilot: pilot.summary.update(orders=4)),
        lambda: traded(lambda pilot: pilot.summary.update(fills=2)),
        lambda: traded(lambda pilot: pilot.summary.update(run_id="0" * 16)),
        lambda: traded(lambda pilot: pilot.summary.update(policy_hash="0" * 64)),
        lambda: traded(lambda pilot: pilot.fill("O-7", "SELL", "1", "19")),
        lambda: traded(lambda pilot: pilot.fill("O-3", "SELL", "0.1", "19")),
        lambda: traded(lambda pilot: pilot.orders.append(pilot.orders[0])),
    ],
    "moves": [
        lambda: book(
            lambda pilot: pilot.book.stage("experiment", "paper", "service", policy_hash=digest(5), **pilot.proof)
        ),
        lambda: book(lambda pilot: pilot.book.stage("experiment", "pilot", policy_hash=digest(5), **pilot.proof)),
        lambda: book(lambda pilot: pilot.book.stage("experiment", "paper", policy_hash=digest(5))),
        lambda: book(lambda pilot: pilot.book.stage("pilot", "paper", policy_hash=digest(5))),
    ],
    "permits": [
        lambda: book(lambda pilot: pilot.book.permit("ada", "ada", nonce="2" * 32)),
        lambda: book(lambda pilot: pilot.book.permit("ada", "service", nonce="2" * 32)),
        lambda: book(lambda pilot: pilot.book.permit("ada", "ben", "ada", nonce="2" * 32)),
        lambda: book(lambda pilot: pilot.book.permit(nonce="2" * 32, capital="1001", loss="5")),
        lambda: book(lambda pilot: pilot.book.permit(nonce="2" * 32, capital="4")),
        lambda: book(lambda pilot: pilot.book.permit(nonce="2" * 32, ledger="0" * 64)),
        lambda: book(lambda pilot: pilot.book.permit(nonce="2" * 32, ends=str(NOW + 32 * 24 * HOUR))),
        lambda: book(lambda pilot: pilot.book.permit(nonce="2" * 32, ts=NOW + HOUR)),
        lambda: book(lambda pilot: pilot.book.permit()),
        lambda: book(lambda pilot: pilot.book.permit(nonce="2" * 32, policy_hash=digest(5))),
        lambda: book(lambda pilot: pilot.book.add("revocation", {"permit": "0" * 64, "why": "x"}, "service")),
        lambda: book(
            lambda pilot: [pilot.book.add("revocation", {"permit": pilot.permit, "why": "x"}, "service") for _ in "12"]
        ),
        lambda: before(
            lambda pilot: pilot.book.add(
                "roster", {"add": pilot.book.member("eve", "service"), "revoke": None}, "root"
            ),
            second="eve",
        ),
    ],
    "scope": [
        lambda: sent(at=-1),
        lambda: sent(at=3_600),
        lambda: sent(instrument="ETHUSDT.BINANCE"),
        lambda: sent(price=None),
        lambda: sent("LAW-1", "BUY"),
        lambda: late("revocation", {"permit": "PERMIT", "why": "x"}, "service"),
        lambda: late("roster", {"add": None, "revoke": "ben"}, "root"),
        lambda: late("stage", DOWN, "service"),
        lambda: before(lambda _: None, ts=NOW + 10 * 10**9),
        lambda: traded(
            lambda pilot: (
                pilot.order("O-9", "SELL", "0.1", "19", 9),
                pilot.orders.pop(),
                pilot.fill("O-9", "SELL", "0.1", "19"),
            )
        ),
    ],
    "capital": [
        lambda: sent(qty="1.95"),
        lambda: sent(name="O-4", qty="1", price="40"),
        lambda: traded(lambda pilot: earlier(pilot, qty="1.94")),
    ],
    "left": [lambda: traded(lambda pilot: pilot.left_out.append("2026-11-27/0123: cannot be read: half a file"))],
    "given": [
        lambda: traded(lambda pilot: pilot.events.clear()),
        lambda: traded(lambda pilot: pilot.events.append(pilot.given({"capital": "60"}))),
        lambda: traded(lambda pilot: pilot.events.append(pilot.given({"ends": str(NOW + 2 * HOUR)}))),
        lambda: traded(lambda pilot: (setattr(pilot, "permit", "0" * 64), pilot.events.append(pilot.given({})))),
    ],
    "spent": [
        lambda: traded(lambda pilot: earlier(pilot, told="2")),
        lambda: traded(lambda pilot: handed_on(pilot, told="3")),  # it was paid under another permit, and is sold
    ],
    "loss": [
        lambda: traded(lambda pilot: pilot.equity.append("44.9")),
        lambda: traded(lambda pilot: earlier(pilot, equity="47.9")),
    ],
    "taken": [
        lambda: traded(lambda pilot: over(pilot, order_id="HANDOVER-2")),
        lambda: traded(lambda pilot: over(pilot, late=True)),
        lambda: traded(lambda pilot: over(pilot, value="0.49")),
        lambda: traded(lambda pilot: over(pilot, bound="19")),
        lambda: traded(lambda pilot: over(pilot, instrument="ETHUSDT.BINANCE")),
        lambda: traded(lambda pilot: over(pilot, fee="0.01")),
        lambda: traded(lambda pilot: handed_on(pilot, "4", value="1.01")),
        lambda: traded(lambda pilot: handed_on(pilot, "4", again="0.01")),  # all was taken by the run before
        lambda: traded(lambda pilot: sold_by_law(pilot, stops=False)),
        lambda: traded(lambda pilot: sold_by_law(pilot, taken=True)),
        lambda: traded(lambda pilot: sold_by_law(pilot, price="19")),
        lambda: traded(lambda pilot: sold_by_law(pilot, more=True)),
        lambda: traded(lambda pilot: over(pilot, first="0.1")),
        lambda: traded(lambda pilot: over(pilot, detail="left by run 9f")),  # no such run is in it
        lambda: traded(lambda pilot: over(pilot, trades=SOLD, detail=f"left by run {RUN}")),  # by itself
        lambda: traded(lambda pilot: left_by(pilot, 2 * 10**9)),  # began after it
        lambda: traded(lambda pilot: left_by(pilot, 8, journal={"account": "OTHER", "broker": "binance sandbox"})),
        lambda: traded(lambda pilot: left_by(pilot, 8, env={"name": "paper"})),
    ],
    "explored": [
        lambda: traded(lambda pilot: pilot.events.append({"seq": 99, "kind": "explored"})),
        lambda: traded(lambda pilot: pilot.run.update(canary={"share": 0.1})),
    ],
}
TOLD = {"told": {"fingerprint": "0" * 64}}


def test_there_is_a_plant_for_every_check(verify: ModuleType) -> None:
    assert set(PLANTS) == {*verify.FIRST, *verify.GENUINE, *verify.RULES}


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, plants in PLANTS.items() for at in range(len(plants))])
def test_mutations_a_check_finds_its_plant_and_without_it_the_archive_passes(
    verify: ModuleType, name: str, at: int
) -> None:
    data, told = PLANTS[name][at](), TOLD.get(name, {})
    wrong, broken = verify.judged(data, **told)
    assert {line.partition(":")[0] for line in wrong + broken} == {name}
    assert bool(broken) == (name in verify.RULES)
    for checks in (verify.FIRST, verify.GENUINE, verify.RULES):
        checks.pop(name, None)
    assert verify.judged(data, **told) == ([], [])


def test_a_ledger_that_was_cut_off_shows_against_a_head(verify: ModuleType, good: bytes) -> None:
    pilot = Pilot().permitted()
    head = f"{pilot.book.head.seq}:{pilot.book.head.hash}"
    assert verify.judged(good, head=head) == ([], [])
    del pilot.book.lines[-1]
    pilot.env = "paper"
    assert verify.judged(pilot.archive(), head=head)[0]
    assert verify.judged(good, head=f"2:{'0' * 64}")[0]


def test_up_to_the_cap_is_within_it(verify: ModuleType) -> None:
    assert verify.judged(sent(qty="1.94")) == ([], [])


def test_what_was_lost_before_is_counted_on_once(verify: ModuleType) -> None:
    assert verify.judged(traded(lambda pilot: earlier(pilot, equity="48.1"))) == ([], [])
    resumed = {"seq": 98, "kind": "resumed", "value": "46"}
    gone_on = [
        lambda pilot: pilot.events.append(resumed),
        lambda pilot: pilot.equity.__setitem__(slice(None), ["46", "41.1"]),
    ]
    assert verify.judged(traded(lambda pilot: [change(pilot) for change in gone_on])) == ([], [])


def test_what_is_compressed_or_leads_elsewhere_is_no_archive(verify: ModuleType, good: bytes) -> None:
    with zipfile.ZipFile(BytesIO(good)) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
        file.writestr("bomb.json", bytes(10**7))
    assert verify.judged(out.getvalue())[0] == ["archive: no whole zip file: something in it is compressed"]
    for name in ("../../x.txt", "/etc/x", "a//b", "a\\b", "a/../b", "A.TXT", ".hidden", "x\ny"):
        data = verify.packed(members | {name: b"x"})
        assert any("no name of a member" in line for line in verify.judged(data)[0]), name


def test_what_a_reader_of_zip_files_might_overlook_is_found(verify: ModuleType, good: bytes) -> None:
    """Each of these opens as if it were whole."""
    end = good.rindex(b"PK\x05\x06")
    doubled = BytesIO(good)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(doubled, "a") as file:
        file.writestr("README.txt", b"another")
    noted = BytesIO(good)
    with zipfile.ZipFile(noted, "a") as file:
        file.comment = b"a note"
    hidden = BytesIO()
    with zipfile.ZipFile(BytesIO(good)) as file, zipfile.ZipFile(hidden, "w") as other:
        for info in reversed(file.infolist()):
            other.writestr(info, file.read(info))
    other_ends = (b"#!/bin/sh\n" + good, good + b"\0" * 22, good[:end] + b"gap" + good[end:], good + good)
    for data in (doubled.getvalue(), noted.getvalue(), hidden.getvalue(), *other_ends):
        assert verify.judged(data)[0]


OTHERS = {
    "code": lambda pilot: None,
    "account": lambda pilot: pilot.journal.update(account="OTHER"),
    "venue": lambda pilot: pilot.journal.update(broker="binance mainnet"),
    "journal": lambda pilot: pilot.journal.clear(),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_permit_for_something_else_covers_nothing(verify: ModuleType, what: str) -> None:
    parts = {"code_hash": "d" * 64} if what == "code" else {}
    broken = verify.judged(traded(OTHERS[what], **parts))[1]
    assert any("O-1 in BTCUSDT.BINANCE" in line and "is covered by no permit" in line for line in broken)
    assert any(line.startswith("capital") for line in broken)


def test_what_was_taken_over_is_lawful_told_and_counts_as_bought(tmp_path: Path, verify: ModuleType) -> None:
    data = traded(over)
    assert verify.judged(data) == ([], [])
    assert "told: run abababababababab: 0.5 of BTCUSDT.BINANCE at 20, taken over" in alone(written(tmp_path / "a.zip", data)).stdout
    wrong, broken = verify.judged(traded(lambda pilot: (pilot.order("O-9", "BUY", "1.5", "20", 8), over(pilot))))
    assert wrong == []
    assert {line.partition(":")[0] for line in broken} == {"capital"}


def test_what_is_taken_over_was_spent_before_and_is_not_counted_twice(verify: ModuleType) -> None:
    trades = [("O-1", "BUY", "1", "30"), ("O-2", "SELL", "0.5", "54")]  # 3 are out, and half of it is left
    assert [line.partition(":")[0] for line in verify.judged(traded(lambda pilot: ran(pilot, 9, trades)))[1]] == ["spent"]
    assert verify.judged(traded(lambda pilot: over(pilot, trades=trades))) == ([], [])


def test_all_that_was_offered_counts_where_it_was_taken_over_in_part(verify: ModuleType) -> None:
    trades = [("O-1", "BUY", "1.5", "20"), ("O-2", "SELL", "0.5", "24")]  # 18 are out, and 20 were offered

    def half(pilot: Pilot) -> None:
        over(pilot, trades=trades)
        pilot.seq += 1
        pilot.events.append(pilot.events[-1] | {"seq": pilot.seq, "order_id": "HANDOVER-2"})

    assert verify.judged(traded(half)) == ([], [])
    wrong, broken = verify.judged(traded(lambda pilot: over(pilot, trades=trades)))
    assert [line.partition(":")[0] for line in wrong + broken] == ["spent"]


def test_what_a_run_has_taken_over_was_paid_by_the_one_before(verify: ModuleType) -> None:
    assert verify.judged(traded(lambda pilot: handed_on(pilot, told="4"))) == ([], [])


def test_what_others_have_lost_is_no_loss_of_a_run_that_only_sold(verify: ModuleType) -> None:
    lost = lambda pilot: pilot.equity.append("44.9")  # noqa: E731
    assert verify.judged(traded(lambda pilot: (sold_by_law(pilot), lost(pilot)))) == ([], [])
    assert [line.partition(":")[0] for line in verify.judged(traded(lost))[1]] == ["loss"]


@pytest.mark.parametrize(("qty", "at"), [("2", 9), ("0.5", 4_000)], ids=["beyond the capital", "after the permit"])
def test_what_the_law_denies_of_it_it_may_take_over_and_sell(
    tmp_path: Path, verify: ModuleType, monkeypatch: pytest.MonkeyPatch, qty: str, at: int
) -> None:
    data = traded(lambda pilot: sold_by_law(pilot, qty, at=at))
    assert verify.judged(data) == ([], [])
    assert "taken over and not bought, by the law, which then sold it" in alone(written(tmp_path / "a.zip", data)).stdout
    monkeypatch.setattr(verify, "by_law", lambda _: set())  # mutation
    assert {line.partition(":")[0] for line in verify.judged(data)[1]} == {"taken", "capital" if at == 9 else "scope"}


def test_another_permit_may_take_over(verify: ModuleType) -> None:
    def renewed(pilot: Pilot) -> None:
        pilot.book.permit(nonce="2" * 32, begins=str(NOW + HOUR), ends=str(NOW + 2 * HOUR))
        pilot.order("O-9", "BUY", "0.1", "20", at=4_000)

    assert verify.judged(traded(renewed)) == ([], [])


def test_a_rollback_and_a_demotion_are_lawful_moves(verify: ModuleType) -> None:
    pilot = Pilot()
    pilot.book.stage("experiment", "paper", policy_hash=digest(5), **pilot.proof)
    pilot.book.stage("paper", "pilot", policy_hash=digest(5), **pilot.proof)
    pilot.book.stage("pilot", "pilot")
    pilot.book.stage("paper", "experiment", "service", policy_hash=digest(5))
    assert verify.judged(pilot.permitted().archive()) == ([], [])


def test_what_cannot_be_read_is_wrong_and_no_crash(verify: ModuleType) -> None:
    pilot = Pilot().permitted()
    run = f"runs/{RUN}/run.json"
    for junk in (b"", b"[]", b"{}", b'{"a":1,"a":2}', b"\xff", b"null", b"[" * 3000):
        assert verify.judged(pilot.archive({run: junk}))[1], junk
    assert verify.judged(pilot.archive({f"runs/{RUN}/fills.jsonl": b'{"qty":"x"}\n'}))[1]
    assert verify.judged(pilot.archive({"signoffs.jsonl": b"\xff"}))[0]


def test_code_is_part_of_what_is_permitted() -> None:
    assert CODE in Pilot().permitted().archive().decode("latin-1")
