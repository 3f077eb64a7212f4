"""What an operator clicks in a real Chromium, and what is in the ledger and elsewhere then; text of files stays text."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes.beats import Beat
from alphatrade.nodes.ledger_home import home
from alphatrade.nodes.paper.desk import RUN
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import Entry
from alphatrade.reflection.ledger_check import verify
from alphatrade.risk.columns import table
from alphatrade.risk.freeze import read_freeze
from alphatrade.risk.record import TABLES
from tests.nodes.make_alarms import asked, needs_alertmanager, real, served
from tests.nodes.make_console import SCRIPT, Place, in_chromium, needs_chromium, shown, signed_in, until
from tests.reflection.make_proposal import proposal, ruling

pytestmark = [pytest.mark.long, needs_chromium]
LINK = '<a href="javascript:window.hit=1">here</a> <b>bold</b> %{x} &lt;'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    own = Place(tmp_path)
    monkeypatch.setenv("ALPHATRADE_STATE", str(own.state))
    monkeypatch.delenv("ALPHATRADE_LEDGER", raising=False)
    yield own
    own.end()


@pytest.fixture
def page() -> Iterator[Any]:
    with in_chromium() as own:
        yield own


def entries(place: Place) -> list[Entry]:
    """Return the ledger, which verifies; empty if there is none."""
    folder = place.state / "ledger"
    if not folder.exists():
        return []
    assert verify(folder).problems == ()
    return list(Ledger(folder).entries())


def fill(page: Any, who: str, why: str) -> None:
    page.get_by_label("who", exact=True).fill(who)
    page.get_by_label("why", exact=True).fill(why)


def press(page: Any, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()


def closed(page: Any) -> None:
    page.wait_for_selector(".q-dialog__backdrop", state="detached")


@needs_alertmanager
def test_an_alarm_is_acknowledged_by_clicks(place: Place, page: Any, tmp_path: Path) -> None:
    labels = {"alertname": "Drift", "severity": "page", "instance": LINK}
    with real(tmp_path, [{"labels": labels, "annotations": {"summary": SCRIPT}}]) as url:
        place.shows("--alertmanager", url)
        signed_in(page, place)
        until(lambda: f"page Drift {LINK}" in shown(page) and SCRIPT in shown(page))
        page.click("text=page Drift")
        fill(page, "ann", "on it")
        press(page, "Cancel")
        closed(page)
        assert (entries(place), asked(url, "silences")) == ([], []), "nothing was done"
        page.click("text=page Drift")
        fill(page, "ann", "on it")
        hours = page.get_by_label("hours", exact=True)
        for wrong, told in (("500", "500.0"), ("-1", "-1.0"), ("", "0.0")):
            hours.fill(wrong)
            press(page, "Confirm")
            until(lambda told=told: f"hours: got {told}, expected more than 0, at most 168" in shown(page))
        assert (entries(place), asked(url, "silences")) == ([], []), "nothing was done"
        hours.fill("2")
        press(page, "Confirm")
        until(lambda: f"page Drift {LINK} (acknowledged by ann: on it, until" in shown(page))
        closed(page)
        (silence,) = asked(url, "silences")
        assert (silence["createdBy"], silence["comment"]) == ("ann", "on it")
        assert {m["name"]: m["value"] for m in silence["matchers"]} == labels
        start, end = (datetime.fromisoformat(silence[name]) for name in ("startsAt", "endsAt"))
        assert (end - start).total_seconds() == pytest.approx(7200, abs=1)
        (one,) = [entry for entry in entries(place) if entry.kind == "operator"]
        assert (one.body["action"], one.body["who"], one.body["why"]) == ("acknowledge", "ann", "on it")
        assert one.body["target"] == f"alertname=Drift instance={LINK} severity=page"
    assert page.evaluate("window.hit") is None


def test_proposals_are_signed_off_and_rejected_by_clicks(place: Place, page: Any) -> None:
    own, both = home(), [proposal(n, rationale=f"{SCRIPT} {n}") for n in (1, 2)]
    for one in both:
        own.append("proposal", one)
        own.append("ruling", ruling(one, "signoff"))
    before = entries(place)
    place.shows()
    signed_in(page, place)
    for one, button, approve, became in (
        (both[0], "Sign off", True, "signed off"),
        (both[1], "Reject", False, "refused"),
    ):
        row = f"{one['id'][:8]} waits for a person"
        until(lambda row=row: row in shown(page))
        page.click(f"text={row}")
        until(lambda one=one: one["rationale"] in page.inner_text(".q-dialog"))
        press(page, button)
        until(lambda: page.get_by_text("who decides and why").count() > 0)
        assert entries(place)[len(before) :] == [], "not without who and why"
        fill(page, "ann", SCRIPT)
        press(page, button)
        until(lambda one=one, became=became: f"{one['id'][:8]} {became}" in shown(page))
        closed(page)
        act, word = entries(place)[len(before) :]
        assert (act.kind, word.kind) == ("operator", "signoff")
        assert act.body == {
            "action": "sign_off",
            "target": f"{one['id']} {'signed off' if approve else 'rejected'}",
            "who": "ann",
            "why": SCRIPT,
        }
        assert word.body == {"proposal": one["id"], "approve": approve, "why": f"{SCRIPT} (ann)"}
        assert (act.key, word.key) == ("owner", "owner")
        before = entries(place)
    page.click(f"text={both[0]['id'][:8]} signed off")
    until(lambda: both[0]["rationale"] in page.inner_text(".q-dialog"))
    assert page.get_by_role("button", name="Sign off").count() == 0, "it does not wait any more"
    assert page.evaluate("window.hit") is None


def test_exploration_is_frozen_by_clicks_and_a_session_that_is_over_is_said(place: Place, page: Any) -> None:
    place.shows()
    signed_in(page, place)
    folder = place.state / "paper" / "SIM"
    press(page, "Freeze exploration")
    fill(page, "ann", "enough")
    press(page, "Cancel")
    closed(page)
    kept = page.context.cookies()
    page.context.clear_cookies()
    press(page, "Freeze exploration")
    fill(page, "ann", "enough")
    press(page, "Confirm")
    until(lambda: "the session is over" in shown(page))
    assert (entries(place), read_freeze(folder)) == ([], None)
    page.context.add_cookies(kept)
    page.get_by_role("button", name="Confirm", exact=True).dblclick()
    until(lambda: "freeze requested" in shown(page))
    closed(page)
    assert read_freeze(folder) is not None
    (one,) = [entry for entry in entries(place) if entry.kind == "operator"]
    assert one.body == {"action": "freeze", "target": "paper/SIM", "who": "ann", "why": "enough"}, "a double click is one wish"


def test_the_theme_is_kept_by_the_browser(place: Place, page: Any) -> None:
    place.shows()
    signed_in(page, place)
    for now in ("dark", "light", "dark"):
        page.wait_for_selector(f"body.body--{now}")
        page.reload()
        page.wait_for_selector(f"body.body--{now}")
        press(page, "Theme")


def test_two_consoles_keep_their_sessions_in_one_browser(place: Place, page: Any, tmp_path: Path) -> None:
    second = Place(tmp_path)
    try:
        for one in (place, second):
            one.shows()
            signed_in(page, one)
            page.wait_for_selector("text=exposure")
        for one in (place, second):
            page.goto(f"http://127.0.0.1:{one.port}/")
            page.wait_for_selector("text=exposure")
            assert not page.url.endswith("/login")
    finally:
        second.end()


def strange(state: Path) -> None:
    """Write what a node leaves, with names that are a script, a link or bold wherever there is a name."""
    now, names = time.time_ns(), (SCRIPT, LINK)
    folder, run = state / "paper" / "SIM", state / "run"
    (run / "diary").mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).write_bytes(msgspec.json.encode({"folder": str(run), "pid": 1}))
    facts = {"equity": "1000000", "regime": LINK, "tactic": SCRIPT, "positions": f"{LINK.replace(' ', '')}.SIM:1"}
    beat = Beat(
        ts=now,
        number=1,
        pid=1,
        lag_s=0.0,
        feed_age_s=0.1,
        events=1,
        orders=1,
        fills=1,
        rss=1,
        kill=LINK,
        journal=1,
        facts=facts,
    )
    (folder / "beats.jsonl").write_bytes(msgspec.json.encode(beat) + b"\n")
    at = [now - (100 - n) * 10**9 for n in range(100)]
    orders, fills = [], []
    for n, name in enumerate(names):
        market = (3 * n, at[40 + 20 * n], "BTC/USD.SIM", LINK, f"{name}{n}")
        orders.append((*market, "filled", "BUY", "MARKET", 10**9, 0, 60_000 * 10**9, None, False, LINK, 40 + 20 * n))
        fills.append((*market, f"T-{n}", "BUY", 10**9, 60_000 * 10**9, 10**7, "USD", "taker", 10**9, 0, 40 + 20 * n))
    equity = [(ts, 10**15, 10**15, 0, 10**15, 0.0) for ts in at]
    for name, own in {"orders": orders, "fills": fills, "risk_events": [], "equity": equity}.items():
        pq.write_table(table(TABLES[name], own), run / f"{name}.parquet")
    pq.write_table(pa.table({
        "row": list(range(100)), "decision": list(range(100)), "ts": at, "instrument": ["BTC/USD.SIM"] * 100, "mid": [60_000.0] * 100, "regime": [LINK] * 100,
        "exec_topo": [LINK] * 100, "candidates": [list(names)] * 100, "scores": [[0.5, 0.1]] * 100, "explanation": [SCRIPT] * 100,
    }), run / "diary" / "decisions.parquet")  # fmt: skip


def test_text_of_files_is_shown_as_text_in_tiles_figures_and_notes(place: Place, page: Any) -> None:
    with served() as alarms:
        alarms.refusal = SCRIPT
        strange(place.state)
        place.shows("--alertmanager", alarms.url)
        signed_in(page, place)
        until(lambda: page.query_selector(".points path") and f"{SCRIPT}0" in shown(page))
        assert shown(page).count(LINK) >= 4, "state, regime, score, order"
        for at, name in enumerate((f"{SCRIPT}0", f"{LINK}1")):
            point = page.locator(".points path").nth(at).bounding_box()
            page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
            until(lambda name=name: f"{name}, {LINK}, {LINK}" in (page.text_content(".hoverlayer") or ""))
        page.click("text=page Dead")
        fill(page, "ann", "on it")
        press(page, "Confirm")
        until(lambda: "<script>window.hit=1</script>" in "".join(page.locator(".q-notification").all_inner_texts()))
        assert page.evaluate("document.querySelectorAll('a, b, svg a, .hoverlayer [style*=bold]').length") == 0
        assert page.evaluate("window.hit") is None
