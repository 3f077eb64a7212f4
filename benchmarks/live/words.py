"""Words and environment variables that would let a node with real orders do more than its permit says.

Each is given to the composition, the settings and the look at the ledger of ``alphatrade live`` themselves, in this
process, with other words that do no harm; an order by what came of it goes to the client. Some are given to a real
process, too: it has to end with exit code 2, one line, and no request.
"""

import asyncio
import atexit
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple
from unittest.mock import patch

from hydra import compose, initialize_config_module

from alphatrade.nodes.evaluate import MEMORY
from alphatrade.nodes.live import anchor, run
from alphatrade.nodes.live.settings import live_settings
from alphatrade.nodes.overrides import CONFIG_MODULE, HYDRA_ERRORS, completed
from alphatrade.risk.errors import AlphaTradeError
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import NONE, Permit
from alphatrade.risk.units import NANO, to_nano
from benchmarks.live.forgeries import law_of, ordered
from benchmarks.live.place import LAUNCH, Place
from tests.venue.make_door import Behind
from tests.venue.make_venue import Handle

HARMLESS = (
    "feed.stall_s=3", "feed.pause_s=0.5", "broker.check_s=5", "guard.reconcile_min=1", "output.flush_rows=1000",
    "sessions.lead_s=60", "metrics.port=0", "output.report=true",
)  # fmt: skip
ENDS_S = 60.0


class Given(NamedTuple):
    """
    What is given to a node.

    Attributes
    ----------
    words : tuple of str
    permitted : bool
        Whether a permit stands for what the node is told otherwise.
    env : mapping of str to str
        Its environment; ``{other}`` in it is the folder of the machine with a permit, ``{bare}`` of that without.
    qty : str
        Of the order that is tried, base units.
    verb : str
        Of another command than ``live``; it is given to a process alone.
    bare : bool
        Whether the process reads the anchor where it really is.
    real : bool
        Whether it is given to a process: not where it would ask a real exchange if it were let.
    """

    words: tuple[str, ...] = ()
    permitted: bool = True
    env: Mapping[str, str] = {}
    qty: str = "0.001"
    verb: str = "live"
    bare: bool = False
    real: bool = True


ELSEWHERE = ("broker.http=null", "broker.ws_api=null", "feed.http=null", "feed.ws=null")
OTHER = {"ALPHATRADE_STATE": "{other}/state", "ALPHATRADE_LEDGER": "{other}/state/ledger"}
WORDS: dict[str, Given] = {
    "no permit": Given(permitted=False),
    "exploration": Given(("exploration=true",)),
    "governed feedback": Given(("governed_feedback=true",)),
    "a policy file": Given(("policy_file=mine.json",)),
    "a genotype": Given(("genotype=default",)),
    "what was learned": Given(("learned=state",)),
    "no entry": Given(("policy_entry=null",)),
    "an entry of pilot": Given(("policy_entry={pilot}",)),
    "no journal": Given(("journal=false",)),
    "on margin": Given(("venue.account=margin",)),
    "without a bound": Given(("venue.bounded_market=false",)),
    "a broker of paper": Given(("broker=simulated",)),
    "as paper": Given(("env=paper",)),
    "as a replay": Given(("env=sim",)),
    "another account": Given(("account=OTHER",)),
    "another instrument": Given(("feed.symbols=[ETHUSDT]",)),
    "one instrument more": Given(("feed.symbols=[BTCUSDT,ETHUSDT]",)),
    "looking seldom": Given(("guard.look_s=86400",)),
    "a word for a permit": Given(("+permit.capital=1000000",)),
    "a word for an approval": Given(("+approvals=null",)),
    "another state": Given(("paths.state={bare}/state",)),
    "state by environment": Given(env={"ALPHATRADE_STATE": "{bare}/state"}),
    "ledger by environment": Given(permitted=False, env={"ALPHATRADE_LEDGER": "{other}/state/ledger"}),
    "both by environment": Given(permitted=False, env=OTHER),
    "both by word and environment": Given(("paths.state={other}/state",), permitted=False, env=OTHER),
    "at the testnet": Given(ELSEWHERE, real=False),
    "at mainnet": Given((*ELSEWHERE, "broker.net=mainnet", "feed.testnet=false"), real=False),
    "more capital": Given(("venue.starting_balance=1000000",), qty="0.01", real=False),
    "wider limits": Given(
        ("policy.risk.order_notional_max=1", "policy.risk.price_collar=0.5"), qty="0.0015", real=False
    ),
}  # fmt: skip
COMMANDS: dict[str, Given] = {
    "a home with an anchor": Given(permitted=False, env={"HOME": "{other}/home", **OTHER}, bare=True),
    "live by paper": Given(("env=live", "feed=binance", "broker=binance"), verb="paper", bare=True),
    "live by a replay": Given(("env=live",), verb="sim", bare=True),
}


class Stand(NamedTuple):
    """Two machines, of which a permit stands on the second only."""

    bare: Place
    permitted: Place

    def place(self, given: Given) -> Place:
        """Return the machine that is meant."""
        return self.permitted if given.permitted else self.bare

    def told(self, text: str) -> str:
        """Return words with what they name."""
        other, bare = self.permitted, self.bare
        named = {"{other}": str(other.root), "{bare}": str(bare.root), "{pilot}": other.policies[1]}
        for name, value in named.items():
            text = text.replace(name, value)
        return text

    def env(self, given: Given) -> dict[str, str]:
        """Return the whole environment."""
        return self.place(given).node.env | {name: self.told(value) for name, value in given.env.items()}


@cache
def stand(port: int, control: int) -> Stand:
    """Return the machines at an exchange; they go with the process."""
    root, venue = Path(mkdtemp(prefix="alphatrade-words-", dir=MEMORY)), Handle(port, control)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for name in ("bare", "permitted"):
        (root / name).mkdir()
    made = Stand(Place(venue, root / "bare"), Place(venue, root / "permitted"))
    made.permitted.permit(policy=0)
    home = made.permitted.root / "home"
    home.mkdir()
    (home / anchor.HOME).write_text(made.permitted.anchor.read_text())
    return made


def _law(given: Given, one: Stand, more: list[str]) -> tuple[Permit, LiveLaw]:
    """Return what the node would be permitted, and the law that it would have; nothing, where it would not start."""
    place = one.place(given)
    words = [*place.node.words, *map(one.told, given.words), *more]
    with patch.dict(os.environ, one.env(given), clear=True), patch.object(anchor, "PLACES", (place.anchor,)):
        try:
            full = completed(words, "live")
            with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
                config = compose("live", overrides=full)
            start = run._permitted(live_settings(config, anchor.read()))
        except (AlphaTradeError, *HYDRA_ERRORS):
            return NONE, law_of()
    own = start.live.own.settings
    if given.qty == Given().qty:
        return start.permit, law_of()
    return start.permit, LiveLaw(own.policy.risk, to_nano(str(own.run.venue.starting_balance)) * NANO)


def worded(name: str) -> Callable[[Behind, random.Random], Awaitable[None]]:
    """Return a kind of attempts by its name."""
    given = WORDS[name]

    async def kind(one: Behind, rng: random.Random) -> None:
        made = stand(one.venue.port, one.venue.control_port)
        permit, law = _law(given, made, rng.sample(HARMLESS, rng.randrange(len(HARMLESS))))
        await ordered(one, permit, time.time_ns(), law, given.qty)

    return kind


def processed(name: str) -> Callable[[Behind, random.Random], Awaitable[bool]]:
    """Return a kind of attempts at a process: whether it ended as it has to is what comes of one."""
    given = (WORDS | COMMANDS)[name]

    async def kind(one: Behind, rng: random.Random) -> bool:
        made = stand(one.venue.port, one.venue.control_port)
        return await asyncio.to_thread(_refused, given, made, rng.sample(HARMLESS, 2))

    return kind


def _refused(given: Given, one: Stand, more: list[str]) -> bool:
    """Start a process, and return whether it has ended with exit code 2 and one line."""
    place = one.place(given)
    start = ["alphatrade"] if given.bare else [LAUNCH, str(place.anchor)]
    words = [*place.node.words, *map(one.told, given.words), *more] if given.verb == "live" else given.words
    command = [sys.executable, "-W", "ignore", "-m", *start, given.verb, *words]
    try:
        done = subprocess.run(
            command, cwd=place.root, env=one.env(given), capture_output=True, text=True, timeout=ENDS_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    told = [line for line in done.stderr.splitlines() if line.startswith("alphatrade: ")]
    return done.returncode == 2 and len(told) == 1 and "Traceback" not in done.stderr


def kinds() -> dict[str, dict[str, Callable[[Behind, random.Random], Awaitable[Any]]]]:
    """Return every kind by its layer."""
    real = [name for name, given in (WORDS | COMMANDS).items() if given.real]
    return {"words": {name: worded(name) for name in WORDS}, "processes": {name: processed(name) for name in real}}
