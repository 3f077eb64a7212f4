"""RiskGate: the law inside Nautilus, named in a node's configuration and in front of every order.

It is a Controller, so Nautilus builds it before any actor or strategy, in BacktestEngine, BacktestNode and
TradingNode alike. It takes over ``ExecEngine.execute``, where every path to a venue ends: also those that
skip the native RiskEngine (emulated orders, execution algorithms, commands put on the bus directly). ::

    ImportableControllerConfig(
        controller_path="alphatrade.risk.gate:RiskGate",
        config_path="alphatrade.risk.gate:RiskGateConfig",
        config={"template": {"name": "default"}},
    )
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nautilus_trader.common.component import LiveClock
from nautilus_trader.live.execution_engine import LiveExecutionEngine
from nautilus_trader.model.enums import TradingState
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.controller import Controller
from nautilus_trader.trading.trader import Trader

from alphatrade.risk.exposure import Order
from alphatrade.risk.gate_commands import Commands
from alphatrade.risk.gate_config import Advice, RiskGateConfig, read_cap, read_capital, read_template
from alphatrade.risk.gate_events import Events
from alphatrade.risk.gate_exploration import Explorations
from alphatrade.risk.gate_kill import Reduction
from alphatrade.risk.gate_live import LiveGate, new_law
from alphatrade.risk.gate_losses import Memory
from alphatrade.risk.gate_market import FIRST, Market
from alphatrade.risk.kill import KillSwitch, State, StateChange, latch_dir
from alphatrade.risk.limits import Code, Verdict, deny, share
from alphatrade.risk.record import RunRecord
from alphatrade.risk.units import ATTO_PER_RAW, RAW_PER_NANO, from_atto

__all__ = ["ADVICE_TOPIC", "STATE_TOPIC", "Advice", "RiskGate", "RiskGateConfig"]

ADVICE_TOPIC = "alphatrade.risk.advice"
STATE_TOPIC = "alphatrade.risk.state"
_POLL = "alphatrade-kill-poll"


class RiskGate(Controller):
    """
    The law of one trader.

    Raises
    ------
    LatchedError
        On building or starting while the kill switch is latched.
    InUseError
        On building while another node uses the same latch.
    ConfigError
        If the template is not valid.

    Attributes
    ----------
    law : ExploringLaw
    record : RunRecord
    switch : KillSwitch
    """

    def __init__(self, trader: Trader, config: RiskGateConfig) -> None:
        super().__init__(trader=trader, config=config)
        self.settings = config
        self.template = read_template(config.template)
        self.capital = read_capital(config.capital)
        self.cap = read_cap(config)
        self.market = Market(self, config.half_spread_bps or {}, config.stale_after_s or {})
        self.commands = Commands(self)
        self.events = Events(self)
        self.reduction = Reduction(self)
        self.explorations = Explorations(self)
        self.live_gate = LiveGate(self)
        self._clear()
        self.recovering = False  # True: what comes in has happened before, and a kill request, which is of now, waits
        # Last, as it locks the folder: whatever else is wrong with the configuration leaves it to the next node.
        folder = None if config.state_dir is None else latch_dir(config.state_dir, config.env, config.account)
        self.memory = Memory(self, folder)
        self.switch = KillSwitch(folder)
        self.memory.begin()

    def _clear(self) -> None:
        self.explorations.clear()
        self.live_gate.clear()
        self.law = new_law(self)
        self.record = RunRecord(None if self.settings.run_dir is None else Path(self.settings.run_dir))
        self.record.warned = self.explorations.warned if self.explorations.budget.share_n else None
        self.currency, self.phase = self.settings.currency, "open"  # phase of the market, see `enter`
        self.orders: dict[str, Order] = {}  # by id, from first sight to the end of the order
        self.factors: dict[str, float] = {}  # sizing factors below 1, by instrument
        self._foreign_fees: set[str] = set()
        for part in (self.market, self.commands, self.reduction):
            part.clear()

    # -- life

    def register_base(self, portfolio: Any, msgbus: Any, cache: Any, clock: Any) -> None:
        """Take over the execution endpoint and listen to market data and order events."""
        super().register_base(portfolio, msgbus, cache, clock)
        self._exec = self._trader._exec_engine
        self._risk = self._trader._risk_engine
        self.forward = self._exec.execute  # synchronous in a backtest, a queue in a live node
        msgbus.deregister(endpoint="ExecEngine.execute", handler=self._exec.execute)
        self.live = live = isinstance(self._exec, LiveExecutionEngine)
        self._loop: asyncio.AbstractEventLoop | None = self._exec._loop if live else None
        handler = self.commands.receive if live else self.commands.execute
        msgbus.register(endpoint="ExecEngine.execute", handler=handler)
        if live:
            self.run_command = self._exec._execute_command
            self._exec._execute_command = self.commands.guard
        msgbus.subscribe(topic="events.order.*", handler=self.events.on_event, priority=FIRST)
        for topic, handler in self.market.listeners().items():
            msgbus.subscribe(topic=topic, handler=handler, priority=FIRST)
        self.explorations.listen(FIRST)

    def on_start(self) -> None:
        """Refuse a latched start, take over what is open, set the native limits, look for kill requests."""
        self.switch.require_active()
        self.events.adopt()
        instruments = self.cache.instruments()
        if self.currency or len({i.quote_currency.code for i in instruments}) == 1:  # else the first order decides
            for instrument in instruments:
                self.market.prepare(instrument.id)
        if isinstance(self.clock, LiveClock):
            self.clock.set_timer_ns(_POLL, self.settings.poll_interval_ms * 1_000_000, 0, 0, self._poll)

    def on_stop(self) -> None:
        """Write losses and records; strategies stop after this, so `on_dispose` writes once more."""
        self.market.catch_up()
        self.memory.keep(last=True)
        self.save()

    def on_dispose(self) -> None:
        """Write what came after the stop; another node may start from here on."""
        try:
            self.on_stop()
        finally:
            self.memory.end()

    def on_reset(self) -> None:
        """Start over; a latch on disk stays, a latch in memory was the run's own."""
        self.switch.forget()
        self._clear()
        if self.switch.state is State.ACTIVE:
            self._native(TradingState.ACTIVE)

    def save(self, run_dir: str | None = None) -> None:
        """Write the records into `run_dir`, or where the configuration says; nothing if neither is given."""
        self.market.catch_up()
        target = run_dir or self.settings.run_dir
        if target is None:
            return
        self.record_equity(self.clock.timestamp_ns())
        self.record.write(Path(target))

    def _poll(self, _event: Any) -> None:
        self.at_home(self._on_poll)

    def _on_poll(self) -> None:
        try:
            self._look_for_request()
        except Exception as error:
            self.fail("looking for a kill request", error)

    def _look_for_request(self) -> None:
        request = None if self.recovering else self.switch.take_request()
        if request is not None:
            self.trip(request.code, request.reason, request.who)
            self.switch.clear_request()
        if self.switch.state is State.REDUCING:
            self.reduction.step()  # nothing else might come to drive it on

    # -- the kill switch

    def kill(self, reason: str, who: str = "operator") -> bool:
        """Stop trading: cancel everything, flatten everything, latch. False if it was tripped before."""
        return self.trip("OPERATOR", reason, who)

    def trip(self, code: str, reason: str, who: str) -> bool:
        """Trip the switch with a code that says what did it; see `kill`."""
        now = self.clock.timestamp_ns()
        before = self.switch.state
        if not self.switch.trip(code, reason, who, now):
            return False
        self.at_home(self._after_trip, before, now, code, f"{reason} (by {who})")
        return True

    def _after_trip(self, before: State, now: int, code: str, why: str) -> None:
        self.live_gate.void(f"{code}: {why}")
        self.record.event(now, "kill", None, None, code, "", "", why)
        self._announce(before, now)
        self._native(TradingState.REDUCING)
        self.log.error(f"kill switch tripped: {code}: {why}")
        if self.switch.write_error:
            self.log.error(f"the latch could not be written: {self.switch.write_error}")
        self.market.wake_all()
        self.reduction.step()

    def at_home(self, call: Callable[..., None], *values: Any) -> bool:
        """
        Call on the thread of the event loop: at once if this is it, else soon; return whether it was at once.

        Live timers fire on threads of their own, and nothing here is made for two threads.
        """
        loop = self._loop
        if loop is None or not loop.is_running() or asyncio._get_running_loop() is loop:
            call(*values)
            return True
        loop.call_soon_threadsafe(call, *values)
        return False

    def halt(self) -> None:
        """Go from REDUCING to HALTED once the account is flat; called by the reduction."""
        before = self.switch.state
        if self.switch.halt():
            self._announce(before, self.clock.timestamp_ns())
            self._native(TradingState.HALTED)

    def breach(self, verdict: Verdict, now: int) -> None:
        """Record that a limit was exceeded whose breach stops trading, and trip."""
        code = str(verdict.code)
        if self.switch.state is State.ACTIVE:
            self.record.event(now, "breach", None, None, code, verdict.value, verdict.bound, verdict.reason)
            self.trip(code, verdict.reason, "law")

    def fail(self, doing: str, error: Exception) -> None:
        """Stop trading because the law itself failed; never raises."""
        try:
            self.log.exception(f"risk gate failed {doing}", error)
            now = self.clock.timestamp_ns()
            self.record.event(now, "tripwire", None, None, "EXCEPTION", "", "", f"{doing}: {error!r}")
            self.trip("EXCEPTION", f"{doing}: {error!r}", "law")
        except Exception as second:
            self.log.exception("risk gate failed to stop trading cleanly; everything stays denied", second)

    def state_denial(self) -> Verdict | None:
        """Return the denial every order gets while the switch is not ACTIVE, else None."""
        cause = self.switch.trip_cause
        if cause is None:
            return None
        if cause.code == Code.STATE_UNREADABLE:
            return deny(Code.STATE_UNREADABLE, cause.reason)
        code = Code.REDUCING if cause.state is State.REDUCING else Code.HALTED
        return deny(code, f"kill switch tripped by {cause.who}, {cause.code}")

    def enter(self, phase: str) -> None:
        """Judge by another phase of the market from now on, ``open``, ``closing`` or ``closed``, and say so."""
        self.phase = phase
        self.record.event(self.clock.timestamp_ns(), "session", None, None, "SESSION", phase, "", "")
        self.msgbus.publish("alphatrade.risk.session", phase)

    def _announce(self, before: State, now: int) -> None:
        cause = self.switch.trip_cause
        if cause is None:
            return
        self.record.event(now, "state", None, None, cause.code, cause.state, before, cause.reason)
        change = StateChange(before, cause.state, cause.code, cause.reason, cause.who, now)
        self.msgbus.publish(STATE_TOPIC, change)

    def _native(self, state: TradingState) -> None:
        if self._risk.trading_state != state:
            self._risk.set_trading_state(state)

    # -- figures

    def advise(self, instrument: str, now: int) -> None:
        """Publish a changed sizing factor of `instrument`."""
        factor = self.law.size_factor(instrument)
        if factor == self.factors.get(instrument, 1.0):
            return
        if factor < 1.0:
            self.factors[instrument] = factor
        else:
            del self.factors[instrument]
        reason = str(self.law.pressure(instrument) or "")
        self.record.event(now, "advice", instrument, None, reason, str(factor), "", "sizing factor")
        self.msgbus.publish(ADVICE_TOPIC, Advice(instrument, factor, reason))

    def record_equity(self, ts: int) -> None:
        """Add a row to the equity curve, once the capital is known."""
        if self.record.quiet is not None:
            self.record.quiet.close()
        if self.law.capital is not None:
            self.record.equity_at(ts, *self.law.figures(self.law.exposure.value2))

    def in_account_currency(self, fee: Money, instrument: str, price: int) -> int:
        """Return a fee in atto of the account currency; base currency is valued at `price` (nano)."""
        code = fee.currency.code
        if code == self.currency or not fee.raw:
            return fee.raw * ATTO_PER_RAW
        known = self.cache.instrument(self.market.named(instrument))
        base = None if known is None else known.get_base_currency()
        if base is not None and code == base.code:
            return fee.raw // RAW_PER_NANO * price
        if code not in self._foreign_fees:
            self._foreign_fees.add(code)
            self.log.warning(f"fees in {code} are not counted in the equity of the law ({self.currency})")
        return 0

    def set_native_limit(self, instrument_id: InstrumentId) -> None:
        """
        Give Nautilus's own risk engine a coarse limit on one order's notional, as a second layer.

        It is twice what the template lets an order or a position be: a position that has grown can still be
        closed in one order, which Nautilus would deny otherwise.
        """
        capital = self.law.capital
        if capital is not None and capital > 0:
            largest = max(self.template.order_notional_max, self.template.instrument_max)
            self._risk.set_max_notional_per_order(instrument_id, from_atto(2 * share(largest, capital)))
