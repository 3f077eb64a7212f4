"""``alphatrade kill``, ``release``, ``status``: the kill switch from outside of a node, and at the venue itself."""

import time
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()
Env = Annotated[str, typer.Option(help="environment: sim, paper, live-shadow, live")]
Account = Annotated[str, typer.Option(help="account, as in the node's configuration")]
Who = Annotated[str, typer.Option(help="who does this; recorded")]
Why = Annotated[str, typer.Option(help="why; recorded")]


@app.command()
def kill(
    env: Env = "paper",
    account: Account = "SIM",
    who: Who = "operator",
    why: Why = "",
    direct: Annotated[str, typer.Option(help="also cancel and sell these at the venue itself: BTCUSDT,ETHUSDT")] = "",
    venue: Annotated[str, typer.Option(help="of --direct, a name of conf/kill.yaml and of its keys")] = "",
    url: Annotated[str, typer.Option(help="of --direct: another REST interface of the venue")] = "",
    secrets_dir: Annotated[Path | None, typer.Option(help="of --direct: folder of keys; none: the keyring")] = None,
    deadline: Annotated[float, typer.Option(min=1.0, max=3600.0, help="of --direct, seconds")] = 60.0,
) -> None:
    """
    Trip the kill switch: a running node cancels all, flattens and halts; the next start is refused.

    With --direct, --venue and keys of its own it does so at the venue, for a node that hangs or is dead; exit code 1
    where something is left.
    """
    from alphatrade.risk.errors import ConfigError
    from alphatrade.risk.handover import FILE
    from alphatrade.risk.kill import latch_dir, request_kill

    known = request_kill(_state(), env, account, who, why or "operator command", time.time_ns())
    print(f"kill requested for {env}/{account}; see: alphatrade status --env {env} --account {account}")
    if (latch_dir(_state(), env, account) / FILE).exists():
        print("  what a node has left to the next one may be held by none: look at the exchange, or --direct")
    if not known and not direct:
        print(f"  no node has used {env}/{account} here yet: look at the name; a start under it is refused from now on")
    if venue and not direct:
        raise ConfigError("--venue", venue, "--direct and its symbols beside it: nothing was done at a venue")
    if direct and not _direct(direct.split(","), venue, url, secrets_dir, deadline):
        raise typer.Exit(1)


def _direct(symbols: list[str], venue: str, url: str, secrets_dir: Path | None, deadline: float) -> bool:
    """Say where it goes, cancel and sell there, and say what came of it; return whether nothing is left."""
    from alphatrade.risk.errors import ConfigError

    try:
        import asyncio

        from alphatrade.nodes.kill_direct import kill_direct
        from alphatrade.nodes.secrets import Secrets
        from alphatrade.nodes.venue_rest import Credentials
    except ImportError as error:
        raise ConfigError("--direct", error.name, "the extra paper: pip install 'alphatrade[paper]'") from None
    root = _root(venue, url)
    keys = Secrets(secrets_dir).read(venue)
    credentials = Credentials(keys.api_key.get_secret_value(), keys.api_secret.get_secret_value())
    _say(f"{venue}, {root}, by the keys {venue}_api_key and {venue}_api_secret:")
    _say(f"  cancels all orders of {', '.join(symbols)}, then sells all that the account has of their base assets")
    report = asyncio.run(kill_direct(root, credentials, symbols, deadline, tell=_say))
    print("\n".join(report.lines()))
    return report.flat


def _root(venue: str, url: str) -> str:
    """Return the REST interface of a venue; nobody's coins are sold at a place that was not named."""
    from importlib.resources import files

    import yaml

    from alphatrade.nodes.addresses import require_url
    from alphatrade.risk.errors import ConfigError

    known: dict[str, Any] = yaml.safe_load(files("alphatrade.conf").joinpath("kill.yaml").read_text())
    if venue not in known:
        raise ConfigError("--venue", venue or "nothing", ", ".join(f"{name} ({known[name]['what']})" for name in known))
    require_url("--url", url)
    return url.rstrip("/") or str(known[venue]["rest"])


def _say(line: str) -> None:
    with suppress(OSError):  # a reader that has gone must not stop a kill half-way
        print(line, flush=True)


@app.command()
def release(who: Who, why: Why, env: Env = "paper", account: Account = "SIM") -> None:
    """Release a latched kill switch; who and why are recorded. Releasing a loss limit starts its count anew."""
    from alphatrade.risk.kill import rebases
    from alphatrade.risk.kill import release as let_go

    cause = let_go(_state(), env, account, who, why, time.time_ns())
    print(f"released {env}/{account}")
    if rebases(cause):
        print(f"  it was {cause.code}: from the next start on, losses are counted from the equity found then")


@app.command()
def status(env: Env = "paper", account: Account = "SIM") -> None:
    """Show the kill switch of an environment and account, and from where losses are counted."""
    from alphatrade.risk.kill import status as read
    from alphatrade.risk.units import from_atto

    now = read(_state(), env, account)
    print(f"{env}/{account}: {now.state}" + (", kill requested" if now.request_pending else ""))
    if now.trip is not None:
        print(f"  tripped by {now.trip.who}: {now.trip.code}, {now.trip.reason}")
    if now.losses is not None:
        peak, start = (f"{from_atto(half) / 2:.2f}" for half in (now.losses.peak2, now.losses.day_start2))
        day = date(1970, 1, 1) + timedelta(now.losses.day)
        print(f"  losses count from a peak of {peak} and, on {day} UTC, from {start} {now.losses.currency}")
    print(f"  releases recorded: {now.releases}")


def _state() -> Path:
    from alphatrade.nodes.app import state_root

    return state_root()
