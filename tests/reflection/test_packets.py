"""Theory packets against arithmetic done by hand."""

import math

import pytest

from alphatrade.actors.messages import DriftSignal
from alphatrade.reflection.packets import RUNBOOK, Row, cohens_d, digest, file_name, packet, page, shifts

NAMES = ("calm", "moved")


def row(n: int, *features: float, instrument: str = "X") -> Row:
    return Row(n, 1000 * n, instrument, n, "maker", "up-low", 0.5, "none", features)


def signal(**changes: object) -> DriftSignal:
    plain = {
        "ts": 20_000, "instrument": "X", "level": "alert", "stream": "tactic:maker", "statistic": 7.25, "threshold": 6.5,
        "chart": "cusum", "factor": 0.5, "freeze": True, "change_point": 10_000, "last_good": 10, "last": 19, "detail": "why",
    }  # fmt: skip
    return DriftSignal(**(plain | changes))  # type: ignore[arg-type]


ROWS = [row(n, n % 2, (n % 3) + (5.0 if n > 10 else 0.0)) for n in range(25)]


def test_effect_size_by_hand() -> None:
    assert cohens_d([1.0, 3.0], [4.0, 6.0]) == pytest.approx(3.0 / math.sqrt(2.0), abs=1e-9)
    assert cohens_d([4.0, 6.0], [1.0, 3.0]) == pytest.approx(-3.0 / math.sqrt(2.0), abs=1e-9)
    assert cohens_d([1.0], [4.0, 6.0]) is None
    assert cohens_d([2.0, 2.0], [2.0, 2.0]) is None


def test_what_moved_comes_first_and_what_is_no_number_is_left_out() -> None:
    before, after = ROWS[:11], [*ROWS[11:20], row(20, float("nan"), float("inf"))]
    ranked = shifts(before, after, NAMES)
    assert ranked[0]["name"] == "moved"
    assert ranked[0]["d"] > 3
    assert next(r for r in ranked if r["name"] == "regime_confidence")["d"] is None


def test_the_slice_is_what_came_after_the_change_point_and_before_the_alarm() -> None:
    made = packet(4, signal(), [*ROWS, row(12, 1.0, 1.0, instrument="Y")], NAMES, "abc")
    assert made["evidence"]["decisions"] == [11, 19]
    assert made["evidence"]["rows"] == 9
    assert made["evidence"]["whole"]
    assert made["evidence"]["sha256"] == digest(ROWS[11:20])
    assert made["shifts"][0]["name"] == "moved"
    assert made["since"]["ts"] == "10000"
    assert made["runbook"] == RUNBOOK
    assert file_name(made) == "004-tactic-maker"
    assert not packet(1, signal(change_point=0), ROWS[5:], NAMES, "abc")["evidence"]["whole"]


def test_the_digest_follows_every_column() -> None:
    base = digest(ROWS)
    changes = {"decision": 7, "ts": 7, "instrument": "Z", "step": 7, "tactic": "t", "regime": "r", "confidence": 0.1,
               "action": "a", "features": (1.0, 2.0)}  # fmt: skip
    for name, value in changes.items():
        assert digest([ROWS[0]._replace(**{name: value}), *ROWS[1:]]) != base, name
    assert digest([*ROWS[1:], ROWS[0]]) != base
    assert len(digest([])) == 64


def test_the_page_says_all_of_it() -> None:
    made = packet(4, signal(), ROWS, NAMES, "abc")
    text = page(made)
    for word in ("tactic:maker", "alert", "11 to 19", made["evidence"]["sha256"], "clips are halved", RUNBOOK, "| moved |"):
        assert word in text
    assert made["reproduce"] in text
    assert len(text.splitlines()) < 60
    assert "too little in memory" in page(packet(1, signal(), [], NAMES, "abc"))
