"""What an operator sees of a paper node: lines that stay in place on a terminal, or a line of a log now and then."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.text import Text

from alphatrade.nodes.sessions import Phase
from alphatrade.nodes.terminal import console
from alphatrade.risk.kill import State

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.live import Live

SLOW_S, STALE_S = 2.0, 10.0  # ages of the feed: worth a look, bad
_NS = 1_000_000_000
_KILL = {State.ACTIVE: "bold green", State.REDUCING: "bold black on yellow", State.HALTED: "bold white on red"}
_PHASE = {"open": "green", "closing": "yellow", "closed": "dim"}
_SEPARATOR = Text.assemble((" │ ", "dim"))
_ASCII = str.maketrans({"│": "|", "µ": "u", "…": "~"})


@dataclass(frozen=True, slots=True)
class Status:
    """
    A paper node at one moment.

    Attributes
    ----------
    ts : int
        The node's clock, UTC ns.
    equity, day_change : float
        In `currency`; the change is since the day began.
    drawdown : float
        Fraction of the highest equity.
    positions : tuple
        Instrument and signed quantity of what is held.
    regime, tactic : str
        What is perceived, and who is in charge.
    feed_age_s : float
        Since the last event of the feed.
    orders, fills, denials : int
        So far; denials are the law's.
    journal_records, journal_lag : int
        Records so far, and how many of them a kill -9 would lose.
    p99_us : float
        Latency of a decision, 99th percentile; NaN: none so far.
    """

    ts: int
    equity: float
    currency: str
    day_change: float
    drawdown: float
    positions: tuple[tuple[str, float], ...]
    regime: str
    tactic: str
    feed_age_s: float
    events_per_s: float
    orders: int
    fills: int
    denials: int
    kill: State
    phase: Phase
    journal_records: int
    journal_lag: int
    p99_us: float

    @property
    def day_share(self) -> float:
        """Change of the day as a fraction of the equity it began with."""
        start = self.equity - self.day_change
        return self.day_change / start if start > 0.0 else math.nan

    @property
    def feed(self) -> Literal["", "SLOW", "STALE"]:
        """What is wrong with the age of the feed; a closed market has no news."""
        if self.phase == "closed" or self.feed_age_s < SLOW_S:
            return ""
        return "SLOW" if self.feed_age_s < STALE_S else "STALE"  # NaN is stale, too


def line(status: Status, width: int, ascii_only: bool = False) -> Text:
    """
    Return a status to look at: three lines where there is room, more where there is not.

    Parameters
    ----------
    status : Status
    width : int
        Columns; no line is longer.
    ascii_only : bool, default False
        For terminals that show nothing else.
    """
    groups = ((_clocks, _mind), (_money, _held), (_market, _machine))
    rows = [row for group in groups for row in _flowed([list(block(status)) for block in group], width)]
    text = Text("\n").join([_SEPARATOR.join(row) for row in rows])
    if ascii_only:
        text.plain = text.plain.translate(_ASCII).encode("ascii", "replace").decode()
    return text


def plain(status: Status) -> str:
    """Return a status as one line of a log."""
    held = " ".join(f"{_clean(name)}:{_quantity(size)}" for name, size in status.positions) or "flat"
    return (
        f"{_clock(status)} {status.kill} {status.phase} equity={status.equity:.2f}{_clean(status.currency)}"
        f" day={status.day_change:+.2f} drawdown={status.drawdown:.2%} regime={_clean(status.regime)}"
        f" tactic={_clean(status.tactic)} feed_age={status.feed_age_s:.1f}s{status.feed and ' ' + status.feed}"
        f" events={status.events_per_s:.0f}/s orders={status.orders} fills={status.fills} denied={status.denials}"
        f" journal={status.journal_records} lag={status.journal_lag} p99={_latency(status)}us {held}"
    )


class StatusView(AbstractContextManager["StatusView"]):
    """
    Shows what it is given last, on stderr: in place on a terminal, else as a line now and then.

    The picture has a thread of its own: of a node that hangs, the age of the feed is seen to grow.

    Parameters
    ----------
    every_s : float
        Seconds between two lines of a log.
    per_second : float
        Pictures a second on a terminal.
    """

    def __init__(self, every_s: float = 60.0, per_second: float = 4.0) -> None:
        self._every, self._per_second = every_s, per_second
        self._console = console(stderr=True)
        self._status: Status | None = None
        self._shown, self._due = 0.0, -math.inf
        self._live: Live | None = None

    def __enter__(self) -> "StatusView":
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(self, console=self._console, refresh_per_second=self._per_second)
            self._live.start()
        return self

    def show(self, status: Status) -> None:
        """Show this from now on; cheap, and never a reason to stop: who closes the terminal sees nothing more."""
        now = time.monotonic()
        self._status, self._shown = status, now
        if self._live is None and now >= self._due:
            self._due = now + self._every
            self._print()

    def __exit__(self, *exception: object) -> None:
        """Leave the last status behind."""
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()
            self._live = None
        elif self._shown > self._due - self._every:
            self._print()

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator[Text]:
        status, silent = self._status, time.monotonic() - self._shown
        if status is None:
            yield Text("starting", style="dim")
            return
        age = status.feed_age_s + (silent if silent >= 1.0 else 0.0)
        yield line(replace(status, feed_age_s=age), options.max_width, options.ascii_only)

    def _print(self) -> None:
        if self._status is not None:
            with suppress(OSError):
                print(plain(self._status), file=sys.stderr, flush=True)


def _clocks(status: Status) -> Iterator[Text]:
    yield Text(_clock(status))
    yield Text(f" {status.kill} ", style=_KILL[status.kill])
    yield Text(status.phase, style=_PHASE[status.phase])


def _mind(status: Status) -> Iterator[Text]:
    yield _cell("regime", _clean(status.regime), "cyan")
    yield _cell("tactic", _clean(status.tactic), "cyan")


def _money(status: Status) -> Iterator[Text]:
    yield _cell("equity", f"{status.equity:,.2f} {_clean(status.currency)}", "bold")
    change = "green" if status.day_change > 0.0 else "red" if status.day_change < 0.0 else ""
    yield _cell("day", f"{status.day_change:+,.2f} ({status.day_share:+.2%})", change)
    yield _cell("drawdown", f"{status.drawdown:.2%}")


def _held(status: Status) -> Iterator[Text]:
    for name, size in status.positions:
        yield _cell(_clean(name), _quantity(size), "green" if size > 0.0 else "red")
    if not status.positions:
        yield Text("flat", style="dim")


def _market(status: Status) -> Iterator[Text]:
    feed = {"": "dim" if status.phase == "closed" else "green", "SLOW": "yellow", "STALE": "bold white on red"}
    yield _cell("feed", f"{status.feed_age_s:.1f} s {status.feed}".rstrip(), feed[status.feed])
    yield _cell("events/s", f"{status.events_per_s:,.0f}")
    yield _cell("orders", f"{status.orders:,}")
    yield _cell("fills", f"{status.fills:,}")
    yield _cell("denied", f"{status.denials:,}", "yellow" if status.denials else "")


def _machine(status: Status) -> Iterator[Text]:
    yield _cell("journal", f"{status.journal_records:,} (lag {status.journal_lag:,})")
    yield _cell("p99", f"{_latency(status)} µs")


def _cell(label: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"{label} ", "dim"), (value, style))


def _flowed(blocks: list[list[Text]], width: int) -> list[list[Text]]:
    """Put cells beside each other; what does not fit begins a line, and a block as a whole before any of its cells."""
    rows: list[list[Text]] = [[]]
    for block in blocks:
        if rows[-1] and _length([*rows[-1], *block]) > width:
            rows.append([])
        for cell in block:
            cell.truncate(width, overflow="ellipsis")
            if rows[-1] and _length([*rows[-1], cell]) > width:
                rows.append([])
            rows[-1].append(cell)
    return rows


def _length(cells: list[Text]) -> int:
    return sum(cell.cell_len for cell in cells) + _SEPARATOR.cell_len * (len(cells) - 1)


def _clock(status: Status) -> str:
    return f"{datetime.fromtimestamp(status.ts // _NS, UTC):%Y-%m-%d %H:%M:%S}Z"


def _quantity(size: float) -> str:
    return f"{size:+,.8f}".rstrip("0").rstrip(".")


def _latency(status: Status) -> str:
    return "-" if math.isnan(status.p99_us) else f"{status.p99_us:,.0f}"


def _clean(text: str) -> str:
    """Return a name without what a terminal would obey, or not show at all."""
    return "".join(one if one.isprintable() and cell_len(one) else "?" for one in text)
