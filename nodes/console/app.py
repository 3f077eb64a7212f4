"""``alphatrade console``: a local page about a running node, with the operator's controls."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def console(
    env: Annotated[str, typer.Option(help="environment of the node")] = "paper",
    account: Annotated[str, typer.Option(help="its account")] = "SIM",
    host: Annotated[str, typer.Option(help="address to listen on; best loopback")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8464,
    alertmanager: Annotated[
        str,
        typer.Option(envvar="ALPHATRADE_ALERTMANAGER", help="address of an Alertmanager; none: no alarms are shown"),
    ] = "",
    metrics: Annotated[str, typer.Option(help="where the node shows its metrics; none: where it says")] = "",
    token_file: Annotated[Path | None, typer.Option(help="file of the token; none: one in the state folder")] = None,
) -> None:
    """Show a running node on a local page: what it does, and kill, freeze, acknowledge, sign off."""
    from alphatrade.nodes.addresses import require_url
    from alphatrade.nodes.app import state_root
    from alphatrade.risk.errors import ConfigError
    from alphatrade.risk.kill import latch_dir

    latch_dir(state_root(), env, account)
    require_url("--metrics", metrics)
    require_url("--alertmanager", alertmanager)
    try:
        from alphatrade.nodes.console.actions import Place
        from alphatrade.nodes.console.serve import serve
    except ImportError as error:
        raise ConfigError("console", error.name, "the extra console: pip install 'alphatrade[console]'") from None
    serve(Place(state_root(), env, account, alertmanager), host, port, metrics, token_file)
