"""Request weights and order counts: 429 with Retry-After, and 418 for who does not stop."""

from collections.abc import Callable

from tests.venue.errors import VenueError


class Limits:
    """
    Counts what a client used.

    Parameters
    ----------
    clock : callable
        Milliseconds.
    weight : int
        Request weight a minute, per address; all of loopback is one address.
    orders : int
        New orders in ten seconds.
    patience : int
        Requests sent in spite of a 429 before the address is banned.
    """

    def __init__(self, clock: Callable[[], int], weight: int = 6000, orders: int = 100, patience: int = 20) -> None:
        self.clock, self.weight, self.orders, self.patience = clock, weight, orders, patience
        self.used = self.placed = self.ignored = 0
        self.banned_until = 0
        self._minute = self._ten = 0

    def spend(self, weight: int, is_order: bool) -> None:
        """
        Count a request.

        Raises
        ------
        VenueError
            Status 429 beyond a limit, 418 while banned.
        """
        now = self.clock()
        self._roll(now)
        if now < self.banned_until:
            raise banned(self.banned_until, (self.banned_until - now) / 1000)
        self.used += weight
        if self.used > self.weight:
            self.ignored += 1
            if self.ignored > self.patience:
                self.banned_until = now + 120_000
            raise too_much(self.weight, 60 - now / 1000 % 60)
        if is_order:
            self.placed += 1
            if self.placed > self.orders:
                raise VenueError(
                    -1015, f"Too many new orders; current limit is {self.orders} orders per 10 SECOND.", 429,
                    {"Retry-After": str(int(10 - now / 1000 % 10) + 1)},
                )  # fmt: skip

    def headers(self) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT": str(self.used), "X-MBX-USED-WEIGHT-1M": str(self.used)}

    def _roll(self, now: int) -> None:
        if now // 60_000 != self._minute:
            self._minute, self.used, self.ignored = now // 60_000, 0, 0
        if now // 10_000 != self._ten:
            self._ten, self.placed = now // 10_000, 0


def too_much(limit: int, retry_s: float) -> VenueError:
    words = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    more = " Please use WebSocket Streams for live updates to avoid polling the API."
    return VenueError(-1003, words + more, 429, {"Retry-After": str(int(retry_s) + 1)})


def banned(until: int, retry_s: float) -> VenueError:
    words = f"Way too much request weight used; IP banned until {until}."
    more = " Please use WebSocket Streams for live updates to avoid bans."
    return VenueError(-1003, words + more, 418, {"Retry-After": str(int(retry_s) + 1)})
