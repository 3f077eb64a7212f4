"""What the page does when its session is over, or when nothing or no answer comes: it never looks as if all were well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.make_console import Place, in_chromium, needs_chromium, shown, signed_in, until

pytestmark = [pytest.mark.long, needs_chromium]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    own = Place(tmp_path)
    yield own
    own.end()


@pytest.fixture
def page() -> Iterator[Any]:
    with in_chromium() as own:
        yield own


def short(seconds: float) -> str:
    """Return Python that makes sessions short; a number for an action is of a session, so it ends as well."""
    return f"import alphatrade.nodes.console.access as access\naccess.SESSION_S = {seconds}"


def kill(page: Any) -> None:
    page.get_by_role("button", name="Kill", exact=True).click()
    page.get_by_label("who", exact=True).fill("ann")
    page.get_by_label("why", exact=True).fill("odd fills")


def confirm(page: Any) -> None:
    page.get_by_role("button", name="Confirm", exact=True).click()


def red(page: Any) -> str:
    """Return what is said in red."""
    return " ".join(page.locator(".q-notification.bg-negative").all_inner_texts())


def untouched(place: Place) -> bool:
    return not list(place.state.rglob("kill.request")) and not (place.state / "ledger").exists()


def test_a_page_whose_session_ends_goes_to_the_login(place: Place, page: Any) -> None:
    place.shows(change=short(4.0))
    signed_in(page, place)
    page.wait_for_selector("text=exposure")
    page.wait_for_url("**/login", timeout=15_000)


def test_who_is_about_to_kill_then_is_told_that_it_was_not_done(place: Place, page: Any) -> None:
    place.shows(change=short(6.0))
    signed_in(page, place)
    page.wait_for_selector("text=exposure")
    kill(page)
    until(lambda: "the session is over, nothing was done" in red(page), 20)
    confirm(page)
    page.wait_for_url("**/login", timeout=15_000)
    assert untouched(place)


@pytest.mark.parametrize(
    ("code", "said"),
    [(401, "the session is over, nothing was done"), (421, "not done: the console refuses this (421)"), (500, "it has failed (500)"),
     (0, "ask again. (Failed to fetch)"), (-1, "ask again. (signal timed out)")],
)  # fmt: skip
def test_whatever_comes_of_a_kill_that_is_not_done_is_said_in_red(place: Place, page: Any, code: int, said: str) -> None:
    """A refusal, a failure, a lost network (0), and no answer at all (-1)."""
    place.shows(change="import alphatrade.nodes.console.browser as browser\nbrowser.PATIENCE_S = 1.0")
    signed_in(page, place)
    page.wait_for_selector("text=exposure")

    def answer(route: Any) -> None:
        if code > 0:
            route.fulfill(status=code, body="refused\n", content_type="text/plain")
        elif code == 0:
            route.abort()

    page.route("**/act", answer)
    kill(page)
    confirm(page)
    until(lambda: said in red(page), 15)
    assert "kill requested" not in shown(page)
    assert untouched(place)
    page.unroute("**/act")
    confirm(page)
    until(lambda: list(place.state.rglob("kill.request")), 15)


def test_a_page_that_hears_nothing_says_so_and_comes_back(place: Place, page: Any) -> None:
    console = place.shows()
    signed_in(page, place)
    page.wait_for_selector("text=exposure")
    console.kill()
    console.wait(10)
    page.wait_for_selector("body.lost", timeout=15_000)
    told = page.evaluate("getComputedStyle(document.body, '::before').content")
    assert "Not of now" in told
    assert float(page.evaluate("getComputedStyle(document.querySelector('.nicegui-content')).opacity")) < 0.5
    place.shows()
    page.wait_for_url("**/login", timeout=20_000)
    signed_in(page, place)
    page.wait_for_selector("text=exposure")
    assert page.locator("body.lost").count() == 0
