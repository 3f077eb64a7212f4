"""The ledger of this machine and the key of its service, made on first use."""

import os
import sys
import time
from pathlib import Path

from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import FILE, Ledger


def open_ledger(state: Path) -> tuple[Ledger, SigningKey]:
    """Return the ledger and the key of the service that records trials."""
    named = os.environ.get("ALPHATRADE_LEDGER", "")
    folder, keys = Path(named).expanduser() if named else state.expanduser() / "ledger", state.expanduser() / "keys"
    if not (folder / FILE).is_file():
        keys.mkdir(parents=True, exist_ok=True)
        root, service = (SigningKey.generate(keys / f"{name}.pem") for name in ("root", "service"))
        ledger = Ledger.create(folder, root, "founder", time.time_ns())
        member = {"name": "service", "role": "service", "public": service.public}
        ledger.append("roster", {"add": member}, root, time.time_ns())
        print(f"ledger {folder}, fingerprint {ledger.chain.fingerprint}: keep it elsewhere", file=sys.stderr)
    return Ledger(folder), SigningKey.load(keys / "service.pem")
