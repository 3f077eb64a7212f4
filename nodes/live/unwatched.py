"""What may be open or held at an exchange and is watched by nobody: somebody is told, in the log and by an alert."""

import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from alphatrade.nodes.journal_folder import head_of
from alphatrade.nodes.live.alerts import HELD, Alerts
from alphatrade.nodes.live.checks import Market
from alphatrade.nodes.live.first import first_taken
from alphatrade.nodes.live.handover import Left, read_left, remedy_of, rest_of, words_of
from alphatrade.nodes.live.sides import kept
from alphatrade.nodes.paper.link import VENUE
from alphatrade.risk.disk import LOCK, FolderLock
from alphatrade.risk.errors import ConfigError, InputError, InUseError, JournalError
from alphatrade.risk.handover import FILE, KIND


def watched_by_nobody(folder: Path, why: str, command: str) -> str:
    """
    Alert that something is watched by nobody, as no node runs; return it in a line.

    Parameters
    ----------
    folder : Path
        Of the account.
    why : str
        No node runs.
    command : str
        Cancels and sells what is open and held.

    Returns
    -------
    str
        Empty: nothing was left, and no run is in the middle of something; or another process watches over it.
    """
    if _runs(folder):
        return ""
    try:
        left = read_left(folder)
    except ConfigError:
        left = None  # it is why nothing starts
    if left is not None or (folder / FILE).exists():
        held = "something" if left is None else f"{_known(folder, left)}, left by run {left.run}"
        kind, words = KIND, f"held at the exchange and watched by nobody: {held}; {remedy_of(command)}"
    elif _traded(folder / "journal"):
        held = "a run that has sent orders is not over, and what it may have open and hold is watched by nobody"
        kind, words = HELD, f"{held}: look at the exchange; to cancel and sell it: {command}"
    else:
        return ""
    words = f"{why}; {words}"
    Alerts(folder, time.time_ns, lambda _: None).give(kind, words)
    return words


def _runs(folder: Path) -> bool:
    """Return whether another process trades on the account of a folder: what failed was a mere word beside it then."""
    if not folder.is_dir():
        return False
    try:
        FolderLock(folder).release()
    except InUseError:
        return (folder / LOCK).read_text(encoding="utf-8") != str(os.getpid())  # else of a node that has ended
    except InputError:
        pass
    return False


def _traded(journal: Path) -> bool:
    """Return whether the journal of a run has orders; one that cannot be read may have some."""
    try:
        return journal.is_dir() and bool(kept(journal, ()).orders)
    except JournalError:
        return True


def _known(folder: Path, left: Left) -> str:
    """Return what was left and is in no journal, and what a run that has died since has bought of it by its own."""
    journal = folder / "journal"
    try:
        noted = first_taken(journal)
        if noted is None or noted.run != left.run:
            return left.words
        taken = {f"{symbol}.{VENUE}": qty for symbol, qty in kept(journal, ()).taken.items()}
    except JournalError:
        return left.words
    rest = words_of(rest_of(noted, taken)) or "nothing"  # the file may be a moment behind
    return f"{rest}, and {words_of(taken)} in the journal of the next run" if taken else rest


def tell_held(journal: Path, remedy: str, tell: Callable[[str], object]) -> None:
    """
    Alert that what a journal holds is watched by nobody, as its run is over.

    Parameters
    ----------
    journal : Path
        Where it is now, in the folder of its account.
    remedy : str
        The command that cancels and sells it.
    tell : callable
        Takes a line for whoever reads the log.
    """
    try:
        held = words_of(_held(journal))
    except (JournalError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        held = f"nobody knows what, as {journal} cannot be read: {error}"
    if not held:
        return
    words = "a run is over with the release of the kill switch, and the next one begins flat; what it held is watched"
    words += f" by nobody: {held}; if it is there still, cancel and sell it: {remedy}"
    Alerts(journal.parent, time.time_ns, tell).give(HELD, words)


def _held(journal: Path) -> dict[str, Decimal]:
    """Return what can be sold of it, by symbol."""
    specs = [one["instrument"] for one in (head_of(journal) or {})["markets"]]
    steps = ("tick", "lot", "maker_fee", "taker_fee")
    markets = tuple([
        Market(one["symbol"], one["base"], one["quote"], *(Decimal(one[step]) for step in steps)) for one in specs
    ])  # fmt: skip
    positions = kept(journal, markets).side().positions or {}
    return {one.symbol: positions[one.symbol] for one in markets if positions[one.symbol] >= one.lot}
