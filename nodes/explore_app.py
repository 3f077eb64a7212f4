"""``alphatrade explore``: what exploration was worth, and what the alternative of one order would have come to."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Exploration: what it taught, and why not the other topology.", no_args_is_help=True)

RunDir = Annotated[Path, typer.Argument(help="a run folder, for instance artifacts/latest")]


@app.command()
def value(run_dir: RunDir) -> None:
    """Estimate what each tactic alone would have earned, from the logged propensities of an exploring run."""
    from alphatrade.reflection.offpolicy import values

    rows = values(run_dir)
    print(f"bps of a decision, where something was drawn ({rows[0][1].n} decisions); 95 % intervals over blocks")
    print(f"{'policy':<14} {'IPS':>24} {'self-normalised':>24} {'doubly robust':>24} {'effective n':>12}")
    for name, *found in rows:
        cells = [f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]" for one in found]
        print(f"{name:<14} " + " ".join(f"{cell:>24}" for cell in cells) + f" {found[0].effective:>12.1f}")


@app.command()
def whynot(
    run_dir: RunDir,
    order: Annotated[str, typer.Option(help="client order id")],
    check: Annotated[bool, typer.Option("--check", help="replay the tape with the alternative in charge")] = False,
    instead: Annotated[str, typer.Option(help="the alternative to check; else the best on paper")] = "",
) -> None:
    """Say what every other topology would have come to at an order's decision."""
    from alphatrade.nodes.app import state_root
    from alphatrade.nodes.whynot import told, why_not

    print("\n".join(told(why_not(run_dir, order, state_root(), check, instead))))
