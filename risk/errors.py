"""The exceptions of AlphaTrade, one small tree.

::

    AlphaTradeError
    ├── InputError            what came from outside is not usable: one line on stderr, exit code 2
    │   ├── ConfigError       a configuration key, type or range
    │   ├── TapeError         a market data file or catalog
    │   ├── RunDirError       an artifacts folder that is missing, foreign, full or unwritable
    │   ├── LedgerError       a ledger, a key or a roster that is damaged, foreign or unwritable
    │   └── JournalError      the journal of a paper node that is damaged, foreign or unwritable
    ├── LatchedError          the kill switch is latched: starting is refused until an operator releases it
    ├── InUseError            another process has it: a node this environment and account, a driver this search
    ├── WorkerDiedError       the process that worked on a candidate has died; the search goes on without it
    └── LawError              an invariant of the law itself is broken: everything halts
"""


class AlphaTradeError(Exception):
    """Base of every exception that AlphaTrade raises on purpose."""


class InputError(AlphaTradeError):
    """
    Something given from outside cannot be used.

    Parameters
    ----------
    field : str
        Where it was found: a configuration path, a file, a column.
    value : object
        What was found there.
    expected : str
        What would have been accepted.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field, value, expected)
        self.field = field
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        text = f"{self.field}: got {self.value!r}, expected {self.expected}"
        return " ".join(text.split())  # one line, whatever the value holds


class ConfigError(InputError):
    """A configuration key, type or range is wrong."""


class TapeError(InputError):
    """A market data file or catalog cannot be used."""


class RunDirError(InputError):
    """An artifacts folder is missing, foreign, full or unwritable."""


class LedgerError(InputError):
    """A ledger, a key or a roster is damaged, foreign or unwritable."""


class JournalError(InputError):
    """The journal of a paper node is damaged, foreign or unwritable."""


class LatchedError(AlphaTradeError):
    """The kill switch of this environment and account is latched."""


class InUseError(AlphaTradeError):
    """Another process has it: a node this environment and account, a driver this search."""


class NotFlatError(AlphaTradeError):
    """A node was stopped, and an exchange still has orders or positions of it."""


class StoppedError(AlphaTradeError):
    """A node was stopped before its first decision: there is no run to write, and nothing is wrong."""


class WorkerDiedError(AlphaTradeError):
    """The process that worked on a candidate has died."""


class LawError(AlphaTradeError):
    """An invariant of the law is broken; the only answer is to halt."""
