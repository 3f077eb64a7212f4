"""Adversarial proposals before the real door: the ledger that takes or refuses them, and the job that rules on them.

Each proposal has one thing wrong with it, drawn from a seed. What the ledger takes is ruled on as the job rules on its
own, with the flag on and the day's budget free, and the ruling is entered, so that whatever is granted counts.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from alphatrade.nodes import rim
from alphatrade.nodes.rim import Job
from alphatrade.nodes.rim_replay import Replayed
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.rim.edits import apply_edit
from alphatrade.reflection.rim.proposals import Proposal, proposal_id
from alphatrade.risk.errors import AlphaTradeError, ConfigError

Plain = dict[str, Any]
HOUR = 3_600 * 10**9
LIMITS = (
    "leverage_max", "position_max", "instrument_max", "order_notional_max", "daily_loss_max", "drawdown_max",
    "open_orders_max", "orders_per_second", "orders_per_minute", "turnover_max", "repeat_max", "no_such_limit",
)  # fmt: skip


class Attack(NamedTuple):
    """A proposal with something wrong, and how it comes: signed by whom, and with what left of the day's budget."""

    plain: Any
    forged: bool = False
    budget: bool = True


class Counted(NamedTuple):
    """
    What came of the attacks.

    Attributes
    ----------
    n : int
    granted : int
        That could be applied.
    crashes : int
        Errors that are not ours.
    kinds : mapping of str to mapping of str to int
        What came of each kind: ``refused`` at the door, or the outcome of the ruling.
    words : tuple of str
        Of what went wrong.
    """

    n: int
    granted: int
    crashes: int
    kinds: Mapping[str, Mapping[str, int]]
    words: tuple[str, ...]


def sealed(plain: Plain, **parts: Any) -> Plain:
    """Return a proposal with other parts and the id that belongs to them, where one can be computed."""
    body = plain | parts
    try:
        return body | {"id": proposal_id(body)}
    except (ValueError, RecursionError):
        return body


def _number(rng: np.random.Generator) -> float:
    return float(rng.choice([1e308, -1e308, -1.0, 0.0, -0.0, 5e-324, 2.0**53, 1e6, float(rng.normal(0, 100))]))


def _nan(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    name = str(rng.choice(["uplift", "confidence", "rank", "value"]))
    bad = float(rng.choice([np.nan, np.inf, -np.inf]))
    if name == "value":
        edit = {"kind": "tactic_parameter", "tactic": "reversion", "parameter": "enter", "value": bad}
        return Attack(sealed(plain, edit=edit))
    return Attack(sealed(plain, **{name: bad}))


def _domain(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    edits = [
        {"kind": "tactic_parameter", "tactic": "reversion", "parameter": "enter", "value": _number(rng)},
        {"kind": "tactic_parameter", "tactic": "maker", "parameter": "clips", "value": 1.0 + abs(_number(rng))},
        {"kind": "tactic_parameter", "tactic": "nobody", "parameter": "enter", "value": 1.0},
        {"kind": "tactic_parameter", "tactic": "reversion", "parameter": "p", "value": 1.0},
        {"kind": "route_weight", "regime": "flat-high", "tactic": "maker", "weight": 1.0},
        {"kind": "route_weight", "regime": "sideways", "tactic": "flat", "weight": 1.0},
        {"kind": "route_weight", "regime": "flat-low", "tactic": "reversion", "weight": 1.0 + abs(_number(rng))},
        {"kind": "disable_tactic", "tactic": str(rng.choice(["flat", "nobody", "momentum\n"]))},
    ]
    return Attack(made(job, plain, edits[int(rng.integers(len(edits)))]))


def _loosening(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    limit = str(rng.choice(LIMITS))
    now = getattr(job.read.part.policy.risk, limit, 1.0)
    now = float(now) if isinstance(now, int | float) else 1.0
    by = [now, now * (1 + 2**-52), now * 2, -now, -1e308, np.nextafter(now, np.inf), now + abs(_number(rng)), -0.0]
    value: Any = float(by[int(rng.integers(len(by)))])
    if rng.random() < 0.1:
        value = str(rng.choice(["reduce", "never", "", "1e9"]))
    return Attack(made(job, plain, {"kind": "tighten_risk", "limit": limit, "value": value}))


def _budget(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(sealed(plain, rationale=f"nothing is left of the day, {rng.integers(2**40)}"), budget=False)


def _replayed(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(plain)


def _id(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(plain | {"rank": 2 + int(rng.integers(900))})


def _forged(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(sealed(plain, rationale=f"from nobody, {rng.integers(2**40)}"), forged=True)


def _future(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    assert job.read.rest is not None
    start, end = job.read.rest.span
    late = str(int(rng.integers(start, end + 1000 * HOUR)))
    one = plain["evidence"][0] | {"end": late, "last": int(rng.integers(10**6)) + plain["evidence"][0]["last"]}
    return Attack(sealed(plain, evidence=[*plain["evidence"][: int(rng.integers(2))], one], created=late))


def _alien(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(sealed(plain, target=rng.bytes(32).hex()))


def _child(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(sealed(plain, child=plain["target"] if rng.random() < 0.2 else rng.bytes(32).hex()))


def _hash(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    name = str(rng.choice(["model_hash", "code_hash", "config_hash", "engine"]))
    return Attack(sealed(plain, **{name: "oracle" if name == "engine" else rng.bytes(32).hex()}))


def _rows(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    part = [{"sha256": rng.bytes(32).hex()}, {"run_id": rng.bytes(32).hex()}, {"instrument": "NO/ONE"}, {"first": 1}]
    return Attack(sealed(plain, evidence=[plain["evidence"][0] | part[int(rng.integers(len(part)))]]))


def _regimes(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    return Attack(sealed(plain, regimes=[str(rng.choice(["up-high", "down-high", "sideways", "\u00e9"]))]))


def _huge(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    long = "\u00e9\n\ud800"[int(rng.integers(3))] * int(10 ** rng.uniform(3.01, 5))
    where = str(rng.choice(["rationale", "engine", "id", "regimes", "tactic", "extra"]))
    if where == "tactic":
        return Attack(sealed(plain, edit={"kind": "disable_tactic", "tactic": long}))
    if where == "extra":
        return Attack(sealed(plain, **{long: 1}))
    return Attack(sealed(plain, **{where: [long] * 3 if where == "regimes" else long}))


def _shape(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    deep: Any = []
    for _ in range(3000):
        deep = [deep]
    wrong = [deep, None, True, 2**70, -1, "", [], {}, {"kind": "loosen_risk"}, [plain], b"x".hex()]
    name = sorted(set(plain) - {"regimes"})[int(rng.integers(len(plain) - 1))]  # none is a fair answer there
    value = wrong[int(rng.integers(len(wrong)))]
    if name == "rationale" and value:
        value = [value]  # a word would be a fair answer there
    if rng.random() < 0.1:
        return Attack({key: one for key, one in plain.items() if key != name})
    return Attack(sealed(plain, **{name: value}))


def flipped(job: Job, plain: Plain, rng: np.random.Generator) -> Attack:
    """Return the proposal of more of what loses already; only a replay can tell."""
    edits = [
        {"kind": "tactic_parameter", "tactic": "momentum", "parameter": "enter", "value": 0.5},
        {"kind": "tactic_parameter", "tactic": "momentum", "parameter": "hold_min", "value": 2.0},
    ]
    return Attack(made(job, plain, edits[int(rng.integers(len(edits)))], rationale=f"trust me, {rng.integers(2**40)}"))


def made(job: Job, plain: Plain, edit: Plain, **parts: Any) -> Plain:
    """Return a proposal of another edit, with the policy that it makes where it makes one."""
    body = sealed(plain, edit=edit, child="1" * 64, **parts)
    try:
        child = apply_edit(job.read.part.policy, Proposal.model_validate(body).edit, None)
    except (ValueError, ConfigError, AssertionError):
        return body
    return sealed(body, child=child.policy_hash)


CHEAP: Mapping[str, Callable[[Job, Plain, np.random.Generator], Attack]] = {
    "not a number": _nan, "out of domain": _domain, "loosening": _loosening, "no budget": _budget,
    "replayed": _replayed, "another id": _id, "forged": _forged, "future slice": _future, "alien target": _alien,
    "wrong child": _child, "wrong hash": _hash, "wrong rows": _rows, "wrong regimes": _regimes, "huge": _huge,
    "wrong shape": _shape,
}  # fmt: skip


def attacked(job: Job, n: int, seed: int, kinds: Mapping[str, Callable[..., Attack]] = CHEAP) -> Counted:
    """
    Send proposals through the door, and count what came of them.

    Parameters
    ----------
    job : Job
        Whose first proposal is a good one; with governed feedback on.
    n : int
    seed : int
    kinds : mapping of str to callable
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    good, base = job.proposals[0].plain(), list[Replayed]()
    if good["id"] not in job.keeper.ledger.chain.feedback.cases:
        job.keeper.append("proposal", good)
    found: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    words: list[str] = []
    with TemporaryDirectory() as folder:
        stranger = SigningKey.generate(Path(folder) / "stranger.pem")
        for at in range(n):
            name = list(kinds)[at % len(kinds)]
            one = kinds[name](job, good, rng)
            try:
                came = _through(job, one, stranger, base)
            except Exception as error:  # whatever is not ours is what is counted here
                came = "crash"
                words.append(f"{name}: {type(error).__name__}: {error}"[:300])
            if came in ("apply", "granted"):
                words.append(f"{name}: {str(one.plain)[:300]}")
            found[name][came] += 1
    total = Counter[str]()
    for each in found.values():
        total.update(each)
    return Counted(n, total["apply"] + total["granted"], total["crash"], found, tuple(words))


def _through(job: Job, one: Attack, stranger: SigningKey, base: list[Replayed]) -> str:
    """Return what came of one: refused at the door, or the outcome of its ruling."""
    ledger, before = job.keeper.ledger, len(job.keeper.ledger.chain.feedback.cases)
    try:
        if one.forged:
            ledger.append("proposal", one.plain, stranger, 1)
        else:
            job.keeper.append("proposal", one.plain)
    except AlphaTradeError:
        return "refused"
    cases = ledger.chain.feedback.cases
    assert len(cases) == before + 1
    case = list(cases.values())[-1]
    rule = job.own.governance if one.budget else job.own.governance.model_copy(update={"changes_per_day": 0})
    ruling = rim._ruling(job._replace(own=job.own._replace(governance=rule)), case.proposal, 1, base)
    job.keeper.append("ruling", ruling.model_dump(mode="json"))
    return "granted" if ledger.chain.feedback.cases[case.proposal.id].granted else ruling.outcome
