"""What a journal still holds that is put beside its place: no run has it from then on, so that somebody is told."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from alphatrade.nodes.journal_folder import head_of
from alphatrade.nodes.live.alerts import HELD, Alerts
from alphatrade.nodes.live.checks import Market
from alphatrade.nodes.live.handover import words_of
from alphatrade.nodes.live.sides import kept
from alphatrade.risk.errors import JournalError


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
