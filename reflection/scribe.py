"""The diary as a Nautilus Actor: listens to perception, decisions and orders, writes durable segments.

It also serves an unmodified third-party strategy: an order that no Organism decided becomes a diary row of its
own, with a negative id and the strategy's name in place of the topology.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import (
    OrderCanceled,
    OrderDenied,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderInitialized,
    OrderRejected,
)

from alphatrade.actors.messages import BELIEF_TOPIC, BeliefSnapshot
from alphatrade.reflection.diary import BeliefBuffer, DecisionBuffer, OutcomeBuffer
from alphatrade.reflection.expost import MarkOuts
from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.probes import UNKNOWN, Probes
from alphatrade.reflection.realised import Realised
from alphatrade.reflection.segments import SegmentWriter, compact, read_segments
from alphatrade.risk.errors import RunDirError
from alphatrade.risk.gate_orders import LAW_TAG
from alphatrade.risk.units import decimal_array
from alphatrade.strategies.messages import DECISION_TOPIC, Decision

TAG = "decision="
_ENDED = (OrderCanceled, OrderDenied, OrderExpired, OrderRejected)


class ScribeConfig(ActorConfig, frozen=True):
    """
    Configuration of :class:`DiaryScribe`.

    Parameters
    ----------
    run_dir : str
        Folder of the run.
    policy_hash, risk_template : str
        Written into every diary row.
    features : list of str
        Names of the feature columns, in vector order; empty without perception.
    provides : dict of str to list of str
        What the data of each instrument hold (see :mod:`alphatrade.actors.features`); a probe that needs more says
        nothing.
    horizons : list of int
        Mark-out horizons in decision steps.
    flush_rows, flush_ms : int
        A segment is written at so many rows or when its first row has waited so long.
    ack_fd : int, optional
        File descriptor on which each durable segment is acknowledged: ``ack <stream> <first> <last>``.
    """

    run_dir: str
    policy_hash: str = ""
    risk_template: str = ""
    features: tuple[str, ...] = ()
    provides: dict[str, tuple[str, ...]] = {}
    horizons: tuple[int, ...] = (1, 5, 20)
    flush_rows: int = 4096
    flush_ms: int = 250
    ack_fd: int | None = None


class DiaryScribe(Actor):
    """Writes ``diary/decisions``, ``diary/expost`` and ``belief_snapshots``."""

    def __init__(self, config: ScribeConfig) -> None:
        super().__init__(config)
        self._dir = Path(config.run_dir)
        finished = self._dir / "diary" / "decisions.parquet"
        if finished.exists():
            raise RunDirError(str(finished), "a finished diary", "a run folder of its own for every run")
        self._rows = {"decisions": 0, "beliefs": 0, "expost": 0}
        self._due = 0.0
        self._marks: dict[str, MarkOuts] = {}
        self._last: dict[str, BeliefSnapshot] = {}
        self._probes = {name: Probes(frozenset(words)) for name, words in config.provides.items()}
        self._probed: dict[str, tuple[float, ...]] = {}
        self._decision_of: dict[str, int] = {}
        self._realised = Realised()
        self._foreign = 0
        self._finished = False
        self._decisions = self._new_decisions()
        self._beliefs = self._new_beliefs()
        self._outcomes = OutcomeBuffer(config.horizons, 0)
        self._writers = {
            name: self._writer(name, folder)
            for name, folder in (
                ("decisions", "diary/decisions"),
                ("expost", "diary/expost"),
                ("beliefs", "belief_snapshots/beliefs"),
            )
        }

    @property
    def written(self) -> int:
        """Diary rows taken so far."""
        return self._rows["decisions"] + self._decisions.rows

    def _writer(self, name: str, folder: str) -> SegmentWriter[pa.Table]:
        return SegmentWriter(
            self._dir / folder,
            lambda buffer: buffer.table(),
            ack=self._acknowledge(name),
            flush_rows=self.config.flush_rows,
            flush_ms=self.config.flush_ms,
            id_column="row",
        )

    def _acknowledge(self, name: str) -> Callable[[int, int, Path], None] | None:
        fd = self.config.ack_fd
        if fd is None:
            return None

        def acknowledge(first: int, last: int, path: Path) -> None:
            os.write(fd, f"ack {name} {first} {last}\n".encode())

        return acknowledge

    def on_start(self) -> None:
        """Listen."""
        self.msgbus.subscribe(f"{BELIEF_TOPIC}.*", self.on_belief)
        self.msgbus.subscribe(DECISION_TOPIC, self.on_decision)
        self.msgbus.subscribe("events.order.*", self.on_order)

    # -- what arrives -------------------------------------------------------------------------------------------

    def on_belief(self, belief: BeliefSnapshot) -> None:
        """Take a belief; its price completes older mark-outs."""
        instrument = belief.instrument
        self._last[instrument] = belief
        probes = self._probes.get(instrument)
        if probes is None:
            probes = self._probes[instrument] = Probes(frozenset())
        self._probed[instrument] = probes.step(belief)
        marks = self._marks.get(instrument)
        if marks is not None:
            for outcome in marks.step(belief.step, belief.ts, belief.mid):
                self._outcomes.append(outcome)
        now = monotonic()
        if self._due == 0.0:
            self._due = now + self.config.flush_ms / 1000.0
        if self._beliefs.append(belief) or now >= self._due:
            self._flush()

    def on_decision(self, decision: Decision) -> None:
        """Take a decision."""
        belief = decision.belief
        self._followed(belief.instrument).decided(decision.decision, belief.ts, belief.step, belief.mid)
        if self._decisions.append(decision, self._probed.get(belief.instrument, UNKNOWN)):
            self._flush()

    def on_order(self, event: OrderEvent) -> None:
        """Tie orders to decisions, and fills to outcomes."""
        if isinstance(event, OrderFilled):
            self._on_fill(event)
        elif isinstance(event, _ENDED):
            self._on_end(event)
        elif isinstance(event, OrderInitialized) and LAW_TAG not in (event.tags or ()):
            self._decision_of[event.client_order_id.value] = self._tagged(event)

    def _followed(self, instrument: str) -> MarkOuts:
        marks = self._marks.get(instrument)
        if marks is None:
            marks = self._marks[instrument] = MarkOuts(self.config.horizons)
        return marks

    def _tagged(self, event: OrderInitialized) -> int:
        instrument = event.instrument_id.value
        seen = self._last.get(instrument)
        step = seen.step if seen else 0
        for tag in event.tags or ():
            if tag.startswith(TAG):
                decision = int(tag.removeprefix(TAG))
                self._followed(instrument).sent(decision, step)
                return decision
        self._foreign += 1
        self._followed(instrument).sent(-self._foreign, step)
        order_id = event.client_order_id.value
        strategy = event.strategy_id.value
        self.on_decision(
            Decision(
                -self._foreign,
                seen or self._blind(instrument, event.ts_init),
                strategy,
                (strategy,),
                (1.0,),
                "order",
                [order_id],
                "see orders",
                f"{strategy} sent an order of its own",
            )
        )
        return -self._foreign

    def _blind(self, instrument: str, ts: int) -> BeliefSnapshot:
        nothing = np.empty(0)
        unknown = np.full(len(self.config.features), np.nan)
        nan = float("nan")
        return BeliefSnapshot(
            instrument, 0, ts, nan, nan, nan, nan, unknown, unknown, nothing, nothing, "unseen", 0.0, "", False, 0
        )

    def _on_fill(self, fill: OrderFilled) -> None:
        decision = self._decision_of.get(fill.client_order_id.value)
        if decision is None:
            return
        sign = 1 if fill.order_side == OrderSide.BUY else -1
        units, price = sign * fill.last_qty.as_double(), fill.last_px.as_double()
        fee = fill.commission.as_double()
        instrument = fill.instrument_id.value
        self._realised.fill(decision, instrument, units, price)
        self._followed(instrument).filled(decision, units, price, fee)
        order = self.cache.order(fill.client_order_id)
        if order is None or order.is_closed:
            self._on_end(fill)

    def _on_end(self, event: OrderEvent) -> None:
        decision = self._decision_of.get(event.client_order_id.value)
        if decision is not None:
            self._followed(event.instrument_id.value).ended(decision, event.ts_event)

    # -- what leaves --------------------------------------------------------------------------------------------

    def _new_decisions(self) -> DecisionBuffer:
        c = self.config
        first = self._rows["decisions"]
        return DecisionBuffer(c.flush_rows, first, c.features, c.policy_hash, c.risk_template)

    def _new_beliefs(self) -> BeliefBuffer:
        return BeliefBuffer(self.config.flush_rows, self._rows["beliefs"])

    def _flush(self) -> None:
        """Give the full buffers to their writers and start new ones."""
        for name, buffer in (
            ("decisions", self._decisions),
            ("beliefs", self._beliefs),
            ("expost", self._outcomes),
        ):
            if buffer.rows:
                self._rows[name] += buffer.rows
                self._writers[name].put(buffer)
        self._decisions, self._beliefs = self._new_decisions(), self._new_beliefs()
        self._outcomes = OutcomeBuffer(self.config.horizons, self._rows["expost"])
        self._due = 0.0

    def on_stop(self) -> None:
        """Hand over what has been taken, so that it is durable whatever comes next."""
        if not self._finished:
            self._flush()

    def on_dispose(self) -> None:
        """Finish the diary, if nobody has: orders may still arrive after the actors have been stopped."""
        self.finish()

    def finish(self) -> None:
        """
        Close what is open, compact the segments, add the realised PnL. A second call does nothing.

        Raises
        ------
        RunDirError
            If anything could not be written.
        """
        if self._finished:
            return
        self._finished = True
        for instrument in sorted(self._marks):
            for outcome in self._marks[instrument].close():
                self._outcomes.append(outcome)
        self._flush()
        # The streams do not know of each other, and most of the work is done by disk and compressor.
        with ThreadPoolExecutor(len(self._writers)) as pool:
            for done in [pool.submit(self._finish_stream, name) for name in self._writers]:
                done.result()

    def _finish_stream(self, name: str) -> None:
        writer = self._writers[name]
        writer.close()
        if name == "expost":
            self._finish_expost(writer.folder)
        elif self._rows[name]:
            compact(writer.folder, writer.folder.with_suffix(".parquet"), id_column="row", first=0)

    def _finish_expost(self, folder: Path) -> None:
        table = read_segments(folder, id_column="row")
        if table is None:
            return
        decisions = table["decision"].to_pylist()
        realised = [self._realised.of(decision) for decision in decisions]
        table = table.append_column("realized", decimal_array(realised))
        try:
            write_parquet(table, folder.with_suffix(".parquet"))
        except OSError as error:
            raise RunDirError(str(folder.parent), str(error), "a writable folder with free space") from error
        for path in sorted(folder.iterdir()):
            path.unlink()
        folder.rmdir()

