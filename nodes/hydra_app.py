"""A verb as a Hydra application: its flags (``--cfg job``, ``--info`` …) and overrides are Hydra's own."""

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from alphatrade.nodes.artifacts import writing
from alphatrade.nodes.overrides import CONFIG_MODULE, CONFIG_NAME, HYDRA_ERRORS, completed, composed, explain
from alphatrade.nodes.settings import Settings, settings_from
from alphatrade.risk.errors import ConfigError

if TYPE_CHECKING:
    from alphatrade.evolution.sweeper import Task

SEARCH_NAME = "evolve"  # the primary config of a search


def run_app(verb: str, arguments: Sequence[str], task: Callable[[Settings], None]) -> None:
    """
    Compose the configuration as Hydra does and hand the validated settings to `task`.

    Parameters
    ----------
    verb : str
        Name of the command, for Hydra's help.
    arguments : sequence of str
        Command line after the verb.
    task : callable

    Raises
    ------
    ConfigError
        If an override or the configuration is wrong.
    """
    run_config(verb, arguments, CONFIG_NAME, lambda config: task(settings_from(config)))


def run_config[T](verb: str, arguments: Sequence[str], name: str, task: Callable[[DictConfig], T]) -> T:
    """
    Compose the primary config `name` as Hydra does, hand it to `task`, and return what that returns.

    Raises
    ------
    ConfigError
        If an override or the configuration is wrong.
    """
    done: list[T] = []
    failures: list[Exception] = []

    def application(config: DictConfig) -> None:
        try:
            done.append(task(config))
        except Exception as error:  # Hydra would print a line of its own: raise it outside
            failures.append(error)

    _launch(verb, arguments, application, name)
    if failures:
        raise failures[0]
    return done[0]


def run_search(verb: str, arguments: Sequence[str], job: "Task") -> None:
    """
    Compose a candidate as Hydra does and hand it to `job`; with ``--multirun``, hand the whole to a sweeper.

    Parameters
    ----------
    verb : str
        Name of the command, for Hydra's help.
    arguments : sequence of str
        Command line after the verb.
    job : Task

    Raises
    ------
    ConfigError
        If an override or the configuration is wrong.
    RunDirError
        If a file cannot be written, here or by a job: the search ends there, and goes on from there when run again.
    """
    from hydra_plugins import alphatrade_evolution as plugins

    for word in arguments:  # of a search: whoever could set it would have replays that nobody counts
        if word.lstrip("+~").partition("=")[0].partition(".")[0] == "trial":
            raise ConfigError("trial", word, "nothing: a search hands this to its candidates")
    registry = Plugins.instance()
    for plugin in (plugins.EvolutionSweeper, plugins.JoblibLauncher, plugins.RayLauncher):
        registry.register(plugin)  # Hydra's own search finds them only from some folders
    failures: list[Exception] = []

    def application(config: DictConfig) -> None:
        try:
            job(config)
        except Exception as error:  # in this process; a worker hands it back
            failures.append(error)
            raise

    for name in ("plan", "warm"):
        setattr(application, name, getattr(job, name))
    with writing(Path.cwd()):
        try:
            _launch(verb, arguments, application, SEARCH_NAME)
        except Exception:
            if failures:
                raise failures[0] from None
            raise


def _launch(verb: str, arguments: Sequence[str], application: Callable[[DictConfig], None], name: str) -> None:
    # Hydra prints its own report and exits with 1 unless it is asked for the exception itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    full = completed(arguments, name)
    overrides, sweep, shown = _parsed(full)
    sys.argv = [f"alphatrade {verb}", *full]
    try:
        if full == overrides and not any("hydra" in word for word in full):
            application(composed(full, name))  # Hydra's own front door would compose twice more
        else:
            hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=name)(application)()
    except HYDRA_ERRORS as error:
        raise explain(error, overrides, sweep, name) from error
    except SystemExit as error:
        if shown:  # that is how Hydra ends
            raise
        raise ConfigError("plug-in", repr(error), "code that returns: nothing that is run here may end it") from error
    if shown:  # nothing was run: there is nothing to go on with
        raise SystemExit(0)


def _parsed(arguments: Sequence[str]) -> tuple[list[str], bool, bool]:
    """Return the overrides, whether several values are asked for, and whether Hydra is only to show something."""
    parser = get_args_parser()
    parser.exit_on_error = False  # it would print its usage
    try:
        known = parser.parse_args(arguments)
    except ArgumentError as error:
        if error.argument_name is None:
            raise ConfigError("option", error.message, "Hydra's options, before or after all overrides") from None
        raise ConfigError("option", error.argument_name, f"another value ({error.message})") from None
    shown = known.help or known.hydra_help or known.cfg is not None or known.info is not None
    return known.overrides, known.multirun, shown
