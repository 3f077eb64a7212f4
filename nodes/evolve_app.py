"""``alphatrade fitness`` and ``alphatrade evolve``: one genotype on the grid, and a search among many."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_HYDRA, add_help_option=False)
def fitness(context: typer.Context) -> None:
    """Replay a genotype in each cell of a regime grid. Arguments are Hydra overrides: grid.block_s=14400 tape=world."""
    from alphatrade.nodes.evolve import CandidateJob
    from alphatrade.nodes.hydra_app import run_search
    from alphatrade.nodes.show import show_fitness

    job = CandidateJob()
    run_search("fitness", ["search.race=null", *context.args], job)
    if job.outcome is not None:
        show_fitness(job.outcome)


@app.command(context_settings=_HYDRA, add_help_option=False)
def evolve(context: typer.Context) -> None:
    """Search: `alphatrade evolve --multirun`, with the overrides of sim and search.generations=8 and the like."""
    from alphatrade.nodes.artifacts import LATEST_SEARCH, point, writing
    from alphatrade.nodes.evolve import CandidateJob
    from alphatrade.nodes.hydra_app import run_search
    from alphatrade.nodes.show import show_fitness
    from alphatrade.nodes.show_search import show_search

    job = CandidateJob()
    run_search("evolve", context.args, job)
    if job.folder is not None:
        with writing(job.folder):
            show_search(job.folder)
            point(job.folder.parents[2] / LATEST_SEARCH, job.folder)  # <root>/<date>/evolve/<search>
    elif job.outcome is not None:
        show_fitness(job.outcome)


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="of a finished search")] = Path("artifacts/latest-search"),
    trial: Annotated[str, typer.Option(help="GENERATION.PLACE; none: the best one")] = "",
    thresholds: Annotated[str, typer.Option(help="name in conf/promotion")] = "default",
    sign: Annotated[bool, typer.Option(help="if verdict and kill drill hold, move it to paper, as its person")] = False,
    fingerprint: Annotated[str, typer.Option(help="of the ledger, as it was kept elsewhere")] = "",
    head: Annotated[str, typer.Option(help="an older head of the ledger, NUMBER:HASH, as it was kept elsewhere")] = "",
) -> None:
    """Bring a trial before the promotion gate: held-out cells, leakage, red team; writes its dossier."""
    from alphatrade.nodes.judge import judge_search
    from alphatrade.nodes.show_search import show_verdict

    show_verdict(judge_search(folder, trial, thresholds, sign, fingerprint, head))
