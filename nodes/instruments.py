"""Instrument defaults: what an instrument is called, and which tick, lot, fees and depth to assume for it."""

import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alphatrade.nodes.tape import Asset, InstrumentSpec
from alphatrade.risk.errors import TapeError

VENUE = "SIM"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIAT = _words(
    """AUD BRL CAD CHF CNH CNY CZK DKK EUR GBP HKD HUF ILS INR JPY KRW MXN NOK NZD PLN RUB SEK SGD THB TRY TWD
    USD ZAR"""
)
METALS = frozenset({"XAU", "XAG", "XPT", "XPD"})
CRYPTO = _words(
    """AAVE ADA ALGO APT ARB ATOM AVAX BCH BNB BTC BUSD DAI DOGE DOT EOS ETC ETH FIL ICP LINK LTC MATIC NEAR
    OP PEPE SHIB SOL SUI TON TRX UNI USDC USDT WBTC XBT XLM XMR XRP ZEC"""
)
QUOTES = FIAT | {"USDT", "USDC", "BUSD", "DAI", "BTC", "ETH", "BNB"}
# Maker and taker fee (fractions of notional), half-spread assumed around a price without a quote (bp).
FEES: dict[Asset, tuple[str, str, float]] = {
    "fx": ("0.00002", "0.00002", 0.5),
    "metal": ("0.00002", "0.00002", 1.0),
    "equity": ("0.00003", "0.00003", 0.5),
    "crypto": ("0.001", "0.001", 1.0),
}
LOT_DECIMALS: dict[Asset, int] = {"fx": 0, "metal": 2, "equity": 0, "crypto": 6}
# Units of the quote currency that are worth about one USD: only to scale the assumed depth.
_CHEAP = {"JPY": 100, "KRW": 1000, "HUF": 300, "INR": 80, "THB": 30, "TWD": 30, "CZK": 20, "RUB": 80}
_WORDS = _words("DATA TICK TICKS BAR BARS TEST FILE TAPE CSV UTC GMT OHLC OHLCV BID ASK")


def split_pair(text: str) -> tuple[str, str] | None:
    """Return (base, quote) of ``EUR/USD``, ``BTC-USDT``, ``EURUSD``…, or None if it is not a pair."""
    code = text.upper()
    if match := re.fullmatch(r"([A-Z0-9]{1,12})/([A-Z0-9]{2,12})", code):
        return match[1], match[2]
    parts = re.split(r"[_\-:]", code)
    if len(parts) == 2 and all(re.fullmatch(r"[A-Z0-9]{2,12}", part) for part in parts):
        return parts[0], parts[1]
    for quote in sorted(QUOTES, key=lambda q: (-len(q), q)):
        base = code.removesuffix(quote)
        if base != code and base in FIAT | METALS | CRYPTO:
            return base, quote
    return None


def guess_name(path: Path) -> str | None:
    """
    Return the instrument that a file or its folder is named after, or None.

    Pairs are found in any spelling; a share only where a whole word of one to five letters is in capitals, as
    in ``AAPL.csv``.
    """
    stem = re.sub(r"\.(parquet|pq|csv|txt|tsv|gz|bz2|zst|zip)", "", path.name)
    for name in (stem, path.resolve().parent.name):
        words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
        for first, second in pairwise(word.upper() for word in words):  # "EUR_USD" is two words
            if first in FIAT | METALS | CRYPTO and second in QUOTES and first != second:
                return f"{first}/{second}"
        for word in words:
            if (pair := split_pair(word)) is not None:
                return "/".join(pair)
        for word in words:
            if re.fullmatch(r"[A-Z]{1,5}", word) and word not in _WORDS | FIAT:
                return word
    return None


def identity(text: str) -> tuple[str, str, str, str, Asset]:
    """
    Return (symbol, venue, base, quote, asset) of an instrument as a user writes it.

    ``X/CUR`` is a pair and settles in CUR, whatever X is; one of an unknown X has the steps and the (dearer) fees of
    crypto. A share is written alone and settles in USD: ``AAPL``, not ``AAPL/USD``. What follows the last dot is the
    venue, but for a single letter, which is the class of a share: ``BRK.B`` and ``BRK.B.NYSE``.

    Raises
    ------
    TapeError
        If the text is not an instrument.
    """
    match = re.fullmatch(r"([A-Za-z0-9/_\-:^]{1,24}?(?:\.[A-Za-z])?)(?:\.([A-Za-z][A-Za-z0-9_]+))?", text.strip())
    pair = match and split_pair(match[1])
    if match is None or (pair is None and "/" in match[1]):
        raise TapeError("tape.instrument", text, "a pair or a share: EUR/USD, BTC/USDT, SPY, with .VENUE if you like")
    venue = (match[2] or VENUE).upper()
    if pair is None:
        symbol = match[1].upper()
        return symbol, venue, symbol, "USD", "equity"
    base, quote = pair
    if base == quote:
        raise TapeError("tape.instrument", text, "two different currencies")
    return f"{base}/{quote}", venue, base, quote, asset_of(base, quote)


def asset_of(base: str, quote: str) -> Asset:
    """Return what a pair of two currencies is."""
    return "metal" if base in METALS else "fx" if base in FIAT and quote in FIAT else "crypto"


def decimals(value: Decimal) -> int:
    """Return the number of decimals of `value`, trailing zeros left out."""
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "a finite number"
    return max(0, -exponent)


def plain(value: Decimal) -> str:
    """Return a decimal without exponent and without trailing zeros."""
    return f"{value.normalize():f}"


def grid_of(values: NDArray[np.float64], most: int = 9, share: float = 0.9) -> int:
    """
    Return the fewest decimals that hold at least `share` of the values exactly.

    Some venues mix averaged prices into their grid, hence a share below one; the rest is rounded and counted.
    """
    sample = values[np.isfinite(values)]
    sample = sample[:: max(1, len(sample) // 20_000)]
    for digits in range(most):
        scaled = sample * 10.0**digits
        if len(sample) == 0 or np.mean(np.abs(scaled - np.rint(scaled)) <= 1e-9 * np.abs(scaled) + 1e-7) >= share:
            return digits
    return most


def make_instrument(
    text: str,
    prices: NDArray[np.float64],
    sizes: NDArray[np.float64] | None,
    *,
    tick: Decimal | None = None,
    lot: Decimal | None = None,
    maker_fee: Decimal | None = None,
    taker_fee: Decimal | None = None,
) -> InstrumentSpec:
    """
    Return the instrument, with defaults for whatever is not given.

    Parameters
    ----------
    text : str
        The instrument as the user wrote it.
    prices : float64 array
        Prices of the tape; the tick defaults to the grid they lie on (shares from one dollar on: a cent, as
        in Reg NMS rule 612).
    sizes : float64 array or None
        Quantities of the tape; a crypto lot defaults to their grid, six to eight decimals.
    tick, lot, maker_fee, taker_fee : Decimal or None
        Given by the user.

    Raises
    ------
    TapeError
        If tick or lot have more than nine decimals, or a share is to be traded in fractions.
    """
    *_, asset = identity(text)
    if tick is None:
        digits = grid_of(prices) if asset != "equity" else 2 if float(np.median(prices)) >= 1.0 else 4
        tick = Decimal(1).scaleb(-digits)
    if lot is None:
        digits = LOT_DECIMALS[asset]
        if asset == "crypto" and sizes is not None:
            digits = max(digits, grid_of(sizes, most=8))
        lot = Decimal(1).scaleb(-digits)
    maker, taker, _ = FEES[asset]
    maker_fee = Decimal(maker) if maker_fee is None else maker_fee
    return on_grid(text, tick, lot, maker_fee, Decimal(taker) if taker_fee is None else taker_fee)


def on_grid(text: str, tick: Decimal, lot: Decimal, maker_fee: Decimal, taker_fee: Decimal) -> InstrumentSpec:
    """
    Return the instrument that a user named, with these steps and fees.

    Raises
    ------
    TapeError
        If tick or lot have more than nine decimals, or a share is to be traded in fractions.
    """
    symbol, venue, base, quote, asset = identity(text)
    for name, value in (("tape.tick", tick), ("tape.lot", lot)):
        if decimals(value) > 9:
            raise TapeError(name, str(value), "at most nine decimals")
    if asset == "equity" and decimals(lot):
        raise TapeError("tape.lot", str(lot), "whole shares")
    return InstrumentSpec(
        id=f"{symbol}.{venue}",
        symbol=symbol,
        venue=venue,
        base=base,
        quote=quote,
        asset=asset,
        price_precision=decimals(tick),
        size_precision=decimals(lot),
        tick=plain(tick),
        lot=plain(lot),
        maker_fee=plain(maker_fee),
        taker_fee=plain(taker_fee),
    )


def assumed_depth(spec: InstrumentSpec, price_n: int) -> int:
    """
    Return the nano quantity to assume where a source has no sizes: about a million dollars' worth.

    Parameters
    ----------
    spec : InstrumentSpec
    price_n : int
        A price of the tape, nano.
    """
    if spec.asset == "fx":
        return 1_000_000 * 10**9
    unit: int = max(int(Decimal(spec.lot).scaleb(9)), 10 ** (9 - spec.size_precision))
    nano = 1_000_000 * _CHEAP.get(spec.quote, 1) * 10**18 // max(price_n, 1)
    return min(max(unit, nano // unit * unit), 9_000_000_000 * 10**9)
