"""The page of the console: one screen; all text of files goes into labels, which show it as it is."""

import json
import time
from collections.abc import Callable
from typing import Any

import plotly.io as pio
from nicegui import run, ui
from starlette.requests import Request

from alphatrade.nodes.console.access import Access
from alphatrade.nodes.console.actions import ACT, Place
from alphatrade.nodes.console.guard import session_of
from alphatrade.nodes.console.watch import Seen, Watch
from alphatrade.reflection.explain import explain_order
from alphatrade.reflection.report_plots import GRID, INK, MUTED, REGIME_TINTS
from alphatrade.risk.errors import AlphaTradeError

TICK_S = 0.4
_DARK = {
    INK: "#e4e8ec", MUTED: "#98a3ae", GRID: "#262d34", "#c3c9cf": "#3a434c",
    **dict(zip(REGIME_TINTS.values(), ("#2b211b", "#4a2f1d", "#1a1f24", "#2b3138", "#172530", "#1b3c54"), strict=True)),
}  # fmt: skip
_STYLE = """
body{background:light-dark(#f4f6f8,#0f1317);color:light-dark(#1b1f24,#e4e8ec)} .nicegui-content{padding:10px;gap:8px}
.body--dark{color-scheme:dark} .body--light{color-scheme:light}
.panel{background:light-dark(#fff,#171c21);border:1px solid light-dark(#e2e6ea,#262d34);border-radius:10px;
padding:8px 12px;gap:2px;min-width:0;overflow:hidden} .title{font-size:11px;font-weight:600;letter-spacing:.06em;
text-transform:uppercase;opacity:.6} .big{font-size:19px;font-weight:600;font-variant-numeric:tabular-nums} 
.line{font-size:12px;white-space:pre-wrap;
font-variant-numeric:tabular-nums;line-height:1.45;
overflow-wrap:anywhere} .mono{font-family:ui-monospace,monospace}
"""


def add_page(access: Access, place: Place, watch: Watch) -> None:
    """Add the page to the application that NiceGUI runs in."""

    @ui.page("/")
    def page(request: Request) -> None:
        Desk(access, place, watch, session_of(dict(request.headers.items()))).build()


class Desk:
    """One open page."""

    def __init__(self, access: Access, place: Place, watch: Watch, session: str) -> None:
        self._access, self._place, self._watch, self._session = access, place, watch, session
        self._texts: dict[str, Any] = {}
        self._drawn: tuple[int, object] = (-1, None)
        self._plots: dict[str, Any] = {}

    def build(self) -> None:
        """Put the page together, and have it follow."""
        ui.add_css(_STYLE)
        self._dark = ui.dark_mode(None)
        with ui.row().classes("w-full items-center no-wrap"):
            ui.label(f"AlphaTrade · {self._place.env}/{self._place.account}").classes("big")
            self._text("state", "big")
            self._text("note", "line")
            ui.space()
            ui.button("Theme", on_click=self._turn).props("flat dense no-caps")
            ui.button(
                "Freeze exploration", on_click=lambda: self._ask("freeze", "Freeze exploration until this run is over?")
            )
            ui.button("Kill", color="deep-orange-9", on_click=lambda: self._ask("kill", "Cancel all, close all, halt?"))
        with ui.row().classes("w-full no-wrap"):
            for name in ("equity", "drawdown", "positions", "regime", "topology", "orders", "feed", "beat"):
                with ui.column().classes("panel flex-1"):
                    ui.label(name).classes("title")
                    self._text(name, "big")
        with ui.row().classes("w-full no-wrap items-stretch"):
            with ui.column().classes("panel").style("flex:2.6"):
                for name in ("price", "equity"):
                    self._plots[name] = ui.plotly({"data": [], "layout": {}}).classes("w-full").style("height:255px")
            with ui.column().style("flex:1;min-width:0;gap:8px"):
                for name in ("scores", "exposure", "drift", "latency"):
                    self._panel(name)
        with ui.row().classes("w-full no-wrap items-stretch"):
            self._lists = {name: self._panel(name) for name in ("alarms", "recent orders", "proposals", "ledger")}
        ui.timer(TICK_S, self._follow)

    def _text(self, name: str, classes: str) -> None:
        self._texts[name] = ui.label("").classes(classes)

    def _panel(self, name: str) -> Any:
        with ui.column().classes("panel w-full flex-1").style("max-height:190px"):
            ui.label(name).classes("title")
            self._text(name, "line")
            return ui.column().style("gap:1px")

    def _turn(self) -> None:
        self._dark.value = not self._dark.value

    def _follow(self) -> None:
        seen = self._watch.seen
        for name, words in _words(seen, self._place).items():
            if self._texts[name].text != words:
                self._texts[name].text = words
        if (seen.drawn, self._dark.value) != self._drawn:
            self._drawn = seen.drawn, self._dark.value
            for name, plot in self._plots.items():
                if name in seen.figures:
                    plot.update_figure(_figure(seen.figures[name], bool(self._dark.value)))
            self._rows(
                "recent orders",
                [
                    (f"{o['event']} {o['side']} {o['qty']} {o['order_id']}", self._explain(o["order_id"]))
                    for o in seen.orders
                ],
            )
        self._rows(
            "alarms",
            [
                (str(one.labels.get("alertname", one.labels)), self._acknowledge(dict(one.labels)))
                for one in seen.alarms
            ],
        )
        self._rows("proposals", [(words, self._sign(name)) for name, words in seen.waiting])

    def _rows(self, name: str, rows: list[tuple[str, Callable[[], Any]]]) -> None:
        there = self._lists[name]
        if getattr(there, "shown", None) == [words for words, _ in rows]:
            return
        there.shown = [words for words, _ in rows]
        there.clear()
        with there:
            for words, click in rows:
                ui.label(words).classes("line cursor-pointer").on("click", click)

    def _explain(self, order: str) -> Callable[[], Any]:
        async def show() -> None:
            folder = self._watch.seen.run_dir
            try:
                words = "no run" if folder is None else await run.io_bound(explain_order, folder, order)
            except AlphaTradeError as error:
                words = str(error)
            with ui.dialog() as dialog, ui.card().style("max-width:1000px;width:90vw"):
                ui.label(str(words)).classes("line mono")
            dialog.open()

        return show

    def _acknowledge(self, labels: dict[str, str]) -> Callable[[], Any]:
        return lambda: self._ask("acknowledge", "Acknowledge this alarm for four hours?", labels=labels, hours=4.0)

    def _sign(self, proposal: str) -> Callable[[], Any]:
        return lambda: self._ask("sign_off", "Sign this proposal off?", proposal=proposal, approve=True)

    def _ask(self, action: str, words: str, **more: Any) -> None:
        with ui.dialog() as dialog, ui.card().style("width:26rem"):
            ui.label(words).classes("big")
            who, why = ui.input("who").classes("w-full"), ui.input("why").classes("w-full")
            with ui.row():
                ui.button("Cancel", on_click=dialog.close).props("flat")
                ui.button("Confirm", color="deep-orange-9", on_click=lambda: sent())

        async def sent() -> None:
            wish = {
                "action": action,
                "who": who.value or "",
                "why": why.value or "",
                "nonce": self._access.nonce(self._session),
                **more,
            }
            told = await ui.run_javascript(
                f"return fetch({json.dumps(ACT)}, {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, "
                f"body: JSON.stringify({json.dumps(wish)})}}).then(r => r.json())", timeout=20.0,
            )  # fmt: skip
            ui.notify(str(told["words"]), type="positive" if told["ok"] else "negative")
            if told["ok"]:
                dialog.close()

        dialog.open()


def _figure(plain: dict[str, Any], dark: bool) -> dict[str, Any]:
    text: str = pio.to_json(plain, validate=False)
    for light, other in _DARK.items() if dark else ():
        text = text.replace(light, other)
    found: dict[str, Any] = json.loads(text)
    found["layout"] |= {"height": 255, "margin": {"l": 8, "r": 8, "t": 22, "b": 6}}
    return found | {"config": {"displayModeBar": False, "responsive": True}}


def _words(seen: Seen, place: Place) -> dict[str, str]:
    beat, now = seen.beat, time.time_ns()
    scores = "\n".join([f"{name:<18} {value:+.2f}" for name, value in seen.scores[:6]])
    lists = {
        "scores": scores or "none", "exposure": _of_limits(seen), "drift": _drift(seen), "latency": _latency(beat),
        "ledger": "\n".join([f"{seq} {kind}: {words}" for seq, kind, words in seen.ledger[:7]]) or "no entries",
        "alarms": "" if seen.alarms else "none" if place.alertmanager else "no Alertmanager is named",
        "recent orders": "" if seen.orders else "none", "proposals": "" if seen.waiting else "none waits",
    }  # fmt: skip
    if beat is None:
        note = f"no node has run for {place.env}/{place.account}"
        return (
            lists
            | dict.fromkeys(("equity", "drawdown", "positions", "regime", "topology", "orders", "feed", "beat"), "–")
            | {"state": "", "note": note}
        )
    age, facts = (now - beat.ts) / 1e9, beat.facts
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(beat.ts / 1e9))
    note = f"no node runs for {place.env}/{place.account}; last beat {at} UTC" if age > 5 else seen.trouble
    requested = " (kill requested)" if seen.latch is not None and seen.latch.request_pending else ""
    frozen = " · exploration frozen" if "frozen" in facts else ""
    drop = dict(seen.metrics).get("alphatrade_drawdown_ratio", (({}, 0.0),))[0][1]
    return lists | {
        "state": beat.kill + requested + frozen, "note": note, "equity": facts.get("equity", "–"), "drawdown": f"{drop:.2%}",  # noqa: E501
        "positions": facts.get("positions") or "flat", "regime": facts.get("regime", "–"), "topology": facts.get("tactic", "–"),  # noqa: E501
        "orders": f"{beat.orders} / {beat.fills} fills", "beat": f"{age:.1f} s ago",
        "feed": "closed" if beat.feed_age_s is None else f"{beat.feed_age_s + age:.1f} s old",
    }  # fmt: skip


def _of_limits(seen: Seen) -> str:
    bounds = {one["limit"]: value for one, value in seen.metrics.get("alphatrade_exposure_limit", ())}
    rows = [
        (one["limit"], value, bounds.get(one["limit"], 0.0))
        for one, value in seen.metrics.get("alphatrade_exposure", ())
    ]
    return "\n".join([f"{name:<18} {value:,.2f} of {most:,.2f}" for name, value, most in rows[:8]]) or "no metrics"


def _drift(seen: Seen) -> str:
    bounds = {tuple(one.values()): value for one, value in seen.metrics.get("alphatrade_drift_threshold", ())}
    rows = seen.metrics.get("alphatrade_drift_statistic", ())
    return (
        "\n".join(
            [
                f"{' '.join(one.values()):<24} {value:.2f} of {bounds.get(tuple(one.values()), 0):.2f}"
                for one, value in rows[:6]
            ]
        )
        or "none"
    )


def _latency(beat: Any) -> str:
    stages = {} if beat is None else beat.stages
    return "\n".join([f"{name:<14} p50 {one.get('p50_ns', 0) / 1e3:,.0f} µs  p99 {one.get('p99_ns', 0) / 1e3:,.0f} µs"
                      for name, one in stages.items() if one.get("count")]) or "none"  # fmt: skip
