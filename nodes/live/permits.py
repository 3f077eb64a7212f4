"""What the ledger permits this node, looked at by the node itself: at its start, and each minute.

The whole ledger is checked at the first look and each hour, from its genesis, whose hash the anchor of this machine
knows, over the latest head that this account has seen, so that a rewritten or shortened one shows. In between what was
added is. Whatever is wrong with ledger, clock or permit is a permit that permits nothing, and says why.
"""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.nodes.live.anchor import Anchor
from alphatrade.nodes.live.clocks import Clocks
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import Chain, Head, head_of
from alphatrade.reflection.ledger_check import verify
from alphatrade.reflection.ledger_disk import locked
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.permits import Granted, moment
from alphatrade.reflection.trials import read
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import AlphaTradeError, LedgerError
from alphatrade.risk.permit import Permit
from alphatrade.risk.units import NANO, to_nano

WHOLE_NS = 3_600 * 10**9
CLOCK, HEAD = "clock", "ledger.head"  # files of an account, beside its latch


class Asked(NamedTuple):
    """What a node wants to trade, as it names it: hashes of policy and code, venue, account, ids of instruments."""

    policy: str
    code: str
    venue: str
    account: str
    instruments: tuple[str, ...]


def permitted(chain: Chain, asked: Asked, now: int) -> Permit:
    """
    Return what a ledger permits; of several permits that which was entered last and covers what is asked for.

    Parameters
    ----------
    chain : Chain
        Checked.
    asked : Asked
    now : int
        UTC ns.
    """
    found = chain.permits.of(asked.policy)
    if not found:
        return Permit(refused=f"no entry limited_live permits policy {asked.policy[:12]}", at=now)
    told = [(one, _unlike(one, asked) or _unfit(chain, one, now)) for one in reversed(found)]
    one, why = next(((one, why) for one, why in told if not why), told[0])
    terms = one.terms
    return Permit(
        entry=one.id, policy=terms.policy_hash, code=terms.code_hash, venue=terms.venue, account=terms.account,
        instruments=tuple(terms.symbols), currency=terms.currency, capital=to_nano(terms.capital) * NANO,
        loss=to_nano(terms.loss) * NANO, begins=int(terms.begins), ends=int(terms.ends), at=now, refused=why,
    )  # fmt: skip


def margin_of(ledger: Ledger, policy_hash: str) -> str:
    """
    Return why a policy was not bred for a cash account; empty: every search that has tried it had one.

    Raises
    ------
    LedgerError
        If the trials of the ledger cannot be read.
    """
    book = read(ledger)
    names = {one.trial.search for one in book.trials if one.trial.policy_hash == policy_hash and one.trial.search}
    if not names:
        return f"no search of the ledger has tried policy {policy_hash[:12]}: nobody can tell on which kind of account"
    for name in sorted(names):
        told: Any = book.searches[name].search.evaluator
        for part in ("run", "venue", "account"):
            told = told.get(part) if isinstance(told, dict) else None
        if told != "cash":
            words = f"search {name[:12]} has bred policy {policy_hash[:12]} on a {told or 'margin'} account"
            return f"{words}, and a cash account cannot do what it did: breed it with venue.account=cash"
    return ""


class Watch:
    """
    Looks at the ledger for one node; not for two threads at once.

    Parameters
    ----------
    anchor : Anchor
    asked : Asked
    folder : Path
        Of the account's live state: remembers the latest head of the ledger, and the latest moment.
    clocks : Clocks, optional
        None: those of the folder.

    Attributes
    ----------
    clocks : Clocks
        Told by the node what the exchange's clock shows.
    """

    def __init__(self, anchor: Anchor, asked: Asked, folder: Path, clocks: Clocks | None = None) -> None:
        self._anchor, self._asked, self._head_file = anchor, asked, folder / HEAD
        self.clocks = clocks or Clocks(folder / CLOCK)
        self._chain, self._offset, self._whole_at = Chain(), 0, -WHOLE_NS
        self._margin: str | None = None

    def look(self) -> Permit:
        """Return what may be traded from now on; never raises for what is wrong with ledger, clock or permit."""
        now = self.clocks.now()
        try:
            permit = self._looked(now)
        except AlphaTradeError as error:
            permit = Permit(refused=str(error), at=now)
        except Exception as error:  # whatever it is: nothing is permitted
            permit = Permit(refused=f"the ledger cannot be read ({type(error).__name__}: {error})", at=now)
        if not self.clocks.wrong():
            self.clocks.keep()
        wrong = self.clocks.wrong()
        return permit._replace(refused=f"the clock of this machine is wrong: {wrong}") if wrong else permit

    def _looked(self, now: int) -> Permit:
        """Return what the ledger permits, which is brought to where its file is."""
        self._follow() if now - self._whole_at < WHOLE_NS else self._check_whole(now)
        found = permitted(self._chain, self._asked, now)
        if self._margin is None and not found.refused:
            self._margin = margin_of(Ledger(self._anchor.ledger), self._asked.policy)
        return found if found.refused else found._replace(refused=self._margin or "")

    def _check_whole(self, now: int) -> None:
        self._chain, self._offset = Chain(), 0
        folder = self._anchor.ledger
        with locked(folder, fcntl.LOCK_SH):  # a writer at work is no damage
            found = verify(folder, self._anchor.fingerprint, self._seen())
            size = (folder / FILE).stat().st_size
        if found.problems:
            raise LedgerError(str(folder), found.problems[0], "a ledger in which nothing is wrong")
        self._keep(found.head)
        self._chain, self._offset, self._whole_at = found.chain, size, now

    def _follow(self) -> None:
        """Take what was added; whatever does not continue what was seen is looked at as a whole the next time, too."""
        folder, chain, whole_at = self._anchor.ledger, self._chain.copy(), self._whole_at
        self._whole_at = -WHOLE_NS
        with locked(folder, fcntl.LOCK_SH), (folder / FILE).open("rb") as file:
            file.seek(self._offset)
            *lines, rest = file.read().split(b"\n")
            size = file.seek(0, 2)
        if rest or size < self._offset:
            raise LedgerError(str(folder), "a ledger that is shorter, or cut off in an entry", "one that grows")
        for line in lines:
            chain.take(line)
        self._keep(chain.head)
        self._chain, self._offset, self._whole_at = chain, size, whole_at

    def _seen(self) -> Head | None:
        try:
            text = self._head_file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        return head_of(text.removesuffix("\n"))

    def _keep(self, head: Head) -> None:
        text = f"{head.seq}:{head.hash}\n"
        self._head_file.parent.mkdir(parents=True, exist_ok=True)
        if not self._head_file.is_file() or self._head_file.read_text(encoding="utf-8") != text:
            write_whole(self._head_file, text)


def _unlike(one: Granted, asked: Asked) -> str:
    """Return in what a permit is not the one that is asked for."""
    terms, name = one.terms, f"permit {one.id[:12]}"
    fields: tuple[tuple[str, str, str, Callable[[str], str]], ...] = (
        ("code", terms.code_hash, asked.code, lambda text: text[:12]),
        ("venue", terms.venue, asked.venue, str),
        ("account", terms.account, asked.account, str),
    )
    for what, granted, wanted, short in fields:
        if granted != wanted:
            return f"{name} is for {what} {short(granted)}, not {short(wanted)}"
    if more := sorted(set(asked.instruments) - set(terms.symbols)):
        return f"{name} is not for {', '.join(more)}"
    other = [one for one in asked.instruments if not one.partition(".")[0].endswith(terms.currency)]
    return f"{name} counts in {terms.currency}, which {other[0]} is not paid in" if other else ""


def _unfit(chain: Chain, one: Granted, now: int) -> str:
    """Return why a permit does not stand, or not now."""
    if why := chain.permits.standing(one.id, chain.roster, chain.stages):
        return why
    if now < int(one.terms.begins):
        return f"permit {one.id[:12]} begins at {moment(one.terms.begins)}"
    return f"permit {one.id[:12]} ended at {moment(one.terms.ends)}" if now >= int(one.terms.ends) else ""
