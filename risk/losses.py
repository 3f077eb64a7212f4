"""What a restart has to know to count losses on: ``losses.json``, beside the latch.

Drawdown is counted from the highest equity at any mark and the daily loss from the first mark of the UTC day,
whichever session that was in. Equity itself is absolute where the capital is the balance of the account. Where it is
a configured constant, equity is that constant and what all sessions since the file began have made: their cash flows,
and the positions they have left at the present price. So the cash flows and the positions are kept, not a realised
result: no average price, which a venue may compute in another way, takes part. A position that is found other than it
was left was changed while nobody looked; it is taken as bought at the ask or sold at the bid that were seen last.

The file is written at every fill, when a UTC day begins, when the node stops, and at a mark at which peak or equity
have moved by a thousandth of the capital. After a ``kill -9`` the peak is therefore understated by less than that;
cash, positions and the day's start are exact; bid and ask are those the law has looked at, see
`Account.quiet_band`: while quotes or trades come, not much older than a minute.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from alphatrade.risk.account import Account
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.exposure import Exposure

LOSSES = "losses.json"
_LAST_DAY = 2_932_896  # of the year 9999
_STEPS = 1000  # per capital: how finely moves of peak and equity are written

Left = tuple[int, int, int]  # position, bid, ask: nano


@dataclass(frozen=True, slots=True)
class Losses:
    """
    Content of the file.

    Parameters
    ----------
    currency : str
        Of all money here.
    fixed : bool
        Whether the capital was configured; else it was the balance at the start of the session.
    capital, cash : int
        Atto; `cash` is the sum of all cash flows less fees, over all sessions where the capital is fixed.
    peak2, day_start2 : int
        Highest equity, and equity at the first mark of the UTC `day` (0.5e-18).
    released : int
        The latest release of a loss limit that is taken into account, UTC ns.
    positions : dict
        By instrument: position, last bid, last ask (nano).
    """

    currency: str
    fixed: bool
    capital: int
    cash: int
    peak2: int
    day: int
    day_start2: int
    released: int
    positions: dict[str, Left]

    def cash_with(self, found: Exposure) -> int:
        """Return the cash flows, atto, given the positions that were found at the start."""
        cash = self.cash
        for name in sorted({*self.positions, *(name for name, held in found.holdings.items() if held.own)}):
            held = found.holdings.get(name)
            position, cost = (held.position, held.basis) if held is not None else (0, 0)
            if name in self.positions:
                left, bid, ask = self.positions[name]
                more = position - left
                cost = more * (ask if more > 0 else bid)
            cash -= cost
        return cash


def read_losses(folder: Path) -> Losses | None:
    """
    Return the content of the file in `folder`; None if there is none.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or makes no sense.
    """
    try:
        data = json.loads((folder / LOSSES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return _parsed(data)


def _parsed(data: object) -> Losses:
    if not isinstance(data, dict) or set(data) != set(Losses.__dataclass_fields__):
        raise ValueError("not the losses of an account")
    positions = data["positions"]
    if not isinstance(positions, dict) or not all(isinstance(left, list) for left in positions.values()):
        raise ValueError("positions are no lists by instrument")
    figures = [data[name] for name in ("capital", "cash", "peak2", "day", "day_start2", "released")]
    if any(type(figure) is not int for figure in (*figures, *(f for left in positions.values() for f in left))):
        raise ValueError("a figure is no whole number")
    if any(len(left) != 3 or min(left[1:]) <= 0 for left in positions.values()):
        raise ValueError("a position is not followed by its bid and ask")
    if type(data["fixed"]) is not bool or not isinstance(data["currency"], str) or not data["currency"]:
        raise ValueError("no currency, or not said whether the capital is fixed")
    if data["capital"] <= 0 or not 0 <= data["day"] <= _LAST_DAY or data["peak2"] < data["day_start2"]:
        raise ValueError("capital, day and peak do not fit")
    return Losses(**{**data, "positions": {name: (left[0], left[1], left[2]) for name, left in positions.items()}})


class LossFile:
    """
    Keeps the file of one account in step with its law.

    Parameters
    ----------
    folder : Path
        Of the latch.
    fixed : bool
        Whether the capital is configured.
    released : int
        When a loss limit was last released, UTC ns: if the file does not know, losses are counted from now on.

    Raises
    ------
    ConfigError
        If the capital is configured and was not, or the other way round: what is kept could not be compared.
    """

    def __init__(self, folder: Path, fixed: bool, released: int) -> None:
        self.path = folder / LOSSES
        self.fixed = fixed
        self.kept = read_losses(folder)
        # Only a release that is newer than the file counts losses anew: a lost line of the log must forget nothing.
        self.released = released if self.kept is None else max(released, self.kept.released)
        self._law: Account | None = None
        self._equity2: int | None = None  # when the file was last written
        if self.kept is not None and self.kept.fixed is not fixed:
            found, wanted = ("configured", "none") if fixed else ("none", "one that is configured")
            raise ConfigError(
                "capital", found, f"{wanted}, as when {self.path} was begun; else use another account name"
            )

    def resume(self, law: Account, today: int = _LAST_DAY) -> bool:
        """
        Let `law`, which knows its capital and what is open, go on; return whether there was an earlier session.

        A stored day later than `today`, which a price with a wrong stamp may have brought about, begins anew.
        """
        self._law, self._equity2 = law, None
        past = self.kept
        if past is None or law.capital is None:
            return False
        shift2 = 0
        if self.fixed:
            law.exposure.cash = past.cash_with(law.exposure)
            shift2 = 2 * (law.capital - past.capital)  # what was lost stays lost, from the new capital
        if self.released > past.released:
            law.resume(None)
        elif past.day > today:
            law.resume(past.peak2 + shift2)
        else:
            law.resume(past.peak2 + shift2, past.day, past.day_start2 + shift2)
        return True

    def keep(self, law: Account, currency: str | None, last: bool = False) -> None:
        """
        Write the file if enough has changed, see the module; `last`: if anything has.

        Nothing is written before `resume`, before the first mark, while a position has no price, and over what is kept
        in another currency.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if law is not self._law or currency is None or law.capital is None or law.peak2 is None:
            return
        if law.day < 0 or law.exposure.unmarked or not (last or self._due(law, law.capital, law.peak2)):
            return
        if self.kept is not None and self.kept.currency != currency:
            return
        exposure = law.exposure
        positions = {
            name: (held.position, held.bid, held.ask)
            for name, held in sorted(exposure.holdings.items())
            if held.own and held.mark_ts >= 0
        }
        now = Losses(
            currency,
            self.fixed,
            law.capital,
            exposure.cash,
            law.peak2,
            law.day,
            law.day_start2,
            self.released,
            positions,
        )
        if now != self.kept:
            write_whole(self.path, json.dumps(asdict(now), sort_keys=True))
            self.kept = now
        self._equity2 = law.equity2

    def _due(self, law: Account, capital: int, peak2: int) -> bool:
        kept, equity2 = self.kept, self._equity2
        if kept is None or equity2 is None or law.exposure.cash != kept.cash or law.day != kept.day:
            return True
        return _STEPS * max(abs(peak2 - kept.peak2), abs(law.equity2 - equity2)) >= 2 * capital
