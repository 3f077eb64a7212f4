"""The auditor's look at a run of real money: which permit was given when, and what was paid and lost under it.

Orders that take over what another node has left, which no exchange has seen, are bought like any other; each has to be
one that a row ``handover`` tells of, without a fee. What the law has denied of it, it takes over itself, by an order of
the same terms whose id says so, after trading was stopped: no cap and no limit counts for these, and nothing else is
bought after them. Which run has left it, and how much that had, only that run can tell: an audit archive has both, and
its ``verify.py`` takes no hand-over from a run that is not in it.

Which permit was in force is told by rows ``permit`` of ``risk_events.parquet``, each with the whole permit; what it
lets is held against orders, fills and marks in order of `seq`. An order is judged by the permit in force at its
``initialized``, where the law judged it. Out is what fills have cost, with what was spent before the run, and never
less than what is held has cost; buys that work count at their prices. That an order may not bring a loss beyond the cap
is the law's business at every price; here the loss, at the mids, has to be within it when a buy was let through.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from alphatrade.risk.audit_files import FillRow, OrderRow, RunFiles, read_columns
from alphatrade.risk.audit_limits import read_file
from alphatrade.risk.audit_orders import Finding
from alphatrade.risk.errors import RunDirError

LAW_PREFIX = "LAW-"
TAKEN_PREFIX, TAKEN_BY_LAW = "HANDOVER-", "-LAW"
_EVENTS = "seq:int ts:int? kind:str? order_id:str? detail:str? instrument:str? value:str? bound:str?"
_ENDS = frozenset({"denied", "rejected", "canceled", "expired"})
_ATTO = 10**18
_NEVER = 2**63  # a number that no row has


class _Permit(NamedTuple):
    """What a row tells of a permit; amounts in 1e-18 of money, moments in UTC ns."""

    entry: str
    instruments: frozenset[str]
    capital: int
    loss: int
    begins: int
    ends: int
    spent: int
    refused: str


@dataclass(slots=True)
class _Buy:
    """A working buy: instrument, what may still fill and at which price, nano."""

    instrument: str
    left: int
    price: int


@dataclass(frozen=True, slots=True)
class Permitted:
    """
    What the permits of a run were exceeded by, and the largest use of capital and loss as shares of their caps.

    `by_law` are the orders by which the law itself took over what it had denied.
    """

    findings: list[Finding] = field(default_factory=list)
    use: dict[str, float] = field(default_factory=dict)
    by_law: frozenset[str] = frozenset()


def permitted(run_dir: Path, files: RunFiles) -> Permitted:
    """
    Judge what was done with real money; a run of another environment that was given no permit is none.

    Parameters
    ----------
    run_dir : Path
    files : RunFiles
        Its orders, fills and marks.

    Raises
    ------
    RunDirError
        If a file is damaged, or a permit in it is none.
    """
    events = read_columns(run_dir / "risk_events.parquet", _EVENTS)
    rows = list(zip(*events.values(), strict=True))
    given = [(seq, _read(seq, detail)) for seq, _, kind, _, detail, *_ in rows if kind == "permit"]
    env: Any = read_file(run_dir / "run.yaml").get("env")
    if not given and not (isinstance(env, dict) and env.get("name") == "live"):
        return Permitted()
    told = {one[3]: (one[0], *one[5:]) for one in rows if one[2] == "handover"}
    by_law = _by_law(files, told, min((one[0] for one in rows if one[2] == "kill"), default=_NEVER))
    walk = _Walk(files, given, by_law)
    findings = [*walk.findings()]
    for seq, ts, kind, order_id, *_ in rows:
        if kind == "explored":
            findings.append(Finding(seq, ts or 0, "EXPLORATION", order_id or "", "explored with real money"))
    findings += _taken(files, told, by_law)
    return Permitted(findings, walk.use, by_law)


def _by_law(files: RunFiles, told: dict[str, tuple[Any, ...]], stopped: int) -> frozenset[str]:
    """Return the orders by which the law took something over: as it was told, not taken over yet, and after a stop."""
    taken = {fill.order_id for fill in files.fills}
    named = {
        row.order_id for row in files.orders
        if row.order_id.startswith(TAKEN_PREFIX) and row.order_id.endswith(TAKEN_BY_LAW) and row.type == "LIMIT"
    }  # fmt: skip
    early = {row.order_id for row in files.orders if row.seq < stopped}
    return frozenset(
        name for name in named - early if (of := name.removesuffix(TAKEN_BY_LAW)) in told and of not in taken
    )


def _taken(files: RunFiles, told: dict[str, tuple[Any, ...]], by_law: frozenset[str]) -> Iterator[Finding]:
    """Yield what was taken over without having been handed over so: by order id, the row's number and its terms."""
    closed = _closed(files, told, by_law)
    for row in files.orders:
        if row.event != "submitted":
            continue
        if not row.order_id.startswith(TAKEN_PREFIX):
            if row.side == "BUY" and any(begin < row.seq < end for begin, end in closed):
                yield _finding(row, "HANDOVER", "bought before what was left was taken over, or after the law had to")
            continue
        name = row.order_id.removesuffix(TAKEN_BY_LAW) if row.order_id in by_law else row.order_id
        seq, *terms = told.get(name, (row.seq,))
        if seq >= row.seq:
            yield _finding(row, "HANDOVER", "nothing of the kind was handed over")
        elif row.side != "BUY" or terms != [row.instrument, _text(row.qty), _text(row.price or 0)]:
            sent = f"{row.side} {_text(row.qty)} at {_text(row.price or 0)}"
            yield _finding(row, "HANDOVER", f"{sent}, and {terms} was handed over")
    for fill in files.fills:
        if fill.order_id.startswith(TAKEN_PREFIX) and fill.fee:
            yield _finding(fill, "HANDOVER", "a fee for what no exchange has sold")


def _closed(
    files: RunFiles, told: dict[str, tuple[Any, ...]], by_law: frozenset[str]
) -> list[tuple[int, int]]:
    """Return between which rows nothing else may be bought: until what is told of is taken over, and after the law."""
    over = min((row.seq for row in files.orders if row.order_id in by_law), default=_NEVER)
    taken = {fill.order_id.removesuffix(TAKEN_BY_LAW): fill.seq for fill in files.fills}
    return [(over, _NEVER), *((row[0], taken.get(name, _NEVER)) for name, row in told.items())]


def _text(nano: int) -> str:
    """Return a nano amount as a row ``handover`` writes it."""
    return f"{Fraction(nano, 10**9):.9f}".rstrip("0").rstrip(".")


def _read(seq: int, detail: object) -> _Permit:
    try:
        told = json.loads(str(detail))
        capital, loss, begins, ends, spent = (
            int(told[name]) for name in ("capital", "loss", "begins", "ends", "spent")
        )
        scope = frozenset(map(str, told["instruments"]))
        return _Permit(str(told["entry"]), scope, capital, loss, begins, ends, spent, str(told["refused"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RunDirError(
            "risk_events.parquet", f"seq={seq}: {str(detail)[:80]}", "a permit, as the law took it"
        ) from None


class _Walk:
    """One pass over a run in order of `seq`."""

    def __init__(self, files: RunFiles, given: list[tuple[int, _Permit]], by_law: frozenset[str]) -> None:
        self._files, self._given, self._by_law = files, given, by_law
        self._permit: _Permit | None = None
        self._asked: dict[str, tuple[_Permit | None, int]] = {}  # by order: the permit and the time of its judgement
        self._buys: dict[str, _Buy] = {}
        self._paid = 0
        self._held: Counter[str] = Counter()
        self._cost: dict[str, Fraction] = {}
        self._mid2: dict[str, int] = {}
        self.use: dict[str, float] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield what a permit did not cover."""
        rows: list[tuple[int, object]] = [(row.seq, row) for row in self._files.orders]
        rows += [(row.seq, row) for row in self._files.fills]
        rows += self._given
        mark, seqs = 0, self._files.seq
        for seq, row in sorted(rows, key=itemgetter(0)):
            while mark < len(seqs) and seqs[mark] < seq:
                self._mid2[self._files.names[self._files.who[mark]]] = int(self._files.mid2[mark])
                mark += 1
            if isinstance(row, _Permit):
                self._permit = row
            elif isinstance(row, FillRow):
                yield from self._fill(row)
            elif isinstance(row, OrderRow):
                yield from self._order(row)

    def _order(self, row: OrderRow) -> Iterator[Finding]:
        if row.event == "initialized":
            self._asked[row.order_id] = self._permit, row.ts
        elif row.event == "submitted" and not (row.order_id.startswith(LAW_PREFIX) and row.reduce_only):
            permit, ts = self._asked.get(row.order_id, (self._permit, row.ts))
            if row.side == "BUY":
                self._buys[row.order_id] = _Buy(row.instrument, row.leaves, row.price or 0)
            if row.order_id not in self._by_law:
                yield from self._judged(row, permit, ts)
        elif row.event in _ENDS:
            self._buys.pop(row.order_id, None)

    def _judged(self, row: OrderRow, permit: _Permit | None, ts: int) -> Iterator[Finding]:
        """Yield what is wrong with an order that has left, by the permit under which it was let through."""
        if permit is None or permit.refused:
            yield _finding(row, "NO_PERMIT", "no permit" if permit is None else permit.refused)
            return
        if not permit.begins <= ts < permit.ends:
            yield _finding(row, "PERMIT_WINDOW", f"at {ts}, from {permit.begins} to {permit.ends}: {permit.entry[:12]}")
        if row.instrument not in permit.instruments:
            yield _finding(row, "PERMIT_SCOPE", f"{row.instrument} is not in permit {permit.entry[:12]}")
        if row.side != "BUY":
            return
        if row.price is None:
            yield _finding(row, "UNBOUNDED", "a buy without a price")
        loss = self._out(permit) - sum(held * self._mid2.get(name, 0) for name, held in self._held.items()) // 2
        self._use("LOSS_CAP", loss, permit.loss)
        if loss > permit.loss:
            yield _finding(row, "LOSS_CAP", f"{loss / _ATTO:f} lost, of {permit.loss / _ATTO:f}")
        yield from self._capital(row, permit)

    def _capital(self, row: OrderRow | FillRow, permit: _Permit) -> Iterator[Finding]:
        out = self._out(permit) + sum(buy.left * buy.price for buy in self._buys.values())
        self._use("CAPITAL_CAP", out, permit.capital)
        if out > permit.capital:
            yield _finding(row, "CAPITAL_CAP", f"{out / _ATTO:f} out, of {permit.capital / _ATTO:f}")

    def _fill(self, row: FillRow) -> Iterator[Finding]:
        name, money = row.instrument, row.qty * row.price
        own = row.currency == self._files.limits.currency
        kept = 0 if own or row.side != "BUY" else row.fee
        fee = row.fee * 10**9 if own else 0
        if row.side == "BUY":
            self._paid += money + fee
            self._held[name] += row.qty - kept
            self._cost[name] = self._cost.get(name, Fraction(0)) + (row.qty - kept) * row.price
        else:
            self._paid -= money - fee
            if self._held[name] > 0:
                self._cost[name] *= 1 - min(Fraction(row.qty, self._held[name]), Fraction(1))
            self._held[name] -= row.qty
        buy = self._buys.get(row.order_id)
        if buy is not None:
            buy.left = max(buy.left - row.qty, 0)
        judged = row.side == "BUY" and row.order_id not in self._by_law
        if judged and self._permit is not None and not self._permit.refused:
            yield from self._capital(row, self._permit)

    def _out(self, permit: _Permit) -> int:
        return max(permit.spent + self._paid, int(sum(self._cost.values())))

    def _use(self, code: str, value: int, bound: int) -> None:
        if bound > 0:
            self.use[code] = max(self.use.get(code, 0.0), value / bound)


def _finding(row: OrderRow | FillRow, code: str, detail: str) -> Finding:
    return Finding(row.seq, row.ts, code, row.order_id, detail)
