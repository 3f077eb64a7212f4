"""The front door: ``alphatrade <verb> [overrides]``, one clear line on stderr and exit code 2 for bad input."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from alphatrade.nodes import (
    alarms_app,
    dossier_app,
    evolve_app,
    explore_app,
    kill_app,
    retain_app,
    rim_app,
    supervise_app,
    tape_app,
)
from alphatrade.nodes.audit import app as audit_app
from alphatrade.nodes.console import app as console_app
from alphatrade.nodes.live import app as live_app
from alphatrade.nodes.paper import app as paper_app
from alphatrade.nodes.policy_app import attach as attach_policy_verbs
from alphatrade.risk.errors import AlphaTradeError, ConfigError

EXIT_BAD_INPUT = 2
EXIT_VIOLATION = 1

app = typer.Typer(
    name="alphatrade",
    help="A governed, continuously learning trading organism on NautilusTrader.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

regime_app = typer.Typer(help="Regime models.", no_args_is_help=True)
app.add_typer(regime_app, name="regime")
app.add_typer(explore_app.app, name="explore")
app.add_typer(evolve_app.app)
app.add_typer(dossier_app.app)
app.add_typer(retain_app.app)
app.add_typer(rim_app.app)
app.add_typer(kill_app.app)
app.add_typer(paper_app.app)
app.add_typer(live_app.app)
app.add_typer(console_app.app)
app.add_typer(tape_app.app, name="tape")
app.add_typer(supervise_app.app)
app.add_typer(alarms_app.app, name="alarms")
app.add_typer(audit_app.app)
attach_policy_verbs(app)

_UsageError: Any = typer.BadParameter.__base__  # typer's own copy of click's, which it does not export
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}
RunDir = Annotated[Path, typer.Argument(help="a run folder, for instance artifacts/latest")]


def command() -> None:
    """
    Be the console command: run :func:`main` and leave at once.

    Nothing may follow the last line: at a regular exit a compiled dependency reports its own leaks on stderr.
    """
    code: object = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def main() -> None:
    """Run the command line; errors that AlphaTrade raises on purpose become one line and exit code 2."""
    os.environ.setdefault("PYTHONUTF8", "1")
    if "" not in sys.path:
        sys.path.append("")  # topologies and features of the user's own are named by import path
    code: object = None
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        if text := error.format_message():  # there is none where the help itself was the answer
            print(f"alphatrade: {_usage(text, error.ctx)}", file=sys.stderr)
        code = EXIT_BAD_INPUT
    except AlphaTradeError as error:
        sys.stdout.flush()
        print(f"alphatrade: {error}", file=sys.stderr)
        # A pydantic error holds frames that the garbage collector cannot see through; DuckDB would report the leak.
        error.__cause__ = error.__context__ = None
        sys.exit(EXIT_BAD_INPUT)
    except (BrokenPipeError, SystemExit) as leaving:
        if isinstance(leaving, SystemExit) and type(sys.stdout).__name__ != "PacifyFlushWrapper":  # typer's own mark
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has seen enough
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _usage(text: str, context: Any) -> str:
    """Return one line for a verb, an argument or an option that is not as it should be."""
    verbs = getattr(context.command, "commands", ()) if context else ()
    known = f"; the verbs are {', '.join(verbs)}" if verbs else ""
    where = context.command_path if context else "alphatrade"
    return " ".join(f"{text.rstrip('.')}{known}; see {where} --help".split())


@app.command(context_settings=_HYDRA, add_help_option=False)
def sim(context: typer.Context) -> None:
    """Replay a tape under the law. Arguments are Hydra overrides: seed=2 policy/risk=tight tape=world."""
    from alphatrade.nodes.hydra_app import run_app
    from alphatrade.nodes.settings import Settings

    def task(settings: Settings) -> None:
        # Not before: what is wrong with the settings is said without waiting for Nautilus to load.
        from alphatrade.nodes.show import show_result
        from alphatrade.nodes.sim import simulate

        show_result(simulate(settings))

    run_app("sim", context.args, task)


@regime_app.command("fit", context_settings=_HYDRA)
def regime_fit(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="file to write, for instance my_conf/policy/regime/mine.yaml")],
    states: Annotated[int, typer.Option(min=2, max=16, help="hidden states; several may stand for one regime")] = 6,
) -> None:
    """Fit a hidden Markov regime on a tape. Further arguments are those of sim: tape.end=2026-08-24 cadence.n=60."""
    from alphatrade.nodes.hydra_app import run_app
    from alphatrade.nodes.settings import Settings

    def task(settings: Settings) -> None:
        from alphatrade.nodes.regime_fit import fit_command

        fit_command(settings, states, out, " ".join(["alphatrade regime fit", *context.args]))

    run_app("regime fit", context.args, task)


@app.command()
def audit(run_dir: RunDir) -> None:
    """Recompute every limit of a run from its files alone; exit code 1 if the law was broken."""
    from alphatrade.risk.audit import audit as recompute
    from alphatrade.risk.audit import format_report

    report = recompute(run_dir)
    print(format_report(report))
    if not report.ok:
        raise typer.Exit(EXIT_VIOLATION)


@app.command("red-team", context_settings=_HYDRA, add_help_option=False)
def red_team(context: typer.Context) -> None:
    """Attack a policy in every known way; exit code 1 if an expectation fails. Arguments: as for sim, but no tape."""
    from alphatrade.nodes.hydra_app import run_app
    from alphatrade.nodes.settings import Settings

    failed: list[str] = []

    def task(settings: Settings) -> None:
        from alphatrade.nodes.red_team import red_team as attack
        from alphatrade.nodes.show import show_red_team

        path, outcomes = attack(settings)
        show_red_team(path, outcomes)
        failed.extend(one.name for one in outcomes if not one.passed)

    run_app("red-team", context.args, task)
    if failed:
        raise typer.Exit(EXIT_VIOLATION)


@app.command(context_settings=_HYDRA, add_help_option=False)
def nightly(context: typer.Context) -> None:
    """Replay the last day of the tape and check everything; exit code 1 if a check fails. Arguments as for sim."""

    def job(settings: Any) -> Any:
        from alphatrade.nodes.nightly import nightly as run

        return run(settings)

    _job("nightly", context.args, job)


@app.command(context_settings=_HYDRA, add_help_option=False)
def weekly(context: typer.Context) -> None:
    """Run the red team and audit the last seven days; exit code 1 if a check fails. Arguments as for sim."""

    def job(settings: Any) -> Any:
        from alphatrade.nodes.weekly import weekly as run

        return run(settings)

    _job("weekly", context.args, job)


def _job(verb: str, arguments: list[str], job: Any) -> None:
    """Run a job of checks, print its rows, and leave with exit code 1 if one of them does not hold."""
    from alphatrade.nodes.hydra_app import run_app
    from alphatrade.nodes.show import show_rows
    from alphatrade.nodes.steps import failed

    done: list[Any] = []
    run_app(verb, arguments, lambda settings: done.append(job(settings)))
    path, rows = done[0]
    show_rows(path, rows)
    if failed(rows):
        raise typer.Exit(EXIT_VIOLATION)


@app.command()
def coverage(run_dir: RunDir) -> None:
    """Show which orders the diary explains and which steps it has; exit code 1 below a target."""
    from alphatrade.reflection.coverage import coverage as measure
    from alphatrade.reflection.coverage import format_coverage

    found = measure(run_dir)
    print(format_coverage(found))
    if found.alerts:
        raise typer.Exit(EXIT_VIOLATION)


@app.command()
def graph(
    run_dir: RunDir,
    settings: Annotated[Path | None, typer.Option(help="YAML with keys of conf/graph.yaml to replace")] = None,
) -> None:
    """Measure the graph of a run's fast weights; exit code 1 on an alert."""
    from alphatrade.nodes.graph import graph_command

    if not graph_command(run_dir, settings):
        raise typer.Exit(EXIT_VIOLATION)


@app.command()
def diary(
    run_dir: RunDir,
    sql: Annotated[str, typer.Argument(help="over decisions, expost, beliefs, orders, fills, marks, …")] = "",
    order: Annotated[str, typer.Option(help="explain this order instead")] = "",
) -> None:
    """Query a run's diary with SQL, or explain one order."""
    from alphatrade.reflection.explain import explain_order
    from alphatrade.reflection.query import query, show

    if order:
        print(explain_order(run_dir, order))
    else:
        show(query(run_dir, sql or "select * from decisions order by row desc limit 20"))


@app.command()
def runs(
    artifacts: Annotated[Path, typer.Option(help="root of the run folders")] = Path("artifacts"),
    compare: Annotated[tuple[str, str] | None, typer.Option(help="two run folders")] = None,
) -> None:
    """List runs, or compare two of them."""
    from alphatrade.reflection.query import compare_runs, list_runs, show

    if compare:
        both = compare_runs(Path(compare[0]), Path(compare[1]))
        show(both.figures, "figures")
        show(both.config, "configuration that differs")
    else:
        show(list_runs(artifacts))


def state_root() -> Path:
    """Return the folder of state that outlives a run: ``$ALPHATRADE_STATE``, else ``~/.alphatrade``."""
    named = os.environ.get("ALPHATRADE_STATE", "~/.alphatrade")
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise ConfigError("ALPHATRADE_STATE", named, "a folder; there is no such user here") from None
