"""Addresses that a user gives, to be asked or to listen at: what is wrong with one, in one line."""

import errno
import os
import re
from urllib.parse import urlsplit

from alphatrade.risk.errors import ConfigError

_OF_THE_HOST = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_OF_THE_USER = {errno.EACCES, errno.EPERM}


def require_url(field: str, url: str) -> None:
    """
    Refuse what is neither empty nor an address of http or https: what asks there would also read files.

    Parameters
    ----------
    field : str
        Where it was given.
    url : str
        Without a query.

    Raises
    ------
    ConfigError
    """
    try:
        sound = re.fullmatch(r"https?://[^\s/?#@]+[^\s?#@]*", url, re.A) and url.isascii() and urlsplit(url).port != 0
    except ValueError:  # half a bracket, or no number where the port should be
        sound = False
    if url and not sound:
        raise ConfigError(field, url, "a URL such as http://127.0.0.1:8080")


def cannot_listen(
    error: OSError | UnicodeError, host: tuple[str, str], port: tuple[str, int], hint: str
) -> ConfigError:
    """
    Return why nothing can listen at an address: no such address here, or the port.

    Parameters
    ----------
    error : OSError or UnicodeError
        That came of it; the second is of a name that can be none.
    host, port : (str, str), (str, int)
        Where each was given, and what it is.
    hint : str
        What else may be done about a port.
    """
    number = 0 if isinstance(error, UnicodeError) else error.errno or 0
    if number <= 0 or number in _OF_THE_HOST:  # below: who looks names up
        return ConfigError(*host, "an address of this machine, as 127.0.0.1")
    if number in _OF_THE_USER:
        return ConfigError(*port, "a port that this user may listen on: above 1023")
    return ConfigError(*port, f"a port that is free ({os.strerror(number)}; {hint})")
