"""Configuration of the gate, what it can be used for, and the message it publishes about sizes."""

from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.instruments import Instrument
from pydantic import ValidationError

from alphatrade.risk.caps import Cap
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO

_MOST = 10**18 * ATTO


class Advice(NamedTuple):
    """Message on ``alphatrade.risk.advice``: scale new orders in `instrument` by `factor`."""

    instrument: str
    factor: float
    reason: str


class Frozen(NamedTuple):
    """Message on ``alphatrade.risk.frozen``: nothing is explored any more, and why."""

    reason: str


class RiskGateConfig(ActorConfig, frozen=True):
    """
    Configuration of the gate.

    Parameters
    ----------
    template : dict
        Fields of `RiskTemplate`.
    env, account : str
        Name the folder of the state; `env` is one of `alphatrade.risk.kill.ENVIRONMENTS`.
    state_dir : str, optional
        Where latch and losses outlive the node; None keeps them in memory.
    run_dir : str, optional
        Where records are written when the node stops.
    capital : str, optional
        In account currency; None takes the account balance in `currency` when it is first needed.
    currency : str, optional
        Code; None takes the settlement currency of the first instrument.
    long_only : bool
        Deny whatever could lead to a short position.
    half_spread_bps, stale_after_s : dict of float, optional
        By instrument id: assumed half spread where there are no quotes, and the tape's own staleness limit.
    poll_interval_ms : int
        How often a live node looks for a kill request.
    explored_share : float
        Of the flow, notional, that may be explored on every prefix of a run; 0: nothing. Always 0 in ``live``.
    explored_every : int
        Decision steps of an instrument between two changes of what is explored in it, at least.
    steps_topic, alarms_topic : str
        Bus topics of decision steps (messages with ``instrument``), by which changes are counted, and of alarms that
        freeze exploration (``freeze``). Without steps nothing ever changes.
    cap_share, capped, free
        As for :class:`~alphatrade.risk.caps.Cap`; without any of them there is no cap.
    """

    template: dict[str, Any] = {}
    env: str = "sim"
    account: str = "SIM"
    state_dir: str | None = None
    run_dir: str | None = None
    capital: str | None = None
    currency: str | None = None
    long_only: bool = False
    half_spread_bps: dict[str, float] | None = None
    stale_after_s: dict[str, float] | None = None
    poll_interval_ms: int = 250
    explored_share: float = 0.0
    explored_every: int = 1
    steps_topic: str = ""
    alarms_topic: str = ""
    cap_share: float = 0.0
    capped: tuple[str, ...] = ()
    free: tuple[str, ...] = ()


def read_template(fields: dict[str, Any]) -> RiskTemplate:
    """
    Return the validated template.

    Raises
    ------
    ConfigError
        On the first field that is not valid.
    """
    try:
        return RiskTemplate(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(["risk", *(str(part) for part in first["loc"])])
        raise ConfigError(path, first.get("input"), first["msg"]) from error


def read_cap(config: RiskGateConfig) -> Cap | None:
    """
    Return the cap of a configuration; None if there is none.

    Raises
    ------
    ConfigError
        If only a part of one is configured, or it makes no sense.
    """
    if not (config.cap_share or config.capped or config.free):
        return None
    return Cap(config.cap_share, tuple(config.capped), tuple(config.free))


def read_capital(text: str | None) -> int | None:
    """
    Return a configured capital in atto; None if there is none.

    Raises
    ------
    ConfigError
        If it is not a positive number.
    """
    if text is None:
        return None
    try:
        capital = int(Decimal(text) * ATTO) if Decimal(text).is_finite() else 0
    except InvalidOperation:
        capital = 0
    if not 0 < capital < _MOST:
        raise ConfigError("capital", text, "a positive amount of money below 1e18")
    return capital


def misfit(instrument: Instrument, currency: str) -> Verdict | None:
    """Return a denial if the law cannot count `instrument` in `currency` exactly."""
    name = instrument.id.value
    plain = not instrument.is_inverse and instrument.multiplier.raw == 10**16
    if not plain or max(instrument.price_precision, instrument.size_precision) > 9:
        words = "inverse contracts, multipliers and more than nine decimals are not covered"
        return deny(Code.UNKNOWN_INSTRUMENT, f"{name}: {words}")
    quote, settles = instrument.quote_currency.code, instrument.get_settlement_currency().code
    if not quote == settles == currency:
        words = f"{name} is quoted in {quote} and settles in {settles}"
        return deny(Code.NO_ACCOUNT, f"{words}, the law counts in {currency}")
    return None
