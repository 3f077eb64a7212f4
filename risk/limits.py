"""The numbers of the law as integers, and its verdicts."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum

from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import NANO, from_atto, from_nano, to_nano

NO_LIMIT = 10**60  # above any quantity in nano


class Code(StrEnum):
    """Why an order was denied; also the name of the limit in the risk events."""

    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    NO_REFERENCE = "NO_REFERENCE"
    STALE_REFERENCE = "STALE_REFERENCE"
    SUSPECT_REFERENCE = "SUSPECT_REFERENCE"
    NO_ACCOUNT = "NO_ACCOUNT"
    INSTRUMENT_HALTED = "INSTRUMENT_HALTED"
    ORDER_QTY = "ORDER_QTY"
    ORDER_NOTIONAL = "ORDER_NOTIONAL"
    INSTRUMENT_EXPOSURE = "INSTRUMENT_EXPOSURE"
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    NET_EXPOSURE = "NET_EXPOSURE"
    INVENTORY = "INVENTORY"
    PRICE_COLLAR = "PRICE_COLLAR"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    ORDER_RATE = "ORDER_RATE"
    REPEATED = "REPEATED"
    DUPLICATE = "DUPLICATE"
    OPEN_ORDERS = "OPEN_ORDERS"
    REDUCE_ONLY = "REDUCE_ONLY"
    LONG_ONLY = "LONG_ONLY"
    QUOTE_QTY = "QUOTE_QTY"
    EXPLORATION = "EXPLORATION"
    CAP = "CAP"
    SESSION = "SESSION"
    SHADOW = "SHADOW"
    REDUCING = "REDUCING"
    HALTED = "HALTED"
    UNKNOWN_COMMAND = "UNKNOWN_COMMAND"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    STATE_UNREADABLE = "STATE_UNREADABLE"
    NO_PERMIT = "NO_PERMIT"
    PERMIT_ENDED = "PERMIT_ENDED"
    PERMIT_SCOPE = "PERMIT_SCOPE"
    CAPITAL_CAP = "CAPITAL_CAP"
    LOSS_CAP = "LOSS_CAP"
    LOSS_ROOM = "LOSS_ROOM"
    UNBOUNDED = "UNBOUNDED"
    FILTERS = "FILTERS"
    HANDOVER = "HANDOVER"


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one limit is, or would be, used; figures as text in the units of the limit."""

    code: Code
    value: str
    bound: str
    order_id: str = ""  # in a list: whose it is


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What the law says to one command.

    Parameters
    ----------
    code : Code, optional
        None: allowed.
    reason : str
        One line, ``CODE: what=value > limit=bound (words)``; empty when allowed.
    near : tuple of Use
        Limits used beyond the near-miss share, when allowed.
    order_id : str
        The order that broke the limit; the whole list is denied with it.
    """

    code: Code | None = None
    reason: str = ""
    value: str = ""
    bound: str = ""
    near: tuple[Use, ...] = ()
    order_id: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the command may go on."""
        return self.code is None


ALLOWED = Verdict()


def deny(code: Code, words: str, value: str = "", bound: str = "", order_id: str = "") -> Verdict:
    """Return a denial whose reason names the code, the figures and what they mean."""
    figures = f"{code.lower()}={value} > limit={bound} ({words})" if value or bound else words
    return Verdict(code, f"{code}: {figures}", value, bound, (), order_id)


def text(value: int, unit: str) -> str:
    """Return a figure in words: unit m (0.5e-18 of money), n (nano) or c (a count)."""
    if unit == "m":
        return f"{from_atto(value) / 2:f}"
    return f"{from_nano(value):f}" if unit == "n" else str(value)


def floor_nano(fraction: float) -> int:
    """Return a fraction as an integer count of 1e-9, rounded down, through its shortest repr."""
    return int((Decimal(repr(fraction)) * NANO).to_integral_value(ROUND_FLOOR))


def share(fraction: float, amount: int) -> int:
    """Return `fraction` of an integer `amount`, rounded down."""
    return int((Decimal(repr(fraction)) * amount).to_integral_value(ROUND_FLOOR))


def soft(bound: int, near_n: int) -> int:
    """Return the smallest value that is a near-miss of `bound`."""
    return -(-near_n * bound // NANO)


def soft_count(bound: int, near_n: int) -> int:
    """
    Return the smallest count that is a near-miss of `bound`, at least two.

    One order is no accumulation: under a limit of one, each would be a near-miss and none a warning. Under limits of
    two to four the limit itself is what comes near.
    """
    return max(soft(bound, near_n), 2)


@dataclass(frozen=True, slots=True)
class Soft:
    """Where near-misses begin; anything below all of these is allowed without a closer look."""

    collar_n: int
    per_second: int
    per_minute: int
    repeat: int
    order_qty_n: int
    inventory_n: int
    order_notional2: int
    instrument2: int
    gross2: int
    net2: int
    daily_loss2: int
    open_orders: int


@dataclass(frozen=True, slots=True)
class Limits:
    """
    A `RiskTemplate` in integers.

    Names ending in ``2`` count 0.5e-18 of money (they are compared with quantity times the doubled mid),
    those in ``_n`` are nano, in ``_ns`` nanoseconds. Fractions of capital are zero while the capital is not
    known, and everything is denied then. `Soft` holds where near-misses begin.
    """

    order_qty_n: int | None
    inventory_n: int | None
    order_notional2: int
    instrument2: int
    gross2: int
    net2: int
    daily_loss2: int
    drawdown_n: int
    collar_n: int
    jump_n: int
    near_n: int
    stale_ns: int
    repeat_ns: int
    duplicate_ns: int
    soft: "Soft"

    @classmethod
    def of(cls, template: RiskTemplate, capital: int) -> "Limits":
        """Return the limits of `template` for a capital in atto."""
        capital2 = 2 * capital
        near_n = floor_nano(template.near_miss)
        qty_n = None if template.order_qty_max is None else to_nano(template.order_qty_max)
        inventory_n = None if template.inventory_max is None else to_nano(template.inventory_max)
        money = {
            "order_notional2": share(template.order_notional_max, capital2),
            "instrument2": share(template.instrument_max, capital2),
            "gross2": share(template.gross_max, capital2),
            "net2": share(template.net_max, capital2),
            "daily_loss2": share(template.daily_loss_max, capital2),
        }
        return cls(
            **money,
            order_qty_n=qty_n,
            inventory_n=inventory_n,
            drawdown_n=floor_nano(template.drawdown_max),
            collar_n=floor_nano(template.price_collar),
            jump_n=floor_nano(template.jump_max),
            near_n=near_n,
            stale_ns=floor_nano(template.stale_after_s),
            repeat_ns=floor_nano(template.repeat_window_s),
            duplicate_ns=floor_nano(template.duplicate_window_s),
            soft=Soft(
                collar_n=soft(floor_nano(template.price_collar), near_n),
                per_second=soft_count(template.orders_per_second, near_n),
                per_minute=soft_count(template.orders_per_minute, near_n),
                repeat=soft_count(template.repeat_max, near_n),
                order_qty_n=NO_LIMIT if qty_n is None else soft(qty_n, near_n),
                inventory_n=NO_LIMIT if inventory_n is None else soft(inventory_n, near_n),
                open_orders=soft_count(template.open_orders_max, near_n),
                **{name: soft(bound, near_n) for name, bound in money.items()},
            ),
        )
