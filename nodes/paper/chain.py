"""Shim: a TradingNode in which one input goes through one synchronous chain, as in a replay.

Stock live engines hand everything on through queues, so that which of two things comes first depends on the machine.
Here an input is processed to its end before the next one is looked at: data, decision, native risk engine, law, client.
What a client does outside the process is as asynchronous as ever; what it reports comes in as an event, in the chain.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from nautilus_trader.data.engine import DataEngine
from nautilus_trader.execution.engine import ExecutionEngine
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.events import AccountState
from nautilus_trader.risk.engine import RiskEngine

from alphatrade.risk.gate import RiskGate

Fail = Callable[[Exception], None]


def straighten(node: TradingNode, gate: RiskGate) -> None:
    """
    Take the queues out of the way of orders and of what comes of them.

    Parameters
    ----------
    node : TradingNode
        Built, not yet running.
    gate : RiskGate
        Its law, which keeps its place in front of the execution engine.
    """
    risk, execution, bus = node.kernel.risk_engine, node.kernel.exec_engine, node.kernel.msgbus

    def judge(command: Any) -> None:
        RiskEngine._execute_command(risk, command)

    def told(event: Any) -> None:
        ExecutionEngine._handle_event(execution, event)

    bus.deregister(endpoint="RiskEngine.execute", handler=risk.execute)
    bus.register(endpoint="RiskEngine.execute", handler=judge)
    bus.deregister(endpoint="ExecEngine.process", handler=execution.process)
    bus.register(endpoint="ExecEngine.process", handler=told)
    gate.forward = gate.commands.guard


def report(node: TradingNode, event: Any) -> None:
    """Let the node take what a broker says."""
    to = "Portfolio.update_account" if isinstance(event, AccountState) else "ExecEngine.process"
    node.kernel.msgbus.send(endpoint=to, msg=event)


def guarded(take: Callable[[Any], None], fail: Fail) -> Callable[[Any], None]:
    """Return `take`, so that what it raises goes to `fail`: a bundled client would only log it; then takes no more."""
    failed = False

    def taken(event: Any) -> None:
        nonlocal failed
        if failed:
            return
        try:
            take(event)
        except Exception as error:
            failed = True
            fail(error)

    return taken


def processor(node: TradingNode) -> Callable[[Any], None]:
    """Return what lets the data engine process a market event at once."""
    return partial(DataEngine._handle_data, node.kernel.data_engine)
