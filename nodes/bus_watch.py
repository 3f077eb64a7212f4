"""Shim: what a run's heartbeat says, read off the message bus: how often it beat, and which mechanisms are off."""

from nautilus_trader.common.component import MessageBus, is_matching_py

from alphatrade.actors.messages import MECHANISM_TOPIC, MechanismFault
from alphatrade.nodes.heartbeat import CLOCK, HEARTBEAT_TOPIC, Heartbeat, Pulse


class BusWatch:
    """
    Beats, and listens to faults.

    Parameters
    ----------
    bus : MessageBus
    clock : str
        What the times of its heartbeats are read from.

    Attributes
    ----------
    pulse : Pulse
    """

    def __init__(self, bus: MessageBus, clock: str = CLOCK) -> None:
        self._bus, self.clock = bus, clock
        self.begin()
        bus.subscribe(MECHANISM_TOPIC, self._on_fault)

    def begin(self) -> None:
        """Begin anew."""
        self._faults: dict[str, str] = {}
        self.pulse = Pulse(self._listening, self._publish)

    @property
    def faults(self) -> tuple[str, ...]:
        """Mechanisms that are off or have refused something, each with its last reason."""
        return tuple(f"{name}: {reason}" for name, reason in self._faults.items())

    def _on_fault(self, fault: MechanismFault) -> None:
        self._faults[fault.mechanism] = fault.reason

    def _listening(self) -> bool:
        return any(is_matching_py(HEARTBEAT_TOPIC, listener.topic) for listener in self._bus.subscriptions())

    def _publish(self, ts: int, number: int) -> None:
        self._bus.publish(HEARTBEAT_TOPIC, Heartbeat(ts, self.clock, number, self._bus.pub_count, self.faults))
