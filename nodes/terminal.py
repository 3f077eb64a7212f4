"""The terminal: what is shown there is text and nothing else, whoever has written it."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 180  # characters of a log file


def console(wide: bool = False) -> "Console":
    """
    Return what prints lines and tables.

    Names and reasons come from ledgers, dossiers and genotypes of others: no bracket in them is markup, no word between
    colons a picture.

    Parameters
    ----------
    wide : bool, default False
        For tables of words: as wide as the terminal, or wide enough for a log file.
    """
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            """Leave as the command line does when its reader goes away first; rich would end in an error."""
            raise BrokenPipeError

    width = WIDE if wide and not sys.stdout.isatty() else None
    return Screen(markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)
