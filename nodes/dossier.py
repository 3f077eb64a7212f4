"""The dossier of a policy: all that its verdict follows from, in one file that a stranger can verify.

::

    artifacts/<date>/dossiers/<policy_hash>.zip

``docs/dossier.md`` says what is in it. :mod:`alphatrade.nodes.verify` derives all of it again.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from alphatrade.evolution.dossier import LEDGER, dumped, sealed, sha
from alphatrade.evolution.evidence import Evidence, PromotionSpec, search_of
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.promotion import Verdict, judge
from alphatrade.evolution.provenance import ancestors, candidate
from alphatrade.evolution.rebuild import GENOTYPE, policy_file
from alphatrade.nodes.artifacts import today, unwritable
from alphatrade.nodes.evolve import SearchSettings, grid_of
from alphatrade.nodes.identity import code_hash, commit, file_digest, joint_digest, lock_hash, plugin_digests
from alphatrade.nodes.instruments import guess_name
from alphatrade.nodes.kill_drill import Drill, kill_drill
from alphatrade.nodes.settings import RunSpec, Settings
from alphatrade.nodes.sim import load_tapes
from alphatrade.nodes.tape import Tape
from alphatrade.nodes.tape_files import data_files
from alphatrade.nodes.tape_spec import CatalogTape, FileTape
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_files import FILE, beside
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.strategies.policy import Policy, canonical

FOLDER = "dossiers"
POLICY, LINEAGE, SETTINGS = "policy.json", "lineage.json", "settings.json"
PROMOTION, EVIDENCE, VERDICT, DRILL = "promotion.json", "evidence.json", "verdict.json", "kill_drill.json"
README = "README.txt"
APART = "ledger"  # the field of the evidence that is not in its member: the segment has it

CONTENTS = {
    "genotype": GENOTYPE,
    "policy": f"{POLICY}: the runtime config; its sha256 is the policy_hash",
    "lineage": f"{LINEAGE}, and in the trials",
    "trials": f"{LEDGER}/batches/, one a line; entries of kind trial in {LEDGER}/{FILE}",
    "ledger segment": f"{LEDGER}/{FILE} from its genesis on, {LEDGER}/batches/, {LEDGER}/verdicts/",
    "grid tables": f"{EVIDENCE}: again (cells that a search may see), holdout, costly; grid",
    "statistics": f"{VERDICT}: checks; their inputs are returns in {EVIDENCE} and in the trials",
    "audits": f"{EVIDENCE}: violations of each replay; {DRILL}: violations",
    "red team": f"{EVIDENCE}: red_team",
    "leakage": f"{EVIDENCE}: leakage",
    "kill drill": DRILL,
    "seeds": "manifest.json: seeds",
    "hashes of code, tape and lock file": "manifest.json: code_hash, commit, tapes, files, lock_hash",
    "thresholds": PROMOTION,
    "run, grid, search and domain": SETTINGS,
    "signatures": "signatures.json, over manifest.json",
}
READ_ME = """A dossier of AlphaTrade: what a policy is, where it comes from, what it has shown, and who says so.

Verify it, in a clone of the code that manifest.json names (commit, code_hash):

    make verify-policy HASH=<policy_hash> DOSSIER=<this file> TRUST=<public keys that you were told>

docs/dossier.md of that clone says what this proves, and what it does not. All members are canonical JSON (RFC 8785)
or JSON Lines of it; manifest.json says where each thing is.
"""


class Proof(NamedTuple):
    """
    What a dossier is made of.

    Attributes
    ----------
    evidence : Evidence
    spec : PromotionSpec
    settings : dict
        Plain values of the search's ``settings.json``.
    own : SearchSettings
        The same, validated, with this machine's paths.
    tapes : list of Tape
    drill : Drill
    """

    evidence: Evidence
    spec: PromotionSpec
    settings: dict[str, Any]
    own: SearchSettings
    tapes: list[Tape]
    drill: Drill

    @property
    def genotype(self) -> Genotype:
        """Of the candidate."""
        return Genotype.model_validate(self.evidence.genotype)

    @property
    def policy(self) -> Policy:
        """What the genotype develops into."""
        return develop(self.genotype)

    @property
    def verdict(self) -> Verdict:
        """What follows from the evidence."""
        return judge(self.evidence, self.spec)


def write_dossier(
    evidence: Evidence,
    spec: PromotionSpec,
    settings: dict[str, Any],
    own: SearchSettings,
    ledger: Path,
    signers: Iterable[SigningKey],
) -> Path:
    """
    Drill the policy and write its dossier, whatever the verdict is.

    Parameters
    ----------
    evidence : Evidence
        As the gate has gathered it.
    spec : PromotionSpec
    settings : dict
        Plain values of the search's ``settings.json``.
    own : SearchSettings
        The same, validated.
    ledger : Path
        Folder of the ledger; it may have grown since.
    signers : iterable of SigningKey
        The service's, and a person's where there is one.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the policy was not bred, something is wrong with the ledger, a key is of nobody in its roster, or the file
        cannot be written.
    """
    if evidence.genotype is None:
        raise ConfigError("genotype", None, "one: only a policy that was bred has a dossier")
    if own.settings.run.learned is not None:
        raise ConfigError("learned", str(own.settings.run.learned), "null: what was learnt elsewhere is in no dossier")
    if evidence.ledger_problems is None or evidence.ledger_problems:
        found = "not checked" if evidence.ledger_problems is None else evidence.ledger_problems[0]
        raise LedgerError(str(ledger), found, "a ledger in which nothing is wrong")
    roster = Ledger(ledger).chain.roster
    named = [(roster.whose(key).name, key) for key in signers]
    tapes = load_tapes(own.settings.run)
    drill = drilled(evidence, own, tapes)
    proof = Proof(evidence, spec, settings, own, tapes, drill)
    data = sealed({**members_of(proof), **segment(ledger, evidence)}, facts_of(proof) | {"commit": commit()}, named)
    path = today(own.settings.run.paths.artifacts, FOLDER) / f"{evidence.policy_hash}.zip"
    try:
        if path.exists() and (before := path.read_bytes()) != data:  # the ledger may name that one: it stays
            path.rename(path.with_name(f"{evidence.policy_hash}-{sha(before)[:12]}.zip"))
        write_whole(path, data)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def drilled(evidence: Evidence, own: SearchSettings, tapes: list[Tape]) -> Drill:
    """Drill the candidate in the cells that a search may see and in which it has traded, in order of time."""
    genotype = Genotype.model_validate(evidence.genotype)
    settings = Settings(policy=develop(genotype), run=own.settings.run, genotype=genotype)
    traded = {
        cell.place
        for again in evidence.again
        if (again.generation, again.index) == (evidence.generation, evidence.index)
        for cell in again.cells
        if cell.fills
    }
    cells = [cell for cell in grid_of(tapes, own.grid) if (cell.instrument, cell.start, cell.end) in traded]
    cells.sort(key=lambda cell: (cell.start, cell.instrument))
    return kill_drill(settings, tapes, tqdm(cells, "kill drill", unit="cell", disable=not sys.stderr.isatty()))


def members_of(proof: Proof) -> dict[str, bytes]:
    """Return all members but the segment of the ledger and what is made of the members themselves."""
    evidence = canonical(proof.evidence)
    evidence.pop(APART)
    plain = {
        GENOTYPE: canonical(proof.genotype),
        LINEAGE: lineage_of(proof.evidence),
        SETTINGS: portable(proof.settings),
        PROMOTION: canonical(proof.spec),
        EVIDENCE: evidence,
        VERDICT: canonical(proof.verdict),
        DRILL: canonical(proof.drill),
    }
    texts = {README: READ_ME.encode(), POLICY: policy_file(proof.policy)}
    return texts | {name: dumped(value) for name, value in plain.items()}


def facts_of(proof: Proof) -> dict[str, Any]:
    """Return what the manifest says, but for the commit: the same wherever the same things are at hand."""
    evidence, policy = proof.evidence, proof.policy
    first, last = evidence.ledger[0], evidence.ledger[-1]
    kinds = [each.kind for each in policy.features.values()] + [each.kind for each in policy.topologies.values()]
    return {
        "policy_hash": policy.policy_hash,
        "search": evidence.search,
        "generation": evidence.generation,
        "index": evidence.index,
        "promoted": proof.verdict.promoted and not proof.drill.wrong,
        "code_hash": code_hash(),
        "lock_hash": lock_hash(),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "tapes": {tape.instrument.id: tape.tape_hash for tape in proof.tapes},
        "files": file_hashes(proof.own.settings.run),
        "plugins": plugin_digests(kinds),
        "fingerprint": first.hash,
        "head": f"{last.seq}:{last.hash}",
        "seeds": {
            "run": proof.own.settings.run.seed,
            "search": int(search_of(evidence)["seed"]),
            "belief": policy.belief.seed,
            "resampling": proof.spec.seed,
            "leakage": proof.spec.leakage.seed,
        },
        "contents": CONTENTS,
    }


def portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a search without what only its machine knows; a file keeps its name and instrument."""
    run = {name: value for name, value in settings["run"].items() if name not in ("paths", "output", "tape", "tapes")}
    specs = [dict(spec) for spec in (settings["run"]["tapes"] or [settings["run"]["tape"]])]
    for spec in specs:
        if spec["source"] == "file" and spec["instrument"] is None:  # a stranger's copy may have another name
            spec["instrument"] = guess_name(data_files(spec["path"])[0])
        if "path" in spec:
            spec["path"] = Path(spec["path"]).name
    whole: dict[str, Any] = _safe(settings | {"run": run | {"tapes": specs}})
    return whole


def _safe(value: Any) -> Any:
    """Return plain values with whole numbers beyond 2^53 as text: RFC 8785 stops there."""
    if isinstance(value, dict):
        return {name: _safe(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_safe(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


def lineage_of(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the candidate and all that it descends from, the latest first."""
    line = [candidate(evidence), *ancestors(evidence)[0]]
    names = ("generation", "index", "genotype_hash", "policy_hash", "lineage", "fitness")
    places = sorted(line, key=lambda each: (-int(each["generation"]), int(each["index"])))
    return [{name: each[name] for name in names} for each in places]


def segment(folder: Path, evidence: Evidence) -> dict[str, bytes]:
    """
    Return the ledger as far as the evidence has it, and what its entries name, as members.

    Raises
    ------
    LedgerError
        If it is damaged, or not the one of the evidence.
    """
    _, entries = Ledger(folder).read()
    known = evidence.ledger
    there = [entry.hash for entry in entries[: len(known)]]
    if not known or there != [record.hash for record in known]:
        raise LedgerError(str(folder), f"{len(entries)} entries", f"the {len(known)} of the evidence first")
    lines = (folder / FILE).read_bytes().split(b"\n")[: len(known)]
    found = {f"{LEDGER}/{FILE}": b"\n".join(lines) + b"\n"}
    for entry in entries[: len(known)]:
        for path in beside(entry):
            try:
                found[f"{LEDGER}/{path}"] = (folder / path).read_bytes()
            except OSError as error:
                raise LedgerError(str(folder / path), error.strerror or str(error), "what an entry names") from error
    return found


def file_hashes(run: RunSpec) -> list[str]:
    """Return the sha256 of what each tape is read from; empty for embedded and generated ones."""
    return [_file_hash(spec) for spec in run.all_tapes]


def _file_hash(spec: Any) -> str:
    if isinstance(spec, FileTape):
        paths = data_files(spec.path)
    elif isinstance(spec, CatalogTape):
        paths = sorted(path for path in Path(spec.path).expanduser().rglob("*") if path.is_file())
    else:
        return ""
    return file_digest(paths[0]) if len(paths) == 1 else joint_digest(paths)
