"""Verifies an audit archive of AlphaTrade with nothing but Python: ``python -I -S verify.py ARCHIVE [--trust FILE] …``.

It shares no code with what made the archive. First: is it genuine, to the last byte, and signed by members of the
ledger's roster? Then: does what was recorded keep the rules? Exit code 0: both; 1: not; 2: it could not be asked so.

A copy of this file lies in the archive. Use one that you have from elsewhere: whoever changes an archive can change
the copy. And name the keys (--trust), the fingerprint or a head that you were told: a ledger that somebody has made up
as a whole is consistent as well.
"""

import argparse
import hashlib
import io
import json
import re
import struct
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, DecimalException, getcontext
from pathlib import Path
from typing import Any, NamedTuple

getcontext().prec = 80
PURPOSE, COSIGN = b"alphatrade audit\n", b"alphatrade limited_live\n"
MANIFEST, SIGNATURES, LEDGER = "manifest.json", "signatures.json", "ledger/ledger.jsonl"
STAGES = ("experiment", "paper", "pilot", "limited_live")
BOTH = frozenset({"person", "service"})
MAY = dict.fromkeys(("search", "trial", "batch", "look", "outcome", "stage", "proposal", "ruling"), BOTH) | {
    "genesis": frozenset({"root"}), "roster": frozenset({"root"}), "signoff": frozenset({"person"}),
    "application": BOTH, "rollback": BOTH, "operator": BOTH, "revocation": BOTH, "limited_live": frozenset({"person"}),
}  # fmt: skip
COPIES = {
    "signoffs.jsonl": ("signoff", "stage", "limited_live", "revocation", "roster"),
    "operators.jsonl": ("operator", "rollback"),
}
CEILING, LONGEST_NS = 1000, 31 * 86_400 * 10**9  # the most that any permit may say: capital in quote units, and time
ROUNDING = 10**14  # atto: a venue rounds what each fill costs
GRACE_NS = 65 * 10**9  # a node looks at its permit each minute
ENDS = ("canceled", "rejected", "denied", "expired")
OURS = "LAW-"  # orders with which the law itself closes
TAKEN = "HANDOVER-"  # orders that take over what the node before has left: bought, and no exchange has them
BY_LAW = "-LAW"  # ends the id of one by which the law itself took over what it had denied, to sell it
LEFT_BY = "left by run "  # how a run says whose it was
_LINE = re.compile(
    rb'\{"body":(\{.*\}),"key":("(?:[^"\\]|\\.)*"),"kind":"([a-z_]+)","prev":"([0-9a-f]{64})",'
    rb'"schema":1,"seq":(0|[1-9][0-9]{0,14}),"sig":"([0-9a-f]{128})","ts":"([0-9]{1,19})"\}', re.S,
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[a-z]+)?(/[A-Za-z0-9_-]+(\.[a-z]+)?)*")  # nothing is unpacked to elsewhere

# -- Ed25519, RFC 8032: strict, without cofactors

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
L = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int, int, int]


def _add(a: Point, b: Point) -> Point:
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    x, y, t, z = f - e, h - g, h + g, f + e
    return x * y % P, t * z % P, y * t % P, x * z % P


def _times(number: int, point: Point) -> Point:
    found: Point = (0, 1, 1, 0)
    while number:
        if number & 1:
            found = _add(found, point)
        point, number = _add(point, point), number >> 1
    return found


def _point(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (not x and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(public: str, signature: str, message: bytes) -> bool:
    """Return whether a signature of `message` is that of a public key; both hexadecimal."""
    if not re.fullmatch("[0-9a-f]{64}", public) or not re.fullmatch("[0-9a-f]{128}", signature):
        return False
    key, sig = bytes.fromhex(public), bytes.fromhex(signature)
    a, r, s = _point(key), _point(sig[:32]), int.from_bytes(sig[32:], "little")
    if a is None or r is None or BASE is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(sig[:32] + key + message).digest(), "little") % L
    one, other = _times(s, BASE), _add(r, _times(k, a))
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 == (one[1] * other[2] - other[1] * one[2]) % P


# -- what is in an archive


class Entry(NamedTuple):
    """An entry of the ledger: `message` is what its key has signed, `line` the whole of it."""

    seq: int
    ts: int
    kind: str
    body: dict[str, Any]
    key: str
    prev: str
    sig: str
    message: bytes
    line: bytes


class Run(NamedTuple):
    """A run: its id, its settings, its summary, rows of its tables."""

    name: str
    run: dict[str, Any]
    summary: dict[str, Any]
    orders: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    events: list[dict[str, Any]]
    equity: list[dict[str, Any]]

    @property
    def live(self) -> bool:
        """Whether its orders were real."""
        return bool(self.run["env"]["name"] == "live")


class Roster(dict[str, list[str]]):
    """Name to role, public key, and ``revoked`` or nothing."""

    def take(self, entry: Entry) -> str:
        """Take a change, and return what is wrong with it."""
        for one in [*entry.body.get("roster", []), entry.body.get("add")]:
            if one is not None and (one["name"] in self or one["public"] in [m[1] for m in self.values()]):
                return f"name or key of {one['name']} was used before"
            if one is not None:
                self[one["name"]] = [one["role"], one["public"], ""]
        gone = entry.body.get("revoke")
        if gone is not None:
            if gone not in self or self[gone][2]:
                return f"{gone} is nobody who could be revoked"
            self[gone][2] = "revoked"
        return "" if any(role == "root" and not out for role, _, out in self.values()) else "nobody is root any more"

    def who(self, name: str) -> list[str]:
        """Return role and key of who may sign; nothing for anybody else."""
        found = self.get(name, ["", "", "revoked"])
        return ["", ""] if found[2] else found[:2]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field that is there twice")
    return dict(pairs)


def loads(data: bytes) -> Any:
    """Return the value of a JSON text without doubled fields."""
    return json.loads(data, object_pairs_hook=_unique)


def sha(data: bytes) -> str:
    """Return the sha256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def nano(text: object) -> int:
    """Return a decimal number as a count of 1e-9."""
    return int(Decimal(str(text)) * 10**9)


class Archive:
    """An archive as it was read, and what the reader was told elsewhere."""

    def __init__(self, data: bytes, trust: frozenset[str] = frozenset(), fingerprint: str = "", head: str = "") -> None:
        self.data, self.trust, self.fingerprint, self.head = data, trust, fingerprint, head
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if any(info.compress_type or info.file_size > len(data) for info in file.infolist()):
                raise ValueError("something in it is compressed")  # unpacked it may be of any size
            self.members = {info.filename: file.read(info) for info in file.infolist()}

    def left_out(self) -> list[str]:
        """Return what was not put into it, by its own word."""
        return [str(line) for line in loads(self.members[MANIFEST]).get("left_out", ())]

    def rows(self, name: str) -> list[Any]:
        """Return the values of the lines of a member; a missing one has none."""
        return [loads(line) for line in self.members.get(name, b"").splitlines()]

    def lines(self) -> list[bytes]:
        """Return the lines of the ledger."""
        return self.members[LEDGER].split(b"\n")[:-1]

    def entries(self) -> list[Entry]:
        """Return the entries of the ledger that have the form of one."""
        return [one for line in self.lines() if (one := entry_of(line)) is not None]

    def walk(self) -> Iterator[tuple[Entry, Roster]]:
        """Yield each entry, and who might sign when it was made."""
        roster = Roster()
        for entry in self.entries():
            if entry.kind == "genesis":
                roster.take(entry)
            yield entry, roster
            if entry.kind == "roster":
                roster.take(entry)

    def runs(self) -> list[Run]:
        """Return the runs."""
        names = sorted({name.split("/")[1] for name in self.members if name.startswith("runs/")})
        tables = ("orders", "fills", "risk_events", "equity")
        return [
            Run(
                name, loads(self.members[f"runs/{name}/run.json"]), loads(self.members[f"runs/{name}/summary.json"]),
                *(self.rows(f"runs/{name}/{table}.jsonl") for table in tables),
            )
            for name in names
        ]  # fmt: skip


def entry_of(line: bytes) -> Entry | None:
    """Return a line of the ledger as an entry; None if it has not the form of one."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    body, key, kind, prev, seq, sig, ts = found.groups()
    message = line[: found.start(6) - len(',"sig":"')] + line[found.end(6) + 1 :]
    try:
        plain = loads(body)
    except ValueError:
        return None
    return Entry(int(seq), int(ts), kind.decode(), plain, json.loads(key), prev.decode(), sig.decode(), message, line)


# -- is it genuine?


def _archive(it: Archive) -> Iterator[str]:
    if packed(it.members) != it.data:
        yield "the file is not what its members make: bytes were changed, added or left out"
    yield from (f"{name!r} is no name of a member" for name in it.members if not _NAME.fullmatch(name))


def packed(members: dict[str, bytes]) -> bytes:
    """Return the zip file of members: nothing compressed, names sorted, all dates the same."""
    files, index = bytearray(), bytearray()
    for name in sorted(members):
        data, raw = members[name], name.encode()
        same = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(raw), 0)
        index += b"PK\x01\x02" + struct.pack("<H", 3 << 8 | 20) + same
        index += struct.pack("<3H2I", 0, 0, 0, 0o100644 << 16, len(files)) + raw
        files += b"PK\x03\x04" + same + raw + data
    count = len(members)
    end = struct.pack("<4H2IH", 0, 0, count, count, len(index), len(files), 0)
    return bytes(files + index + b"PK\x05\x06" + end)


def _manifest(it: Archive) -> Iterator[str]:
    told = loads(it.members[MANIFEST])["members"]
    found = {name: sha(data) for name, data in it.members.items() if name not in (MANIFEST, SIGNATURES)}
    for name in sorted(told.keys() | found.keys()):
        if told.get(name) != found.get(name):
            yield f"{name}: the manifest says {told.get(name)}, it is {found.get(name)}"


def _signatures(it: Archive) -> Iterator[str]:
    roster, good = [Roster(), *(roster for _, roster in it.walk())][-1], set()
    for one in loads(it.members[SIGNATURES]):
        name, public, sig = one["name"], one["public"], one["sig"]
        if roster.who(name)[1] != public:
            yield f"{name} has signed with a key that the roster does not give him"
        elif not signed(public, sig, PURPOSE + it.members[MANIFEST]):
            yield f"the signature of {name} is not one of this manifest"
        else:
            good.add(public)
    if not good or (it.trust and not good & it.trust):
        yield f"nobody{' of those who are trusted' if it.trust else ''} has signed it"


def _chain(it: Archive) -> Iterator[str]:
    before = "0" * 64
    for seq, line in enumerate(it.lines()):
        one = entry_of(line)
        if one is None:
            yield f"entry {seq} is none"
        elif (one.seq, one.prev) != (seq, before):
            yield f"entry {seq} does not follow the one before it"
        before = sha(line)
    told = loads(it.members[MANIFEST])
    if [told["fingerprint"], told["head"]] != [sha(it.lines()[0]), f"{len(it.lines()) - 1}:{before}"]:
        yield "the manifest tells of another genesis or another head"


def _told(it: Archive) -> Iterator[str]:
    lines = it.lines()
    if it.fingerprint and sha(lines[0]) != it.fingerprint:
        yield f"it is another ledger than {it.fingerprint}"
    seq, _, digest = it.head.partition(":")
    if it.head and (int(seq) >= len(lines) or sha(lines[int(seq)]) != digest):
        yield f"the ledger was rewritten or cut off: it does not have the head {it.head}"


def _signers(it: Archive) -> Iterator[str]:
    for count, (one, roster) in enumerate(it.walk()):
        if count % 200 == 199:
            print(f"entry {count + 1:,}", file=sys.stderr)
        if not signed(roster.who(one.key)[1], one.sig, one.message):
            yield f"entry {one.seq} is not signed by {one.key}"


def _roles(it: Archive) -> Iterator[str]:
    for one, roster in it.walk():
        if (one.kind == "genesis") != (one.seq == 0) or roster.who(one.key)[0] not in MAY.get(one.kind, ()):
            yield f"entry {one.seq}, {one.kind}, is none that {one.key} might make"


def _roster(it: Archive) -> Iterator[str]:
    roster = Roster()
    for one in it.entries():
        if one.kind in ("genesis", "roster") and (wrong := roster.take(one)):
            yield f"entry {one.seq}: {wrong}"


def _beside(it: Archive) -> Iterator[str]:
    for one in it.entries():
        if one.kind == "batch":
            leaves = it.members.get(f"ledger/batches/{one.body['root']}.jsonl", b"").split(b"\n")[:-1]
            if len(leaves) != one.body["n"] or merkle(leaves) != one.body["root"]:
                yield f"the trials of entry {one.seq} are missing, or others"
        verdict = one.body.get("verdict") if one.kind == "stage" else ""
        if verdict and sha(it.members.get(f"ledger/verdicts/{verdict}.json", b"")) != verdict:
            yield f"the verdict of entry {one.seq} is missing, or another"


def merkle(leaves: list[bytes]) -> str:
    """Return the root over records (RFC 6962, section 2.1)."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves] or [hashlib.sha256().digest()]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0].hex()


def _copies(it: Archive) -> Iterator[str]:
    for name, kinds in COPIES.items():
        lines = [one.line + b"\n" for one in it.entries() if one.kind in kinds]
        if it.members.get(name) != b"".join(lines):
            yield f"{name} is not what the ledger has"
    named = {one.body["dossier"] for one in it.entries() if one.kind == "stage"}
    for name, data in it.members.items():
        if name.startswith("dossiers/") and sha(data) not in named:
            yield f"{name} is the dossier of no move between stages"


# -- were the rules kept?


def _tables(it: Archive) -> Iterator[str]:
    for one in it.runs():
        policy, summary, run = it.members[f"runs/{one.name}/policy.json"], one.summary, one.run
        if len({one.name, summary["run_id"], run["run_id"]}) > 1 or summary["code_hash"] != run["code_hash"]:
            yield f"run {one.name}: settings and summary are of different runs"
        if len({sha(policy), summary["policy_hash"], run["policy_hash"]}) > 1:
            yield f"run {one.name}: the policy is another one"
        seqs = [int(row["seq"]) for row in one.orders + one.fills + one.events]
        if len(set(seqs)) < len(seqs):
            yield f"run {one.name}: a number in the order of its rows is there twice"
        if sum(nano(row["fee"]) for row in one.fills) != nano(summary["fees"]):
            yield f"run {one.name}: fees do not add up to {summary['fees']}"
        if [len({row["order_id"] for row in one.orders}), len(one.fills)] != [summary["orders"], summary["fills"]]:
            yield f"run {one.name}: not the {summary['orders']} orders and {summary['fills']} fills of the summary"
        yield from _filled(one)


def _left(it: Archive) -> Iterator[str]:
    yield from (line for line in it.left_out() if "cannot be read" in line)  # it might have kept no rule


def _filled(one: Run) -> Iterator[str]:
    orders = {row["order_id"]: row for row in one.orders}
    left = {name: nano(row["qty"]) for name, row in orders.items()}
    for row in one.fills:
        order = orders.get(row["order_id"])
        if order is None or (order["instrument"], order["side"]) != (row["instrument"], row["side"]):
            yield f"run {one.name}: fill {row['trade_id']} is of no such order"
            continue
        left[row["order_id"]] -= nano(row["qty"])
        if left[row["order_id"]] < 0:
            yield f"run {one.name}: order {row['order_id']} was filled beyond its quantity"


class Places:
    """Where every policy is, by the moves of a ledger."""

    def __init__(self) -> None:
        self.at: dict[str, str] = {}
        self.last: dict[str, str] = {}

    def of(self, policy: str) -> str:
        """Return the stage of a policy."""
        return self.at.get(policy, STAGES[0])

    def take(self, one: Entry) -> None:
        """Take an entry that moves a policy; any other one is none of ours."""
        if one.kind == "limited_live":
            policy = one.body["terms"]["policy_hash"]
            self.at[policy], self.last[STAGES[3]] = STAGES[3], policy
        elif one.kind == "stage":
            policy, origin, to = (one.body[name] for name in ("policy_hash", "from", "to"))
            if origin == to and self.of(self.last.get(to, "")) == to:  # a rollback: who was in charge goes a step down
                self.at[self.last[to]] = STAGES[max(STAGES.index(to) - 1, 0)]
            if STAGES.index(to) >= STAGES.index(origin):
                self.last[to] = policy
            self.at[policy] = to


def _moves(it: Archive) -> Iterator[str]:
    places = Places()
    for one, roster in it.walk():
        if one.kind == "stage":
            body, up = one.body, STAGES.index(one.body["to"]) - STAGES.index(one.body["from"])
            if body["from"] != places.of(body["policy_hash"]):
                yield f"entry {one.seq}: the policy was not in {body['from']}"
            if up >= 0 and roster.who(one.key)[0] != "person":
                yield f"entry {one.seq}: no person has moved a policy to {body['to']}"
            if up > 1 or (up == 1 and not (body["dossier"] and body["verdict"] and body["to"] != STAGES[3])):
                yield f"entry {one.seq}: more than one step up, or without dossier and verdict"
        places.take(one)


def permit_id(terms: dict[str, Any]) -> str:
    """Return what a permit is called: the sha256 of its terms."""
    return sha(canonical(terms))


def canonical(terms: dict[str, Any]) -> bytes:
    """Return terms, which hold text and whole numbers only, as canonical JSON (RFC 8785)."""
    return json.dumps(terms, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _permits(it: Archive) -> Iterator[str]:
    places, ledger = Places(), sha(it.lines()[0])
    known: set[str] = set()
    gone: set[str] = set()
    for one, roster in it.walk():
        if one.kind == "limited_live":
            terms, other = one.body["terms"], one.body["cosign"]
            role, public = roster.who(other["key"])
            if other["key"] == one.key or {role, roster.who(one.key)[0]} != {"person"}:
                yield f"entry {one.seq}: a permit needs two persons"
            if not signed(public, other["sig"], COSIGN + canonical(terms)):
                yield f"entry {one.seq}: {other['key']} has not signed these terms"
            yield from (f"entry {one.seq}: {wrong}" for wrong in _terms(terms, one, ledger))
            if permit_id(terms) in known or places.of(terms["policy_hash"]) not in STAGES[2:]:
                yield f"entry {one.seq}: a permit that was used before, or of a policy that is not in pilot"
            known.add(permit_id(terms))
        elif one.kind == "revocation" and one.body["permit"] not in known - gone:
            yield f"entry {one.seq}: it revokes a permit that does not stand"
        gone |= {one.body["permit"]} if one.kind == "revocation" else set()
        places.take(one)


def _terms(terms: dict[str, Any], one: Entry, ledger: str) -> Iterator[str]:
    capital, loss = (Decimal(terms[name]) for name in ("capital", "loss"))
    begins, ends = int(terms["begins"]), int(terms["ends"])
    if not 0 < loss <= capital <= CEILING:
        yield f"a capital of {capital} and a loss of {loss} cannot be permitted"
    if not begins < ends <= begins + LONGEST_NS or ends <= one.ts or terms["ledger"] != ledger:
        yield "a time that no permit may have, or another ledger"


class Permit(NamedTuple):
    """A permit of the ledger: its id and terms, when it was entered, when it was over."""

    name: str
    terms: dict[str, Any]
    entered: int
    over: int

    def covers(self, row: dict[str, Any]) -> bool:
        """Return whether an order was sent in its time and in what it is for."""
        begun = max(int(self.terms["begins"]), self.entered)
        return begun <= int(row["ts"]) < self.over and row["instrument"] in self.terms["symbols"]


def permits(it: Archive) -> dict[str, Permit]:
    """Return all permits by their id; one is over when it, a signer or the policy's stage is gone."""
    found: dict[str, Permit] = {}
    signers: dict[str, set[str]] = {}
    places = Places()
    for one in it.entries():
        places.take(one)
        if one.kind == "limited_live":
            name, terms = permit_id(one.body["terms"]), one.body["terms"]
            found[name] = Permit(name, terms, one.ts, int(terms["ends"]))
            signers[name] = {one.key, one.body["cosign"]["key"]}
        for name, permit in found.items():
            gone = one.kind == "revocation" and one.body["permit"] == name
            gone = gone or (one.kind == "roster" and one.body.get("revoke") in signers[name])
            if gone or places.of(permit.terms["policy_hash"]) != STAGES[3]:
                found[name] = permit._replace(over=min(permit.over, one.ts + GRACE_NS))
    return found


def _live(it: Archive) -> Iterator[tuple[Run, list[Permit]]]:
    """Yield each live run, in order of time, with the permits of the ledger that are for its policy, code and place."""
    known, live = permits(it), [run for run in it.runs() if run.live]
    for run in sorted(live, key=lambda run: min([int(row["ts"]) for row in run.orders or run.events], default=0)):
        own = [run.run["policy_hash"], run.run["code_hash"], *place_of(it, run)]
        wanted = ("policy_hash", "code_hash", "account", "venue")
        yield run, [one for one in known.values() if own == [one.terms[name] for name in wanted]]


def place_of(it: Archive, run: Run) -> tuple[str | None, str]:
    """Return account and venue of a run, by its journal."""
    head = loads(it.members.get(f"runs/{run.name}/journal.json", b"{}"))
    return head.get("account"), head.get("broker", "").split(" ")[-1]


def _scope(it: Archive) -> Iterator[str]:
    for run, own in _live(it):
        where, sent = f"run {run.name}", [row for row in run.orders if row["event"] == "submitted"]
        free = by_law(run)
        never = {row["order_id"] for row in run.fills} & {row["order_id"] for row in run.orders}
        for name in sorted(never - {row["order_id"] for row in sent}):
            yield f"{where}: {name} was filled, and never sent"
        for row in sent:
            name, buys = row["order_id"], row["side"] == "BUY"
            if buys and (name.startswith(OURS) or row["price"] is None):
                yield f"{where}: {name} buys at any price, or for the law"
            if not name.startswith(OURS) and name not in free and not any(one.covers(row) for one in own):
                yield f"{where}: {name} in {row['instrument']} at {row['ts']} is covered by no permit"


def given(run: Run) -> list[dict[str, Any]]:
    """Return the permits that a run was given, as it says; one that was refused is none."""
    told = [loads(row["detail"].encode()) for row in run.events if row["kind"] == "permit"]
    return [one for one in told if not one["refused"]]


def handed(run: Run) -> dict[str, dict[str, Any]]:
    """Return what a run was to take over, by order, as it says."""
    return {row["order_id"]: row for row in run.events if row["kind"] == "handover"}


def by_law(run: Run) -> set[str]:
    """Return the orders by which the law took something over: as it was told, after a stop, and not taken over yet."""
    stopped = min((int(row["seq"]) for row in run.events if row["kind"] == "kill"), default=0)
    early = {row["order_id"] for row in run.orders if int(row["seq"]) < stopped or not stopped}
    known = handed(run).keys() - {row["order_id"] for row in run.fills}
    return {row["order_id"] for row in run.orders} & {name + BY_LAW for name in known} - early


def begun(run: Run) -> int | None:
    """Return the number of the row with which the law began to take something over; None: it did not."""
    free = by_law(run)
    seqs = [int(row["seq"]) for row in run.orders if row["order_id"] in free and row["event"] == "submitted"]
    return min(seqs, default=None)


def told_as(run: Run, name: str) -> str:
    """Return under which order it was told what an order takes over."""
    return name.removesuffix(BY_LAW) if name in by_law(run) else name


def _taken(it: Archive) -> Iterator[str]:
    yield from _left_behind(it)
    for run, _ in _live(it):
        told, closed = handed(run), nothing_else(run)
        sent = {row["order_id"]: row for row in run.orders if row["event"] == "submitted"}
        for name, row in sent.items():
            if row["side"] != "BUY" or name.startswith(TAKEN):
                continue
            if any(first < int(row["seq"]) < last for first, last in closed):
                yield f"run {run.name}: {name} buys before what was left is taken over, or after the law had to"
        for fill in (row for row in run.fills if row["order_id"].startswith(TAKEN)):
            name = fill["order_id"]
            left, asked = told.get(told_as(run, name)), sent.get(name)
            where = f"run {run.name}: {name} of {fill['qty']} {fill['instrument']}"
            if left is None or asked is None or int(left["seq"]) > int(asked["seq"]):
                yield f"{where} was taken over, and not handed over before"
                continue
            if [nano(left[word]) for word in ("value", "bound")] != [nano(asked[word]) for word in ("qty", "price")]:
                yield f"{where} is not what was handed over"
            if (fill["side"], left["instrument"], nano(fill["fee"])) != ("BUY", fill["instrument"], 0):
                yield f"{where} is no purchase of what was handed over, or has a fee"


def nothing_else(run: Run) -> list[tuple[int, float]]:
    """Return between which rows a run may buy nothing but what was left to it."""
    over, never = begun(run), float("inf")
    taken = {row["order_id"].removesuffix(BY_LAW): int(row["seq"]) for row in run.fills}
    waits = [(int(row["seq"]), taken.get(name, never)) for name, row in handed(run).items()]
    return waits if over is None else [*waits, (over, never)]


def _left_behind(it: Archive) -> Iterator[str]:
    """Yield where more is taken over, by all runs together, than an earlier run of the place had at its end."""
    before, taken = dict[str, Run](), Counter[tuple[str, str]]()
    for run, _ in _live(it):
        told, offers = handed(run), Counter[tuple[str, str]]()
        for row in told.values():
            offers[origin(row), row["instrument"]] += nano(row["value"])
        for (of, instrument), qty in offers.items():
            words = f"run {run.name}: {Decimal(qty) / 10**9} of {instrument} is to be taken over from run {of}, which"
            if f"runs/{of}/run.json" not in it.members:
                yield f"{words} is not in the archive"
            elif of not in before or place_of(it, before[of]) != place_of(it, run):
                yield f"{words} was no live run of its account before it"
            elif taken[of, instrument] + qty > (left := held(before[of], instrument)):
                had = f"{Decimal(left) / 10**9}, and {Decimal(taken[of, instrument]) / 10**9} was taken before"
                yield f"{words} had {had}"
        for fill in (row for row in run.fills if row["order_id"].startswith(TAKEN)):
            row = told.get(told_as(run, fill["order_id"]), {"detail": ""})
            taken[origin(row), fill["instrument"]] += nano(fill["qty"])
        before[run.name] = run


def origin(row: dict[str, Any]) -> str:
    """Return which run has left what another one was to take over, as that one says."""
    return str(row["detail"]).removeprefix(LEFT_BY)


def held(run: Run, instrument: str) -> int:
    """Return what a run held of an instrument at its end; 1e-9."""
    base = run.run["instruments"].get(instrument, {}).get("base")
    rows = [row for row in run.fills if row["instrument"] == instrument]
    kept = sum(nano(row["fee"]) for row in rows if row["side"] == "BUY" and row["currency"] == base)
    return sum(nano(row["qty"]) * (1 if row["side"] == "BUY" else -1) for row in rows) - kept


def offered(run: Run) -> int:
    """Return for how much a run was to take over what another had bought: so much less counts as spent; atto."""
    return sum(nano(row["value"]) * nano(row["bound"]) for row in handed(run).values())


def taken_over(it: Archive) -> list[str]:
    """Return what live runs have taken over from others, a line each."""
    return [
        f"run {run.name}: {row['qty']} of {row['instrument']} at {row['price']}, taken over and not bought"
        + (", by the law, which then sold it" if row["order_id"] in by_law(run) else "")
        for run, _ in _live(it)
        for row in run.fills
        if row["order_id"].startswith(TAKEN)
    ]


def _given(it: Archive) -> Iterator[str]:
    known = permits(it)
    for run, _ in _live(it):
        told, sent = given(run), [row for row in run.orders if row["event"] == "submitted"]
        if not told and any(not row["order_id"].startswith(OURS) for row in sent):
            yield f"run {run.name}: it has sent orders, and was given no permit"
        for one in told:
            terms = known[one["entry"]].terms if one["entry"] in known else {}
            amounts = [terms and nano(terms[name]) * 10**9 for name in ("capital", "loss")]
            if [int(one["capital"]), int(one["loss"])] != amounts or one["ends"] != terms["ends"]:
                yield f"run {run.name}: the ledger has no such permit as {one['entry'][:12]} that it was given"


def _used(it: Archive) -> Iterator[tuple[Run, list[Permit], int, int]]:
    """
    Yield live runs with their permits, what was spent before as they say, and as the runs before them show; atto.

    What is taken over was paid by another run, under its own permit: what that has paid an exchange counts here too.
    """
    known, runs, before = permits(it), {run.name: run for run in it.runs()}, list[tuple[str, Run]]()
    for run, own in _live(it):
        told = given(run)[:1]
        under = told[0]["entry"] if told else own[-1].name if own else ""
        mine = [one for name, one in before if name == under]
        paid = sum(paid_since(one) for one in mine)
        if under in known:
            terms = known[under].terms
            others = [one for one in origins(runs, [*mine, run]) if one not in mine]
            paid += sum(paid_since(one, int(terms["begins"]), terms["symbols"]) for one in others)
        yield run, own, int(told[0]["spent"]) if told else max(paid, 0), paid
        before.append((under, run))


def origins(runs: dict[str, Run], takers: list[Run]) -> list[Run]:
    """Return the runs of an archive from which runs have taken something over, and those from which these have."""
    found, ahead = dict[str, Run](), [*takers]
    while ahead:
        for row in handed(ahead.pop()).values():
            name = origin(row)
            if name in runs and name not in found:
                found[name] = runs[name]
                ahead.append(runs[name])
    return [*found.values()]


def paid_since(run: Run, since: int = 0, instruments: list[str] | None = None) -> int:
    """Return what a run has paid an exchange since a moment (UTC ns), less what came back; atto."""
    paid, quotes = 0, {name: one["quote"] for name, one in run.run["instruments"].items()}
    for row in run.fills:
        known = instruments is None or row["instrument"] in instruments
        if known and int(row["ts"]) >= since and not row["order_id"].startswith(TAKEN):
            paid += nano(row["qty"]) * nano(row["price"]) * (1 if row["side"] == "BUY" else -1)
            paid += nano(row["fee"]) * 10**9 * (row["currency"] == quotes[row["instrument"]])
    return paid


def _spent(it: Archive) -> Iterator[str]:
    for run, _, told, known in _used(it):
        if told + offered(run) < known - ROUNDING:  # what is to be taken over counts when the run buys it
            words = f"{Decimal(told) / 10**18} spent before by its own word, {Decimal(known) / 10**18} by earlier runs"
            yield f"run {run.name}: {words}"


def _capital(it: Archive) -> Iterator[str]:
    for run, own, spent, _ in _used(it):
        cap = max([nano(one.terms["capital"]) * 10**9 for one in own], default=0)
        most = max(outlays(run, spent, begun(run)), default=0)  # what the law takes over is in no cap, and sold
        if most > cap:
            told = f"{Decimal(most) / 10**18} paid out or on offer, {Decimal(cap) / 10**18} permitted"
            yield f"run {run.name}: {told}"


def outlays(run: Run, spent: int, until: int | None = None) -> Iterator[int]:
    """Yield after each row before `until` what was paid out in all, with what working buys might take; atto."""
    working: dict[str, list[int]] = {}
    quotes = {name: one["quote"] for name, one in run.run["instruments"].items()}
    for row in sorted(run.orders + run.fills, key=lambda row: int(row["seq"])):
        name, buys = row["order_id"], row["side"] == "BUY"
        if until is not None and int(row["seq"]) >= until:
            return
        if "trade_id" in row:
            spent += nano(row["qty"]) * nano(row["price"]) * (1 if buys else -1)
            spent += nano(row["fee"]) * 10**9 * (row["currency"] == quotes[row["instrument"]])
            if name in working:
                working[name][0] -= nano(row["qty"])
        elif row["event"] == "submitted" and buys and row["price"] is not None:
            working[name] = [nano(row["qty"]), nano(row["price"])]
        elif row["event"] in ENDS:
            working.pop(name, None)
        yield spent + sum(max(left, 0) * price for left, price in working.values())


def _loss(it: Archive) -> Iterator[str]:
    for run, own, spent, _ in _used(it):
        if begun(run) is not None:
            continue  # it has bought nothing, see "taken": what it has lost, others had
        began = [row["value"] for row in run.events if row["kind"] == "resumed" and row["value"]]
        start = nano(began[0] if began else run.run["capital"])  # losses of earlier runs are counted on
        lost = start - min((nano(row["equity"]) for row in run.equity), default=start) + spent // 10**9
        if lost > max([nano(one.terms["loss"]) for one in own], default=0):
            yield f"run {run.name}: {Decimal(lost) / 10**9} lost, more than was permitted"


def _explored(it: Archive) -> Iterator[str]:
    for run, *_ in _live(it):
        if any(row["kind"] == "explored" for row in run.events) or run.run.get("canary"):
            yield f"run {run.name}: it was live, and has explored"


Check = Callable[[Archive], Iterator[str]]
FIRST: dict[str, Check] = {"archive": _archive, "manifest": _manifest, "signatures": _signatures}
GENUINE: dict[str, Check] = {
    "told": _told, "chain": _chain, "roster": _roster, "roles": _roles, "signers": _signers, "beside": _beside,
    "copies": _copies,
}  # fmt: skip
RULES: dict[str, Check] = {
    "left": _left, "tables": _tables, "moves": _moves, "permits": _permits, "given": _given, "scope": _scope,
    "taken": _taken, "spent": _spent, "capital": _capital, "loss": _loss, "explored": _explored,
}  # fmt: skip


ERRORS = (ArithmeticError, AttributeError, DecimalException, LookupError, RecursionError, TypeError, ValueError)


def verified(archive: Archive, checks: dict[str, Check]) -> list[str]:
    """Return what is wrong, a line each; what cannot be read is wrong as well."""
    found: list[str] = []
    for name, check in checks.items():
        try:
            found += [f"{name}: {wrong}" for wrong in check(archive)]
        except ERRORS as error:
            found.append(f"{name}: cannot be read: {type(error).__name__}: {error}")
    return found


def judged(
    data: bytes, trust: frozenset[str] = frozenset(), fingerprint: str = "", head: str = ""
) -> tuple[list[str], list[str]]:
    """Return why an archive is not genuine, and which rules were not kept; the latter only of a genuine one."""
    try:
        archive = Archive(data, trust, fingerprint, head)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, LookupError, RuntimeError, zlib.error) as error:
        return [f"archive: no whole zip file: {error}"], []
    wrong = verified(archive, FIRST) or verified(archive, GENUINE)  # of what nobody has signed nothing else is asked
    return wrong, [] if wrong else verified(archive, RULES)


def main() -> int:
    """Verify an archive and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--trust", type=Path, help="file of public keys, one of which has to have signed it")
    parser.add_argument("--fingerprint", default="", help="of the ledger, as it was kept elsewhere")
    parser.add_argument("--head", default="", help="an older head of the ledger, NUMBER:HASH, as it was kept elsewhere")
    asked = parser.parse_args()
    try:
        data = asked.archive.read_bytes()
        trust = frozenset(re.findall(r"\b[0-9a-f]{64}\b", asked.trust.read_text())) if asked.trust else frozenset()
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if asked.head and not re.fullmatch("[0-9]{1,15}:[0-9a-f]{64}", asked.head):
        parser.error("--head: NUMBER:HASH")
    if asked.trust and not trust:
        parser.error("--trust: no public key in it, 64 hexadecimal digits")
    wrong, broken = judged(data, trust, asked.fingerprint, asked.head)
    for line in wrong + broken + ([] if wrong else [f"left out: {one}" for one in Archive(data).left_out()]):
        print(line)
    told = "by whom you trust" if trust else "by a member of its own roster; nobody was named whom you trust (--trust)"
    print("NOT GENUINE" if wrong else f"genuine: signed {told}", "" if wrong else f"sha256 {sha(data)}", sep="\n")
    if not wrong:
        for one in [] if broken else taken_over(Archive(data)):
            print(f"told: {one}")
        print(f"{len(broken)} RULES NOT KEPT" if broken else "rules kept")
    return int(bool(wrong or broken))


if __name__ == "__main__":
    sys.exit(main())
