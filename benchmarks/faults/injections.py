"""The faults that are injected: drawn with a seed, each with what it does and where."""

import random
from typing import Any, NamedTuple

ORDER = {"path": "/api/v3/order"}
BOOKS = ("/api/v3/account", "/api/v3/openOrders", "/api/v3/order", "/api/v3/myTrades")


class Fault(NamedTuple):
    """A fault of the exchange: name and options as its control takes them."""

    name: str
    options: dict[str, Any]


def drawn(rng: random.Random) -> Fault:
    """Return the next fault."""
    names = list(WEIGHTS)
    name = rng.choices(names, [WEIGHTS[one] for one in names])[0]
    return Fault(name.partition("-")[0], MAKERS[name](rng))


def _sockets(rng: random.Random) -> dict[str, Any]:
    return {"where": rng.choice(["user", "user", "market", "all"])}


def _some(rng: random.Random) -> dict[str, Any]:
    return _sockets(rng) | {"count": rng.randint(1, 4)}


def _stall(rng: random.Random) -> dict[str, Any]:
    long = rng.random() < 0.03
    return {"where": rng.choice(["user", "market", "rest", "all"]), "seconds": 5.0 if long else rng.uniform(0.1, 0.8)}


def _slow(rng: random.Random) -> dict[str, Any]:
    return {"where": rng.choice(["user", "market", "rest", "all"]), "delay": 0.1, "seconds": rng.uniform(0.2, 0.6)}


def _asked(rng: random.Random) -> dict[str, Any]:
    """Hit a new order, a cancellation, or a reading of the books."""
    return rng.choice(
        [ORDER | {"method": "POST"}, ORDER | {"method": "DELETE"}, {"path": rng.choice(BOOKS), "method": "GET"}]
    )


def _limited(rng: random.Random) -> dict[str, Any]:
    return _asked(rng) | {"status": rng.choice([429, 429, 418]), "retry_after": 1}


def _garbled(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.4:
        return {"where": "rest"} | _asked(rng)
    return _some(rng)


def _wrong_time(rng: random.Random) -> dict[str, Any]:
    return {"ms": rng.choice([-8000, -2500, 800, 2500, 8000])}


def _down(rng: random.Random) -> dict[str, Any]:
    return {"seconds": 4.0 if rng.random() < 0.05 else rng.uniform(0.1, 0.6)}


MAKERS = {
    "drop": _sockets,
    "terminate": lambda _: {"where": "user"},
    "stall": _stall,
    "slow": _slow,
    "reorder": _some,
    "duplicate": _some,
    "gap": _some,
    "garbage": _garbled,
    "reject": lambda rng: {"count": rng.randint(1, 3)},
    "rate_limit": _limited,
    "error": lambda rng: ORDER | {"method": rng.choice(["POST", "DELETE"])},
    "error-after": lambda rng: ORDER | {"method": rng.choice(["POST", "DELETE"]), "after": True},
    "lost": _asked,
    "skew": _wrong_time,
    "restart": _down,
}
# An order that has not arrived is waited for as long as it might: it costs eight seconds, and comes less often.
WEIGHTS = dict.fromkeys(MAKERS, 1.0) | {"error": 0.4, "gap": 2.0, "lost": 1.5, "error-after": 1.5}
