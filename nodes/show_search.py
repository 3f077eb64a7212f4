"""What a search came to, on the terminal."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alphatrade.evolution.report import load_search, write_search
from alphatrade.evolution.sweeper import SUMMARY, TRIALS


def show_search(folder: Path) -> None:
    """Write the page of a finished search, and print its best candidates and where the page is."""
    summary, trials = load_search(folder, SUMMARY, TRIALS)
    by_hash = {one["genotype_hash"]: one for one in trials}
    table = Table("genotype", "fitness bps", "generation", "by", "what was done", box=None, padding=(0, 2, 0, 0))
    for name in summary["best"][:5]:
        one = by_hash[name]
        made, words = one["lineage"]["operator"], one["lineage"]["words"]
        table.add_row(name[:16], f"{one['fitness']:+.2f}", str(one["generation"]), made, words)
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    n = summary["trials"]
    console.print(f"{n} trials, {summary['replays']} of {n * summary['grid']} replays; digest {summary['digest'][:16]}")
    console.print(f"report {write_search(folder, summary, trials)}")
