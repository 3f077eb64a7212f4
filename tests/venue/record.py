"""What the venue was asked: a log of every request, in memory and, where it has a folder, in a file."""

import json
import time
from collections import deque
from pathlib import Path
from typing import Any

_SECRET = ("signature", "apiKey")


class Record:
    """Requests in order of arrival; signatures and keys are left out."""

    def __init__(self, folder: Path | None, kept: int = 100_000) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=kept)
        self.count = 0
        self._file = None if folder is None else (folder / "requests.jsonl").open("a", buffering=1)

    def request(self, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """Note a request."""
        shown = {name: value for name, value in params.items() if name not in _SECRET}
        entry: dict[str, Any] = {"n": self.count, "ts": time.time(), "method": method, "path": path, "params": shown}
        self.count += 1
        self.requests.append(entry)
        return entry

    def ended(self, entry: dict[str, Any], status: int, code: int | None, lost: bool = False) -> None:
        """Note how a request ended; `lost` if the client was never told."""
        entry |= {"status": status, "code": code, "lost": lost}
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
