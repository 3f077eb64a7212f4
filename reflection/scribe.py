"""The diary as a Nautilus Actor: listens to perception, decisions and outcomes, writes durable segments.

In a node without an :class:`~alphatrade.reflection.outcomes.OutcomeFollower` it follows the orders by itself.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pyarrow as pa
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig

from alphatrade.actors.messages import BELIEF_TOPIC, OUTCOME_TOPIC, BeliefSnapshot
from alphatrade.reflection.diary import BeliefBuffer, DecisionBuffer, OutcomeBuffer
from alphatrade.reflection.expost import Outcome
from alphatrade.reflection.following import Follower
from alphatrade.reflection.outcomes import FINISH, Following
from alphatrade.reflection.parquet import write_parquet
from alphatrade.reflection.probes import UNKNOWN, Probes
from alphatrade.reflection.realised import Realised
from alphatrade.reflection.segment_writer import SegmentWriter
from alphatrade.reflection.segments import compact, read_segments
from alphatrade.risk.errors import RunDirError
from alphatrade.risk.units import decimal_array
from alphatrade.strategies.messages import DECISION_TOPIC, Decision


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
        self._foreign = 0
        self._handed: deque[tuple[int, float]] = deque()  # last row of each batch, and when its first row came
        self._probes = {name: Probes(frozenset(words)) for name, words in config.provides.items()}
        self._probed: dict[str, tuple[float, ...]] = {}
        self._step: dict[str, int] = {}  # of the last belief that was taken
        self._waiting: list[Decision] = []  # on beliefs that have not been taken yet
        self._alone: Follower | None = None  # where the node has none
        self._realised = Realised()
        self._finished = self._lost = False
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

    @property
    def decided(self) -> int:
        """Diary rows of decisions: durable, or on their way to the disk; those of foreign orders are not counted."""
        writer = self._writers["decisions"]
        there = writer.last + 1 if self._lost or writer.failed else self.written
        return there - min(self._foreign, there)

    @property
    def lag_s(self) -> float:
        """For how long the oldest diary row that is not durable has waited, seconds; 0: all are."""
        durable = self._writers["decisions"].last
        while self._handed and self._handed[0][0] <= durable:
            self._handed.popleft()
        if self._handed:
            return monotonic() - self._handed[0][1]
        return monotonic() - self._begun if self._decisions.rows and self._due else 0.0

    @property
    def _begun(self) -> float:
        """When the first row of the open buffers came, monotonic seconds; of no meaning where there is none."""
        return self._due - self.config.flush_ms / 1000.0

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
        if FINISH in self.msgbus.endpoints():
            self.msgbus.subscribe(OUTCOME_TOPIC, self.on_outcome)
        else:
            self._alone = Follower(self.config.horizons, len(self.config.features))
            Following(
                self._alone, self, self.on_outcome, lambda decision: self.msgbus.publish(DECISION_TOPIC, decision)
            )

    # -- what arrives -------------------------------------------------------------------------------------------

    def on_belief(self, belief: BeliefSnapshot) -> None:
        """Take a belief, and what the probes see in its step."""
        instrument = belief.instrument
        probes = self._probes.get(instrument)
        if probes is None:
            probes = self._probes[instrument] = Probes(frozenset())
        self._probed[instrument], self._step[instrument] = probes.step(belief), belief.step
        self._take_waiting()
        now = monotonic()
        if self._due == 0.0:
            self._due = now + self.config.flush_ms / 1000.0
        if self._beliefs.append(belief) or now >= self._due:
            self._flush()

    def on_decision(self, decision: Decision) -> None:
        """Take a decision; who decides hears a belief before it comes here, to be written down."""
        self._waiting.append(decision)
        if decision.belief.step <= self._step.get(decision.belief.instrument, decision.belief.step):
            self._take_waiting()

    def _take_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for decision in waiting:
            self._foreign += decision.decision < 0
            if self._decisions.append(decision, self._probed.get(decision.belief.instrument, UNKNOWN)):
                self._flush()

    def on_outcome(self, outcome: Outcome) -> None:
        """Take an outcome."""
        self._outcomes.append(outcome)

    def _take_realised(self, realised: Realised) -> None:
        self._realised = realised

    # -- what leaves --------------------------------------------------------------------------------------------

    def _new_decisions(self) -> DecisionBuffer:
        c = self.config
        first = self._rows["decisions"]
        return DecisionBuffer(c.flush_rows, first, c.features, c.policy_hash, c.risk_template)

    def _new_beliefs(self) -> BeliefBuffer:
        return BeliefBuffer(self.config.flush_rows, self._rows["beliefs"])

    def _flush(self) -> None:
        """Give the full buffers to their writers and start new ones."""
        self._take_waiting()
        for name, buffer in (
            ("decisions", self._decisions),
            ("beliefs", self._beliefs),
            ("expost", self._outcomes),
        ):
            if buffer.rows and not self._lost:
                self._rows[name] += buffer.rows
                self._writers[name].put(buffer)
                if name == "decisions":
                    self._handed.append((self._rows[name] - 1, self._begun if self._due else monotonic()))
        self._decisions, self._beliefs = self._new_decisions(), self._new_beliefs()
        self._outcomes = OutcomeBuffer(self.config.horizons, self._rows["expost"])
        self._due = 0.0

    def keep_up(self) -> None:
        """Hand over what has waited for long, where no belief comes to do so. Raises `RunDirError`."""
        if self._due and monotonic() >= self._due:
            self._flush()

    def on_stop(self) -> None:
        """Hand over what has been taken, so that it is durable whatever comes next."""
        if not self._finished:
            self._flush()

    def on_dispose(self) -> None:
        """Finish the diary, if nobody has: orders may still arrive after the actors have been stopped."""
        self.finish()

    def check(self) -> None:
        """Raise `RunDirError` if something could not be written."""
        if not self._lost:
            for writer in self._writers.values():
                writer.check()

    def give_up(self) -> None:
        """Write no more: there is nowhere to write."""
        self._finished = self._lost = True

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
        if self._alone is not None:
            self._realised = self._alone.realised
            for outcome in self._alone.close():
                self.on_outcome(outcome)
        elif FINISH in self.msgbus.endpoints():
            self.msgbus.send(FINISH, self._take_realised)
        self._finished = True
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

