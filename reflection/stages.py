"""Stages of a policy: experiment, paper, pilot, limited_live; a pure projection of the ledger's entries.

A move that is not lawful cannot be an entry: the chain (:mod:`alphatrade.reflection.ledger_chain`) asks
:meth:`Stages.after` before it takes one, so that no writer adds it and no reader accepts a ledger that has it.

Up goes one step at a time, with the hashes of a dossier and of a verdict, signed by a person; who arrives is in charge,
the incumbent. Whether the dossier bears it out is asked before, by ``alphatrade stage promote``.
Down goes any number of steps, signed by a person or a service: a machine may always make things safer. A demotion puts
nobody in charge; but whom no person has taken down still has to be beaten, so that who holds the key of a service makes
it easier for nobody. A rollback puts the one who was in charge before back, and who was in charge goes a step down; it
starts something, so a person signs it. Into limited_live goes who is permitted to trade real money, by an entry of two
persons (:mod:`alphatrade.reflection.permits`), and not by a promotion.
"""

from collections.abc import Mapping
from typing import NamedTuple

from alphatrade.reflection.ledger_bodies import Stage
from alphatrade.risk.errors import LedgerError

STAGES = ("experiment", "paper", "pilot", "limited_live")
Lines = Mapping[str, tuple[str, ...]]


class Move(NamedTuple):
    """
    A move that was made.

    Attributes
    ----------
    seq, ts : int
        Of its entry; UTC ns.
    kind : str
        promotion, demotion, rollback, or admission to limited_live.
    body : Stage
    key : str
        Who signed.
    replaced : str
        Who was in charge of the stage before; empty if nobody.
    """

    seq: int
    ts: int
    kind: str
    body: Stage
    key: str
    replaced: str


class Stages:
    """
    Where every policy is; immutable.

    Parameters
    ----------
    lines : mapping of str to tuple of str
        Policies of a stage, in the order in which they came; experiment has no line: whoever is in none is there.
    last : mapping of str to str
        Who was last in charge of a stage; whom a person has taken down is forgotten.
    history : tuple of Move
    """

    def __init__(
        self, lines: Lines | None = None, last: Mapping[str, str] | None = None, history: tuple[Move, ...] = ()
    ) -> None:
        self._lines: dict[str, tuple[str, ...]] = dict(lines or {stage: () for stage in STAGES[1:]})
        self._last = dict(last or {})
        self.history = history

    def stage_of(self, policy_hash: str) -> str:
        """Return the stage of a policy; one that nobody has moved is in experiment."""
        return next((stage for stage, line in self._lines.items() if policy_hash in line), STAGES[0])

    def incumbent(self, stage: str) -> str:
        """Return who is in charge of a stage; empty if nobody."""
        last = self._last.get(stage, "")
        return last if last in self._lines.get(stage, ()) else ""

    def to_beat(self, but: str) -> str:
        """
        Return whom a candidate has to beat: who is in charge of the highest stage; empty if nobody.

        Whoever was, until a service took it down, counts as if it still were: see :meth:`incumbent` for who really is.

        Parameters
        ----------
        but : str
            The candidate, which has not to beat itself.
        """
        names = [self._last.get(stage, "") for stage in reversed(STAGES)]
        return next((name for name in names if name not in ("", but)), "")

    def previous(self, stage: str) -> str:
        """Return who a rollback would put in charge: of those who are in the stage, who came last before."""
        there = [policy for policy in self._lines.get(stage, ()) if policy != self.incumbent(stage)]
        return there[-1] if there else ""

    def policies(self, stage: str) -> tuple[str, ...]:
        """Return the policies of a stage, who came last at the end; of experiment those that have come down to it."""
        if stage != STAGES[0]:
            return self._lines[stage]
        moved = dict.fromkeys(move.body.policy_hash for move in self.history)
        moved |= dict.fromkeys(move.replaced for move in self.history if move.replaced)
        return tuple([policy for policy in moved if self.stage_of(policy) == stage])

    def after(self, body: Stage, role: str, key: str, seq: int, ts: int) -> "Stages":
        """
        Return the stages after a move.

        Parameters
        ----------
        body : Stage
        role, key : str
            Of who signed.
        seq, ts : int
            Of the entry; UTC ns.

        Raises
        ------
        LedgerError
            If the move is not lawful.
        """
        where = f"ledger entry {seq}, stage"
        if body.noticed and int(body.noticed) > ts:
            raise LedgerError(f"{where}.noticed", body.noticed, f"nothing later than the entry itself, {ts}")
        here = self.stage_of(body.policy_hash)
        if body.origin != here:
            raise LedgerError(f"{where}.from", body.origin, f"{here}, where the policy is")
        steps = STAGES.index(body.to) - STAGES.index(body.origin)
        kind = "promotion" if steps > 0 else "demotion" if steps < 0 else "rollback"
        if kind != "demotion" and role != "person":
            raise LedgerError(where, f"{role} {key}", f"a {kind} signed by a person")
        move = Move(seq, ts, kind, body, key, self.incumbent(body.to) if kind != "demotion" else "")
        if kind == "promotion":
            return self._promoted(move, steps, where)
        return self._demoted(move, role) if kind == "demotion" else self._rolled_back(move, where)

    def admitted(self, policy_hash: str, why: str, key: str, seq: int, ts: int) -> "Stages":
        """
        Return the stages after a policy was permitted to trade real money; one that was before stays where it is.

        Parameters
        ----------
        policy_hash : str
            Of a policy in pilot or limited_live.
        why, key : str
            Why, and who signed.
        seq, ts : int
            Of the entry; UTC ns.
        """
        origin, live = self.stage_of(policy_hash), STAGES[-1]
        if origin == live:
            return self
        plain = {"policy_hash": policy_hash, "from": origin, "to": live, "why": why, "dossier": "", "verdict": ""}
        move = Move(seq, ts, "admission", Stage.model_validate(plain), key, self.incumbent(live))
        lines, last = self._without(policy_hash)
        lines[live] += (policy_hash,)
        return Stages(lines, last | {live: policy_hash}, (*self.history, move))

    def _promoted(self, move: Move, steps: int, where: str) -> "Stages":
        body = move.body
        if body.to == "limited_live":
            raise LedgerError(f"{where}.to", body.to, "at most pilot: limited_live needs two persons and a permit")
        if steps != 1:
            raise LedgerError(f"{where}.to", body.to, f"one step up from {body.origin}")
        for name in ("dossier", "verdict"):
            if not getattr(body, name):
                raise LedgerError(f"{where}.{name}", "", "its sha256: nobody goes up without")
        lines, last = self._without(body.policy_hash)
        lines[body.to] += (body.policy_hash,)
        return Stages(lines, last | {body.to: body.policy_hash}, (*self.history, move))

    def _demoted(self, move: Move, role: str) -> "Stages":
        lines, last = self._without(move.body.policy_hash)
        if move.body.to != STAGES[0]:
            lines[move.body.to] = (move.body.policy_hash, *lines[move.body.to])  # behind who may be rolled back to
        return Stages(lines, last if role == "person" else self._last, (*self.history, move))

    def _rolled_back(self, move: Move, where: str) -> "Stages":
        stage, back = move.body.to, self.previous(move.body.to)
        if not back or move.body.policy_hash != back:
            expected = f"{back}, who was in charge before" if back else f"a stage with a predecessor, not {stage}"
            raise LedgerError(f"{where}.policy_hash", move.body.policy_hash, expected)
        lines, last = self._without(move.replaced) if move.replaced else (dict(self._lines), self._last)
        below = STAGES[STAGES.index(stage) - 1]
        if move.replaced and below != STAGES[0]:
            lines[below] = (move.replaced, *lines[below])
        return Stages(lines, last | {stage: back}, (*self.history, move))

    def _without(self, policy_hash: str) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        lines = {stage: tuple([one for one in line if one != policy_hash]) for stage, line in self._lines.items()}
        return lines, {stage: one for stage, one in self._last.items() if one != policy_hash}
