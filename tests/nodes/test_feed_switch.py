"""Which way to an exchange is heard, when its feed is lost, and how long is waited before it is connected anew."""

from random import Random

from alphatrade.nodes.paper.feed_switch import HELD_UP_NS, Arrivals, FeedChange, Patience, Switch, pause

BORNE = Patience(silence_s=2.0, after_s=5.0, back_s=10.0)


def switch(latest: int = 0, ways: int = 2) -> Switch:
    return Switch(["first", "second"][:ways], BORNE, 100.0, latest)


def test_a_feed_that_comes_is_let_in_and_nothing_has_changed() -> None:
    one = switch()
    for at in range(101, 110):
        assert one.heard(0, at, at * 10**9) == (True, [])
        assert one.look(at + 2.0, 0) is None
    assert not one.lost


def test_silence_is_told_once_and_its_end_with_both_stamps() -> None:
    one = switch()
    one.heard(0, 101.0, 7)
    assert one.look(103.0, 8) is None
    assert one.look(103.1, 9) == FeedChange(9, "lost", "first", 7)
    assert one.look(104.0, 10) is None
    assert one.heard(0, 105.0, 11) == (True, [FeedChange(11, "gap", "first", 7)])
    assert one.heard(0, 105.1, 12) == (True, [])


def test_a_feed_that_never_comes_is_lost_too() -> None:
    assert switch().look(102.1, 5) == FeedChange(5, "lost", "first", 0)


def test_a_node_that_was_down_has_a_gap_from_its_last_event() -> None:
    one = switch(latest=3)
    assert one.look(110.0, 5) is None, "known before it was told"
    assert one.heard(0, 111.0, 9) == (True, [FeedChange(9, "gap", "first", 3)])


def test_the_second_way_is_opened_and_heard_only_after_its_time() -> None:
    one = switch()
    one.heard(0, 101.0, 1)
    assert not one.wanted(1, 105.9)
    assert one.heard(1, 105.9, 2) == (False, [])
    assert one.wanted(1, 106.0)
    assert one.wanted(0, 106.0)
    one.look(106.0, 3)
    assert one.heard(1, 106.0, 4) == (True, [FeedChange(4, "source", "second", 1), FeedChange(4, "gap", "second", 1)])
    assert one.heard(0, 106.1, 5) == (False, []), "one at a time"


def second_heard() -> Switch:
    one = switch()
    one.heard(0, 101.0, 1)
    one.heard(1, 106.0, 2)
    return one


def test_the_first_is_heard_again_only_when_it_has_been_well_for_its_time() -> None:
    one, at = second_heard(), 107.0
    while at < 117.0:
        assert one.heard(0, at, 3) == (False, []), at
        assert one.heard(1, at, 3)[0]
        at += 0.5
    assert one.heard(0, 117.0, 4) == (True, [FeedChange(4, "source", "first", 3)])
    assert not one.wanted(1, 117.0)


def test_a_silence_of_the_first_begins_its_time_anew() -> None:
    one = second_heard()
    for at in range(107, 116):
        one.heard(0, at, 3)
        one.heard(1, at, 3)
    one.heard(1, 119.0, 3)
    assert one.heard(0, 119.5, 4) == (False, []), "silent since 115"
    for at in range(120, 129):
        one.heard(1, at, 4)
        assert one.heard(0, at, 4) == (False, []), at
    one.heard(1, 129.4, 4)
    assert one.heard(0, 129.5, 5)[0]


def test_the_first_is_heard_at_once_where_the_second_is_silent() -> None:
    one = second_heard()
    assert one.heard(0, 108.0, 3) == (False, [])
    assert one.heard(0, 108.1, 3)[0]


def test_the_silence_of_a_closed_market_is_none() -> None:
    one = switch()
    one.heard(0, 101.0, 1)
    for at in range(102, 150):
        one.rest(at)
        assert one.look(at, 2) is None
        assert one.silence(0, 100.0, at) == 0.0
        assert not one.wanted(1, at)
    assert one.look(151.0, 3) is None
    assert one.look(151.1, 3) == FeedChange(3, "lost", "first", 1)


def test_a_pause_is_drawn_below_a_bound_that_doubles() -> None:
    rng = Random(1)
    for tries, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)):
        drawn = [pause(tries, 0.5, 30.0, rng) for _ in range(500)]
        assert 0.9 * bound < max(drawn) <= bound
        assert min(drawn) < 0.1 * bound
    assert [pause(9, 1, 9, Random(7)) for _ in range(2)] == [pause(9, 1, 9, Random(7)) for _ in range(2)]
    assert len({pause(3, 1, 9, rng) for _ in range(9)}) == 9


def test_what_a_loop_that_has_its_turns_is_given_came_when_it_is_stamped() -> None:
    one = Arrivals()
    assert one.came(5, 7) == 5, "before the first turn"
    for turn in range(10):
        one.turn(turn * HELD_UP_NS // 3)
        assert one.came(turn, turn * HELD_UP_NS // 3) == turn


def test_what_has_waited_for_a_loop_came_when_it_had_its_last_turns_and_in_order() -> None:
    one, now = Arrivals(), 60 * HELD_UP_NS
    for turn in (7, 8, 9):
        one.turn(turn)
    assert one.came(now - 1, now) == 7
    assert one.came(5, now) == 7, "not before the one before it"
    one.turn(now)  # what was posted in the turn that took so long is taken in the next one
    assert one.came(now, now) == 8
    one.turn(now + 1)
    assert one.came(now + 1, now + 1) == 9
    one.turn(now + 2)
    assert one.came(now + 2, now + 2) == now + 2
