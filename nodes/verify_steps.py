"""The steps of a verification, in the order in which one trusts the other: what is recorded, what was found here."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.evolution.dossier import LEDGER, MANIFEST, PURPOSE, SIGNATURES, difference, pack, sha
from alphatrade.evolution.evidence import search_of
from alphatrade.evolution.genotype import develop
from alphatrade.evolution.promotion import INEXACT, Verdict, judge
from alphatrade.evolution.provenance import transcript
from alphatrade.evolution.rebuild import policy_file
from alphatrade.nodes import dossier
from alphatrade.nodes.identity import code_hash, lock_hash
from alphatrade.nodes.kill_drill import WALL
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.promote import promotion_spec
from alphatrade.nodes.verify_case import Case
from alphatrade.nodes.verify_spots import differs, drawn, unrepeatable
from alphatrade.reflection.keys import Roster, signed
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import head_of
from alphatrade.reflection.ledger_check import verify as check_ledger
from alphatrade.reflection.ledger_files import FILE, beside
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import canonical


class Found(NamedTuple):
    """What a dossier records, what was found here, and whether it is the same."""

    recorded: str
    found: str
    holds: bool


def archive(case: Case) -> Found:
    """The file is what its members are packed into, byte for byte."""
    return _hashes(sha(case.file.data), sha(pack(case.file.members)))


def members(case: Case) -> Found:
    """Every member is the one of the manifest, and there is no other."""
    told = case.file.manifest.members
    there = {name: sha(data) for name, data in case.file.members.items() if name not in (MANIFEST, SIGNATURES)}
    for name in (MANIFEST, SIGNATURES):
        case.plain(name)
    for name in sorted(told.keys() | there.keys()):
        if told.get(name) != there.get(name):
            return Found(f"{name} {_short(told.get(name))}", _short(there.get(name)), False)
    return Found(f"{len(told)} members", f"{len(there)} as hashed", True)


def signatures(case: Case) -> Found:
    """All signatures are good, of members of the ledger's roster who were not revoked, and one is trusted."""
    message, roster = PURPOSE + case.file.members[MANIFEST], _roster(case)
    told = case.file.signatures
    names = ", ".join(f"{one.name} {one.public[:12]}" for one in told) or "nobody"
    for one in told:
        if not signed(one.public, one.sig, message):
            return Found(names, f"the signature of {one.name} is wrong", False)
        if roster.of(one.name).public != one.public:
            return Found(names, f"{one.public[:12]} is not the key of {one.name} in the ledger", False)
    trusted = [one.name for one in told if one.public in case.asked.trust]
    if not trusted:
        return Found(names, f"none of the {len(case.asked.trust)} trusted keys has signed", False)
    return Found(names, f"good; trusted: {', '.join(trusted)}", True)


def identity(case: Case) -> Found:
    """It is the dossier of the policy that was asked for."""
    return _hashes(case.asked.policy_hash, case.file.manifest.policy_hash)


def ledger(case: Case) -> Found:
    """Chain, signatures, roster and batches are sound, and it is the ledger that was known."""
    told, asked = case.file.manifest, case.asked
    fingerprint, head = asked.fingerprint or told.fingerprint, asked.head or told.head
    found = check_ledger(case.ledger, fingerprint, head_of(head))
    if found.problems:
        return Found(f"head {told.head[:16]}", found.problems[0], False)
    entries = Ledger(case.ledger).entries()
    named = {f"{LEDGER}/{FILE}", *(f"{LEDGER}/{path}" for entry in entries for path in beside(entry))}
    there = {name for name in case.file.members if name.startswith(f"{LEDGER}/")}
    if named != there:
        return Found(f"{len(named)} files", f"{sorted(named ^ there)[0]}", False)
    kept = "fingerprint and head as you were told" if asked.fingerprint and asked.head else "sound"
    return Found(f"head {told.head[:16]}", f"{kept}: {found.entries} entries, {found.trials} trials", True)


def copies(case: Case) -> Found:
    """A policy file and a ledger that were brought along are those of the dossier."""
    asked, told = case.asked, []
    if asked.policy is not None:
        if asked.policy.read_bytes() != case.file.members[dossier.POLICY]:
            return Found(dossier.POLICY, f"{asked.policy} is another one", False)
        told.append("policy")
    if asked.ledger is not None:
        for name, data in case.file.members.items():
            folder, _, path = name.partition("/")
            if folder == LEDGER and not _continues(asked.ledger / path, data, path == FILE):
                return Found(name, f"{asked.ledger / path} is another one", False)
        told.append("ledger")
    return Found("as in the dossier", f"the same: {' and '.join(told)}" if told else "none was brought along", True)


def code(case: Case) -> Found:
    """It was made by the code of this checkout."""
    told = case.file.manifest
    if code_hash() == told.code_hash == case.evidence.code_hash:
        return Found(told.code_hash[:16], "this checkout", True)
    where = f"git checkout {told.commit}" if told.commit else "its commit is unknown: it was made outside of git"
    return Found(told.code_hash[:16], f"this checkout is {code_hash()[:16]}; {where}", False)


def lock(case: Case) -> Found:
    """The lock file is the same."""
    return _hashes(case.file.manifest.lock_hash, lock_hash())


def tapes(case: Case) -> Found:
    """The tapes are the same, to the last byte of the files that they are read from."""
    told = case.file.manifest
    files = dossier.file_hashes(case.own.settings.run)
    if list(told.files) != files:
        return Found(f"files {_listed(told.files)}", _listed(files), False)
    here = {tape.instrument.id: tape.tape_hash for tape in case.tapes}
    words = _listed([f"{one} {value[:12]}" for one, value in told.tapes.items()])
    return _plain(words, [told.tapes, case.evidence.tapes], [here, here])


def policy(case: Case) -> Found:
    """The genotype develops into the policy, whose hash it is."""
    found = develop(case.genotype)
    as_told = case.evidence.genotype == canonical(case.genotype)
    if case.file.members.get(dossier.POLICY) != policy_file(found) or not as_told:
        return Found(dossier.POLICY, f"its genotype develops into another one, {found.policy_hash[:16]}", False)
    return _hashes(case.file.manifest.policy_hash, found.policy_hash)


def lineage(case: Case) -> Found:
    """It descends from whom it is said to."""
    told, found = case.plain(dossier.LINEAGE), dossier.lineage_of(case.evidence)
    return _plain(f"{len(told)} in line", told, found)


def settings(case: Case) -> Found:
    """Search, domain and grid are those that the ledger has of the search."""
    own, told = case.own, search_of(case.evidence)
    wanted = {"spec": told["spec"], "domain": told["domain"], "grid": told["evaluator"]["grid"]}
    found = {"spec": canonical(own.search), "domain": canonical(own.domain), "grid": canonical(own.grid)}
    return _plain(f"search {case.evidence.search[:16]}", wanted, found)


def thresholds(case: Case) -> Found:
    """The thresholds are those of a file ``conf/promotion`` of this checkout, and no softer ones of the maker's own."""
    told = canonical(case.spec)
    apart = {name: difference(told, canonical(promotion_spec(name))) for name in _named()}
    for name, where in apart.items():
        if where is None:
            return Found("thresholds", f"conf/promotion/{name}.yaml", True)
    name, where = next(iter(apart.items()))
    assert where is not None, "no file has them"
    return Found(where[0], f"{where[1]} in conf/promotion/{name}.yaml", False)


def bred(case: Case) -> Found:
    """The search, bred again from what is entered of it, comes to the same trials."""
    recorded = next((row for row in case.verdict.checks if row.name == "transcript"), None)
    found = transcript(case.evidence, case.spec)
    words = f"{found.figure} trials, {found.why or 'as they were bred'}"
    if recorded is None:
        return Found("nothing", words, False)
    told = f"{recorded.figure} trials, {recorded.why or 'as they were bred'}"
    return Found(told, words, told == words)


def replays(case: Case) -> Found:
    """The evidence comes out the same when all of it is gathered again."""
    told, found = (canonical(one) for one in (case.evidence, case.fresh))
    for each in (told, found):
        for name in INEXACT:
            each.pop(name)
    runs = sum(len(one.cells) for one in case.fresh.again) + len(case.fresh.holdout) + len(case.fresh.costly)
    return _plain(f"{runs} replays of cells", told, found)


def spot_checks(case: Case) -> Found:
    """Trials that the verifier has drawn give what the ledger says of them, cell by cell."""
    number, seed = case.asked.spot, case.asked.spot_seed
    if number and not seed:
        raise ConfigError("--spot-seed", seed, "a seed: by it the trials are drawn")
    leaves, by = drawn(case.evidence, number, seed), f"--spot-seed {seed}"
    for leaf in leaves:
        if (where := differs(case.own, case.tapes, leaf)) is not None:
            return Found(where[0], f"{where[1]}; {by}", False)
    cells = sum(len(leaf["cells"]) for leaf in leaves)
    words = [f"the same; {by}" if leaves else "none was drawn", unrepeatable(case.evidence)]
    return Found(f"{len(leaves)} other trials, {cells} cells", "; ".join(filter(None, words)), True)


def verdict(case: Case) -> Found:
    """The verdict follows from the evidence, recorded and fresh."""
    told = case.verdict
    if (where := difference(canonical(told), canonical(judge(case.evidence, case.spec)))) is not None:
        return Found(*where, False)
    fresh = judge(case.fresh, case.spec).exact
    return _plain(f"{len(told.checks)} checks, {_words(told)}", canonical(told.exact), canonical(fresh))


def drill(case: Case) -> Found:
    """The kill drill gives the same, but for the wall clock."""
    told = case.drill
    found = dossier.drilled(case.evidence, case.own, case.tapes)
    known, here = ({k: v for k, v in canonical(one).items() if k not in WALL} for one in (told, found))
    flat = "not flat" if told.flat_ns is None else f"flat in {told.flat_ns / 1e9:g} s"
    took = f"the same; the law took {found.wall_us / 1e3:.1f} ms"
    return _plain(f"{told.position} held, {flat}", known, here, took)


def facts(case: Case) -> Found:
    """All else that the manifest says is so."""
    proof = dossier.Proof(case.evidence, case.spec, case.plain(dossier.SETTINGS), case.own, case.tapes, case.drill)
    if case.file.members.get(dossier.README) != dossier.READ_ME.encode():
        return Found(dossier.README, "another text", False)
    apart = {"policy_hash", "code_hash", "lock_hash", "tapes", "files"}  # which have steps of their own
    found = {name: value for name, value in dossier.facts_of(proof).items() if name not in apart}
    told = canonical(case.file.manifest)
    return _plain("promoted" if told["promoted"] else "not promoted", {name: told[name] for name in found}, found)


def latency(case: Case) -> Found:
    """
    Decisions are not too slow here, by the clock and beside the incumbent's or the default's.

    Each of the two alone is a matter of chance on a machine that has other things to do: a busy one slows both, and of
    a few hundred decisions their ratio is off by a third. A policy that is slow is slow by both. Where the dossier
    itself says that a target was missed, nothing is asked.
    """
    told = next((row for row in case.verdict.checks if row.name == "latency"), None)
    found, most, ratio = case.fresh.latency, case.spec.latency_p99_us, case.spec.latency_ratio
    if told is None or (found is None and told.holds):
        return Found("nothing" if told is None else f"p99 {told.figure} us", "not measured", False)
    if found is None or not told.holds:
        return Found("missed its target", "not measured" if found is None else f"p99 {found.p99 / 1e3:.0f} us", True)
    us, times = found.p99 / 1e3, found.p99 / found.base_p99
    words = f"p99 {us:.0f} us, {times:.2f} times"
    missed = [f"{most:g} us"] * (us > most) + [f"{ratio:g} times"] * (times > ratio)
    told_here = f"{words}; over {' and '.join(missed)}, this machine is slow or busy" if missed else words
    return Found(f"p99 {told.figure} us", told_here, len(missed) < 2)


Step = Callable[[Case], Found]
STEPS: dict[str, Step] = {
    "archive": archive, "members": members, "signatures": signatures, "policy_hash": identity, "ledger": ledger,
    "copies": copies, "code": code, "lock file": lock, "tapes": tapes, "genotype and policy": policy,
    "settings": settings, "thresholds": thresholds, "lineage": lineage, "transcript": bred, "replays": replays,
    "spot checks": spot_checks, "verdict": verdict, "kill drill": drill, "manifest": facts, "latency": latency,
}  # fmt: skip


def _named() -> list[str]:
    return sorted(path.stem for path in Path(str(files(CONFIG_MODULE))).glob("promotion/*.yaml"))


def _plain(words: str, told: Any, found: Any, here: str = "the same") -> Found:
    where = difference(told, found)
    return Found(words, here, True) if where is None else Found(*where, False)


def _words(told: Verdict) -> str:
    return "promoted" if told.promoted else f"refused by {', '.join(told.refused)}"


def _hashes(told: str, found: str) -> Found:
    return Found(told[:16], "the same" if told == found else found[:16], told == found)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(value[:40] for value in values if value) or "none"


def _short(value: str | None) -> str:
    return "missing" if value is None else value[:16]


def _roster(case: Case) -> Roster:
    return Ledger(case.ledger).chain.roster


def _continues(path: Path, data: bytes, may_grow: bool) -> bool:
    try:
        found = path.read_bytes()
    except OSError:
        return False
    return found.startswith(data) if may_grow else found == data
