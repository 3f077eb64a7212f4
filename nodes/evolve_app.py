"""``alphatrade fitness`` and ``alphatrade evolve``: one genotype on the grid, and a search among many."""

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
    from alphatrade.nodes.evolve import CandidateJob
    from alphatrade.nodes.hydra_app import run_search
    from alphatrade.nodes.show_search import show_search

    job = CandidateJob()
    run_search("evolve", context.args, job)
    if job.folder is not None:
        show_search(job.folder)
