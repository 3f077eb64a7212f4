"""``alphatrade supervise -- <command…>``: keep a node running without systemd."""

import logging
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(context_settings={"allow_interspersed_args": False})
def supervise(
    command: Annotated[list[str], typer.Argument(help="what to run, after --")],
    env: Annotated[str, typer.Option(help="environment of its heartbeat")] = "paper",
    account: Annotated[str, typer.Option(help="account of its heartbeat")] = "SIM",
    folder: Annotated[Path | None, typer.Option(help="folder of its heartbeat; none: that of the account")] = None,
    watch: Annotated[bool, typer.Option(help="whether it has a heartbeat to watch")] = True,
    stale_s: Annotated[float, typer.Option(min=1, help="seconds without a good beat until it is killed")] = 30,
    start_s: Annotated[float, typer.Option(min=1, help="likewise until the first beat")] = 180,
    stop_s: Annotated[float, typer.Option(min=0, help="seconds to stop after a signal")] = 60,
    first_s: Annotated[float, typer.Option(min=0, help="seconds until the first restart; doubled each time")] = 1,
    longest_s: Annotated[float, typer.Option(min=0, help="seconds until any restart")] = 60,
    most: Annotated[int, typer.Option(min=0, help="restarts in a window; then it gives up")] = 10,
    window_s: Annotated[float, typer.Option(min=1, help="seconds")] = 3600,
) -> None:
    """Run a command and restart it when it dies or hangs; ends at its exit codes 0 and 2, which are passed back."""
    from alphatrade.nodes.app import state_root
    from alphatrade.nodes.supervise import Patience, Supervisor
    from alphatrade.risk.kill import latch_dir

    logging.Formatter.converter = time.gmtime
    logging.basicConfig(format="%(asctime)sZ supervise: %(message)s", level=logging.INFO)
    beats = (folder or latch_dir(state_root(), env, account)) if watch else None
    patience = Patience(stale_s, start_s, stop_s, first_s, longest_s, most, window_s)
    raise typer.Exit(Supervisor(command, beats, patience, logging.getLogger("alphatrade.supervise").info).run())
