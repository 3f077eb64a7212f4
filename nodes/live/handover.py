"""What a live node leaves to the next one on its account, and how that one takes it over: ``handover.json``.

The file is written when nothing works any more and all books agree, and goes when all of it is in the journal of the
node that has taken it over. In between it says what the account holds that no node's books have. It is taken once: by
the first start after the run that has left it, or by a start that has died before it could note that.
"""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from alphatrade.nodes.journal_folder import head_of
from alphatrade.nodes.live.checks import Market
from alphatrade.nodes.live.first import first_taken, nothing_heard
from alphatrade.nodes.live.preflight import Held
from alphatrade.nodes.paper.desk import RUN
from alphatrade.nodes.paper.link import VENUE
from alphatrade.risk.approval import plain
from alphatrade.risk.disk import FolderLock, sync, write_whole, writing
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.handover import FILE, PREFIX, HandOver, Part, split

_MODE = 0o600


class Left(NamedTuple):
    """
    What a run has left.

    Attributes
    ----------
    account, policy, run : str
        Of the node that has left it; `run` is the id of its run.
    ts : int
        When the file was written, UTC ns.
    since : int
        Before this moment nothing was paid for it, UTC ns.
    positions : mapping of str to str
        Quantity by instrument, as plain decimals.
    """

    account: str
    policy: str
    run: str
    ts: int = 0
    since: int = 0
    positions: Mapping[str, str] = MappingProxyType({})

    @property
    def words(self) -> str:
        """What it is, in words."""
        return ", ".join(f"{qty} of {name}" for name, qty in sorted(self.positions.items()))


class ToTake(NamedTuple):
    """
    What a start has to take over.

    Attributes
    ----------
    run : str
        Which has left it.
    since : int
        As :class:`Left`.
    held : tuple of Held
        What, with the prices that a start of before has noted.
    noted : bool
        It is in the journal already.
    """

    run: str
    since: int
    held: tuple[Held, ...]
    noted: bool


# -- the file


def write_left(folder: Path, left: Left) -> None:
    """Write the file of an account, for its owner alone; OSError: that cannot be done."""
    path = folder / FILE
    temporary = path.with_name(f"{FILE}.tmp")
    temporary.touch(_MODE)
    temporary.chmod(_MODE)  # of one that a crash has left; it keeps its mode from here on
    write_whole(path, json.dumps(left._asdict() | {"positions": dict(left.positions)}, sort_keys=True))


def read_left(folder: Path) -> Left | None:
    """
    Return what was left on an account; None: nothing.

    Raises
    ------
    ConfigError
        If the file is torn, or none of ours.
    """
    path = folder / FILE
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        wanted = "what a run has left, whole: look at the exchange what is held, close it there, and remove the file"
        raise ConfigError(str(path), " ".join(str(error).split())[:120] or type(error).__name__, wanted) from None


def _parsed(told: Any) -> Left:
    if not isinstance(told, dict) or set(told) != set(Left._fields):
        raise ValueError("not what a run has left")
    left = Left(**told)
    if not all(isinstance(word, str) and word for word in left[:3]) or list(map(type, left[3:5])) != [int, int]:
        raise ValueError("an account, a run or a moment is missing")
    positions = dict(left.positions)
    if not positions or not all(isinstance(name, str) and Decimal(plain(qty)) > 0 for name, qty in positions.items()):
        raise ValueError("no quantities by instrument")
    return left._replace(positions=positions)


def forget(folder: Path) -> None:
    """Remove the file, for good; OSError: that cannot be done."""
    (folder / FILE).unlink(missing_ok=True)
    sync(folder)


# -- of a start


def rest_of(given: HandOver, taken: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return what was left and not taken over yet, by instrument."""
    rest = dict[str, Decimal]()
    for part in given.parts:
        rest[part.instrument] = rest.get(part.instrument, Decimal(0)) + Decimal(part.qty)
    rest = {name: qty - taken.get(name, Decimal(0)) for name, qty in rest.items()}
    return {name: qty for name, qty in rest.items() if qty > 0}


def words_of(held: Mapping[str, Decimal]) -> str:
    """Return what is held by instrument in words."""
    return ", ".join(f"{qty:f} of {name}" for name, qty in sorted(held.items()))


def remedy_of(command: str) -> str:
    """Return what an operator can do about what is held and not watched; `command` cancels and sells it."""
    return f"the next start that succeeds takes it over; to sell it: {command}, then remove {FILE}"


def put_by(folder: Path, policy: str, tell: Callable[[str], object]) -> None:
    """
    Settle what a node has left that was killed after it had written the file, and before its run was over.

    A node of the same policy goes on with that run, whose journal has the position: the file is void. Before one of
    another policy the journal is put beside its place: what it holds is in the file. So is one of a run that was to
    take something over and died before it had heard of anything, if the file was removed since: that was sold by hand.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    InUseError
        If the node that has written it still runs.
    """
    left, journal = read_left(folder), folder / "journal"
    head = head_of(journal)
    if left is None:
        _put_by_unbegun(folder, tell)
        return
    if head is None or head.get("run") != left.run:
        return
    with FolderLock(journal, use="process {} keeps this journal"), writing(folder):
        if head.get("policy") == policy:
            forget(folder)
            tell(f"it goes on with the run that was about to hand over {left.words}")
            return
        beside = _beside(folder, f"handed-over-{left.ts}")
    tell(f"the run that has handed over {left.words} was killed at its end: its journal is now {beside}")


def _put_by_unbegun(folder: Path, tell: Callable[[str], object]) -> None:
    """Put the journal of a run that has neither sent nor taken over anything beside its place, if its file is gone."""
    journal = folder / "journal"
    given = first_taken(journal)
    if given is None or not nothing_heard(journal):  # a node removes the file itself when its journal has everything
        return
    with FolderLock(journal, use="process {} keeps this journal"), writing(folder):
        beside = _beside(folder, f"not-begun-{time.time_ns()}")
    what = words_of(rest_of(given, {}))
    tell(f"{FILE} was removed, so {what} is not taken over: the journal of the run that was to do it is now {beside}")


def _beside(folder: Path, name: str) -> Path:
    beside = folder / f"journal-{name}"
    (folder / "journal").rename(beside)
    sync(folder)
    return beside


def to_take(folder: Path, account: str, goes_on: bool) -> ToTake | None:
    """
    Return what a start has to take over; None: nothing.

    Parameters
    ----------
    folder : Path
        Of the account.
    account : str
    goes_on : bool
        It goes on with a run that had a permit.

    Raises
    ------
    ConfigError
        If what lies there is not for this start.
    """
    journal = folder / "journal"
    noted = first_taken(journal)
    if noted is not None:
        held = tuple([Held(_symbol(one.instrument), Decimal(one.qty), Decimal(one.price)) for one in noted.parts])
        return ToTake(noted.run, noted.since, held, True)
    left = read_left(folder)
    if left is None:
        return None
    if odd := _odd(folder, left, account, goes_on):
        wanted = "what the run just before this start has left: close at the exchange what is held, and remove the file"
        raise ConfigError(str(folder / FILE), f"{left.words}, {odd}", wanted)
    held = tuple([Held(_symbol(name), Decimal(qty)) for name, qty in sorted(left.positions.items())])
    return ToTake(left.run, left.since, held, False)


def _odd(folder: Path, left: Left, account: str, goes_on: bool) -> str:
    """Return why what was left is not for a start; empty: it is."""
    if left.account != account:
        return f"of account {left.account}"
    if goes_on:
        return "beside the journal of a run that does not know of it"
    if any(name.rpartition(".")[2] != VENUE for name in left.positions):
        return "of another venue"
    try:
        latest = (folder / RUN).stat().st_mtime_ns
    except FileNotFoundError:
        latest = 0
    if left.ts < latest and head_of(folder / "journal") is None:  # else that run has died before it noted anything
        return f"from before the latest run: left by run {left.run}"
    return ""


def _symbol(instrument: str) -> str:
    return instrument.rpartition(".")[0]


def offered(
    taking: ToTake, held: tuple[Held, ...], markets: tuple[Market, ...], most: Decimal, units: Decimal | None
) -> HandOver:
    """
    Return what is to be taken over as orders, none larger than the law lets one be.

    Parameters
    ----------
    taking : ToTake
    held : tuple of Held
        With their prices.
    markets : tuple of Market
    most : Decimal
        Largest value of an order, quote units.
    units : Decimal, optional
        Its largest quantity, base units.
    """
    lots, parts = {market.symbol: market.lot for market in markets}, list[Part]()
    for one in held:
        assert one.price is not None, "the checks before a start have asked for it"
        size = most / one.price
        for qty in split(one.qty, size if units is None else min(size, units), lots[one.symbol]):
            number = f"{PREFIX}{len(parts) + 1}"
            parts.append(Part(number, f"{one.symbol}.{VENUE}", plain(f"{qty:f}"), plain(f"{one.price:f}")))
    return HandOver(taking.run, taking.since, tuple(parts))
