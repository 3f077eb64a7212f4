"""``alphatrade live`` and ``alphatrade live-rollback``: a policy with real orders, and back to the one before."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from alphatrade.nodes.live.anchor import Anchor

app = typer.Typer()
ACCOUNT = "PILOT"  # unless another one is named
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}
Check = Annotated[bool, typer.Option("--check", help="make every check, and start nothing")]
Why = Annotated[str, typer.Option("--why", help="for the ledger")]
Key = Annotated[Path | None, typer.Option("--key", help="private key file of a person; none: this machine's")]
Account = Annotated[str, typer.Option("--account", help="of the node")]
HandOver = Annotated[bool, typer.Option("--hand-over", help="sell nothing: the policy before takes over what is held")]


@app.command(context_settings=_HYDRA, add_help_option=False)
def live(context: typer.Context, check: Check = False) -> None:
    """Run a policy with real orders, if a permit of two persons stands; Ctrl-C closes what is held. See live --help."""
    from alphatrade.nodes.live.help import PAGE
    from alphatrade.nodes.paper.help import ASKED

    if ASKED.intersection(context.args):
        print(PAGE, end="")
        return
    from alphatrade.nodes import stops
    from alphatrade.nodes.live.anchor import read
    from alphatrade.nodes.redact import refuse_plain
    from alphatrade.risk.errors import AlphaTradeError, InUseError, NotFlatError

    words = tuple(context.args)
    refuse_plain(words)  # before Hydra, which repeats what it does not understand
    anchor = read()
    with stops.noted():
        try:
            with stops.heard("alphatrade.nodes.hydra_app", "alphatrade.nodes.live.run"):
                _live(words, check, anchor)
        except (InUseError, NotFlatError):
            raise  # somebody watches over what is held, or it is told already
        except AlphaTradeError as error:
            account = next((word.partition("=")[2] for word in words if word.startswith("account=")), ACCOUNT)
            if left := _untaken(anchor.state, account, str(error)):
                raise NotFlatError(left) from error
            raise


def _live(words: tuple[str, ...], check: bool, anchor: "Anchor") -> None:
    from contextlib import nullcontext, suppress
    from functools import partial

    from alphatrade.nodes.hydra_app import run_config
    from alphatrade.nodes.live.settings import live_settings
    from alphatrade.risk.errors import ConfigError

    told = run_config("live", words, "live", partial(live_settings, anchor=anchor))
    from alphatrade.nodes.live import preflight, run
    from alphatrade.nodes.show import show_result

    if check:
        checks = run.check(told)
        print(preflight.table(checks), end="")
        preflight.require(checks)
        return
    done = run.live(told)
    with suppress(OSError) if done.switched else nullcontext():  # it goes on where nobody reads that
        show_result(done.result)
        sys.stdout.flush()
    if done.switched:
        from alphatrade.nodes import stops

        again = [sys.executable, "-P", "-m", "alphatrade", "live", *words]  # -P: no code from where it stands
        try:
            stops.become(again)  # the same service, a fresh process
        except OSError as error:
            raise ConfigError("start again", str(error), "the interpreter with which it was started") from None


def _untaken(state: Path, account: str, why: str) -> str:
    """Tell what was left to a node whose settings are refused; empty: nothing was."""
    from alphatrade.nodes.live.unwatched import watched_by_nobody
    from alphatrade.risk.errors import InputError
    from alphatrade.risk.kill import latch_dir

    try:
        folder = latch_dir(state, "live", account)
    except InputError:
        return ""  # no account has such a name
    command = f"alphatrade kill --env live --account {account} --direct <symbols> --venue <its venue>"
    return watched_by_nobody(folder, why, command)


@app.command("live-rollback")
def rollback(why: Why, key: Key = None, account: Account = ACCOUNT, hand_over: HandOver = False) -> None:
    """
    Go back to the policy in limited_live before: the node ends flat and starts again. Signed by a person.

    With --hand-over it keeps what it holds, which the policy before takes over under its own law.
    """
    from alphatrade.nodes.live.rollback import roll_back

    for line in roll_back(why, key, account, hand_over):
        print(line, flush=True)
