"""The console's page in a real Chromium, beside a real node on paper; and what its start says when it cannot."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alphatrade.nodes.operator import record
from alphatrade.reflection.ledger import Ledger
from tests.nodes.make_console import SCRIPT, Place, in_chromium, needs_chromium, shown, signed_in, until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    own = Place(tmp_path)
    yield own
    own.end()


@pytest.fixture
def page() -> Iterator[Any]:
    with in_chromium() as own:
        yield own


@needs_chromium
@pytest.mark.long
def test_it_follows_a_node_explains_an_order_and_kills_it(
    place: Place, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", str(place.state))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    record("sign_off", "a proposal", "ann", SCRIPT)
    node = place.trades()
    place.shows()
    signed_in(page, place, "x" * 40)
    assert "That is not the token." in shown(page)
    signed_in(page, place)
    page.wait_for_selector("text=exposure")
    until(
        lambda: (
            "gross exposure" in shown(page)
            and "filled" in shown(page)
            and page.query_selector(".js-plotly-plot .scatterlayer .trace")
        )
    )
    seen = set()
    until(lambda: seen.add(shown(page).partition("EQUITY")[2][:20]) or len(seen) > 3)
    until(lambda: SCRIPT in shown(page))
    page.locator(".act").first.click()
    until(lambda: "Why not another topology" in shown(page))
    page.keyboard.press("Escape")
    page.wait_for_selector(".q-dialog__backdrop", state="detached")
    _asked_and_answered(page, place, node)
    until(lambda: f"who ann, why {SCRIPT}" in shown(page) and "kill" in shown(page))
    assert page.evaluate("window.hit") is None, "text of the ledger was run"


def _asked_and_answered(page: Any, place: Place, node: "subprocess.Popen[str]") -> None:
    """Kill by the dialog: not without who and why; then the node halts, and the ledger has it."""
    page.click("text=Kill")
    page.click("text=Confirm")
    until(lambda: "who decides and why" in shown(page))
    assert node.poll() is None
    page.get_by_label("who", exact=True).fill("ann")
    page.get_by_label("why", exact=True).fill(SCRIPT)
    page.click("text=Confirm")
    until(lambda: place.beat()["kill"] == "HALTED" or node.poll() is not None)
    last = Ledger(place.state / "ledger").entries()[-1]
    assert last.body == {"action": "kill", "target": "paper/SIM", "who": "ann", "why": SCRIPT}
    status = json.loads((place.state / "paper" / "SIM" / "latch.json").read_text())
    assert "ann" in json.dumps(status)


@needs_chromium
@pytest.mark.long
def test_without_a_node_it_says_so(place: Place, page: Any) -> None:
    place.shows()
    signed_in(page, place)
    until(lambda: "no node has run for paper/SIM" in shown(page))
    assert "none" in shown(page)


@pytest.mark.long
def test_a_console_that_is_killed_changes_nothing_at_the_node(place: Place) -> None:
    node, console = place.trades(), place.shows()
    console.send_signal(signal.SIGKILL)
    console.wait(10)
    before = place.beat()
    until(lambda: place.beat()["orders"] > before["orders"] + 3)
    after = place.beat()
    assert (after["kill"], after["faults"], after["pid"]) == ("ACTIVE", before["faults"], before["pid"])
    place.shows()
    node.send_signal(signal.SIGTERM)
    assert node.wait(60) == 0


def refused(place: Place, *words: str) -> str:
    process = place.start(*words, verb="console")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1, err
    return str(err)


def test_a_port_that_is_taken_is_one_line(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.port)):
        assert "free" in refused(place, "--port", str(place.port))
    assert not place.state.exists()


@pytest.mark.parametrize(("mode", "text"), [(None, ""), (0o644, "t" * 40), (0o600, "short")])
def test_a_token_that_cannot_be_used_is_one_line(place: Place, mode: int | None, text: str) -> None:
    file = place.root / "token"
    if mode is not None:
        file.write_text(text)
        file.chmod(mode)
    assert "--token-file" in refused(place, "--port", str(place.port), "--token-file", str(file))
