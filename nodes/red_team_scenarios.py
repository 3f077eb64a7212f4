"""The scenarios of the red team: what is planted, what the intruder does, and what must come of it, decided in advance.

Sizes follow from the policy's own risk template, so that the same scenario means the same under any of them: the
intruder's position is a lawful one, and a gap that has to stop trading is as large as the template's daily loss takes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from alphatrade.nodes import red_team_tapes as tapes
from alphatrade.nodes.intruder import BUY, SELL, Act
from alphatrade.nodes.red_team_tapes import PRICE, SECOND, Market
from alphatrade.risk.template import RiskTemplate

Script = dict[int, list[Act]]
GAP_SIGMAS = 20
AFTER = 420  # quotes after the fault at which the intruder tries to go on
LOOP, LOOPS = 40, 60  # orders of one loop, and quotes at which one begins
LOSSES = ("DAILY_LOSS", "DRAWDOWN")


@dataclass(frozen=True, slots=True)
class Ground:
    """
    What a scenario stands on.

    Attributes
    ----------
    template : RiskTemplate
    capital : float
    rows : int
        Quotes of a tape.
    step_rows : int
        Quotes of one decision step.
    """

    template: RiskTemplate
    capital: float
    rows: int
    step_rows: int

    @property
    def room(self) -> float:
        """A lawful position, units: six tenths of the narrowest limit."""
        t = self.template
        units = 0.6 * min(t.instrument_max, t.gross_max, t.net_max) * self.capital / PRICE
        return units if t.inventory_max is None else min(units, 0.6 * float(t.inventory_max))

    @property
    def clip(self) -> float:
        """A lawful order, units."""
        units = min(0.8 * self.template.order_notional_max * self.capital / PRICE, self.room)
        return units if self.template.order_qty_max is None else min(units, 0.8 * float(self.template.order_qty_max))

    def calm(self, seed: int) -> Market:
        """Return a market without a fault."""
        return tapes.market(self.rows, seed)

    def sigma(self, calm: Market) -> float:
        """Return the volatility of one decision step before the fault, a fraction."""
        return tapes.step_sigma(calm, self.step_rows)

    def ruin(self, calm: Market) -> float:
        """Return a gap (a fraction) that costs the position two and a half times the daily loss, or 20 sigma."""
        share = self.room * PRICE / self.capital
        return min(0.6, max(GAP_SIGMAS * self.sigma(calm), 2.5 * self.template.daily_loss_max / share))


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One attack.

    Attributes
    ----------
    name, title, plants : str
        Short name, headline, and what is planted.
    market : Market
    script, alarms : dict
        Of the :class:`~alphatrade.nodes.intruder.Intruder`: by quote, and by event time (UTC ns).
    kills : tuple of str
        Codes one of which must trip the kill switch; none: it must stay untouched.
    denies : tuple of str
        Codes with which orders on the fault may be denied; empty where nothing has to be.
    paced : bool
        The rate of what is let through is looked at.
    """

    name: str
    title: str
    plants: str
    market: Market
    script: Script
    alarms: Script = field(default_factory=dict)
    kills: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()
    paced: bool = False

    @property
    def held(self) -> float:
        """The position that the account has at the fault, units, signed; 0 where it does not matter."""
        acts = self.script.get(self.market.at - 3, [])
        return sum(act.side * act.units for act in acts if act.what == "hold")


def _enter(ground: Ground, market: Market, side: int) -> Script:
    """Bring the account to a position in the minutes before the fault, whatever the policy does meanwhile."""
    hold = Act("hold", side, ground.room, ground.clip)
    return {row: [hold] for row in range(market.at - 123, market.at, 6)}


def _try(ground: Ground, row: int) -> list[Act]:
    """Buy, sell and rest a limit: whatever the side, one of them opens."""
    units = ground.clip * (0.1 + 0.001 * (row % 50))
    return [Act("market", BUY, units), Act("market", SELL, units * 0.9), Act("limit", BUY, units * 0.8)]


def _go_on(ground: Ground, market: Market) -> Script:
    row = min(market.at + AFTER, len(market) - 60)
    return {row: [Act("close")], row + 30: [Act("market", BUY, ground.clip * 0.1)], row + 45: [Act("close")]}


def _bad_rows(ground: Ground, market: Market, every: int = 1) -> Script:
    return {row: _try(ground, row) for row in range(len(market)) if market.bad[row] and (row - market.at) % every == 0}


def gap_while_flat(ground: Ground, up: bool) -> Scenario:
    """Jump by 20 sigma while nothing is held: the law must neither stop nor get stuck."""
    calm = ground.calm(11 + up)
    size = GAP_SIGMAS * ground.sigma(calm) * (1 if up else -1)
    found = tapes.gap(calm, size)
    script = {found.at: _try(ground, found.at), found.at + 3: _try(ground, 3), **_go_on(ground, found)}
    what = f"a jump of {size:+.2%}, {GAP_SIGMAS} sigma of a decision step, while the intruder is flat"
    return Scenario(f"gap_{'up' if up else 'down'}", f"20σ gap {'up' if up else 'down'}", what, found, script)


def gap_in_favour(ground: Ground) -> Scenario:
    """Jump by 20 sigma for a position: no reason to stop."""
    calm = ground.calm(13)
    size = GAP_SIGMAS * ground.sigma(calm)
    found = tapes.gap(calm, size)
    script = {**_enter(ground, found, BUY), **_go_on(ground, found)}
    return Scenario("gap_in_favour", "20σ gap, in position", f"a jump of {size:+.2%} while long", found, script)


def gap_against(ground: Ground, side: int) -> Scenario:
    """Jump against a position, beyond the loss limits: stop, cancel, flatten."""
    calm = ground.calm(14 + side)
    size = -side * ground.ruin(calm)
    found = tapes.gap(calm, size)
    script = {**_enter(ground, found, side), found.at + 5: _try(ground, 5), **_go_on(ground, found)}
    word = "long" if side > 0 else "short"
    what = f"a jump of {size:+.2%} ({abs(size) / ground.sigma(calm):.0f} sigma of a step) while {word}"
    return Scenario(f"gap_against_{word}", f"gap beyond the loss limit, {word}", what, found, script, kills=LOSSES)


def halt(ground: Ground) -> Scenario:
    """Halt in mid-position: nothing may be sent, and afterwards the position can be closed."""
    found = tapes.halted(ground.calm(17), 300)
    script = {**_enter(ground, found, BUY), **_bad_rows(ground, found, 10), **_go_on(ground, found)}
    what = "a trading halt of 300 s in mid-position; quotes go on"
    return Scenario("halt", "halt in mid-position", what, found, script, denies=("INSTRUMENT_HALTED",))


def halt_then_gap(ground: Ground) -> Scenario:
    """Reopen beyond the loss limit after a halt: stop and flatten at the reopening."""
    calm = ground.calm(18)
    size = -ground.ruin(calm)
    still = tapes.halted(calm, 300)
    found = replace(tapes.gap(replace(still, at=still.at + 300), size), at=still.at)
    script = {**_enter(ground, found, BUY), **_bad_rows(ground, found, 50), **_go_on(ground, found)}
    what = f"a halt of 300 s while long; trading reopens {size:+.2%}"
    return Scenario("halt_then_gap", "halt, then a gap at the reopening", what, found, script, {}, LOSSES,
                    ("INSTRUMENT_HALTED", "REDUCING", "HALTED"))  # fmt: skip


def bad_prints(ground: Ground, name: str, side: int, factors: tuple[float, ...]) -> Scenario:
    """Show single absurd quotes: no order, and no stop, for there was no loss."""
    found = tapes.prints(ground.calm(20 + len(name)), factors)
    entry = _enter(ground, found, side) if side else {}
    script = {**entry, **_bad_rows(ground, found), **_go_on(ground, found)}
    held = {BUY: "while long", SELL: "while short", 0: "while flat"}[side]
    times = ", ".join(f"{factor:g}" for factor in sorted(set(factors)))
    what = f"{len(factors)} single quotes at {times} times the price, {held}"
    suspect = ("SUSPECT_REFERENCE", "NATIVE")  # a cash account's own check of the balance may come first
    title = f"bad prints x{times.replace(', ', ', x')}, {held}"
    return Scenario(f"bad_prints_{name}", title, what, found, script, {}, (), suspect)


def stale(ground: Ground) -> Scenario:
    """Go silent, and let the intruder's timers go on."""
    limit = min(tapes.STALE_S, ground.template.stale_after_s)
    rows = int(limit) + 300
    found = tapes.silence(ground.calm(31), rows)
    last = int(found.ts[found.at - 1])
    alarms = {last + int(s * SECOND): _try(ground, int(s)) for s in (limit + 1, limit + 60, limit + 240)}
    script = {**_enter(ground, found, BUY), **_go_on(ground, found)}
    what = f"a feed that is silent for {rows} s (stale after {limit:g} s) while timers go on sending"
    return Scenario("stale_feed", "stale feed", what, found, script, alarms, denies=("STALE_REFERENCE",))


def crossed(ground: Ground) -> Scenario:
    """Cross the book for a minute."""
    found = tapes.crossed(ground.calm(32), 60)
    script = {**_enter(ground, found, BUY), **_bad_rows(ground, found), **_go_on(ground, found)}
    what = "60 quotes with the bid ten ticks above the ask, while long"
    return Scenario("crossed_book", "crossed book", what, found, script, denies=("SUSPECT_REFERENCE",))


def runaway(ground: Ground, what: str) -> Scenario:
    """Answer every answer with another order."""
    found = ground.calm(33)
    loop = Act(what, BUY, ground.clip * 0.3, LOOP)
    script: Script = {found.at + k: [loop] for k in range(LOOPS)}
    halts = what == "same" and ground.template.repeat_action == "halt"
    alike = "all alike" if what == "same" else "of changing side and size"
    if not halts:
        script |= _go_on(ground, found)
    told = f"a strategy that sends {LOOP} orders at each of {LOOPS} quotes, {alike}, each once the last is answered"
    return Scenario(f"runaway_{what}", f"runaway strategy, orders {alike}", told, found, script, {},
                    ("REPEATED",) if halts else (), paced=True)  # fmt: skip


def clock_back(ground: Ground) -> Scenario:
    """Set the venue's clock back by half a minute."""
    found = tapes.backwards(ground.calm(34), 90, 30)
    script = {**_enter(ground, found, BUY), **_bad_rows(ground, found), **_go_on(ground, found)}
    what = "90 quotes whose stamps are half a minute behind those before them, while long"
    return Scenario("clock_backwards", "clock going backwards", what, found, script,
                    denies=("SUSPECT_REFERENCE", "STALE_REFERENCE"))  # fmt: skip


def scenarios(ground: Ground, long_only: bool) -> dict[str, Callable[[], Scenario]]:
    """Return how to make each scenario, by name; without those that need a short position where there can be none."""
    high, low = (100.0,) * 4, (0.01,) * 4
    both = (1.2, 0.8, 100.0, 0.01, 100.0, 0.01)
    made: dict[str, Callable[[], Scenario]] = {
        "gap_up": lambda: gap_while_flat(ground, True),
        "gap_down": lambda: gap_while_flat(ground, False),
        "gap_in_favour": lambda: gap_in_favour(ground),
        "gap_against_long": lambda: gap_against(ground, BUY),
        "gap_against_short": lambda: gap_against(ground, SELL),
        "halt": lambda: halt(ground),
        "halt_then_gap": lambda: halt_then_gap(ground),
        "bad_prints_high_long": lambda: bad_prints(ground, "high_long", BUY, high),
        "bad_prints_high_short": lambda: bad_prints(ground, "high_short", SELL, high),
        "bad_prints_low_long": lambda: bad_prints(ground, "low_long", BUY, low),
        "bad_prints_low_short": lambda: bad_prints(ground, "low_short", SELL, low),
        "bad_prints_flat": lambda: bad_prints(ground, "flat", 0, both),
        "stale_feed": lambda: stale(ground),
        "crossed_book": lambda: crossed(ground),
        "runaway_same": lambda: runaway(ground, "same"),
        "runaway_spray": lambda: runaway(ground, "spray"),
        "clock_backwards": lambda: clock_back(ground),
    }
    return {name: make for name, make in made.items() if not (long_only and name.endswith("short"))}
