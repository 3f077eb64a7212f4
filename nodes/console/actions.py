"""What reaches the console from outside of its page: the login, and one request for each action of the operator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool

from alphatrade.nodes import operator
from alphatrade.nodes.console.access import SESSION_S, Access, cookie_of
from alphatrade.nodes.console.guard import LOGIN, session_of
from alphatrade.risk.errors import AlphaTradeError, ConfigError

ACT = "/act"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>AlphaTrade console</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>
:root{{color-scheme:light dark}}body{{font:15px/1.5 system-ui,sans-serif;display:grid;place-items:center;height:100vh;
margin:0;background:light-dark(#f4f6f8,#0f1317)}}form{{background:light-dark(#fff,#181d23);padding:2.2rem 2.4rem;
border-radius:12px;border:1px solid light-dark(#dfe3e8,#2a3138);width:22rem}}
h1{{font-size:1.15rem;margin:0 0 .3rem}}p{{margin:0 0 1.1rem;opacity:.7}}
input,button{{font:inherit;width:100%;box-sizing:border-box;padding:.55rem .7rem;
border-radius:7px;border:1px solid #8a949e80}}
button{{margin-top:.8rem;background:#0072b2;color:#fff;border:0;cursor:pointer}}.no{{color:#d55e00;opacity:1}}</style>
<form method="post" action="/login"><h1>AlphaTrade console</h1><p{more}>{words}</p>
<input name="token" type="password" autocomplete="off" autofocus aria-label="token">
<button>Sign in</button></form></html>"""


class Place(NamedTuple):
    """Whose node it is: state folder, environment, account; and an Alertmanager, empty if none."""

    state: Path
    env: str
    account: str
    alertmanager: str


class Act(BaseModel):
    """An action, as the page asks for it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["kill", "freeze", "acknowledge", "sign_off"]
    who: str
    why: str
    nonce: str
    labels: dict[str, str] = {}
    hours: float = 4.0
    proposal: str = ""
    approve: bool = False


def act(place: Place, wish: Act) -> operator.Done:
    """Do what an operator asks for, and record it; raises what :mod:`alphatrade.nodes.operator` raises."""
    where = place.state, place.env, place.account
    if wish.action == "kill":
        return operator.kill(*where, wish.who, wish.why)
    if wish.action == "freeze":
        return operator.freeze(*where, wish.who, wish.why)
    if wish.action == "sign_off":
        return operator.sign_off(wish.proposal, wish.approve, wish.who, wish.why)
    if not place.alertmanager:
        raise ConfigError("--alertmanager", "none", "the address of an Alertmanager")
    return operator.acknowledge(place.alertmanager, wish.labels, wish.who, wish.why, wish.hours)


def attach(app: FastAPI, access: Access, place: Place) -> None:
    """Add the login and the actions to an application that is behind a guard."""

    @app.get(LOGIN)
    def page() -> Response:
        return _login("The token is in the file that its start has named.")

    @app.post(LOGIN)
    async def login(request: Request) -> Response:
        given = parse_qs((await request.body()).decode("utf-8", "replace"))
        name = access.login(given.get("token", [""])[0].strip())
        if name is None:
            return _login("That is not the token.", 403)
        answer = RedirectResponse("/", 303)
        cookie = cookie_of(request.headers["host"])
        answer.set_cookie(cookie, name, max_age=int(SESSION_S), httponly=True, samesite="strict", path="/")
        return answer

    @app.post(ACT)
    async def action(request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _told(415, "JSON is expected")
        try:
            wish = Act.model_validate_json(await request.body())
        except ValidationError:
            return _told(422, "not an action")
        if not access.spend(session_of(_headers(request)), wish.nonce):
            return _told(409, "this request was used, or is too old")
        try:
            done = await run_in_threadpool(act, place, wish)
        except AlphaTradeError as error:
            return _told(400, str(error))
        return _told(200, done.words, done.entry)


def _headers(request: Request) -> dict[str, str]:
    return dict(request.headers.items())


def _login(words: str, code: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(words=words, more=' class="no"' if code != 200 else ""), code)


def _told(code: int, words: str, entry: int | None = None) -> Response:
    plain: Mapping[str, Any] = {"ok": code == 200, "words": words, "entry": entry}
    return JSONResponse(plain, code)
