"""Fuzz matrix: rogue strategies in a real BacktestEngine, every command path against every limit of the law.

An oracle (oracle.py) says what the law must answer; the rogue (rogue.py) compares; the auditor must agree.
The matrix is printed with its counts. ``pytest -m long`` judges more than 10,000 orders.
"""

import random
from collections import Counter
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from nautilus_trader.model.data import InstrumentStatus
from nautilus_trader.model.enums import MarketStatusAction

from alphatrade.risk.limits import Code
from tests.risk.oracle import Oracle
from tests.risk.rig import (
    ADABTC,
    BTCUSDT,
    CAPITAL,
    ETHUSDT,
    INSTRUMENTS,
    SECOND,
    START,
    XBTUSD,
    audited,
    engine,
    gate_of,
    quote,
)
from tests.risk.rogue import LAWFUL, Rogue, Slice
from tests.risk.shots import shot

PATHS = (
    "market", "limit", "stop", "bracket", "list", "modify", "emulated", "exec algorithm", "direct",
    "close_position", "market_exit",
)  # fmt: skip
AIMS = (
    "near", "near", "big", "big", "huge", "far", "repeat", "rate", "reduce", "quote", "halted", "stale",
    "unquoted", "foreign", "inverse", "smuggle", "suspect",
)  # fmt: skip
WIDE: dict[str, Any] = {
    "order_notional_max": 0.2, "gross_max": 50, "net_max": 50, "instrument_max": 50, "price_collar": 0.02,
    "stale_after_s": 8, "daily_loss_max": 1, "drawdown_max": 1, "orders_per_second": 1000,
    "orders_per_minute": 1000, "repeat_max": 1000, "duplicate_window_s": 0, "open_orders_max": 1000,
}  # fmt: skip
# One template per limit that would otherwise hide behind another.
VARIANTS: dict[str, dict[str, Any]] = {
    "order": {"order_qty_max": 6},
    "qty": {"order_qty_max": 2},
    "instrument": {"instrument_max": 0.25},
    "inventory": {"inventory_max": 3},
    "gross": {"gross_max": 0.25},
    "net": {"net_max": 0.22},
    "second": {"orders_per_second": 2},
    "minute": {"orders_per_minute": 12},
    "repeated": {"repeat_max": 2, "repeat_window_s": 30},
    "duplicate": {"duplicate_window_s": 5},
    "open": {"open_orders_max": 3},
    "long": {"long_only": True},
    "all": {
        "order_qty_max": 3, "instrument_max": 0.5, "gross_max": 0.7, "net_max": 0.6, "inventory_max": 9,
        "orders_per_second": 4, "orders_per_minute": 60, "repeat_max": 4, "duplicate_window_s": 2,
        "open_orders_max": 8,
    },
}  # fmt: skip
LOSSES = ("DAILY_LOSS", "DRAWDOWN")
STEPS = 48

_CLOSES = "it only closes a position, reduce-only, at the market"
_NEVER = "the position it needs is gone once the switch is HALTED"
EMPTY: dict[tuple[str, str], str] = {}


def _empty(paths: str, codes: str, why: str) -> None:
    for path in paths.split(", "):
        for code in codes.split():
            EMPTY[path, code] = why


for _path in PATHS:
    EMPTY[_path, "STATE_UNREADABLE"] = "no node starts with an unreadable latch (test_kill.py)"
    EMPTY[_path, "EXPLORATION"] = "no order of a rogue is marked as explored (test_exploration.py)"
    EMPTY[_path, "SESSION"] = "the market of the rogue never closes (test_sessions.py)"
    EMPTY[_path, "SHADOW"] = "the rogue is in no shadow (test_live_gate.py)"
    EMPTY[_path, "HANDOVER"] = "nothing is handed over to the rogue (test_handover_input.py)"
    EMPTY[_path, "CAP"] = "no strategy of the rogue has a cap: only a canary has (test_caps.py)"
    for _code in (
        "NO_PERMIT",
        "PERMIT_ENDED",
        "PERMIT_SCOPE",
        "CAPITAL_CAP",
        "LOSS_CAP",
        "LOSS_ROOM",
        "UNBOUNDED",
        "FILTERS",
    ):
        EMPTY[_path, _code] = "the rogue is not in live, where alone permits are asked for (test_permit.py)"
    if _path != "modify":
        EMPTY[_path, "UNKNOWN_ORDER"] = "only a modification names an order"
    if _path != "direct":
        EMPTY[_path, "UNKNOWN_COMMAND"] = "Nautilus itself sends the known commands only"
_empty(
    "market, exec algorithm, emulated",
    "PRICE_COLLAR",
    "a market order names no price; emulated ones are released as such",
)
_empty(
    "close_position, market_exit",
    "PRICE_COLLAR ORDER_QTY ORDER_NOTIONAL OPEN_ORDERS REDUCE_ONLY QUOTE_QTY NO_REFERENCE UNKNOWN_INSTRUMENT "
    "NO_ACCOUNT",
    _CLOSES,
)
# Denied only for what plain orders could open behind the exit, which chance may or may not bring about (test_law.py).
RARE = {
    (path, code)
    for path in ("close_position", "market_exit")
    for code in ("INSTRUMENT_EXPOSURE", "GROSS_EXPOSURE", "NET_EXPOSURE", "INVENTORY", "LONG_ONLY")
}
_empty("close_position, market_exit, modify", "HALTED", "nothing is left to close or to modify")
_empty("modify", "DUPLICATE REPEATED OPEN_ORDERS QUOTE_QTY", "a modification is no new order")
_empty("modify", "NO_REFERENCE UNKNOWN_INSTRUMENT NO_ACCOUNT", "such an order was never approved")
_empty("emulated", "NO_REFERENCE UNKNOWN_INSTRUMENT NO_ACCOUNT", "without quotes it is never released")


def tape(n: int, variant_seed: int) -> list[Any]:
    """Quotes of BTC and ETH every second; ETH pauses, is halted and is crossed now and then."""
    rng = np.random.default_rng(variant_seed)
    btc = 50_000 + np.cumsum(rng.normal(0, 3, n))
    eth = 3_000 + np.cumsum(rng.normal(0, 0.3, n))
    data: list[Any] = []
    for i in range(n):
        ts = START + i * SECOND
        if i % 40 == 25 or i % 40 == 32:
            action = MarketStatusAction.HALT if i % 40 == 25 else MarketStatusAction.TRADING
            data.append(InstrumentStatus(ETHUSDT.id, action, ts, ts))
        if not 8 <= i % 40 < 22:  # longer than the staleness limit
            half = -0.05 if i % 40 >= 35 else 0.05  # crossed
            data.append(quote(ETHUSDT, float(eth[i]), ts, half=half))
        data.append(quote(BTCUSDT, float(btc[i]), ts))
    return data


def play(variant: str, steps: list[tuple[str, str, int]], gate: bool = True, run_dir: Path | None = None) -> Rogue:
    """Run one rogue through one template and return it with its comparison made."""
    template = {**WIDE, **VARIANTS[variant]}
    long_only = bool(template.pop("long_only", False))
    oracle = Oracle(template, F(CAPITAL), long_only)
    oracle.unfit = {XBTUSD.id.value: "UNKNOWN_INSTRUMENT", ADABTC.id.value: "NO_ACCOUNT"}
    rogue = Rogue(steps, oracle)
    config = {"template": template, "long_only": long_only, "capital": str(CAPITAL), "currency": "USDT"}
    built = engine(
        tape(len(steps) + 60, len(steps)), [rogue], config if gate else None,
        algorithms=[Slice(rogue)], instruments=INSTRUMENTS,
    )  # fmt: skip
    built.run()
    rogue.settle()
    if gate:
        assert gate_of(built).switch.state == "ACTIVE", gate_of(built).record.risk_events[-5:]
    if run_dir is not None:
        audited(gate_of(built), run_dir, template, long_only)
    built.dispose()
    return rogue


def steps_of(count: int) -> st.SearchStrategy[list[tuple[str, str, int]]]:
    step = st.tuples(st.sampled_from(PATHS[:-1]), st.sampled_from((*AIMS, "tidy")), st.integers(0, 2**16))
    return st.lists(step, min_size=count, max_size=count)


ROUNDS = 6  # draws before an empty cell counts as a hole


def fuzz(examples: int, tmp: Path, draw: int) -> Counter[tuple[str, str]]:
    """Judge random programs, one template after the other, and have each run audited."""
    matrix: Counter[tuple[str, str]] = Counter()
    turn = [0]

    @seed(draw)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(steps=steps_of(STEPS), ending=st.sampled_from(("near", "repeat", "halted")))
    def run(steps: list[tuple[str, str, int]], ending: str) -> None:
        variant = list(VARIANTS)[turn[0] % len(VARIANTS)]
        turn[0] += 1
        rogue = play(variant, [*steps, ("market_exit", ending, 1)], run_dir=tmp / str(turn[0]))
        assert not rogue.mismatches, (variant, rogue.mismatches[:5])
        matrix.update(rogue.matrix)

    run()
    return matrix


def sweep() -> Counter[tuple[str, str]]:
    """Aim every path at every limit, template by template."""
    matrix: Counter[tuple[str, str]] = Counter()
    aims = {
        "order": ("big", "far", "far", "reduce", "quote", "halted", "stale", "unquoted", "foreign",
            "inverse", "suspect", "suspect"),
        "second": ("rate", "rate"), "minute": ("near",) * 7, "repeated": ("repeat", "repeat", "near"),
        "duplicate": ("repeat", "repeat"), "open": ("near",) * 5, "long": ("near",) * 6,
        "all": ("smuggle", "unknown"),
    }  # fmt: skip
    for number, variant in enumerate(VARIANTS):
        steps: list[tuple[str, str, int]] = []
        for path in PATHS[:-1]:
            for k, aim in enumerate(aims.get(variant, ("near", *("big",) * 7))):
                if (aim == "smuggle" and path != "direct") or (aim == "unknown" and path != "modify"):
                    continue
                steps.append((path, aim, 1000 * number + 10 * k + len(steps)))
            steps += [("market", "tidy", 0)] * 2
        rogue = play(variant, [*steps, ("market_exit", "repeat", 1)])
        assert not rogue.mismatches, (variant, rogue.mismatches[:5])
        matrix.update(rogue.matrix)
    return matrix


def shots() -> Counter[tuple[str, str]]:
    cells = [(p, c) for c in (*LOSSES, "REDUCING", "HALTED") for p in PATHS if (p, c) not in EMPTY]
    return Counter({(path, code): shot(path, code) for path, code in cells})


TARGET = {  # where a limit is met: template, aim
    "INSTRUMENT_EXPOSURE": ("instrument", "big"), "NET_EXPOSURE": ("net", "big"),
    "GROSS_EXPOSURE": ("gross", "big"), "ORDER_QTY": ("qty", "big"),
    "INVENTORY": ("inventory", "big"), "ORDER_RATE": ("minute", "near"), "REPEATED": ("repeated", "repeat"),
    "DUPLICATE": ("duplicate", "repeat"), "LONG_ONLY": ("long", "near"), "OPEN_ORDERS": ("open", "near"),
    "INSTRUMENT_HALTED": ("order", "halted"), "STALE_REFERENCE": ("order", "stale"),
    "SUSPECT_REFERENCE": ("order", "suspect"),
    "ORDER_NOTIONAL": ("order", "big"), "PRICE_COLLAR": ("order", "far"), "REDUCE_ONLY": ("order", "reduce"),
}  # fmt: skip


def seek(path: str, code: str) -> Counter[tuple[str, str]]:
    """Play programs bent on one cell until it is met; everything met on the way counts."""
    matrix: Counter[tuple[str, str]] = Counter()
    variant, aim = TARGET.get(code, ("all", code))
    for trial in range(60):
        draw = random.Random(f"{path} {code} {trial}")
        wanted = path if path != "market_exit" else "market"
        others = [("market", aim), ("market", "near"), (wanted, "near"), ("limit", "near")]
        choices = [(wanted, aim)] * 6 + others
        steps = [(*draw.choice(choices), draw.randrange(2**16)) for _ in range(draw.randint(12, 32))]
        ending = "repeat" if code in ("DUPLICATE", "REPEATED") else "near"
        rogue = play(variant, [*steps, ("market_exit", ending, 1)])
        assert not rogue.mismatches, (variant, rogue.mismatches[:5])
        matrix.update(rogue.matrix)
        if matrix[path, code]:
            break
    return matrix


def fill(matrix: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Return `matrix` with programs added for every cell that chance has left empty."""
    for path, code in holes(matrix):
        if not matrix[path, code]:
            matrix += seek(path, code)
    return matrix


def filled(examples: int, tmp: Path, draw: int) -> Counter[tuple[str, str]]:
    """Return the matrix of random and aimed programs; where a cell stays empty by chance, draw again."""
    matrix = sweep() + shots()
    for turn in range(ROUNDS):
        matrix = fill(matrix + fuzz(examples if not turn else len(VARIANTS), tmp / str(turn), draw + turn))
        if not holes(matrix):
            break
    return matrix


def printed(matrix: Counter[tuple[str, str]]) -> str:
    """Return the matrix as text: counts, a letter for every stated reason, and the reasons."""
    reasons = sorted(set(EMPTY.values()))
    codes = [LAWFUL, *(str(code) for code in Code)]
    lines = [f"{'':21}" + "".join(f"{path[:9]:>10}" for path in PATHS)]
    for code in codes:
        cells = []
        for path in PATHS:
            why = EMPTY.get((path, code))
            cells.append(str(matrix[path, code]) if why is None else chr(ord("a") + reasons.index(why)))
        lines.append(f"{code:21}" + "".join(f"{cell:>10}" for cell in cells))
    lines += [f"  {chr(ord('a') + i)}: {why}" for i, why in enumerate(reasons)]
    lines.append(f"orders and modifications judged: {sum(matrix.values())}")
    return "\n".join(lines)


def holes(matrix: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return cells that are empty without a reason, and filled ones for which a reason is given."""
    codes = [LAWFUL, *(str(code) for code in Code)]
    cells = [(path, code) for path in PATHS for code in codes if (path, code) not in RARE]
    return [cell for cell in cells if bool(matrix[cell]) == (cell in EMPTY)]


def test_matrix_has_no_hole_and_every_answer_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix = filled(len(VARIANTS), tmp_path, 20_131)
    with capsys.disabled():
        print("\n" + printed(matrix))
    assert not holes(matrix)
    assert sum(matrix.values()) >= 1_500


@pytest.mark.long
def test_ten_thousand_orders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix = filled(130, tmp_path, 7)
    with capsys.disabled():
        print("\n" + printed(matrix))
    assert not holes(matrix)
    assert sum(matrix.values()) >= 10_000


# -- without the gate the same checks are red


@pytest.mark.parametrize("variant", ["order", "instrument", "second", "repeated", "long"])
def test_without_the_gate_the_fuzz_fails(variant: str) -> None:
    steps = [(path, "huge", k) for k, path in enumerate(PATHS[:7])] + [
        ("market", "rate", 1),
        ("limit", "repeat", 2),
    ] * 3
    assert not play(variant, steps).mismatches
    assert play(variant, steps, gate=False).mismatches


def test_without_the_gate_a_shot_fails() -> None:
    with pytest.raises((AssertionError, AttributeError)):
        shot("market", "DAILY_LOSS", gate=False)
