"""Back to the policy before: a node that runs is asked to end, the ledger is told, and the node starts again.

It ends flat, or it hands over: it keeps what it holds, and the policy before takes that over under its own law.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.journal_folder import head_of
from alphatrade.nodes.ledger_home import existing, key_file
from alphatrade.nodes.live.anchor import read
from alphatrade.nodes.live.first import paid_since
from alphatrade.nodes.live.permits import Asked, margin_of, permitted
from alphatrade.nodes.live.settings import STAGE
from alphatrade.nodes.live.switch import Switch, pending, request_switch, take_switch
from alphatrade.nodes.paper.desk import RUN
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import Chain
from alphatrade.reflection.permits import moment
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.risk.handover import FILE
from alphatrade.risk.kill import latch_dir

FRESH_NS = 5 * 10**9  # a node whose latest beat is older does not run
TAKEN_S, AGAIN_S, OVER_S, LOOK_S = 10.0, 240.0, 240.0, 0.05


def roll_back(why: str, key: Path | None, account: str, hand_over: bool = False) -> Iterator[str]:
    """
    Do it, and yield lines about how far it is.

    Parameters
    ----------
    why : str
    key : Path, optional
        Of the person who signs the entry.
    account : str
    hand_over : bool
        What is held is not sold: the policy before takes it over.

    Raises
    ------
    ConfigError
        If a node that runs does not take the request, does not start again, or nothing can be handed over.
    LedgerError
        If there is no policy to go back to, or the ledger does not take the entry.
    """
    anchor = read()
    folder = latch_dir(anchor.state, "live", account)
    home = existing(key or key_file("person"), anchor.ledger)
    home.entries()  # whoever has locked the ledger is waited for before a node is asked
    back = home.ledger.chain.stages.previous(STAGE)
    if not back:
        raise LedgerError("stage", STAGE, "a policy that was in charge of it before; see `alphatrade stage show`")
    began, beat, left = time.monotonic(), _running(folder), False
    before = _run(folder)
    if hand_over:
        _require_heir(folder, anchor.ledger, home.ledger.chain, back, beat)
    if beat is not None:  # first of all: a node that finds its policy gone would halt, for somebody to release it
        _ask(folder, Switch(time.time_ns(), "live-rollback", why, hand_over))
        how = "cancels, and keeps what it holds" if hand_over else "ends flat"
        yield f"{time.monotonic() - began:.1f} s: the node {how}"
    body = {"policy_hash": back, "from": STAGE, "to": STAGE, "why": why, "dossier": "", "noticed": ""}
    try:
        home.append_stage(body)
    except LedgerError as error:
        if beat is None:
            raise
        raise _asked_in_vain(error, hand_over) from error
    yield f"{time.monotonic() - began:.1f} s: the ledger has {back[:12]} in charge of {STAGE}"
    if beat is not None:

        def again() -> bool:
            nonlocal left
            left = left or (folder / FILE).exists()
            return _run(folder) not in (None, before) and _running(folder) is not None

        words = "a node that starts again; its own log says why not: the policy before needs a permit of its own"
        _wait(again, AGAIN_S, words)
        yield f"{time.monotonic() - began:.1f} s: the node runs under it"
    if hand_over:
        words = "that what was left is taken over: alerts.jsonl of the account says why not"
        _wait(lambda: not (folder / FILE).exists(), OVER_S, words)
        done = "all is taken over" if left else "nothing was left: it held nothing, or its own log says why it has sold"
        yield f"{time.monotonic() - began:.1f} s: {done}"


def _ask(folder: Path, asked: Switch) -> None:
    """Leave a request, and wait until it is taken; one that is not is taken back."""
    request_switch(folder, asked)
    try:
        wanted = "a node that takes it: it is hung, on its way out, or has not taken over yet what was left to it"
        _wait(lambda: not pending(folder), TAKEN_S, wanted)
    except ConfigError:
        if pending(folder):
            raise  # else it was taken at the last moment
    finally:
        take_switch(folder)


def _asked_in_vain(error: LedgerError, hand_over: bool) -> LedgerError:
    """Return what is said where the ledger does not take the entry, and a node was asked already."""
    what = "takes over itself what it holds" if hand_over else "sells what it holds before"
    again = "mend that, wait until it runs, and give the command once more"
    wanted = f"an entry; the node was asked before: it starts again under the policy that it has, and {what}; {again}"
    return LedgerError("live-rollback", str(error), wanted)


def _require_heir(folder: Path, ledger: Path, chain: Chain, back: str, beat: Beat | None) -> None:
    """Refuse a hand-over for which nobody is there: the policy before has to have a permit that counts all of it."""
    head, now = head_of(folder / "journal"), time.time_ns()
    if beat is None or head is None:
        wanted = "one that holds something; without the word the ledger alone is told"
        raise ConfigError("--hand-over", "no node that runs", wanted)
    venue = head["broker"].split()[-1]
    permit = permitted(chain, Asked(back, head["code"], venue, head["account"], tuple(head["instruments"])), now)
    since = paid_since(folder / "journal")
    why = permit.refused or margin_of(Ledger(ledger), back)
    if not why and permit.begins > since:
        then = moment(str(since)) if since else "nobody knows when"
        begins = f"permit {permit.entry[:12]} begins at {moment(str(permit.begins))}"
        why = f"{begins}; what is held was paid for since {then}"
    if why:
        wanted = "a permit of the policy before that counts what is held; without the word the node ends flat"
        raise ConfigError("--hand-over", why, wanted)


def _running(folder: Path) -> Beat | None:
    beat = last_beat(folder)
    return beat if beat is not None and time.time_ns() - beat.ts < FRESH_NS else None


def _run(folder: Path) -> bytes | None:
    try:
        return (folder / RUN).read_bytes()
    except OSError:
        return None


def _wait(what: Callable[[], bool], seconds: float, expected: str) -> None:
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            raise ConfigError("live-rollback", f"nothing within {seconds:g} s", expected)
        time.sleep(LOOK_S)
