"""What a search came to, on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from alphatrade.evolution.report import load_search, write_search
from alphatrade.evolution.sweeper import SUMMARY, TRIALS
from alphatrade.nodes.terminal import console

if TYPE_CHECKING:
    from alphatrade.nodes.judge import Judged


def show_search(folder: Path) -> None:
    """Write the page of a finished search, and print its best candidates and where the page is."""
    summary, trials = load_search(folder, SUMMARY, TRIALS)
    by_hash = {one["genotype_hash"]: one for one in trials}
    table = Table("genotype", "fitness bps", "generation", "by", "what was done", box=None, padding=(0, 2, 0, 0))
    for name in summary["best"][:5]:
        one = by_hash[name]
        made, words = one["lineage"]["operator"], one["lineage"]["words"]
        table.add_row(name[:16], f"{one['fitness']:+.2f}", str(one["generation"]), made, words)
    screen = console(wide=True)
    screen.print(table)
    n = summary["trials"]
    screen.print(f"{n} trials, {summary['replays']} of {n * summary['grid']} replays; digest {summary['digest'][:16]}")
    screen.print(f"report {write_search(folder, summary, trials)}")


def show_verdict(judged: "Judged") -> None:
    """Print what the gate says, check by check, and where the dossier is."""
    verdict = judged.verdict
    table = Table("check", "figure", "target", "", box=None, padding=(0, 2, 0, 0))
    for check in verdict.checks:
        table.add_row(check.name, str(check.figure), check.target, "holds" if check.holds else f"NO: {check.why}")
    screen = console(wide=True)
    screen.print(table)
    said = (
        "PROMOTED" if judged.promoted else f"NOT promoted, refused by {', '.join(verdict.refused) or 'the kill drill'}"
    )
    screen.print(f"policy {verdict.policy_hash}: {said}" + ("; it is in charge of paper now" if judged.moved else ""))
    screen.print(f"dossier {judged.dossier}")
    trust = f"TRUST={judged.trust}"
    screen.print(f"verify it: make verify-policy HASH={verdict.policy_hash} DOSSIER={judged.dossier} {trust}")
