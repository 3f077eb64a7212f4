"""What a node's parts say for its metrics, read once a second between two inputs. Nothing here changes anything."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.journal import Journal
from alphatrade.nodes.latency import Reached
from alphatrade.nodes.metrics import WINDOW, Reading
from alphatrade.nodes.replay import members
from alphatrade.reflection.clerk import ACTING
from alphatrade.risk.exposure import Holding
from alphatrade.risk.limits import Code
from alphatrade.risk.units import NANO, from_atto
from alphatrade.risk.usage import used

_QUEUES = {
    "data": ("data_engine", ("cmd_qsize", "req_qsize", "res_qsize", "data_qsize")),
    "risk": ("risk_engine", ("cmd_qsize", "evt_qsize")),
    "exec": ("exec_engine", ("cmd_qsize", "evt_qsize")),
}


class Reader:
    """
    Reads one node.

    Parameters
    ----------
    parts : Parts
    journal : Journal, optional
    lost : callable
        Returns how many beats could not be written.

    Attributes
    ----------
    error : str
        Why the latest reading failed; empty: it did not.
    """

    def __init__(self, parts: Any, journal: Journal | None, lost: Callable[[], int]) -> None:
        self._parts, self._journal, self._lost = parts, journal, lost
        trader = parts.node.trader
        self._organisms, self._scribes, self._sentries = (
            members(trader, kind) for kind in ("Organism", "DiaryScribe", "DriftSentry")
        )
        self._lags = deque[float](maxlen=WINDOW)
        self._failed = self._rows = 0
        self._before: Mapping[str, Reached] = {}
        self.error = ""

    def read(self, beat: Beat, journal_left: int, heard: bool) -> Reading:
        """
        Return what is known at a beat; where that fails it is a fault, and only the beat is known.

        While the journal is read only the beat is, too: counters that climb to where they were tell of the past.
        """
        self._lags.append(beat.lag_s)
        late_s = max(self._lags)
        if journal_left:
            return Reading(beat=beat, late_s=late_s, journal_left=journal_left)
        try:
            found = self._read(beat, late_s, heard)
        except Exception as trouble:  # whatever it is: the node goes on
            self._failed += 1
            self.error = f"{type(trouble).__name__}: {trouble}"
            return Reading(beat=beat, late_s=late_s, heard=heard, refusals={"metrics": self._failed})
        self.error = ""
        return found

    def begin(self) -> None:
        """Leave out how long stages have taken until now, when the journal was read and nobody waited."""
        self._parts.stages.count()
        self._before = self._parts.stages.reached()

    def _stages(self) -> dict[str, Reached]:
        reached = self._parts.stages.reached()
        return {name: now.since(self._before[name]) if self._before else now for name, now in reached.items()}

    def _read(self, beat: Beat, late_s: float, heard: bool) -> Reading:
        parts, journal = self._parts, self._journal
        gate, record = parts.gate, parts.gate.record
        return Reading(
            beat=beat,
            late_s=late_s,
            heard=heard,
            orders=record.ordered,
            denials=self._counted("denied"),
            near_misses=self._counted("near_miss"),
            stages=self._stages(),
            queues=self._queues(),
            **self._account(),
            **self._drift(),
            sigma={
                one.config.instrument_id: (weights.norm, weights.bound)
                for one in self._organisms
                if not one.config.canary and (weights := one.adaptation.weights) is not None
            },
            **self._diary(),
            faults=self._off(),
            refusals=self._refusals(),
            feed_gaps=record.counts.get("feed_gap", 0),
            session_open=gate.phase != "closed",
            journal_records=None if journal is None else journal.count,
            **({} if parts.guard is None else parts.guard.figures()),
        )

    def _counted(self, kind: str) -> dict[str, int]:
        """Return how many there were by code, zeros too: a series that begins at its first event hides that event."""
        found = {limit: count for (one, limit), count in self._parts.gate.record.limits.items() if one == kind}
        return dict.fromkeys(map(str, Code), 0) | found

    def _queues(self) -> dict[str, int]:
        kernel, journal = self._parts.node.kernel, self._journal
        found = {
            name: sum(getattr(getattr(kernel, engine), size)() for size in sizes)
            for name, (engine, sizes) in _QUEUES.items()
        }
        return found if journal is None else found | {"journal": journal.count - journal.flushed}

    def _account(self) -> dict[str, Any]:
        gate, now = self._parts.gate, self._parts.intake.time
        law = gate.law
        if law.capital is None:
            return {}
        holdings: Mapping[str, Holding] = law.exposure.holdings
        value2 = sum(self._value2(held, now) for held in holdings.values() if held.position)
        equity, cash, _, _, drawdown = law.figures(value2)
        found = used(law, now, value2)
        return {
            "currency": gate.currency or "",
            "equity": float(from_atto(equity)),
            "cash": float(from_atto(cash)),
            "day_change": float(from_atto(2 * equity - law.day_start2)) / 2 if law.day >= 0 else None,
            "drawdown": max(drawdown, 0.0),
            "positions": {name: held.position / NANO for name, held in holdings.items()},
            "used": {str(code): (one.value, one.bound) for code, one in found.items()},
        }

    def _value2(self, held: Holding, now: int) -> int:
        """Return what a position is worth at the latest price, which the law need not have looked at (0.5e-18)."""
        slot = self._parts.gate.market.by_name.get(held.instrument)
        price = None if slot is None else slot.reference(now)
        if price is None or held.doubt is not None or price == slot.suspected:
            return held.value2
        return held.position * int(price[0] + price[1])

    def _drift(self) -> dict[str, Any]:
        if not self._sentries:
            return {}
        found = {}
        for sentry in self._sentries:
            for stream, cusum, page_hinkley, threshold in sentry.family.charts():
                name = f"{stream.instrument} {stream.name}"
                found[name, "cusum"], found[name, "page_hinkley"] = (cusum, threshold), (page_hinkley, threshold)
        # One without a stream tells of a life before this.
        alarms = [alarm for sentry in self._sentries for alarm in sentry.alarms if alarm.stream]
        return {"drift": found, "drift_alarms": sum(alarm.level in ACTING for alarm in alarms)}

    def _diary(self) -> dict[str, Any]:
        """Return how many decisions there are, and how many of them the diary has."""
        if not self._scribes:
            return {}
        there = min(scribe.decided for scribe in self._scribes)
        self._rows = max(self._rows, there)  # a counter does not fall: what was on its way when the disk failed
        return {
            "decisions": sum(one.decisions for one in self._organisms),
            "diary_rows": self._rows,
            "diary_lag_s": max(scribe.lag_s for scribe in self._scribes),
        }

    def _off(self) -> dict[str, int]:
        """Return by how many each mechanism is off."""
        found = Counter[str]()
        for sentry in self._sentries:
            found["drift_sentry"] += sentry.off
        for one in self._organisms:
            for mechanism in one.adaptation.mechanisms:
                found[mechanism] += mechanism in one.adaptation.faults
        return dict(found)

    def _refusals(self) -> dict[str, int]:
        """Return what was lost or refused so far by what goes on nevertheless."""
        found = {"heartbeat": self._lost(), "metrics": self._failed}
        if self._sentries:
            found["drift_sentry"] = sum(len(sentry.faults) for sentry in self._sentries)
        return found
