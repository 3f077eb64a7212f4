"""The sentry's clerk as a Nautilus Actor: remembers recent decisions, writes theory packets and ``drift.parquet``."""

import json
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import get_type_hints

import pyarrow as pa
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from alphatrade.actors.messages import DRIFT_STATE_TOPIC, DRIFT_TOPIC, DriftSignal, DriftState
from alphatrade.reflection.packets import Row, file_name, packet, page
from alphatrade.reflection.parquet import write_tables
from alphatrade.risk.errors import RunDirError
from alphatrade.risk.shelf import Shelf
from alphatrade.strategies.messages import DECISION_TOPIC, Decision

ACTING = ("alert", "flat")
PIECE = 4_096  # states that become a table
_KINDS = {int: pa.int64(), str: pa.string(), float: pa.float64()}
_SCHEMA = pa.schema([(name, _KINDS[kind]) for name, kind in get_type_hints(DriftState).items()])


class ClerkConfig(ActorConfig, frozen=True):
    """
    Configuration of :class:`DriftClerk`.

    Parameters
    ----------
    run_dir : str
        Folder of the run.
    policy_hash : str
    features : list of str
        Names of the features, in vector order.
    memory : int
        Decisions kept as evidence.
    """

    run_dir: str
    policy_hash: str = ""
    features: tuple[str, ...] = ()
    memory: int = 8192


class DriftClerk(Actor):
    """Writes ``packets/<n>-<stream>.json`` and ``.md`` at each alarm that acts, and ``drift.parquet`` at the end."""

    def __init__(self, config: ClerkConfig) -> None:
        super().__init__(config)
        self._dir = Path(config.run_dir)
        self._rows: deque[Row] = deque(maxlen=config.memory)
        self._states: list[DriftState] = []  # the latest
        self._shelf = Shelf(self._dir)
        self._heard = self._finished = False
        self.packets = 0

    def on_start(self) -> None:
        """Listen."""
        self.msgbus.subscribe(DECISION_TOPIC, self.on_decision)
        self.msgbus.subscribe(DRIFT_STATE_TOPIC, self.on_state)
        self.msgbus.subscribe(DRIFT_TOPIC, self.on_signal)

    def on_decision(self, decision: Decision) -> None:
        """Remember a decision, unless it is a canary's: the sentry watches the run's own."""
        if decision.maker is not None:
            return
        d, b = decision, decision.belief
        row = (d.decision, b.ts, b.instrument, b.step, d.tactic, b.regime, b.confidence, d.action, b.features)
        self._rows.append(Row(*row))

    def on_state(self, state: DriftState) -> None:
        """Remember what the charts of a stream said."""
        self._heard = True
        self._states.append(state)
        if len(self._states) >= PIECE:
            piece = self._table()
            self._states.clear()
            with suppress(OSError):  # the shelf has the rows all the same; a disk that stays full is told at the end
                self._shelf.take(piece)

    def _table(self) -> pa.Table:
        return pa.table({name: [getattr(state, name) for state in self._states] for name in _SCHEMA.names}, _SCHEMA)

    def on_signal(self, signal: DriftSignal) -> None:
        """Write the packet of an alarm that acts."""
        if signal.level not in ACTING or not signal.stream:
            return  # nothing is done, or was done before a restart and written down then
        self.packets += 1
        made = packet(self.packets, signal, self._rows, self.config.features, self.config.policy_hash)
        folder = self._dir / "packets"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for suffix, text in ((".json", json.dumps(made, indent=2) + "\n"), (".md", page(made))):
                path = folder / (file_name(made) + suffix)
                beside = path.with_suffix(path.suffix + ".tmp")
                beside.write_text(text, encoding="utf-8")
                beside.replace(path)
        except OSError as error:
            raise RunDirError(str(folder), str(error), "a writable folder with free space") from error

    def on_dispose(self) -> None:
        """Finish, if nobody has."""
        self.finish()

    def give_up(self) -> None:
        """Write no more: there is nowhere to write."""
        self._finished = True

    def finish(self) -> None:
        """Write the statistics of every stream over time. A second call does nothing."""
        if self._finished or not self._heard:
            return
        self._finished = True
        try:
            write_tables(self._shelf.groups(self._table()), _SCHEMA, self._dir / "drift.parquet")
        except OSError as error:
            raise RunDirError(str(self._dir), str(error), "a writable folder with free space") from error
