"""Back to the policy before: a node that runs is asked to end flat, the ledger is told, and the node starts again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from alphatrade.nodes.beats import Beat, last_beat
from alphatrade.nodes.ledger_home import existing, key_file
from alphatrade.nodes.live.anchor import read
from alphatrade.nodes.live.settings import STAGE
from alphatrade.nodes.live.switch import Switch, pending, request_switch, take_switch
from alphatrade.nodes.paper.desk import RUN
from alphatrade.risk.errors import ConfigError, LedgerError
from alphatrade.risk.kill import latch_dir

FRESH_NS = 5 * 10**9  # a node whose latest beat is older does not run
TAKEN_S, AGAIN_S, LOOK_S = 10.0, 240.0, 0.05


def roll_back(why: str, key: Path | None, account: str) -> Iterator[str]:
    """
    Do it, and yield lines about how far it is.

    Raises
    ------
    ConfigError
        If a node that runs does not take the request, or does not start again.
    LedgerError
        If there is no policy to go back to, or the ledger does not take the entry.
    """
    anchor = read()
    folder = latch_dir(anchor.state, "live", account)
    home = existing(key or key_file("person"), anchor.ledger)
    back = home.ledger.chain.stages.previous(STAGE)
    if not back:
        raise LedgerError("stage", STAGE, "a policy that was in charge of it before; see `alphatrade stage show`")
    began, beat = time.monotonic(), _running(folder)
    before = _run(folder)
    if beat is not None:  # first of all: a node that finds its policy gone would halt, for somebody to release it
        request_switch(folder, Switch(time.time_ns(), "live-rollback", why))
        try:
            _wait(lambda: not pending(folder), TAKEN_S, "a node that takes it: it is hung, or on its way out")
        finally:
            take_switch(folder)
        yield f"{time.monotonic() - began:.1f} s: the node ends flat"
    body = {"policy_hash": back, "from": STAGE, "to": STAGE, "why": why, "dossier": "", "noticed": ""}
    home.append_stage(body)
    yield f"{time.monotonic() - began:.1f} s: the ledger has {back[:12]} in charge of {STAGE}"
    if beat is not None:
        _wait(
            lambda: _run(folder) not in (None, before) and _running(folder) is not None, AGAIN_S,
            "a node that starts again; its own log says why not: the policy before needs a permit of its own",
        )  # fmt: skip
        yield f"{time.monotonic() - began:.1f} s: the node runs under it"


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
