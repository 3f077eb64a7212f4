"""What follows when an algorithm repeats itself: denied for a while, or off until an operator has looked."""

from pathlib import Path
from typing import Any

import pytest

from alphatrade.risk.errors import LatchedError
from alphatrade.risk.gate import RiskGate
from alphatrade.risk.kill import release
from alphatrade.risk.law import Law
from alphatrade.risk.template import RiskTemplate
from tests.risk.rig import audited, engine
from tests.risk.test_gate import QUOTES, Act, market, run, statuses

TEMPLATE = {"repeat_max": 3, "repeat_window_s": 20, "duplicate_window_s": 0}
SCRIPT: dict[int, Act] = {**dict.fromkeys(range(4, 8), market(0.1)), 40: market(0.1)}


def repeating(gate: dict[str, Any] | None = None, **template: Any) -> Any:
    """Send the same order four times in four seconds, and once more after the window."""
    built, _, at = run(SCRIPT, gate={**(gate or {}), "template": {**TEMPLATE, **template}})
    return built, at


def test_by_default_it_is_denied_until_the_window_has_passed() -> None:
    built, gate = repeating()
    assert statuses(built) == ["FILLED"] * 3 + ["DENIED", "FILLED"]
    assert gate.switch.state == "ACTIVE"
    assert [row[2] for row in gate.record.risk_events] == ["near_miss", "denied"]


def test_where_it_halts_an_operator_has_to_release_it(tmp_path: Path) -> None:
    latch = {"state_dir": str(tmp_path / "state"), "account": "A"}
    built, gate = repeating(latch, repeat_action="halt")
    cause = gate.switch.trip_cause
    assert (cause.code, cause.state, cause.who) == ("REPEATED", "HALTED", "law")
    assert cause.reason.startswith("REPEATED: repeated=4 > limit=3 (")
    assert not built.cache.positions_open()
    events = [row[2] for row in gate.record.risk_events]
    assert events == ["near_miss", "denied", "breach", "kill", "state", "state", "denied"]
    audited(gate, tmp_path / "run", TEMPLATE | {"repeat_action": "halt"}, False)
    built.dispose()
    with pytest.raises(LatchedError, match=r"REPEATED: repeated=4.*, by law"):
        engine(QUOTES, [], latch)
    release(tmp_path / "state", "sim", "A", "Ann", "a loop in the strategy, mended", 1)
    engine(QUOTES, [], latch)


def test_without_the_trip_it_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RiskGate, "breach", lambda *_: None)
    built, gate = repeating(repeat_action="halt")
    assert statuses(built)[-1] == "FILLED", "the mutant"
    assert gate.switch.state == "ACTIVE"


def test_other_denials_stop_nothing() -> None:
    halting, denying = (Law(RiskTemplate(repeat_action=action)) for action in ("halt", "deny"))
    assert denying.stops == {"DAILY_LOSS", "DRAWDOWN"}
    assert halting.stops == {"DAILY_LOSS", "DRAWDOWN", "REPEATED"}
