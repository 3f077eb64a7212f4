"""What a command is judged by: the account, the reference price and its age, and how far from it the levels are.

Pure and exact, as the law that asks. A limit is looked at from where a near-miss begins, so that a command far from
both costs one comparison each.
"""

from alphatrade.risk.account import Account
from alphatrade.risk.exposure import Holding
from alphatrade.risk.limits import Code, Limits, Use, Verdict, deny
from alphatrade.risk.units import NANO, from_nano


def check_market(
    account: Account, held: Holding, now: int, price: int | None, trigger: int | None, near: list[Use]
) -> Verdict | None:
    """
    Return a denial if the instrument cannot be judged now, or if a level is too far from its reference.

    Parameters
    ----------
    price, trigger : int, optional
        Nano; None is not looked at.
    near : list of Use
        Takes the near-misses of the reference's age and of the collar.
    """
    capital, mid2, limits = account.capital, held.mid2, account.limits
    if capital is None or capital <= 0:
        return deny(Code.NO_ACCOUNT, "no positive account balance in the settlement currency is known")
    if held.halted:
        return deny(Code.INSTRUMENT_HALTED, f"{held.instrument} is halted or closed")
    if held.doubt is not None:
        return deny(Code.SUSPECT_REFERENCE, *held.doubt)
    if held.mark_ts < 0 or mid2 <= 0 or account.exposure.unmarked:
        return deny(Code.NO_REFERENCE, "no reference price to judge the order by")
    age = now - held.mark_ts
    if age * NANO >= limits.near_n * held.stale_ns:
        value, bound = str(from_nano(age)), str(from_nano(held.stale_ns))
        if age > held.stale_ns:
            return deny(Code.STALE_REFERENCE, "age of the reference price, seconds", value, bound)
        near.append(Use(Code.STALE_REFERENCE, value, bound))
    denial = None
    collar = limits.soft.collar_n * mid2
    if price is not None and abs(2 * price - mid2) * NANO >= collar:
        denial = _check_collar("price", price, held, limits, near)
    if denial is None and trigger is not None and abs(2 * trigger - mid2) * NANO >= collar:
        denial = _check_collar("trigger", trigger, held, limits, near)
    return denial


def _check_collar(what: str, level: int, held: Holding, limits: Limits, near: list[Use]) -> Verdict | None:
    away = abs(2 * level - held.mid2) * NANO
    value, bound = str(from_nano(away // held.mid2)), str(from_nano(limits.collar_n))
    if away > limits.collar_n * held.mid2:
        words = f"distance of {what} {from_nano(level)} from the reference {from_nano(held.mid2) / 2}, fraction"
        return deny(Code.PRICE_COLLAR, words, value, bound)
    near.append(Use(Code.PRICE_COLLAR, value, bound))
    return None
