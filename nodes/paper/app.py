"""``alphatrade paper``: a policy on paper, in a Nautilus TradingNode."""

import typer

app = typer.Typer()
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_HYDRA, add_help_option=False)
def paper(context: typer.Context) -> None:
    """Run a policy on paper; Ctrl-C closes what is held. Arguments are overrides: feed.speed=60 policy/risk=tight."""
    from alphatrade.nodes.paper.help import ASKED, PAGE

    if ASKED.intersection(context.args):
        print(PAGE, end="")
        return
    from alphatrade.nodes.hydra_app import run_config
    from alphatrade.nodes.paper.settings import paper_settings
    from alphatrade.nodes.redact import refuse_plain

    refuse_plain(context.args)  # before Hydra, which repeats what it does not understand
    own = run_config("paper", context.args, "paper", paper_settings)
    from alphatrade.nodes.paper.run import paper as run
    from alphatrade.nodes.paper.run import say
    from alphatrade.nodes.show import show_result
    from alphatrade.risk.errors import StoppedError

    try:
        show_result(run(own))
    except StoppedError as early:
        say(str(early))
