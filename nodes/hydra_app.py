"""A verb as a Hydra application: its flags (``--cfg job``, ``--info`` …) and overrides are Hydra's own."""

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from alphatrade.nodes.overrides import CONFIG_MODULE, CONFIG_NAME, HYDRA_ERRORS, completed, explain
from alphatrade.nodes.settings import Settings, settings_from
from alphatrade.risk.errors import ConfigError


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
    # Hydra prints its own report and exits with 1 unless it is asked for the exception itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    full = completed(arguments)
    overrides, sweep = _parsed(full)
    sys.argv = [f"alphatrade {verb}", *full]

    failures: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME)
    def application(config: DictConfig) -> None:
        try:
            task(settings_from(config))
        except Exception as error:  # Hydra would print a line of its own: raise it outside
            failures.append(error)

    try:
        application()
    except HYDRA_ERRORS as error:
        raise explain(error, overrides, sweep) from error
    if failures:
        raise failures[0]


def _parsed(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the overrides among `arguments` and whether several values are asked for; Hydra would print its usage."""
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        known = parser.parse_args(arguments)
    except ArgumentError as error:
        if error.argument_name is None:
            raise ConfigError("option", error.message, "Hydra's options, before or after all overrides") from None
        raise ConfigError("option", error.argument_name, f"another value ({error.message})") from None
    return known.overrides, known.multirun
