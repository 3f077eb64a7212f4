"""The caps of a permit in the exchange's own books, with what is on its way: partial and late fills, restarts, falling prices.

What is out and what is lost is replayed from the exchange's books alone, as the drill does. The node buys as long as
the price falls, so that it comes to its caps; each test is made once more with the cap off, and has to find that.
"""

import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest

from benchmarks.live.judge import lost, moments, most_out
from tests.venue.make_live import feeds
from tests.venue.make_pilot import CAPITAL, Pilot
from tests.venue.make_venue import Handle, running

pytestmark = pytest.mark.long
BEFORE = "0.0018"  # BTC that the account has bought under the permit before this run: 54 of the capital of 100
ATTO = 10**18


@pytest.fixture
def venue() -> Iterator[Handle]:
    with running(feeds("BTCUSDT"), 20.0) as handle:
        handle.tell("limits", orders=1_000_000, weight=100_000_000)
        yield handle


def bid_of(venue: Handle) -> Decimal:
    return Decimal(venue.look("state")["best"]["BTCUSDT"]["bid"])


def quote(venue: Handle, bid: Decimal, size: str = "0.0003") -> None:
    """Show a price; an order of the node is larger than the size, so that it is filled in parts."""
    venue.tell(
        "quote", symbol="BTCUSDT", bid=f"{bid:.2f}", ask=f"{bid + Decimal('0.02'):.2f}", bid_size=size, ask_size=size
    )


def fall(venue: Handle, share: str, steps: int, seconds: float = 0.03) -> None:
    """Have the price fall step by step; the tape stands still."""
    venue.tell("pause")
    bid = bid_of(venue)
    for _ in range(steps):
        bid *= 1 - Decimal(share) / steps
        quote(venue, bid)
        time.sleep(seconds)


def swing(pilot: Pilot, times: int, faults: tuple[dict[str, object], ...] = ()) -> None:
    """Have the price fall and rise, so that it buys all it may, and sells some of it."""
    for turn in range(times):
        if faults:
            one = dict(faults[turn % len(faults)])
            pilot.venue.tell(str(one.pop("tell")), **one)
        fall(pilot.venue, "0.006", 60)
        fall(pilot.venue, "-0.006", 30)


FAULTS = (
    {"tell": "late", "seconds": 2, "count": 20, "where": "user"},
    {"tell": "fault", "name": "restart", "seconds": 1},
    {"tell": "late", "seconds": 1, "where": "rest"},
    {"tell": "fault", "name": "drop", "where": "user"},
    {"tell": "clear"},
)


@pytest.mark.parametrize("hook", ["", "--uncapped"])
@pytest.mark.parametrize("faults", [(), FAULTS], ids=["quiet", "faults"])
def test_never_is_more_out_than_the_capital(pilot, hook, faults):
    pilot.venue.order("BUY", "LIMIT", BEFORE, price=30_100, timeInForce="IOC", newClientOrderId="before")
    pilot.permits(loss=CAPITAL * ATTO)  # what was spent before counts as lost, until something is sold for it
    pilot.start("--hungry", *([hook] if hook else [])).trading(1)
    swing(pilot, 6, faults)
    pilot.venue.tell("clear")
    pilot.venue.tell("resume")
    pilot.end()
    books = pilot.venue.look("books")
    assert books["audit"] == []
    parts = Counter(trade["orderId"] for trade in books["trades"])
    assert parts.most_common(1)[0][1] > 1, "some were filled in part"
    if hook:  # the mutation
        assert most_out(books) > CAPITAL
        return
    assert most_out(books) <= CAPITAL
    assert most_out(books) > Decimal("0.9") * CAPITAL, "it came near"
    assert pilot.report["differences"] == 0


def most_lost(pilot: Pilot, share: str, steps: int) -> Decimal:
    """Have the price fall, and return the most that was lost meanwhile, what is held valued at the bid."""
    worst = Decimal(0)
    for _ in range(steps):
        fall(pilot.venue, str(Decimal(share) / steps), 10)
        books = pilot.venue.look("books")
        worst = max(worst, lost(books, bid_of(pilot.venue)))
    return worst


@pytest.mark.parametrize("hook", ["", "--careless"])
def test_never_is_more_lost_than_the_cap_while_prices_fall_by_steps(pilot, hook):
    cap = 4
    pilot.permits(loss=cap * ATTO)
    pilot.start("--hungry", *([hook] if hook else [])).trading(1)
    worst = most_lost(pilot, "0.15", 40)
    if hook:
        assert worst > cap
        pilot.close()
        return
    assert 0 < worst <= cap
    assert max(one.out for one in moments(pilot.venue.look("books"))) > 30, "it had something to lose"
    pilot.end()


@pytest.mark.parametrize(("jump", "kept"), [("0.045", True), ("0.2", False)], ids=["expected", "larger"])
def test_what_a_jump_of_the_price_may_cost_is_the_cap_and_its_excess_over_jump_max(pilot, jump, kept):
    """The law reckons with one jump by ``jump_max``, 5 %; what a larger one costs beyond that nobody can bound but the capital."""
    cap, reckoned = 4, Decimal("0.05")
    pilot.permits(loss=cap * ATTO)
    pilot.start("--hungry").trading(1)
    fall(pilot.venue, "0.004", 80)
    books = pilot.venue.look("books")
    held = sum(Decimal(one["qty"]) * (1 if one["isBuyer"] else -1) for one in books["trades"])
    bid, jumped = bid_of(pilot.venue), Decimal(jump)
    assert held * bid > 30, "it has something to lose"
    for _ in range(4):  # the second one confirms it
        quote(pilot.venue, bid * (1 - jumped), "1")
        time.sleep(0.3)
    said = pilot.halted()
    books = pilot.venue.look("books")
    gone = lost(books, bid * (1 - jumped))
    assert "LOSS_CAP" in said
    assert gone <= cap + max(jumped - reckoned, Decimal(0)) * (held * bid + 15)  # with a buy that was on its way
    assert (gone <= cap) == kept
    assert gone < CAPITAL
    assert books["open"] == []
    pilot.end()
