"""Whether a price may be traded on: not if it is crossed, nothing, stamped before the one before it, or alone.

Pure and exact. A price is *alone* when it lies further than ``jump_max`` from the price just before it and from the
last one that was believed: a bad print looks like that, and so does the first price after a real jump. The next price
decides: if it agrees with the lonely one, that was the market. Until then the account stays valued at the price that
was believed, so that a single bad print neither makes a peak nor trips a loss limit.
"""

from alphatrade.risk.units import NANO, from_nano

Doubt = tuple[str, str, str]  # words, value and bound, as a denial says them

NOTHING: Doubt = ("price of zero or less", "", "")


def doubt_of(bid: int, ask: int, ts: int, seen_ts: int) -> Doubt | None:
    """
    Return why a price cannot be traded on by itself, if it cannot.

    Parameters
    ----------
    bid, ask : int
        Nano.
    ts, seen_ts : int
        Its event time and the latest one seen before, UTC ns.
    """
    if bid > ask:
        return "crossed reference: its bid against its ask", str(from_nano(bid)), str(from_nano(ask))
    if ts < seen_ts:
        return "seconds that the reference is stamped before the one before it", str(from_nano(seen_ts - ts)), "0"
    return None


def alone(mid2: int, before2: int, used2: int, jump_n: int) -> Doubt | None:
    """
    Return why a price is not believed yet, if it is alone.

    Parameters
    ----------
    mid2, before2, used2 : int
        Doubled mids, nano: of the price, of the one just before it, of the last one believed; 0: there is none.
    jump_n : int
        Largest distance as a share of the smaller price, nano.
    """
    if not before2 or _near(mid2, before2, jump_n) or (used2 and _near(mid2, used2, jump_n)):
        return None
    nearest = min((other for other in (before2, used2) if other), key=lambda other: abs(mid2 - other))
    away = abs(mid2 - nearest) * NANO // min(mid2, nearest)
    words = f"jump to {from_nano(mid2) / 2} that no second price confirms, fraction"
    return words, str(from_nano(away)), str(from_nano(jump_n))


def _near(a: int, b: int, jump_n: int) -> bool:
    return abs(a - b) * NANO <= jump_n * min(a, b)
