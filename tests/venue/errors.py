"""Refusals of the venue: Binance's error codes with its own words."""


class VenueError(Exception):
    """A request the venue refuses: HTTP status, Binance code and message, extra headers."""

    def __init__(self, code: int, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message, self.status, self.headers = code, message, status, headers or {}

    def body(self) -> dict[str, object]:
        return {"code": self.code, "msg": self.message}


def bad_parameter(name: str) -> VenueError:
    return VenueError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def filter_failure(name: str) -> VenueError:
    return VenueError(-1013, f"Filter failure: {name}")


def rejected(message: str) -> VenueError:
    return VenueError(-2010, message)


INSUFFICIENT = "Account has insufficient balance for requested action."
DUPLICATE = "Duplicate order sent."
WOULD_TAKE = "Order would immediately match and take."
WOULD_TRIGGER = "Stop price would trigger immediately."
BAD_KEY = VenueError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
BAD_SIGNATURE = VenueError(-1022, "Signature for this request is not valid.")
BAD_SYMBOL = VenueError(-1121, "Invalid symbol.")
UNKNOWN_CANCEL = VenueError(-2011, "Unknown order sent.")
UNKNOWN_ORDER = VenueError(-2013, "Order does not exist.")
