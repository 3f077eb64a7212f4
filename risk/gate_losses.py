"""What a gate knows from earlier sessions and leaves to later ones, and that it is the only one to do so."""

from pathlib import Path
from typing import TYPE_CHECKING

from alphatrade.risk.account import DAY_NS
from alphatrade.risk.disk import FolderLock
from alphatrade.risk.kill import last_rebase
from alphatrade.risk.limits import Code, Verdict, deny
from alphatrade.risk.losses import LossFile
from alphatrade.risk.units import from_atto

if TYPE_CHECKING:
    from alphatrade.risk.gate import RiskGate


class Memory:
    """
    The folder of one account, from building the gate until it is disposed.

    Parameters
    ----------
    folder : Path, optional
        None: a replay, which remembers nothing.

    Raises
    ------
    InUseError
        If another node uses the folder.

    Attributes
    ----------
    file : LossFile, optional
        None where nothing is remembered.
    """

    def __init__(self, gate: "RiskGate", folder: Path | None) -> None:
        self.gate = gate
        self.folder = folder
        self.lock = None if folder is None else FolderLock(folder)
        self.file: LossFile | None = None

    def begin(self) -> None:
        """Refuse a start while the switch is latched; read what earlier sessions left."""
        try:
            self.gate.switch.require_active()
            if self.folder is not None:
                fixed = self.gate.settings.capital is not None
                self.file = LossFile(self.folder, fixed, last_rebase(self.folder))
        except Exception:
            self.end()
            raise

    def end(self) -> None:
        """Leave the folder to the next node."""
        self.file = None
        if self.lock is not None:
            self.lock.release()

    def resume(self) -> None:
        """Let the law go on where earlier sessions left off, as soon as it knows its capital."""
        gate, law = self.gate, self.gate.law
        today = gate.clock.timestamp_ns() // DAY_NS
        if self.file is None or law.capital is None or not self.file.resume(law, today):
            return
        equity = "" if law.exposure.unmarked else f"{from_atto(law.equity):f}"
        words = f"peak equity {from_atto(law.peak):f}"
        if law.day >= 0:
            words += f", equity at the start of the UTC day {from_atto(law.day_start2 // 2):f}"
        gate.record.event(gate.clock.timestamp_ns(), "resumed", None, None, "", equity, "", words)

    def foreign(self, currency: str) -> Verdict | None:
        """Return a denial if earlier sessions have counted in another currency."""
        kept = None if self.file is None else self.file.kept
        if kept is None or kept.currency == currency:
            return None
        words = f"losses are kept in {kept.currency}, the law counts in {currency}: use another account name"
        return deny(Code.NO_ACCOUNT, words)

    def keep(self, last: bool = False) -> None:
        """Write what a restart has to know, if enough has changed; trading stops if that fails."""
        gate = self.gate
        if self.file is None:
            return
        try:
            self.file.keep(gate.law, gate.currency, last)
        except OSError as error:
            gate.trip("STATE_UNWRITABLE", f"{self.file.path}: {error}", "law")
