"""A self-assessment in the manner of RTS 6 article 9: what ledger, runs, dossiers and drills tell, and what is amiss.

The article asks for a yearly assessment and validation of systems, governance, business continuity and controls, with
what has to be put right. This draws up what the records show, deficiencies first. It does not judge people, staffing or
contracts, and says so: somebody has to complete and sign it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from alphatrade.evolution.dossier import unpack
from alphatrade.nodes.audit.controls import NEVER
from alphatrade.nodes.audit.figures import denials, entered, returns, validated
from alphatrade.nodes.audit.tables import Span
from alphatrade.nodes.dossier import DRILL, VERDICT
from alphatrade.reflection.ledger_chain import Chain, Entry
from alphatrade.reflection.permits import Granted
from alphatrade.reflection.report import render
from alphatrade.reflection.report_blocks import Block, Section, figure, filled
from alphatrade.reflection.report_tables import Card, Table
from alphatrade.reflection.stages import STAGES

HTML = "assessment.html"
YEAR = 366  # days after which a drill counts as none
_AMISS = "cannot be read", "not finished", "not found"  # of what was left out
NOT_TOLD = [
    "whether staff, roles and separation of duties are as they should be: the roster has names, not people",
    "business continuity beyond restart, restore and rollback of a node",
    "contracts and conformance tests with venues: no order has ever left a sandbox",
    "market abuse surveillance, which is not built",
    "whether this assessment was reviewed by risk management, internal audit and senior management",
]


def assessed(
    members: Mapping[str, bytes], chain: Chain, entries: Sequence[Entry], span: Span, left_out: Sequence[str]
) -> dict[str, Any]:
    """
    Return the assessment as plain values.

    Parameters
    ----------
    members : mapping of str to bytes
        What the archive has so far.
    chain : Chain
        The ledger's.
    entries : sequence of Entry
    span : Span
    left_out : sequence of str
        What is not in the archive.
    """
    told: dict[str, Any] = {
        "first": span.first.isoformat(),
        "last": span.last.isoformat(),
        "people": [member._asdict() for member in chain.roster.members],
        "revoked": sorted(chain.roster.revoked),
        "in_charge": {stage: chain.stages.incumbent(stage) for stage in STAGES[1:]},
        "moves": [_move(entry) for entry in entries if entry.kind == "stage"],
        "permits": [_permit(one, chain, members) for one in chain.permits.all],
        "signoffs": _within(entries, span, "signoff"),
        "operators": _within(entries, span, "operator"),
        "validation": [_validated(name, data) for name, data in members.items() if name.startswith("dossiers/")],
        "runs": [_run(members, name) for name in run_names(members)],
        "controls": _plain(members, "controls.json"),
        "alerts": len(members["alerts.jsonl"].splitlines()),
        "unreadable": sum(
            b'"unreadable":' in members[name] for name in ("alerts.jsonl", "latches.json", "reconcile.jsonl")
        ),
        "comparisons": len(members["reconcile.jsonl"].splitlines()),
        "left_out": list(left_out),
        "not_told": NOT_TOLD,
    }
    return told | {"deficiencies": amiss(told, span.last)}


def amiss(told: Mapping[str, Any], today: date) -> list[str]:
    """Return what has to be put right, or explained, a line each."""
    persons = [one["name"] for one in told["people"] if one["role"] == "person"]
    dossiers = {one["dossier"] for one in told["validation"]}
    found = [] if len(persons) > 1 else [f"{len(persons)} persons in the roster: no two can sign for real money"]
    found += [f"nobody is in charge of {stage}" for stage, policy in told["in_charge"].items() if not policy]
    for move in told["moves"]:
        if move["dossier"] and f"dossiers/{move['dossier']}.zip" not in dossiers:
            found.append(f"entry {move['seq']}: the dossier of the promotion to {move['to']} is not at hand")
    for one in told["validation"]:
        found += [f"{one['dossier']}: check {name} does not hold" for name in one["refused"]]
        found += [f"{one['dossier']}: kill drill: {one['drill']}"] if one["drill"] else []
    for run in told["runs"]:
        found += [] if run["audit"] else [f"run {run['run']}: the auditor finds violations or contradictions"]
        found += [f"run {run['run']}: stopped, {run['killed']}"] if run["killed"] else []
    for permit in told["permits"]:
        found += [f"permit {permit['id'][:12]}: {wrong}" for wrong in permit["wrong"]]
    found += ["an alert, a latch or a reconciliation cannot be read"] if told["unreadable"] else []
    found += [line for line in told["left_out"] if any(word in line for word in _AMISS)]
    for control in told["controls"]:
        where = f"{control['regulation']} {control['article']}, {control['control']}"
        found += [f"{where}: {control['lacks']}"] if control["lacks"] else []
        found += [f"{where}: {wrong}"] if (wrong := _undrilled(control["last"], today)) else []
    return found


def _undrilled(last: Mapping[str, Any], today: date) -> str:
    if not last or (last["holds"] and (today - date.fromisoformat(last["when"][:10])).days <= YEAR):
        return ""
    if last["when"] == NEVER:
        return "never drilled on this machine"
    return f"the last drill, {last['when'][:10]}, {'is too long ago' if last['holds'] else 'has failed'}"


def run_names(members: Mapping[str, bytes]) -> list[str]:
    """Return the ids of the runs in an archive."""
    return sorted({name.split("/")[1] for name in members if name.startswith("runs/")})


def _plain(members: Mapping[str, bytes], name: str) -> Any:
    return json.loads(members[name])


def _permit(one: Granted, chain: Chain, members: Mapping[str, bytes]) -> dict[str, Any]:
    """Return a permit, and what the runs of the archive say that they have used of it."""
    used = [run for run in run_names(members) if one.id.encode() in members.get(f"runs/{run}/risk_events.jsonl", b"")]
    shares = [_plain(members, f"runs/{run}/audit.json").get("utilisation", {}) for run in used]
    most = {name: max((share.get(name, 0) for share in shares), default=0) for name in ("CAPITAL_CAP", "LOSS_CAP")}
    return {
        "id": one.id, "by": [one.first, one.second], "why": one.why, "ts": str(one.ts), "terms": one.terms.model_dump(),
        "ended": chain.permits.standing(one.id, chain.roster, chain.stages), "runs": used, "used": most,
        "wrong": [f"{name} used to {share:.0%}" for name, share in most.items() if share > 1],
    }  # fmt: skip


def _within(entries: Sequence[Entry], span: Span, kind: str) -> int:
    return sum(entry.kind == kind and span.has(entry.ts) for entry in entries)


def _move(entry: Entry) -> dict[str, Any]:
    body = entry.body
    told = {name: body[name] for name in ("policy_hash", "from", "to", "why", "dossier")}
    return told | {"seq": entry.seq, "ts": str(entry.ts), "by": entry.key}


def _validated(name: str, data: bytes) -> dict[str, Any]:
    members = unpack(data, name)
    verdict, drill = json.loads(members[VERDICT]), json.loads(members[DRILL])
    checks = [{key: one[key] for key in ("name", "figure", "target", "holds")} for one in verdict["checks"]]
    left = [
        word for word, bad in (("not flat", drill["flat_ns"] is None), ("orders after the trip", drill["sent"])) if bad
    ]
    return {
        "dossier": name, "policy_hash": verdict["policy_hash"], "checks": checks,
        "refused": [one["name"] for one in checks if not one["holds"]], "drill": ", ".join(left),
        "flat_ms": None if drill["flat_ns"] is None else drill["flat_ns"] / 1e6,
    }  # fmt: skip


def _run(members: Mapping[str, bytes], name: str) -> dict[str, Any]:
    summary, audit = (_plain(members, f"runs/{name}/{part}.json") for part in ("summary", "audit"))
    figures = ("env", "policy_hash", "orders", "fills", "denied", "near_misses", "pnl", "currency", "max_drawdown")
    stopped = json.dumps(summary["killed"], sort_keys=True) if summary["killed"] else ""
    return {"run": name, "audit": audit["ok"], "killed": stopped} | {one: summary[one] for one in figures}


# -- the page


def page(told: Mapping[str, Any], members: Mapping[str, bytes], entries: Sequence[Entry]) -> str:
    """Return the assessment as a page that loads nothing from elsewhere."""
    wrong, runs, controls = told["deficiencies"], told["runs"], told["controls"]
    drilled = sum(bool(one["last"]) and bool(one["last"]["holds"]) for one in controls)
    orders, fills = (sum(run[name] for run in runs) for name in ("orders", "fills"))
    return render(
        figures=True, eyebrow="audit", title="Self-assessment, in the manner of RTS 6 article 9",
        facts=[f"{told['first']} to {told['last']}"],
        tags=["drawn from the records alone", "to be completed and signed"],
        killed=None, tearsheet=False,
        cards=[
            Card("To be put right", str(len(wrong)), "or to be explained", "bad" if wrong else "good"),
            Card("Runs", str(len(runs)), f"{orders:,} orders, {fills:,} fills"),
            Card("Controls", str(len(controls)), f"{drilled} with a drill that holds"),
            Card("Persons", str(sum(one["role"] == "person" for one in told["people"])), "who may sign"),
        ],
        sections=[
            Section("amiss", "To be put right", "Found in the records, judged by nobody.", [_list(wrong)]),
            _governance(told, entries), _validation(told, members), _trading(told, members), _controls(controls),
            Section("untold", "What this does not tell", "", [_list([*told["not_told"], *told["left_out"]])]),
        ],
    )  # fmt: skip


def _list(lines: Sequence[str]) -> Block:
    return Block("list", list(lines)) if lines else Block("empty", "Nothing.")


def _governance(told: Mapping[str, Any], entries: Sequence[Entry]) -> Section:
    people = [[one["name"], one["role"], one["of"], one["public"][:16]] for one in told["people"]]
    moves = [[str(m["seq"]), _day(m["ts"]), m["policy_hash"][:12], f"{m['from']} to {m['to']}", m["by"], m["why"]]
             for m in told["moves"]]  # fmt: skip
    counts = f"{told['signoffs']} sign-offs, {told['operators']} actions of operators, {len(told['permits'])} permits"
    permits = [_row(one) for one in told["permits"]]
    blocks = [
        filled(Table(["name", "role", "of", "key"], people, 4), "Nobody."),
        figure(entered(entries)),
        filled(Table(["entry", "day", "policy", "move", "by", "why"], moves, 6), "No policy was moved yet."),
        filled(Table(["permit", "policy", "where", "capital", "loss", "when", "by", ""], permits, 8), "No permit."),
    ]
    return Section("governance", "Governance and approval", counts, blocks)


def _row(permit: Mapping[str, Any]) -> list[str]:
    terms, used = permit["terms"], permit["used"]
    return [
        permit["id"][:12], terms["policy_hash"][:12], f"{terms['venue']}, {terms['account']}",
        f"{terms['capital']} {terms['currency']}, {used['CAPITAL_CAP']:.0%} used",
        f"{terms['loss']} {terms['currency']}, {used['LOSS_CAP']:.0%} used",
        f"{_day(terms['begins'])} to {_day(terms['ends'])}", ", ".join(permit["by"]), permit["ended"] or "stands",
    ]  # fmt: skip


def _validation(told: Mapping[str, Any], members: Mapping[str, bytes]) -> Section:
    rows = [
        [one["policy_hash"][:12], check["name"], str(check["figure"])[:24], check["target"], _holds(check["holds"])]
        for one in told["validation"]
        for check in one["checks"]
    ]
    blocks = [figure(drawn) for drawn in validated(members)]
    blocks.append(filled(Table(["policy", "check", "figure", "target", ""], rows, 5), "No dossier."))
    return Section("validation", "Validation before a promotion", "From the dossiers that the ledger names.", blocks)


def _trading(told: Mapping[str, Any], members: Mapping[str, bytes]) -> Section:
    rows = [
        [one["run"], one["env"], one["policy_hash"][:12], _holds(one["audit"]), f"{one['orders']:,}",
         f"{one['fills']:,}", f"{one['denied']:,}", f"{one['near_misses']:,}",
         f"{one['pnl']} {one['currency']}", one["killed"][:60]]
        for one in told["runs"]
    ]  # fmt: skip
    head = ["run", "env", "policy", "auditor", "orders", "fills", "denied", "near misses", "profit", "stopped"]
    blocks = [figure(returns(members)), figure(denials(members))] if rows else []
    blocks.append(filled(Table(head, rows, 4), "No run on paper or live."))
    return Section("trading", "Trading and controls at work", "Each run was recomputed by the auditor.", blocks)


def _controls(controls: Sequence[Mapping[str, Any]]) -> Section:
    rows = [
        [f"{one['regulation']} {one['article']}", one["asks"], one["control"], _last(one["last"]), one["lacks"]]
        for one in controls
    ]
    lead = "Code and tests of each are in controls.json."
    table = Table(["", "asks for", "control", "last drill", "lacks"], rows, 5)
    return Section("controls", "Control map", lead, [filled(table, "None.")])


def _last(last: Mapping[str, Any]) -> str:
    if not last:
        return "tests only"
    return NEVER if last["when"] == NEVER else f"{last['when'][:10]}, {last['figure']}, {_holds(last['holds'])}"


def _holds(holds: object) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def _day(ns: str) -> str:
    return datetime.fromtimestamp(int(ns) // 10**9, UTC).date().isoformat()
