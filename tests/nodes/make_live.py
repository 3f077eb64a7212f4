"""A machine that is ready for real money but for a permit: a ledger with a policy promoted on cash, and two persons.

The policy, a maker in a flat market and else a taker, has no stops. It was bred in a search whose venue had a cash
account, and promoted to pilot by a gate that asks for little: what it earns is made up. Keys are those of the machine;
the second person's is elsewhere.
"""

import os
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from alphatrade.evolution import promotion
from alphatrade.evolution.trial import Outcome
from alphatrade.nodes.ledger_home import Home, existing, home, key_file
from alphatrade.nodes.promote_stage import promote_stage
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from tests.nodes import make_dossier
from tests.nodes.make_dossier import Made, judged_at, make, played
from tests.reflection.make_ledger import Cast

FIRST, SECOND = "owner", "ben"  # the two persons, by their names in the roster
FEW = ("ledger", "latency")  # checks of the gate that made-up figures pass
CAPITAL = 100
_MAKER = "[{kind:two_sided_maker,params:{half_spread:1.0,skew:0.1,clips:1.0,max_clips:1.5}}]"
_TAKER = "[{kind:taker_momentum,params:{signal:ret_5,enter:0.5,leave:0.0,hold_min:2}}]"
REGIMES = ("down-low", "down-high", "flat-low", "flat-high", "up-low", "up-high")
RISK = {
    "order_notional_max": 0.3, "gross_max": 1, "net_max": 1, "instrument_max": 1, "daily_loss_max": 0.2,
    "drawdown_max": 0.2, "orders_per_minute": 100_000, "repeat_max": 100_000, "duplicate_window_s": 0,
}  # fmt: skip
WORDS = (
    "tape=world", "tape.hours=4", "venue.account=cash", f"venue.starting_balance={CAPITAL}",
    "policy/features@genotype.features=quotes", "genotype.cadence.kind=events", "genotype.cadence.n=2",
    "genotype.regime.vol_long=40", "genotype.sizing.fraction=0.25", "genotype.sizing.vol_target_bps=1000",
    "domain.tunables.sizing.fraction.high=0.3", "domain.tunables.sizing.vol_target_bps.high=2000",
    "domain.topologies.two_sided_maker.never=[]", *(f"genotype.topologies.{one}={_MAKER if 'flat' in one else _TAKER}" for one in REGIMES),
    *(f"genotype.risk.{name}={value}" for name, value in RISK.items()),
)  # fmt: skip


class Ready(NamedTuple):
    """
    A machine and its ledger.

    Attributes
    ----------
    state : Path
        Its state folder: ``$ALPHATRADE_STATE`` of whatever runs there.
    ledger : Path
    policy_hash : str
        Of the policy, which is in pilot.
    second : Path
        Private key file of the second person, which the machine does not have.
    artifacts : Path
        Where the dossiers of both promotions are.
    """

    state: Path
    ledger: Path
    policy_hash: str
    second: Path
    artifacts: Path


def ready(place: Path, *words: str) -> Ready:
    """Return a machine below a folder of its own; `words` change the search."""
    state = place / "state"
    with patch.dict(os.environ, {"ALPHATRADE_STATE": str(state)}):
        os.environ.pop("ALPHATRADE_LEDGER", None)
        folder = home().ledger.folder
        root, first, service = (SigningKey.load(key_file(whose)) for whose in ("root", "person", "service"))
        second = place / "elsewhere" / f"{SECOND}.pem"
        second.parent.mkdir()
        member = {"name": SECOND, "role": "person", "public": SigningKey.generate(second).public}
        Home(Ledger(folder), root).append("roster", {"add": member})
        made = _promoted(place / "made", Cast(folder, root, first, service), *words)
    return Ready(state, folder, made.policy_hash, second, place / "made" / "artifacts")


def another(machine: Ready, place: Path, *words: str) -> str:
    """Promote one more policy to pilot, from a search of its own with dossiers below a folder; return its hash."""
    with patch.dict(os.environ, {"ALPHATRADE_STATE": str(machine.state)}):
        os.environ.pop("ALPHATRADE_LEDGER", None)
        keys = [SigningKey.load(key_file(whose)) for whose in ("root", "person", "service")]
        return _promoted(place, Cast(machine.ledger, *keys), *words).policy_hash


def _promoted(place: Path, cast: Cast, *words: str) -> Made:
    few = {name: promotion.CHECKS[name] for name in FEW}
    with patch.object(promotion, "CHECKS", few), patch.object(make_dossier, "played", founders_first):
        made = make(place, (*WORDS, *words), cast)
        promote_stage(made.data, made.policy_hash, "paper", existing(key_file("person")))
        again = judged_at(made, cast.ledger)
        promote_stage(again, made.policy_hash, "pilot", existing(key_file("person")))
    return made


def founders_first(one: object, cells: list[object], period: int) -> Outcome:
    """Make up what came of a candidate: nothing that was bred does better than what it was bred from."""
    found: Outcome = played(one, cells, period)  # type: ignore[arg-type]
    if not one.lineage.parents:  # type: ignore[attr-defined]
        return found
    return found._replace(
        rows=tuple([row._replace(measured=row.measured._replace(net_return=-1.0)) for row in found.rows])
    )
