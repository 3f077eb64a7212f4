"""What an operator does from a console: kill, freeze exploration, acknowledge an alarm, sign off; each is recorded.

Each is an entry of the ledger that says who and why, signed by the machine's service key, and made before anything
happens: what cannot be recorded is not done. But for the kill: that is done first, whatever becomes of its entry.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alphatrade.nodes.ledger_home import PERSON, existing, home, key_file
from alphatrade.risk.errors import AlphaTradeError, InputError
from alphatrade.risk.freeze import request_freeze
from alphatrade.risk.kill import latch_dir, request_kill

if TYPE_CHECKING:
    from alphatrade.reflection.ledger_chain import Entry

LONGEST_WHO, LONGEST_WHY = 100, 1000  # characters, as the ledger has them
Acknowledge = Callable[[str, Mapping[str, str], str, str, float, Callable[[], object]], object]


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


def acknowledge(by: Acknowledge, url: str, labels: Mapping[str, str], who: str, why: str, hours: float) -> Done:
    """
    Acknowledge an alarm at an Alertmanager.

    Parameters
    ----------
    by : callable
        Silences it there, after it has called what it is given, :func:`alphatrade.nodes.alarms.acknowledge`.
    url : str
        Of the Alertmanager.
    labels : mapping of str to str
        Of the alarm.
    who, why : str
    hours : float

    Raises
    ------
    InputError, LedgerError
        As :func:`freeze`; and what `by` raises.
    """
    _told(who, why)
    target = " ".join([f"{name}={value}" for name, value in sorted(labels.items())])[:LONGEST_WHY]
    made: list[int] = []
    by(url, labels, who, why, hours, lambda: made.append(record("acknowledge", target, who, why).seq))
    if not made:
        raise InputError("alarm", target, "one that is firing")
    return Done(made[0], f"acknowledged for {hours:g} h")


def sign_off(proposal: str, approve: bool, who: str, why: str) -> Done:
    """
    Say yes or no to a proposal that waits for a person, as ``alphatrade signoff`` does, by the key of this machine.

    Raises
    ------
    InputError
        If who or why is empty or too long.
    LedgerError
        If no such proposal waits, or it cannot be written.
    """
    from alphatrade.reflection.rim.edits import describe

    _told(who, why)
    own = existing(key_file(PERSON))
    own.entries()
    case = own.ledger.chain.feedback.find(proposal)
    if case.ruling is None or case.ruling.outcome != "signoff" or case.signoff is not None:
        raise InputError("proposal", proposal, "one that waits for a person")
    word = "signed off" if approve else "rejected"
    record("sign_off", f"{case.proposal.id} {word}", who, why)
    own.entries()
    entry = own.append(
        "signoff", {"proposal": case.proposal.id, "approve": approve, "why": f"{why} ({who})"[:LONGEST_WHY]}
    )
    return Done(entry.seq, f"{word}: {describe(case.proposal.edit)}")


def _told(who: str, why: str) -> None:
    for field, value, longest in (("who", who, LONGEST_WHO), ("why", why, LONGEST_WHY)):
        if not value.strip() or len(value) > longest:
            raise InputError(field, value[:80], f"who decides and why, 1 to {longest} characters")
