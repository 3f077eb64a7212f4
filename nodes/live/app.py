"""``alphatrade live``: a policy with real orders, in a Nautilus TradingNode."""

import typer

app = typer.Typer()
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}
CHECK = "--check"


@app.command(context_settings=_HYDRA, add_help_option=False)
def live(context: typer.Context) -> None:
    """Run a policy with real orders, if a permit of two persons stands; Ctrl-C closes what is held. See live --help."""
    from alphatrade.nodes.live.help import PAGE
    from alphatrade.nodes.paper.help import ASKED

    if ASKED.intersection(context.args):
        print(PAGE, end="")
        return
    from functools import partial

    from alphatrade.nodes.hydra_app import run_config
    from alphatrade.nodes.live.anchor import read
    from alphatrade.nodes.live.settings import live_settings
    from alphatrade.nodes.redact import refuse_plain

    refuse_plain(context.args)  # before Hydra, which repeats what it does not understand
    words = [word for word in context.args if word != CHECK]
    told = run_config("live", words, "live", partial(live_settings, anchor=read()))
    from alphatrade.nodes.live import preflight, run
    from alphatrade.nodes.show import show_result

    if CHECK in context.args:
        checks = run.check(told)
        print(preflight.table(checks), end="")
        preflight.require(checks)
        return
    show_result(run.live(told))
