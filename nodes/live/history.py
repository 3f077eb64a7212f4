"""What an account has done at the exchange since a moment: its orders and its fills of a symbol, all of them.

The exchange gives a day at most by time, and any number of pages by id: days are asked for until one has something.
"""

from collections.abc import Mapping
from typing import Any

from alphatrade.nodes.venue_rest import VenueRest

DAY_MS = 86_400_000
PAGE = 1000  # rows of one answer, the most there are

type Row = Mapping[str, Any]


async def trades(rest: VenueRest, symbol: str, since_ms: int, until_ms: int) -> list[Row]:
    """Return the fills of an account from `since_ms` on, in order; `until_ms` is now (UTC ms of the exchange)."""
    return await _all(rest, "/api/v3/myTrades", symbol, since_ms, until_ms, ("fromId", "id"))


async def orders(rest: VenueRest, symbol: str, since_ms: int, until_ms: int) -> list[Row]:
    """Return the orders that were made from `since_ms` on, over or not, in order; likewise."""
    return await _all(rest, "/api/v3/allOrders", symbol, since_ms, until_ms, ("orderId", "orderId"))


async def _all(
    rest: VenueRest, path: str, symbol: str, since_ms: int, until_ms: int, ids: tuple[str, str]
) -> list[Row]:
    asked, (word, name) = {"symbol": symbol, "limit": str(PAGE)}, ids
    rows, begin, span = list[Row](), since_ms, DAY_MS
    while not rows and begin <= until_ms:
        window = {"startTime": str(begin), "endTime": str(begin + span - 1)}
        rows = listed(await rest.asked(path, asked | window), path)
        if len(rows) == PAGE and span > 1:  # the exchange chooses which of more it gives
            rows, span = [], max(1, span // 24)
        else:
            begin += span
    if not rows:
        return []
    found, least = dict[int, Row](), min(int(row[name]) for row in rows)
    while True:
        page = listed(await rest.asked(path, asked | {word: str(least)}), path)
        found |= {int(row[name]): row for row in page}
        if len(page) < PAGE:
            return [found[one] for one in sorted(found)]
        least = max(found) + 1


def listed(rows: Any, path: str) -> list[Row]:
    """
    Return rows as they are.

    Raises
    ------
    ValueError
        If they are no list.
    """
    if not isinstance(rows, list):
        raise ValueError(f"{path} is answered without a list")  # nothing in it would look like nothing done
    return rows
