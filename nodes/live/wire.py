"""What a request to an exchange says, read from the very bytes that leave: the terms of a new order, or nothing."""

from urllib.parse import parse_qsl, urlencode

from alphatrade.risk.approval import Terms, plain

WINDOW_MS = 5_000  # the exchange refuses what reaches it later
GOOD_TILL_CANCELLED = "GTC"
LIMITED = ("symbol", "side", "type", "quantity", "price")
FIELDS = {  # of an order, by its type; no other one is approved, and no other field
    "MARKET": ("symbol", "side", "type", "quantity"),
    "LIMIT": (*LIMITED, "timeInForce"),
    "LIMIT_MAKER": LIMITED,
}
SENT = ("newClientOrderId", "recvWindow", "timestamp")  # with each of them


def fields_of(query: str) -> dict[str, str]:
    """
    Return the fields of a query string.

    Raises
    ------
    ValueError
        If one is there twice or without a value, or it is not written in the one way that everybody reads alike.
    """
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is there twice")
    if urlencode(pairs) != query:
        raise ValueError("it is written in an unusual way")
    if "" in found.values():
        raise ValueError("a field is empty")
    return found


def terms_of_query(query: str, venue: str) -> Terms:
    """
    Return the terms of a new order as an exchange will read them.

    Parameters
    ----------
    query : str
        All that is signed of the request.
    venue : str
        Of the instrument, as in ``BTCUSDT.BINANCE``.

    Raises
    ------
    ValueError
        If a field is missing, unknown, there twice or empty, or has a value that no approval can be made for.
    """
    found = fields_of(query)
    wanted = FIELDS.get(found.get("type", ""))
    if wanted is None:
        raise ValueError(f"orders of type {found.get('type')!r} are not sent")
    for name in (*wanted, *SENT):
        if name not in found:
            raise ValueError(f"no {name}")
    if more := sorted(found.keys() - {*wanted, *SENT}):
        raise ValueError(f"{', '.join(more)} are not sent with it")
    times = found["timestamp"], found["recvWindow"]
    if not all(one.isascii() and one.isdecimal() for one in times):
        raise ValueError("times are whole numbers")
    if int(times[1]) > WINDOW_MS:
        raise ValueError(f"it may arrive later than {WINDOW_MS} ms after it was signed")
    limit = "price" in wanted
    return Terms(
        found["newClientOrderId"],
        f"{found['symbol']}.{venue}",
        found["side"],
        "LIMIT" if limit else "MARKET",
        plain(found["quantity"]),
        plain(found["price"]) if limit else "",
        found.get("timeInForce", GOOD_TILL_CANCELLED) if limit else "",
        found["type"] == "LIMIT_MAKER",
    )
