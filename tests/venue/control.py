"""The control endpoint: reads the books and injects faults. A port of its own, which no fault touches."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.venue.rules import text

if TYPE_CHECKING:
    from tests.venue.server import Venue


class Control:
    """``/control/…`` of one venue; every answer is JSON."""

    def __init__(self, venue: "Venue") -> None:
        self.venue = venue

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/control/state", self.state),
                web.get("/control/books", self.books),
                web.get("/control/requests", self.requests),
                web.get("/control/faults", self.faults),
                web.post("/control/fault", self.fault),
                web.post("/control/clear", self.clear),
                web.post("/control/quote", self.quote),
                web.post("/control/trade", self.trade),
                web.post("/control/pause", self.pause),
                web.post("/control/resume", self.resume),
                web.post("/control/limits", self.limits),
                web.post("/control/keys", self.keys),
                web.post("/control/permissions", self.permissions),
                web.post("/control/rules", self.rules),
                web.post("/control/late", self.late),
            ]
        )
        return app

    async def state(self, request: web.Request) -> web.Response:
        """Ports, connections and counts."""
        venue = self.venue
        return web.json_response(
            {
                "port": venue.port, "control": venue.control_port, "up": venue.up, "restarts": venue.restarts,
                "market_sockets": len(venue.streams.clients), "user_sockets": len(venue.ws_api.sessions),
                "subscriptions": sum(len(s.subscriptions) for s in venue.ws_api.sessions),
                "streams": sorted(venue.streams.wanted()), "quotes": venue.market.quotes_sent,
                "requests": venue.record.count, "events": venue.ws_api.pushed,
                "withdrawals": venue.api.rights.withdrawals, "time": venue.clock(),
                "best": {
                    name: {"bid": text(b.bid), "bid_size": text(b.bid_size), "ask": text(b.ask),
                           "ask_size": text(b.ask_size), "last": text(b.last)}
                    for name, b in venue.matching.best.items()
                },
            }
        )  # fmt: skip

    async def books(self, request: web.Request) -> web.Response:
        """Balances, orders, trades and what does not add up (nothing, always)."""
        books = self.venue.books
        return web.json_response(
            {
                "balances": {row["asset"]: {"free": row["free"], "locked": row["locked"]} for row in books.account()},
                "deposits": {asset: text(amount) for asset, amount in books.deposits.items()},
                "orders": [order.body() for order in books.orders.values()],
                "open": [order.body() for order in books.open.values()],
                "trades": [trade.body() for trade in books.trades],
                "audit": books.audit(),
            }
        )

    async def requests(self, request: web.Request) -> web.Response:
        """The log of requests; ``?path=…&method=…&since=…`` narrows it down."""
        want, since = {k: v for k, v in request.query.items() if k != "since"}, int(request.query.get("since", 0))
        rows = [r for r in self.venue.record.requests if r["n"] >= since and all(r[k] == v for k, v in want.items())]
        return web.json_response(rows)

    async def faults(self, request: web.Request) -> web.Response:
        """Faults: asked for, hit, on."""
        return web.json_response(self.venue.faults.state())

    async def fault(self, request: web.Request) -> web.Response:
        """Inject: ``{"name": …, "where": …, "count": …, "seconds": …, …}``."""
        try:
            self.venue.faults.inject(**await request.json())
        except (ValueError, TypeError, KeyError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.venue.faults.state())

    async def clear(self, request: web.Request) -> web.Response:
        """Switch all faults off."""
        self.venue.faults.clear()
        return web.json_response(self.venue.faults.state())

    async def quote(self, request: web.Request) -> web.Response:
        """Set the best bid and ask of a symbol: ``{"symbol", "bid", "ask", "bid_size", "ask_size"}``."""
        asked: dict[str, Any] = await request.json()
        values = (Decimal(str(asked[name])) for name in ("bid", "ask", "bid_size", "ask_size"))
        self.venue.market.quote(asked["symbol"], *values)
        return web.json_response({})

    async def trade(self, request: web.Request) -> web.Response:
        """Print a public trade: ``{"symbol", "price", "qty", "buyer_maker"}``."""
        asked: dict[str, Any] = await request.json()
        price, qty = Decimal(str(asked["price"])), Decimal(str(asked["qty"]))
        self.venue.matching.trade(asked["symbol"], price, qty, bool(asked.get("buyer_maker", False)))
        return web.json_response({})

    async def pause(self, request: web.Request) -> web.Response:
        """Stop the tape where it is."""
        self.venue.market.running.clear()
        return web.json_response({})

    async def resume(self, request: web.Request) -> web.Response:
        """Let the tape go on."""
        self.venue.market.running.set()
        return web.json_response({})

    async def limits(self, request: web.Request) -> web.Response:
        """Change limits: ``{"weight": …, "orders": …, "patience": …}``; a ban is lifted."""
        for name, value in (await request.json()).items():
            assert name in ("weight", "orders", "patience"), "a limit"
            setattr(self.venue.limits, name, int(value))
        self.venue.limits.banned_until = self.venue.limits.ignored = 0
        return web.json_response({})

    async def keys(self, request: web.Request) -> web.Response:
        """Rotate keys: ``{"accept": {"name", "ed25519" or "hmac"}}`` and/or ``{"revoke": name}``."""
        asked = await request.json()
        if "accept" in asked:
            self.venue.keys.accept(asked["accept"])
        if "revoke" in asked:
            self.venue.keys.revoke(asked["revoke"])
            self.venue.ws_api.expel(asked["revoke"])
        return web.json_response({})

    async def permissions(self, request: web.Request) -> web.Response:
        """Change what the keys may do: ``{"enableWithdrawals": true, "spotBNBBurn": true, "told": false}``."""
        self.venue.api.rights.change(await request.json())
        return web.json_response({})

    async def rules(self, request: web.Request) -> web.Response:
        """Change rules of a symbol: ``{"symbol", "status", "min_notional", "tick", …}``."""
        asked = await request.json()
        self.venue.books.change(asked.pop("symbol"), asked)
        return web.json_response({})

    async def late(self, request: web.Request) -> web.Response:
        """Tell fills late: ``{"seconds": 3, "count": 1, "where": "user"}``; at ``rest`` it lasts until cleared."""
        asked = await request.json()
        where = asked.get("where", "user")
        count = {} if where == "rest" else {"count": int(asked.get("count", 1))}
        self.venue.faults.inject("late", where, delay=float(asked["seconds"]), **count)
        return web.json_response(self.venue.faults.state())
