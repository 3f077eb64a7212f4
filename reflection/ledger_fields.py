"""What all bodies of ledger entries are made of: their fields, the strict base, and one line for what is wrong."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alphatrade.risk.errors import LedgerError

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NoSha = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Nanos = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,18})$")]  # UTC ns as text: RFC 8785 stops at 2^53
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=0)]


class Body(BaseModel):
    """Base of all: frozen, nothing unknown, no conversion of types, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def is_sha(text: str) -> bool:
    """Return whether a text is a sha256 in hexadecimal digits."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def refusal(error: ValidationError, kind: str, where: str) -> LedgerError:
    """Return the first problem in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join([kind, *[str(part)[:80] for part in first["loc"]]])
    try:
        value = repr(first["input"])
    except RecursionError:
        value = f"a {type(first['input']).__name__} that is nested too deeply"
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return LedgerError(f"{where}, {place}", _short(value, 80), _short(expected, 300))


def _short(text: str, most: int) -> str:
    return text if len(text) < most else f"{text[: most - 3]}…"
