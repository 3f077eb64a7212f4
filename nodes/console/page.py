"""The page of the console: one screen; all text of files goes into labels, which show it as it is."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import plotly.io as pio
from nicegui import run, ui
from starlette.requests import Request

from alphatrade.nodes.alarms import WATCHDOG
from alphatrade.nodes.console import browser
from alphatrade.nodes.console.access import Access
from alphatrade.nodes.console.actions import ACT, Place
from alphatrade.nodes.console.guard import LOGIN, session_of
from alphatrade.nodes.console.watch import Proposed, Watch
from alphatrade.nodes.console.words import TILES, words
from alphatrade.reflection.explain import explain_order
from alphatrade.reflection.report_plots import GRID, INK, MUTED, REGIME_TINTS
from alphatrade.risk.errors import AlphaTradeError

TICK_S = 0.4
TOLD_S = 4.0  # for which who is sent away can read why
HEIGHTS = {"price": 236, "equity": 292}  # pixels
THEME = "alphatrade_theme"  # cookie of the browser
SIDE, LISTS = ("exposure", "latency", "scores", "drift"), ("alarms", "last orders", "proposals", "ledger")
_CLEAR = "rgba(0,0,0,0)"
_NO_AXIS = {"visible": False}
_EMPTY = {
    "data": [],
    "layout": {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "xaxis": _NO_AXIS, "yaxis": _NO_AXIS},
}
_SHORT = {"equity ()": "equity", "return (%)": "return %", "drawdown (%)": "loss %"}  # axes here are low
_DARK = {
    INK: "#e4e8ec", MUTED: "#98a3ae", GRID: "#262d34", "#c3c9cf": "#3a434c",
    **dict(zip(REGIME_TINTS.values(), ("#2b211b", "#4a2f1d", "#1a1f24", "#2b3138", "#172530", "#1b3c54"), strict=True)),
}  # fmt: skip
_STYLE = """
body{background:light-dark(#f4f6f8,#0f1317);color:light-dark(#1b1f24,#e4e8ec)}
body.body--dark{color-scheme:dark;background:#0f1317} body.body--light{color-scheme:light}
.nicegui-content{padding:8px 10px;gap:8px;min-height:100vh}
.gap{gap:8px}
.panel,.q-card.ask{background:light-dark(#fff,#171c21);border:1px solid light-dark(#e2e6ea,#262d34);border-radius:10px}
.panel{padding:7px 12px;gap:1px;min-width:0;overflow:auto;scrollbar-width:thin}
.title{font-size:11px;font-weight:600;letter-spacing:.06em;text-transform:uppercase;opacity:.6}
.big{font-size:18px;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile .big{font-size:16px;overflow:hidden;text-overflow:ellipsis;max-width:100%}
.line{font-size:11.5px;line-height:1.42;font-family:ui-monospace,"DejaVu Sans Mono",monospace;white-space:pre-wrap;
overflow-wrap:anywhere}
.cols{white-space:pre} .act{cursor:pointer} .act:hover{text-decoration:underline}
.wait{color:light-dark(#b34700,#f0a874)} .note{color:light-dark(#b34700,#f0a874);font-size:13px}
"""


def add_page(access: Access, place: Place, watch: Watch) -> None:
    """Add the page to the application that NiceGUI runs in."""

    @ui.page("/")
    def page(request: Request) -> None:
        desk = Desk(access, place, watch, session_of(dict(request.headers.items())))
        desk.build(dark=request.cookies.get(THEME) != "light")


class Desk:
    """One open page."""

    def __init__(self, access: Access, place: Place, watch: Watch, session: str) -> None:
        self._access, self._place, self._watch, self._session = access, place, watch, session
        self._texts: dict[str, Any] = {}
        self._plots: dict[str, Any] = {}
        self._lists: dict[str, Any] = {}
        self._listed: dict[str, object] = {}
        self._drawn: tuple[int, object] = (-1, None)
        self._asking = 0  # dialogs that ask who and why
        self._left = False

    def build(self, dark: bool) -> None:
        """Put the page together, and have it follow."""
        ui.add_css(_STYLE + browser.LOST)
        ui.add_body_html(browser.LIVE)
        self._dark = ui.dark_mode(dark)
        self._head()
        with ui.row().classes("w-full no-wrap gap"):
            for name in TILES:
                with ui.column().classes("panel tile").style(f"flex:{1.5 if name in ('position', 'orders') else 1}"):
                    ui.label(name).classes("title")
                    self._text(name, "big")
        with ui.row().classes("w-full no-wrap items-stretch gap"):
            with ui.column().classes("panel").style("flex:2.3"):
                for name, height in HEIGHTS.items():
                    self._plots[name] = ui.plotly(_EMPTY).classes("w-full").style(f"height:{height}px")
            with ui.column().classes("gap no-wrap").style("flex:1;min-width:0"):
                for name in SIDE:
                    self._panel(name, "line cols", "flex:1 1 auto;width:100%")
        with ui.row().classes("w-full no-wrap items-stretch gap").style("flex:1 1 190px;min-height:190px"):
            for name in LISTS:
                share = 1.75 if name == "last orders" else 1  # ids are long
                self._panel(name, "line", f"flex:{share} 1 0;max-height:40vh")
        self._room = ui.element()  # of the dialogs: a row that was clicked may be gone before they are
        self._follow()
        ui.timer(TICK_S, self._follow)

    def _head(self) -> None:
        with ui.row().classes("w-full items-center no-wrap"):
            ui.label(f"AlphaTrade · {self._place.env}/{self._place.account}").classes("big")
            self._text("state", "big")
            self._text("note", "note")
            ui.space()
            ui.button("Theme", on_click=self._turn).props("flat dense no-caps")
            freeze = "Explore nothing more until this run is over?"
            kill = "Cancel all orders, close all positions, and halt?"
            ui.button("Freeze exploration", on_click=lambda: self._ask("freeze", freeze)).props("outline no-caps")
            ui.button("Kill", color="deep-orange-9", on_click=lambda: self._ask("kill", kill)).props("no-caps")

    def _text(self, name: str, classes: str) -> None:
        self._texts[name] = ui.label("").classes(classes)

    def _panel(self, name: str, classes: str, style: str) -> None:
        with ui.column().classes("panel no-wrap").style(style):
            ui.label(name).classes("title")
            self._text(name, classes)
            if name in LISTS:
                self._lists[name] = ui.column().style("gap:0")

    def _turn(self) -> None:
        self._dark.value = not self._dark.value
        kept = f"{THEME}={'dark' if self._dark.value else 'light'}; path=/; max-age=31536000; samesite=strict"
        ui.run_javascript(f"document.cookie = '{kept}'")
        self._follow()

    def _follow(self) -> None:
        if not self._access.known(self._session):
            self._over()
            return
        seen = self._watch.seen
        ui.run_javascript(browser.HEARD)
        for name, text in words(seen, self._place, time.time_ns()).items():
            if self._texts[name].text != text:
                self._texts[name].text = text
        if (seen.run.drawn, self._dark.value) != self._drawn:
            self._drawn = seen.run.drawn, self._dark.value
            for name, plot in self._plots.items():
                figure = seen.run.figures.get(name, _EMPTY)  # of another run there is none yet
                plot.update_figure(_figure(figure, HEIGHTS[name], bool(self._dark.value)))
        self._rows("last orders", [(_order(one), self._explain(one["order_id"]), "act") for one in seen.run.orders])
        wait = {True: "act wait", False: "act"}
        firing = [alarm for alarm in seen.alarms or () if alarm.severity != WATCHDOG]
        self._rows("alarms", [(_alarm(a), self._acknowledge(a), wait[not a.acknowledged]) for a in firing])
        self._rows("proposals", [(one.words, self._sign(one), wait[one.waits]) for one in seen.proposals])
        self._rows("ledger", [(f"{seq} {kind} {what}", None, "") for seq, kind, what in seen.ledger])

    def _over(self) -> None:
        """Leave: the session is over. Who is about to do something is told first that it was not done."""
        if self._left:
            return
        self._left = True
        if self._asking:
            ui.notify(browser.OVER, type="negative", timeout=0)
        ui.timer(TOLD_S if self._asking else 0.0, lambda: ui.navigate.to(LOGIN), once=True)

    def _rows(self, name: str, rows: Sequence[tuple[str, Callable[[], Any] | None, str]]) -> None:
        shown = [(text, classes) for text, _, classes in rows]
        if self._listed.get(name) == shown:
            return
        self._listed[name] = shown
        self._lists[name].clear()
        with self._lists[name]:
            for text, click, classes in rows:
                label = ui.label(text).classes(f"line {classes}")
                if click is not None:
                    label.on("click", click)

    def _explain(self, order: str) -> Callable[[], Any]:
        async def show() -> None:
            folder = self._watch.seen.run.folder
            try:
                text = "no run" if folder is None else await run.io_bound(explain_order, folder, order)
            except AlphaTradeError as error:
                text = str(error)
            self._show(str(text))

        return show

    def _acknowledge(self, alarm: Any) -> Callable[[], Any]:
        about, labels = "\n".join(alarm.notes.values()), dict(alarm.labels)
        return lambda: self._ask("acknowledge", f"Acknowledge {alarm.name}?", about, labels=labels)

    def _sign(self, one: Proposed) -> Callable[[], Any]:
        about = f"{one.words}\n\n{one.why}"
        if one.waits:
            return lambda: self._ask("sign_off", "Sign this proposal off?", about, proposal=one.id)
        return lambda: self._show(about)

    def _show(self, text: str) -> None:
        with self._room, ui.dialog() as dialog, ui.card().classes("ask").style("max-width:1100px;width:92vw"):
            ui.label(text).classes("line")
        dialog.open()

    def _ask(self, action: str, question: str, about: str = "", **more: Any) -> None:
        """Ask who and why, and send what the page of this browser then asks for, with a number that is used once."""
        with self._room, ui.dialog() as dialog, ui.card().classes("ask").style("width:30rem"):
            ui.label(question).classes("big").style("white-space:normal")
            ui.label(about).classes("line")
            who, why = ui.input("who").classes("w-full"), ui.input("why").classes("w-full")
            hours = ui.number("hours", value=4).classes("w-full") if action == "acknowledge" else None
            with ui.row().classes("w-full justify-end"):
                ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
                if action == "sign_off":
                    ui.button("Reject", on_click=lambda: sent(approve=False)).props("outline no-caps")
                    ui.button("Sign off", on_click=lambda: sent(approve=True)).props("no-caps")
                else:
                    ui.button("Confirm", color="deep-orange-9", on_click=lambda: sent()).props("no-caps")

        on_its_way = asyncio.Lock()

        async def sent(**choice: bool) -> None:
            if on_its_way.locked():  # a double click is one wish
                return
            span = {} if hours is None else {"hours": float(hours.value or 0)}
            own = {"action": action, "who": who.value or "", "why": why.value or ""}
            async with on_its_way:
                told = await self._send(own | more | choice | span)
            ui.notify(str(told["words"]), type="positive" if told["ok"] else "negative")
            if told["ok"]:
                dialog.close()

        self._asking += 1
        dialog.on_value_change(lambda change: self._closed(change.value))
        dialog.open()

    def _closed(self, still: bool) -> None:
        self._asking -= not still

    async def _send(self, wish: dict[str, Any]) -> dict[str, Any]:
        script = browser.send(ACT, wish | {"nonce": self._access.nonce(self._session)})
        try:
            told: dict[str, Any] = await ui.run_javascript(script, timeout=browser.PATIENCE_S + 2.0)
        except TimeoutError:
            return {"ok": False, "words": f"not done, as far as is known: {browser.UNHEARD}"}
        return told


def _order(row: Any) -> str:
    at = time.strftime("%H:%M:%S", time.gmtime(row["ts"] / 1e9))
    return f"{at} {row['event']:<9} {row['side']:<4} {float(row['qty']):>9.6g} {row['order_id']}"


def _alarm(alarm: Any) -> str:
    told = "".join([f" (acknowledged by {line})" for line in alarm.acknowledged])
    return f"{alarm.severity} {alarm.name} {alarm.labels.get('instance', '')}{told}: {alarm.notes.get('summary', '')}"


def _figure(plain: dict[str, Any], height: int, dark: bool) -> dict[str, Any]:
    text: str = pio.to_json(plain, validate=False)
    for light, other in _DARK.items() if dark else ():
        text = text.replace(light, other)
    for long, short in _SHORT.items():
        text = text.replace(f'"{long}"', f'"{short}"')
    found: dict[str, Any] = json.loads(text)
    found["layout"] |= {"height": height, "margin": {"l": 8, "r": 8, "t": 22, "b": 6}}
    return found | {"config": {"displayModeBar": False, "responsive": True}}
