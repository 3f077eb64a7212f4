"""The exploring router: its budget, its propensities, its guardrail; and the alternative on paper."""

from collections import Counter
from typing import Any

import pytest

from alphatrade.risk.units import to_nano
from alphatrade.strategies.book import Book
from alphatrade.strategies.counterfactual import Compared, Counterfactual
from alphatrade.strategies.exploring import Budget, Explorer
from alphatrade.strategies.planner import Cancel, Grid, Market, Modify, Rest, Stop
from alphatrade.strategies.router import Route
from alphatrade.strategies.shadow import Costs
from alphatrade.strategies.topologies.base import Desire, Limit, Topology, View
from tests.strategies.beliefs import belief

NAMES = ("a", "b", "c", "d")
GRID = Grid(1, 1, to_nano(1), to_nano(100), 1, to_nano(100), to_nano(100))


class Holds(Topology):
    """Wants one side."""

    def __init__(self, target: int | None) -> None:
        self.target = target

    def desire(self, view: View) -> Desire:
        return Desire(self.target, (), None, "")


def explorer(seed: int = 1, index: int = 0, allowed: Any = None, targets: Any = None, **budget: float) -> Explorer:
    tactics = {name: Holds((targets or {}).get(name)) for name in NAMES}
    free = Counterfactual(tactics, Costs(0.0, 0.0, 0.0), False, 2)
    spec = {"share": 0.1, "every": 5, "probability": 0.4, "low": -50.0, "high": 50.0, "margin": 0.03} | budget
    made = Explorer(Budget(**spec), NAMES, allowed or {}, seed, index, Book(), free)
    made.filled("base", 1e9)
    return made


def routes(made: Explorer, n: int, base: str = "a", start: int = 0) -> list[tuple[str, bool]]:
    found = []
    for step in range(start, start + n):
        route = made.route(belief(step), Route(base, (), False, "table"), 0.0, 1.0)
        assert route.tactic == (made.now.tactic or base)
        found.append((route.tactic, route.switched))
    return found


# -- who is in charge


def test_draws_repeat_and_are_a_stream_of_their_own() -> None:
    one = [tactic for tactic, _ in routes(explorer(), 500)]
    assert one == [tactic for tactic, _ in routes(explorer(), 500)]
    assert one != [tactic for tactic, _ in routes(explorer(seed=2), 500)]
    assert one != [tactic for tactic, _ in routes(explorer(index=1), 500)]
    assert set(one) == set(NAMES)


def test_what_is_explored_stays_for_a_block() -> None:
    found = routes(explorer(), 500)
    for at in range(0, 500, 5):
        assert len({tactic for tactic, _ in found[at : at + 5]}) == 1
        assert not any(switched for _, switched in found[at + 1 : at + 5])


def test_the_propensity_is_the_frequency() -> None:
    """Over many seeds, each tactic is in charge as often as the propensity of its row says."""
    counts, said = Counter[str](), {}
    for seed in range(3000):
        made = explorer(seed, allowed={"flat-low": ("a", "b", "c")})
        routes(made, 1)
        counts[made.now.tactic or "a"] += 1
        said[made.now.tactic or "a"] = made.now.propensity
    assert said == pytest.approx({"a": 0.8, "b": 0.1, "c": 0.1}), "two of four others may be explored here"
    for name, share in said.items():
        assert counts[name] / 3000 == pytest.approx(share, abs=4 * (share * (1 - share) / 3000) ** 0.5)


def test_a_regime_that_does_not_allow_the_tactic_leaves_the_base() -> None:
    made = explorer(probability=1.0, allowed={"flat-low": ("a",), "up-low": NAMES})
    routes(made, 5)
    assert made.now.propensity == 1.0
    made.route(belief(5, regime="up-low"), Route("a", (), False, ""), 0.0, 1.0)
    made.route(belief(6, regime="flat-low"), Route("a", (), False, ""), 0.0, 1.0)
    assert made.now.tactic == ""


def test_the_same_tactic_as_base_and_as_explored_are_told_apart() -> None:
    """What rests is cancelled when a tactic that was in charge is explored from now on: its orders get the mark."""
    made = explorer(probability=1.0)
    while not made.now.tactic:
        routes(made, 1, base="d", start=made._count)
    name, step = made.now.tactic, made._count
    assert made.route(belief(step), Route(name, (), False, ""), 0.0, 1.0) == Route(name, (), True, "")
    assert made.now.tactic == ""


@pytest.mark.parametrize("flow", [0.0, 10.0])
def test_no_block_opens_without_room_for_a_clip(flow: float) -> None:
    made = explorer(probability=1.0)
    made._flow = flow
    assert {tactic for tactic, _ in routes(made, 50)} == {"a"}
    assert made.now.propensity == 1.0
    made._flow = 10.31  # a clip with its margin is 1.03
    assert {tactic for tactic, _ in routes(made, 50, start=50)} > {"a"}


def test_frozen_means_that_nothing_is_explored_from_the_next_decision_on() -> None:
    made = explorer(probability=1.0)
    while not made.now.tactic:
        routes(made, 1, start=made._count)
    made.freeze("an alarm")
    made.freeze("another")
    found = routes(made, 200, start=made._count)
    assert found == [("a", True), *[("a", False)] * 199], "what rested is cancelled once"
    assert (made.frozen, made.now.propensity) == ("an alarm", 1.0)


def test_a_budget_of_nothing_explores_nothing() -> None:
    assert {tactic for tactic, _ in routes(explorer(share=0.0, probability=1.0), 100)} == {"a"}


# -- what is sent


def test_what_can_reduce_only_reduces() -> None:
    made = explorer()
    both = Desire(-1, (Limit(1, 99.0, 0.5), Limit(-1, 101.0, 0.5)), 98.0, "")
    assert made.restrained(both) is both, "flat: nothing can reduce"
    made._book.fill(to_nano(1), 100.0, 0)
    held = made.restrained(both)
    assert held.target == 0, "it closes first"
    assert [limit.exit for limit in held.limits] == [False, True]
    assert held.stop == 98.0


def test_commands_beyond_the_room_are_dropped_and_exits_are_kept() -> None:
    made = explorer(margin=0.0)
    made._flow = 2500.0  # 250 may be explored
    exits = [Cancel("x"), Market(-1, to_nano(50), True), Stop(-1, to_nano(90), to_nano(50)), Rest(-1, to_nano(100), to_nano(50), True)]
    opening = [Rest(1, to_nano(100), to_nano(1), False), Rest(-1, to_nano(100), to_nano(2), False), Market(1, to_nano(1), False)]
    kept = made.within([*exits, *opening], GRID)
    assert kept == [*exits, opening[0], opening[2]], "the second did not fit behind the first"
    made.sent("one", opening[0])
    made.sent("two", opening[2])
    assert made.room == 50.0
    assert made.within([Modify("one", to_nano(100), to_nano("1.6"), False)], GRID) == []
    change = Modify("one", to_nano(100), to_nano("1.5"), False)
    assert made.within([change], GRID) == [change]
    made.changed(change)
    assert made.room == 0.0
    made.gone("one")
    made.filled("two", 100.0)
    made.gone("two")
    assert made.room == pytest.approx(0.1 * 2600 - 100)


def test_what_is_explored_next_waits_for_what_was_sent_last() -> None:
    made = explorer(probability=1.0)
    while not made.now.tactic:
        routes(made, 1, start=made._count)
    routes(made, 3, start=made._count)  # the order goes out late in the block
    made.within([], GRID)
    made.sent("late", Market(1, 1, False))
    sent = made._count
    while made._count % 5:
        routes(made, 1, start=made._count)
    assert made._count - sent < 5
    routes(made, 1, start=made._count)
    assert (made.now.tactic, made.now.propensity) == ("", 1.0)


# -- the guardrail


@pytest.mark.parametrize("delta", [-50.1, 50.1, float("nan"), float("inf")])
def test_a_tactic_out_of_bounds_is_stopped_at_once_and_for_good(delta: float) -> None:
    made = explorer(probability=1.0)
    while not made.now.tactic:
        routes(made, 1, start=made._count)
    name = made.now.tactic
    made._judge(Compared(3, name, "a", delta, 0.0))
    assert list(made.stopped) == [name]
    assert routes(made, 1, start=made._count) == [("a", True)]
    assert made.now.propensity == 1.0, "the rest of the block was not drawn"
    later = [tactic for tactic, _ in routes(made, 1000, start=made._count)]
    assert name not in later
    assert set(later) == set(NAMES) - {name}


def test_a_tactic_within_the_bounds_is_not_stopped() -> None:
    made = explorer()
    for delta in (-50.0, 0.0, 50.0):
        made._judge(Compared(3, "b", "a", delta, 0.0))
    assert made.stopped == {}


def test_the_guardrail_acts_on_what_happens() -> None:
    """The base stays long on paper while the price runs; who explores holds nothing."""
    made = explorer(probability=1.0, targets={"a": 1}, low=-30.0)
    mids = [100.0 + 0.4 * step for step in range(200)]
    for step, mid in enumerate(mids):
        made.route(belief(step, mid, half=0.0), Route("a", (), False, ""), 0.0, 1.0)
    assert set(made.stopped) == {"b", "c", "d"}


# -- the alternative on paper


def test_both_outcomes_of_a_decision_are_known_one_horizon_later() -> None:
    tactics = {"long": Holds(1), "none": Holds(0)}
    made = Counterfactual(tactics, Costs(0.0, 0.0, 0.0), False, 2)
    book = Book()
    assert made.mark(belief(0), 0.0) is None
    made.follow(belief(0, half=0.0), "none", "long", book, 7.0, 1000.0)
    assert made.mark(belief(1, 101.0, half=0.0), 8.0) is None
    made.go_on(belief(1, 101.0, half=0.0), "long")
    found = made.mark(belief(2, 102.0, half=0.0), 9.0)
    assert found is not None
    assert (found.step, found.tactic, found.alternative) == (0, "none", "long")
    assert found.own == pytest.approx(2.0 / 1000.0 * 1e4), "the real book earned 2"
    assert found.base == pytest.approx(100 + 1e4 * (102 / 101 - 1))
    made.go_on(belief(2, 102.0), "long")
    assert not made.open


def test_the_alternative_starts_from_what_is_held_and_follows_the_router() -> None:
    tactics = {"keep": Holds(None), "none": Holds(0)}
    made = Counterfactual(tactics, Costs(0.0, 0.0, 0.0), False, 2)
    book = Book()
    book.fill(to_nano(5), 90.0, 0)
    made.follow(belief(0, half=0.0), "none", "keep", book, 0.0, 1000.0)  # 5 * 100: half a clip
    made.mark(belief(1, 110.0, half=0.0), 0.0)
    made.go_on(belief(1, 110.0, half=0.0), "none")  # the router itself would have left now
    found = made.mark(belief(2, 200.0, half=0.0), 0.0)
    assert found is not None
    assert found.base == pytest.approx(0.5 * 1000)


def test_a_new_exploration_does_not_disturb_the_alternatives_of_the_last_one() -> None:
    tactics = {"long": Holds(1), "none": Holds(0)}
    alone, both = (Counterfactual(tactics, Costs(0.0, 0.0, 0.0), False, 3) for _ in range(2))
    outcomes: list[list[float]] = [[], []]
    for step in range(8):
        now = belief(step, 100.0 + step, half=0.0)
        for at, made in enumerate((alone, both)):
            found = made.mark(now, 0.0)
            if found is not None and found.step == 0:
                outcomes[at].append(found.base)
            if step == 0 or (at and step == 2):
                made.follow(now, "none", "long", Book(), 0.0, 100.0)
            else:
                made.go_on(now, "long")
    assert outcomes[0] == outcomes[1] != []
