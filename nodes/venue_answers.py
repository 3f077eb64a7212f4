"""What the statuses of an exchange's HTTP interface mean: refused, to be tried again, or banned."""

import aiohttp


class RefusedError(Exception):
    """
    The venue says no to a request: status 4xx.

    Attributes
    ----------
    status : int
    code : int or None
        The venue's own, such as -1121.
    text : str
    """

    def __init__(self, status: int, code: int | None, text: str) -> None:
        super().__init__(f"{status} {text}" if code is None else f"{status} {text} ({code})")
        self.status, self.code, self.text = status, code, text


class TroubleError(Exception):
    """
    Something that may pass: status 5xx or 429, or no answer.

    Attributes
    ----------
    wait_s : float or None
        How long the venue asks to wait.
    """

    def __init__(self, told: str, wait_s: float | None = None) -> None:
        super().__init__(told)
        self.wait_s = wait_s


class LimitedError(TroubleError):
    """The venue is asked too often, status 429: whoever goes on is banned."""


class BannedError(Exception):
    """
    The venue refuses this address, status 418: whoever goes on makes it longer.

    Attributes
    ----------
    wait_s : float or None
    """

    def __init__(self, wait_s: float | None = None) -> None:
        super().__init__("418, this address is banned" + (f" for {wait_s:.0f} s" if wait_s else ""))
        self.wait_s = wait_s


FAILURES = (BannedError, RefusedError, TroubleError, TimeoutError, OSError)  # of asking an exchange


async def judge(response: aiohttp.ClientResponse) -> None:
    """
    Raise what a status means, if it is not 200.

    Raises
    ------
    BannedError, LimitedError, TroubleError, RefusedError
    """
    status, header = response.status, response.headers.get("Retry-After", "")
    if status == 200:
        return
    wait = float(header) if header.isdigit() else None
    if status == 418:
        raise BannedError(wait)
    if status == 429:
        raise LimitedError("status 429", wait)
    if status >= 500:
        raise TroubleError(f"status {status}", wait)
    code, text = None, " ".join((await response.text()).split())[:160]
    try:
        body = await response.json(content_type=None)
        code, text = int(body["code"]), str(body["msg"])
    except (ValueError, LookupError, TypeError):
        pass
    raise RefusedError(status, code, text)
