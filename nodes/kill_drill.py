"""Kill drill of one policy: the switch is tripped in a replay with a position open, and the time until flat is taken.

What counts is read from the files of the run, with no help from the law that is drilled. Only cells that a search may
see are used: a drill is no look at held-out ones.
"""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from alphatrade.evolution.grid import Cell
from alphatrade.nodes.artifacts import Folder
from alphatrade.nodes.drill_operator import DrillOperator
from alphatrade.nodes.evaluate import MEMORY
from alphatrade.nodes.frames import read_frame
from alphatrade.nodes.replay import Replay, replay
from alphatrade.nodes.settings import Settings
from alphatrade.nodes.sim import identity_of, write_inputs
from alphatrade.nodes.tape import Tape
from alphatrade.risk.audit import audit
from alphatrade.risk.audit_judge import LAW_PREFIX
from alphatrade.strategies.policy import Spec

FROM = 0.3  # of a cell: perception is warm, and there is time left to see what is sent afterwards
WALL = frozenset({"wall_us"})  # of the wall clock: never the same again
ENDED = ("canceled", "rejected", "denied", "expired")


class Drill(Spec):
    """
    What came of a drill.

    Attributes
    ----------
    instrument : str
        Of the cell that it took place in; `start` and `end` are its own, UTC ns.
    tripped : int
        When, UTC ns; 0 where no position was open in any cell.
    position : str
        At that moment, units, signed.
    working : int
        Orders that were open then.
    flat_ns : int or None
        Event time until the last of the position was closed, ns; None if it never was.
    halted_ns : int or None
        Event time until the law saw that nothing is open and halted, ns.
    wall_us : int
        Wall-clock time until then, microseconds: what the computing took.
    sent : int
        Orders and modifications of the policy that were let through after the trip; none may be.
    sent_halted : int
        The same after the halt, the law's own included.
    refused : int
        Orders that the policy tried after the trip and that were denied.
    left : str
        Position at the end of the replay.
    violations : int
        Found by the auditor.
    """

    instrument: str = ""
    start: int = 0
    end: int = 0
    tripped: int = 0
    position: str = "0"
    working: int = 0
    flat_ns: int | None = None
    halted_ns: int | None = None
    wall_us: int = 0
    sent: int = 0
    sent_halted: int = 0
    refused: int = 0
    left: str = "0"
    violations: int = 0

    @property
    def wrong(self) -> str:
        """Why the drill has failed; empty if it has not."""
        checks = (
            ("it held no position in any cell: nothing was drilled", self.tripped > 0),
            ("the position was never closed", self.flat_ns is not None),
            ("the law never halted", self.halted_ns is not None),
            (f"{self.sent} orders were let through after the trip", not self.sent),
            (f"{self.sent_halted} orders were let through after the halt", not self.sent_halted),
            (f"a position of {self.left} was left", not Decimal(self.left)),
            (f"{self.violations} violations", not self.violations),
        )
        return next((why for why, holds in checks if not holds), "")


def kill_drill(settings: Settings, tapes: list[Tape], cells: Iterable[Cell]) -> Drill:
    """
    Drill a policy in the first cell in which it holds a position.

    Parameters
    ----------
    settings : Settings
    tapes : list of Tape
    cells : iterable of Cell
        Held-out ones are left out.
    """
    by_name = {tape.instrument.id: tape for tape in tapes}
    for cell in cells:
        if not cell.holdout:
            with TemporaryDirectory(prefix="alphatrade-drill-", dir=MEMORY) as folder:
                found = _drilled(settings, by_name[cell.instrument].slice(cell.start, cell.end), cell, Path(folder))
            if found.tripped:
                return found
    return Drill()


def _drilled(settings: Settings, tape: Tape, cell: Cell, path: Path) -> Drill:
    quiet = settings.run.output.model_copy(update={"diary": False, "report": False, "stress": False, "ack_fd": None})
    own = Settings(policy=settings.policy, run=settings.run.model_copy(update={"output": quiet, "tapes": ()}))
    write_inputs(Folder(path), own, [tape], identity_of(own, [tape]), [{"source": "kill-drill"}])
    operator = DrillOperator(cell.start + int(FROM * (cell.end - cell.start)))

    def ready(engine: Any) -> None:
        operator.gate = engine.kernel._controller

    replay(Replay(own.policy, [tape], own.run, (operator,), ready=ready), path, "kill drill")
    place = {"instrument": cell.instrument, "start": cell.start, "end": cell.end}
    return Drill(**place, wall_us=(operator.wall_ns or 0) // 1000, **facts(path))


def facts(path: Path) -> dict[str, Any]:
    """Return what the files of a drill tell; nothing where the switch was not tripped by it."""
    events = read_frame(path / "risk_events.parquet")
    stops = events[events["kind"] == "kill"]
    if not len(stops) or stops["limit"].iloc[0] != "OPERATOR":
        return {}
    seq, ts = int(stops["seq"].iloc[0]), int(stops["ts"].iloc[0])
    halts = events[(events["kind"] == "state") & (events["value"] == "HALTED")]
    fills, orders = read_frame(path / "fills.parquet"), read_frame(path / "orders.parquet")
    before, later = orders[orders["seq"] < seq], orders[orders["seq"] > seq]
    let = later[later["event"].isin(["submitted", "modify_approved"])]
    closing = fills[(fills["seq"] > seq) & (fills["position_after"] == 0)]
    held = fills[fills["seq"] < seq]["position_after"]
    return {
        "tripped": ts,
        "position": _units(held),
        "working": len(still_open(before)),
        "flat_ns": int(closing["ts"].iloc[-1]) - ts if len(closing) else None,
        "halted_ns": int(halts["ts"].iloc[0]) - ts if len(halts) else None,
        "sent": int((~let["order_id"].str.startswith(LAW_PREFIX)).sum()),
        "sent_halted": int((let["seq"] > int(halts["seq"].iloc[0])).sum()) if len(halts) else 0,
        "refused": int(later["event"].isin(["denied", "modify_rejected"]).sum()),
        "left": _units(fills["position_after"]),
        "violations": _violations(path),
    }


def still_open(orders: pd.DataFrame) -> list[str]:
    """Return the ids of the orders that have not ended by rows of ``orders.parquet``."""
    ended = orders["event"].isin(ENDED) | ((orders["event"] == "filled") & (orders["leaves"] == 0))
    return sorted(set(orders["order_id"]) - set(orders[ended]["order_id"]))


def _units(positions: "pd.Series[Any]") -> str:
    return format(Decimal(positions.iloc[-1]).normalize(), "f") if len(positions) else "0"


def _violations(path: Path) -> int:
    found = audit(path)
    return len(found.violations) + len(found.integrity)
