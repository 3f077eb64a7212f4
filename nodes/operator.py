"""What an operator does from a console: kill, freeze exploration, acknowledge an alarm, sign off; each is recorded.

Each is an entry of the ledger that says who and why, signed by the machine's service key (a sign-off by the person's),
and made before anything happens: what cannot be recorded is not done. But for the kill: that is done first, whatever
becomes of its entry.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alphatrade.nodes.ledger_home import PERSON, existing, home, key_file
from alphatrade.risk.errors import AlphaTradeError, InputError
from alphatrade.risk.freeze import request_freeze
from alphatrade.risk.kill import latch_dir, request_kill

if TYPE_CHECKING:
    from alphatrade.reflection.ledger_chain import Entry

LONGEST_WHO, LONGEST_WHY = 100, 1000  # characters, as the ledger has them


class Done(NamedTuple):
    """What came of an action: the number of its entry, or why there is none, and a line to show."""

    entry: int | None
    words: str


def record(action: str, target: str, who: str, why: str) -> "Entry":
    """
    Write down, durably, that somebody does something; on first use the ledger is made.

    Parameters
    ----------
    action : str
        As :class:`alphatrade.reflection.ledger_bodies.Operator` has it.
    target : str
        On what.
    who, why : str

    Raises
    ------
    InputError
        If who or why is empty or too long.
    LedgerError
        If it cannot be written.
    """
    _told(who, why)
    return home().append("operator", {"action": action, "target": target, "who": who, "why": why})


def kill(state: Path, env: str, account: str, who: str, why: str) -> Done:
    """
    Ask the node of an account to stop trading, as ``alphatrade kill`` does, and record it then.

    Raises
    ------
    InputError
        If who or why is empty or too long, or there can be no such account; nothing is done then.
    """
    _told(who, why)
    known = request_kill(state, env, account, who, why, time.time_ns())
    said = "kill requested" if known else "kill requested; no node has used this account here yet"
    try:
        entry = record("kill", f"{env}/{account}", who, why)
    except AlphaTradeError as error:
        return Done(None, f"{said}; it could not be recorded: {error}")
    return Done(entry.seq, said)


def freeze(state: Path, env: str, account: str, who: str, why: str) -> Done:
    """
    Let a node explore nothing more until its run is over; one that does not run begins its next run so.

    Raises
    ------
    InputError
        As :func:`kill`.
    LedgerError
        If it cannot be recorded; nothing is done then.
    """
    latch_dir(state, env, account)
    entry = record("freeze", f"{env}/{account}", who, why)
    request_freeze(state, env, account, who, why, time.time_ns())
    return Done(entry.seq, "freeze requested")


def acknowledge(url: str, labels: Mapping[str, str], who: str, why: str, hours: float) -> Done:
    """
    Acknowledge what is firing and has these labels: nobody is told of it again until the end of that time.

    Parameters
    ----------
    url : str
        Of the Alertmanager.
    labels : mapping of str to str
        Some of those of the alarm, or all.
    who, why : str
    hours : float
        A week at most.

    Raises
    ------
    InputError, LedgerError
        As :func:`freeze`, :func:`~alphatrade.nodes.alarms.chosen` and :func:`~alphatrade.nodes.alarms.silence`.
    """
    from alphatrade.nodes.alarms import chosen, silence

    _told(who, why)
    found = chosen(url, labels, hours)
    target = " ".join([f"{name}={value}" for name, value in sorted(labels.items())])[:LONGEST_WHY]
    entry = record("acknowledge", target, who, why)
    silence(url, found, who, why, hours)
    names = ", ".join([f"{alarm.name} {alarm.labels.get('instance', '')}".rstrip() for alarm in found])
    return Done(entry.seq, f"acknowledged for {hours:g} h: {names}")


def sign_off(
    proposal: str, approve: bool, who: str | None, why: str, key: Path | None = None, folder: Path | None = None
) -> Done:
    """
    Say yes or no, as a person, to a proposal whose ruling asks for it.

    Parameters
    ----------
    proposal : str
        Its id, or how that begins.
    approve : bool
    who : str or None
        None: whose key it is.
    why : str
    key : Path, optional
        Private key of the person; none: that of this machine.
    folder : Path, optional
        Of the ledger; none: that of this machine.

    Raises
    ------
    InputError
        If who or why is empty or too long, or no such proposal waits.
    LedgerError
        If the key is of nobody who may, or it cannot be written.
    """
    from alphatrade.reflection.rim.edits import describe

    own = existing(key or key_file(PERSON), folder)
    name = own.person()
    who = name if who is None else who
    _told(who, why)
    own.entries()
    case = own.ledger.chain.feedback.find(proposal)
    if case.ruling is None or case.ruling.outcome != "signoff" or case.signoff is not None:
        raise InputError("proposal", proposal, "one that waits for a person")
    word = "signed off" if approve else "rejected"
    told = {"action": "sign_off", "target": f"{case.proposal.id} {word}", "who": who, "why": why}
    own.append("operator", told)
    entry = own.append(
        "signoff", {"proposal": case.proposal.id, "approve": approve, "why": f"{why} ({who})"[:LONGEST_WHY]}
    )
    return Done(entry.seq, f"{word}: {describe(case.proposal.edit)}")


def _told(who: str, why: str) -> None:
    for field, value, longest in (("who", who, LONGEST_WHO), ("why", why, LONGEST_WHY)):
        if not value.strip() or len(value) > longest:
            raise InputError(field, value[:80], f"who decides and why, 1 to {longest} characters")
