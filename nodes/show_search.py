"""What a search came to, on the terminal."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alphatrade.evolution.sweeper import SUMMARY, TRIALS


def show_search(folder: Path) -> None:
    """Print the best candidates of a finished search and where its files are."""
    summary = json.loads((folder / SUMMARY).read_bytes())
    trials = [json.loads(line) for line in (folder / TRIALS).read_bytes().splitlines()]
    by_hash = {one["genotype_hash"]: one for one in trials}
    table = Table("genotype", "fitness bps", "generation", "by", "what was done", box=None, padding=(0, 2, 0, 0))
    for name in summary["best"][:5]:
        one = by_hash[name]
        made, words = one["lineage"]["operator"], one["lineage"]["words"]
        table.add_row(name[:16], f"{one['fitness']:+.2f}", str(one["generation"]), made, words)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    n = summary["trials"]
    console.print(f"{n} trials, {summary['replays']} of {n * summary['grid']} replays; digest {summary['digest'][:16]}")
    console.print(str(folder))
