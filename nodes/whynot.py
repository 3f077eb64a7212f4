"""Why not the other topology: the alternatives of one order, from the run's own tape, checked by a replay if wanted."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.counting import counted
from alphatrade.nodes.perceive import walk
from alphatrade.nodes.rerun import policy_of, run_spec_of, tapes_of
from alphatrade.nodes.settings import RunSpec, Settings
from alphatrade.nodes.sim import identity_of, run_into
from alphatrade.nodes.tape import Tape
from alphatrade.reflection.explain import decision_of
from alphatrade.reflection.query import read_mapping
from alphatrade.reflection.whynot import Closeness, Paper, closeness, on_paper, real_outcome, replayed
from alphatrade.risk.errors import ConfigError, RunDirError
from alphatrade.strategies.policy import Flags, Policy, RouterSpec
from alphatrade.strategies.shadow import Costs
from alphatrade.strategies.sizing import Sizer
from alphatrade.strategies.topologies import load_topology


class Answer(NamedTuple):
    """
    What one order's decision, and its alternatives, came to.

    Attributes
    ----------
    decision : dict
        Row of the diary.
    horizon : int
        Decision steps.
    real : float
        Outcome of the real book, bps of a clip.
    paper : dict of str to float
        Outcome of each tactic on paper.
    instead : str
        The alternative that was checked; empty: none.
    check : Closeness or None
        How close its predictions came to the replay, over all decisions.
    replay : float
        Its outcome at this decision in the replay.
    """

    decision: dict[str, Any]
    horizon: int
    real: float
    paper: dict[str, float]
    instead: str = ""
    check: Closeness | None = None
    replay: float = float("nan")


def why_not(run_dir: Path, order_id: str, state: Path, check: bool, instead: str = "") -> Answer:
    """
    Return the alternatives of the decision behind an order.

    Parameters
    ----------
    run_dir : Path
        Of a finished run, whose tape is still there.
    order_id : str
        Client order id.
    state : Path
        Folder with the cache of converted tapes.
    check : bool
        Replay the tape with the alternative always in charge, and compare: another policy, and so a trial.
    instead : str
        The alternative to check; the router's own choice of an exploring decision, or else the best on paper.

    Raises
    ------
    InputError
        If the order has no decision, the tape is not there or another now, or the replay is one that the ledger has to
        count (:mod:`alphatrade.nodes.counting`) and cannot.
    """
    row = decision_of(run_dir, order_id)
    if "canary" in read_mapping(run_dir, "run.yaml"):
        raise RunDirError("run folder", str(run_dir), "a run without a canary: its fills are those of two policies")
    policy, run = policy_of(run_dir), run_spec_of(run_dir, state)
    tapes = tapes_of(run_dir, run)
    tape = next(tape for tape in tapes if tape.instrument.id == row["instrument"])
    paper, horizon, step = _paper(policy, run, tape), policy.expost.primary, int(row["step"])
    told = {name: paper.outcome(name, step, horizon) for name in sorted(policy.topologies)}
    real = real_outcome(replayed(run_dir, tape.instrument.id), paper, step, horizon)
    answer = Answer(row, horizon, real, told)
    if not check:
        return answer
    others = [name for name in told if name != row["exec_topo"]]
    base = row["base_topo"] if row.get("explored") else ""
    instead = instead or base or max(others, key=lambda name: (told[name], name))
    if instead not in told:
        raise ConfigError("instead", instead, f"one of {', '.join(told)}")
    found = _replay(policy, run, tapes, tape, instead)
    return answer._replace(
        instead=instead,
        check=closeness(paper, instead, found, horizon),
        replay=real_outcome(found, paper, step, horizon),
    )


def told(answer: Answer) -> list[str]:
    """Return the answer in lines of text."""
    row, steps = answer.decision, f"{answer.horizon} decisions later"
    lines = [
        f"Why not another topology   (decision {row['decision']}, step {row['step']} of {row['instrument']})",
        f"  {row['exec_topo']:<14} {answer.real:+8.2f} bps of a clip, {steps}, by its fills (in charge)",
    ]
    for name, value in answer.paper.items():
        lines.append(f"  {name:<14} {value:+8.2f} bps on paper, with a book of its own")
    if answer.check is not None:
        c = answer.check
        lines += [
            f"Checked by a replay with {answer.instead} always in charge",
            f"  this decision  {answer.paper[answer.instead]:+8.2f} bps on paper, {answer.replay:+8.2f} in the replay",
            f"  {c.n} decisions: mean {c.predicted:+.2f} on paper, {c.replayed:+.2f} in the replay, "
            f"apart {c.apart:.2f} bps; rank correlation {c.correlation:.2f}, same sign {c.same_sign:.0%}",
        ]
    return lines


def _paper(policy: Policy, run: RunSpec, tape: Tape) -> Paper:
    spec, names = run.venue.priced(tape.instrument), sorted(policy.features)
    tactics = {
        name: load_topology(f"policy.topologies.{name}", tactic.kind, tactic.params, names)
        for name, tactic in sorted(policy.topologies.items())
    }
    costs = Costs(float(spec.taker_fee), float(spec.maker_fee), 0.5 * float(spec.tick))
    size = policy.sizing
    capital, lot_n = float(run.venue.starting_balance), round(float(spec.lot) * 1e9)
    sizer = Sizer(capital, size.fraction, size.vol_target_bps / 1e4, policy.risk.order_notional_max, lot_n)
    return on_paper(walk(tape, policy), tactics, costs, run.venue.account == "cash", sizer)


def _replay(policy: Policy, run: RunSpec, tapes: Sequence[Tape], tape: Tape, tactic: str) -> dict[int, float]:
    """Return the worth of the real book of a replay in which one tactic is always in charge; it is a trial."""
    table = dict.fromkeys(policy.router.table, tactic)
    router = RouterSpec(table=table, min_hold=policy.router.min_hold, min_confidence=policy.router.min_confidence)
    only = policy.model_copy(update={"router": router, "flags": Flags()})
    settings = Settings(policy=only, run=run)
    identity = identity_of(settings, list(tapes))
    count = counted(settings, tapes, identity.run_id, "explore whynot")
    with TemporaryDirectory(prefix="alphatrade-whynot-") as name:
        folder = Path(name)
        summary = run_into(Folder(folder), settings, list(tapes), identity)
        count.close_run(folder, summary, tapes, float(run.venue.starting_balance))
        return replayed(folder, tape.instrument.id)
