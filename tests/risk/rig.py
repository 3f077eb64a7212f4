"""Small Nautilus engines for the tests of the gate: instruments, quotes and a backtest with the gate by config."""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.config import ImportableControllerConfig, RiskEngineConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

from alphatrade.risk.audit import audit

SECOND = 10**9
START = 1_700_000_000 * SECOND
BTCUSDT = TestInstrumentProvider.btcusdt_binance()
ETHUSDT = TestInstrumentProvider.ethusdt_binance()
ADAUSDT = TestInstrumentProvider.adausdt_binance()  # defined, never quoted
ADABTC = TestInstrumentProvider.adabtc_binance()  # another currency than the law's
XBTUSD = TestInstrumentProvider.xbtusd_bitmex()  # inverse
INSTRUMENTS = (BTCUSDT, ETHUSDT, ADAUSDT, ADABTC, XBTUSD)
CAPITAL = 1_000_000
GATE = "alphatrade.risk.gate:RiskGate"


def controller(**config: Any) -> ImportableControllerConfig:
    return ImportableControllerConfig(controller_path=GATE, config_path=GATE + "Config", config=config)


def quote(instrument: Instrument, mid: float, ts: int, half: float = 0.5, size: float = 1000.0) -> QuoteTick:
    bid, ask = (Price(mid + sign * half, instrument.price_precision) for sign in (-1, 1))
    amount = Quantity(size, instrument.size_precision)
    return QuoteTick(instrument.id, bid, ask, amount, amount, ts, ts)


def flat_quotes(instrument: Instrument, mid: float, n: int, step: int = SECOND) -> list[QuoteTick]:
    return [quote(instrument, mid, START + i * step) for i in range(n)]


class Scripted(Strategy):
    """Runs one function at the n-th quote of BTCUSDT, and keeps what comes back."""

    def __init__(self, script: dict[int, Callable[["Scripted"], None]]) -> None:
        super().__init__()
        self.script = script
        self.n = 0
        self.denied: dict[str, str] = {}
        self.rejected: list[str] = []
        self.fills: list[Any] = []
        self.on_fill: Callable[[Any], None] | None = None
        self.kept: Any = None

    def on_start(self) -> None:
        self.subscribe_quote_ticks(BTCUSDT.id)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        self.n += 1
        act = self.script.get(self.n)
        if act is not None:
            act(self)

    def on_order_denied(self, event: Any) -> None:
        self.denied[event.client_order_id.value] = event.reason

    def on_order_modify_rejected(self, event: Any) -> None:
        self.rejected.append(event.reason)

    def on_order_filled(self, event: Any) -> None:
        self.fills.append(event)
        if self.on_fill is not None:
            self.on_fill(event)


def engine(
    data: Iterable[Any],
    strategies: Iterable[Strategy],
    gate: dict[str, Any] | None,
    latency: Any = None,
    algorithms: Iterable[Any] = (),
    account: AccountType = AccountType.MARGIN,
    instruments: Iterable[Instrument] = (BTCUSDT,),
    fill_model: Any = None,
) -> BacktestEngine:
    """Return a backtest ready to run; `gate` None leaves the gate out."""
    built = BacktestEngine(
        BacktestEngineConfig(
            trader_id="T-001",
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(
                max_order_submit_rate="100000/00:00:01", max_order_modify_rate="100000/00:00:01"
            ),
            run_analysis=False,
            controller=None if gate is None else controller(**gate),
        )
    )
    leverage = Decimal(10) if account == AccountType.MARGIN else None
    balances = {"BINANCE": [Money(CAPITAL, USDT)], "BITMEX": [Money(100, BTC)]}
    wanted = list(instruments)
    for name in dict.fromkeys(i.id.venue.value for i in wanted):
        built.add_venue(
            Venue(name), OmsType.NETTING, account, balances[name],
            default_leverage=leverage, latency_model=latency, fill_model=fill_model,
        )  # fmt: skip
    for instrument in wanted:
        built.add_instrument(instrument)
    built.add_data(list(data))
    for strategy in strategies:
        built.add_strategy(strategy)
    for algorithm in algorithms:
        built.add_exec_algorithm(algorithm)
    return built


def gate_of(built: BacktestEngine) -> Any:
    return built.kernel._controller


def audited(gate: Any, run_dir: Path, template: dict[str, Any], long_only: bool, **more: str) -> None:
    """Write the record as a run, with `more` in its ``run.yaml``, and have the auditor agree with the gate."""
    gate.save(str(run_dir))
    (run_dir / "policy.json").write_text(json.dumps({"risk": {"name": "fuzz", **template}}))
    facts = {
        i.id.value: {"quote": "USDT", "base": "X", "stale_after_s": 1000.0, "tick": "0.01", "lot": "0.001"}
        for i in INSTRUMENTS
    }
    run = {"capital": str(CAPITAL), "currency": "USDT", "long_only": long_only, "instruments": facts, **more}
    (run_dir / "run.yaml").write_text(yaml.safe_dump(run))
    report = audit(run_dir)
    assert not report.violations, report
    assert not report.integrity, report
