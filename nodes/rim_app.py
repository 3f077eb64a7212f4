"""``alphatrade rim`` and ``alphatrade signoff``: the reflection job, and a person's word where it may not act alone."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_HYDRA, add_help_option=False)
def rim(context: typer.Context) -> None:
    """Propose changes from a run's diary, rule on them, apply in stages: run=FOLDER governed_feedback=true."""
    from alphatrade.nodes.hydra_app import run_config
    from alphatrade.nodes.rim import rim as job
    from alphatrade.nodes.rim_settings import rim_settings
    from alphatrade.nodes.show import show_rim

    path, rows = run_config("rim", context.args, "rim", lambda config: job(rim_settings(config)))
    show_rim(path, rows)


@app.command()
def signoff(
    proposal: Annotated[str, typer.Argument(help="id of the proposal, or how it begins")],
    why: Annotated[str, typer.Option(help="why; recorded")],
    who: Annotated[str | None, typer.Option(help="who says so; recorded; none: whose key it is")] = None,
    key: Annotated[Path | None, typer.Option(help="private key of a person; none: that of this machine")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="say no instead")] = False,
    folder: Annotated[Path | None, typer.Option(help="of the ledger; none: that of this machine")] = None,
) -> None:
    """Say yes or no, as a person, to a proposal whose ruling asks for it; the next `alphatrade rim` applies it."""
    from alphatrade.nodes.operator import sign_off

    done = sign_off(proposal, not reject, who, why, key, folder)
    print(f"entry {done.entry} of the ledger")
    print(done.words)


@app.command("rim-train")
def rim_train(
    out: Annotated[Path, typer.Option(help="folder for ridge.json and trm.json")],
    worlds: Annotated[int, typer.Option(min=2, help="worlds to learn from")] = 240,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
) -> None:
    """Learn both engines from drawn worlds, their edits replayed on the window that follows; the same bytes again."""
    from alphatrade.nodes import rim_train, rim_worlds
    from alphatrade.nodes.rim_settings import shipped_bounds

    seeds = range(rim_train.FIRST, rim_train.FIRST + worlds)
    found = rim_train.gathered(rim_worlds.drawn, seeds, shipped_bounds(), rim_train.MOST, workers, "worlds")
    for name, model in rim_train.learnt(out, rim_train.stacked(found), rim_train.SEED).items():
        told = model.trained
        print(f"{name}  {model.model_hash}")
        print(f"  {told.examples} edits of {told.groups} worlds, {told.beat} beat doing nothing")
        print(f"  out of fold: Brier {told.brier:.4f} (base rate {told.base:.4f}), calibration error {told.ece:.4f}")


@app.command()
def rollback(
    proposal: Annotated[str, typer.Argument(help="id of the proposal, or how it begins")],
    why: Annotated[str, typer.Option(help="why; recorded")],
    key: Annotated[Path | None, typer.Option(help="private key; none: that of this machine's person")] = None,
    folder: Annotated[Path | None, typer.Option(help="of the ledger; none: that of this machine")] = None,
) -> None:
    """Take a change back that is in shadow, a canary or in force; nodes go back at their next start."""
    from alphatrade.nodes.ledger_home import PERSON, existing, key_file
    from alphatrade.reflection.rim.edits import describe

    home = existing(key or key_file(PERSON), folder)
    home.entries()
    case = home.ledger.chain.feedback.find(proposal)
    told = case.proposal
    noticed = case.applied[-1][2].until if case.applied else told.created
    entry = home.append("rollback", {
        "proposal": told.id, "target": told.target, "child": told.child, "cause": "operator", "why": why,
        "noticed": noticed,
    })  # fmt: skip
    print(f"entry {entry.seq} {entry.hash}")
    print(f"taken back: {describe(told.edit)}")
