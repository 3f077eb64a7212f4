"""Asking an exchange over HTTP, politely: retries with backoff and jitter, its limits respected, a ban ends it."""

import asyncio
import hashlib
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from alphatrade.nodes.venue_answers import BannedError, RefusedError, TroubleError, judge
from alphatrade.risk.errors import TapeError

TRIES = 6
LONGEST_S = 300.0  # a venue that asks for a longer pause is not waited for
_BLOCK = 1 << 18
_SHARE = 0.8  # of the weight per minute that may be used before this client pauses


class Asker:
    """
    GET requests that do not give up at once.

    Parameters
    ----------
    session : aiohttp.ClientSession
    weight : int
        Request weight per minute that the venue allows.
    base_s : float, default 0.5
        First pause; it doubles with each try, up to half a minute, and is shortened at random by up to a half.
    sleep : callable, optional
        For tests.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        weight: int,
        base_s: float = 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session, self._weight, self._base_s, self._sleep = session, weight, base_s, sleep
        self._jitter = random.Random(os.getpid())  # processes that failed together shall not come back together

    async def json(self, url: str, params: Mapping[str, str | int]) -> Any:
        """
        Return an answer.

        Raises
        ------
        RefusedError
            If the venue says no.
        TapeError
            If there is no answer, or the address is banned.
        """
        found = await self._tried(url, params, lambda response: response.json(content_type=None))
        if found is None:
            raise RefusedError(404, None, f"{url} is not there")
        return found

    async def text(self, url: str) -> str | None:
        """Return a small file, None where it is not there. Errors as of `json`."""
        return await self._tried(url, {}, lambda response: response.text())

    async def save(self, url: str, path: Path, sha256: str, told: Callable[[int], object]) -> bool:
        """
        Write a file, and return whether it is there; what does not have the hash is tried again, then refused.

        Parameters
        ----------
        url : str
        path : Path
            Written anew with each try.
        sha256 : str
            Hex.
        told : callable
            Hears of bytes as they come.

        Raises
        ------
        OSError
            If it cannot be written.
        """

        async def use(response: aiohttp.ClientResponse) -> bool:
            digest = hashlib.sha256()
            with path.open("wb") as file:
                async for block in response.content.iter_chunked(_BLOCK):
                    file.write(block)
                    digest.update(block)
                    told(len(block))
            if not same_hash(digest.hexdigest(), sha256):
                raise TroubleError(f"a file with sha256 {digest.hexdigest()[:16]}…, not {sha256[:16]}…")
            return True

        return await self._tried(url, {}, use) or False

    async def _tried[T](
        self,
        url: str,
        params: Mapping[str, str | int],
        use: Callable[[aiohttp.ClientResponse], Awaitable[T]],
    ) -> T | None:
        """Return what `use` makes of the answer, None for 404."""
        told = ""
        for n in range(TRIES):
            try:
                async with self._session.get(url, params=params) as response:
                    if response.status == 404:
                        return None
                    await judge(response)
                    out = await use(response)
                await self._pace(response)
                return out
            except BannedError as ban:
                raise TapeError(url, str(ban), "an address that the venue serves; do not try again before") from None
            except TroubleError as trouble:
                told, wait = str(trouble), trouble.wait_s
                if wait is not None and wait > LONGEST_S:
                    raise TapeError(
                        url, f"{told}, retry after {wait:.0f} s", f"a pause of at most {LONGEST_S:.0f} s"
                    ) from None
            except TimeoutError:
                told, wait = "no answer in time", None
            except (aiohttp.ClientError, ConnectionError, ValueError) as error:
                told, wait = " ".join(str(error).split())[:160] or type(error).__name__, None
            if n + 1 < TRIES:
                pause = min(30.0, self._base_s * 2**n)
                await self._sleep(pause * self._jitter.uniform(0.5, 1.0) if wait is None else wait)
        raise TapeError(url, told, f"an answer ({TRIES} tries); the same command goes on where this one stopped")

    async def _pace(self, response: aiohttp.ClientResponse) -> None:
        """Pause when most of what the venue allows in this minute is used."""
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit() and int(used) > _SHARE * self._weight:
            await self._sleep(10.0)


def same_hash(found: str, expected: str) -> bool:
    """Return whether a file has the hash that its exchange publishes."""
    return found == expected
