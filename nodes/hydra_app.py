"""A verb as a Hydra application: its flags (``--cfg job``, ``--info`` …) and overrides are Hydra's own."""

import os
import sys
from collections.abc import Callable, Sequence

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from alphatrade.nodes.settings import (
    CONFIG_MODULE,
    CONFIG_NAME,
    Settings,
    known_paths,
    lengthen,
    override_error,
    settings_from,
)


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
    known = known_paths()
    sys.argv = [f"alphatrade {verb}", *(a if a.startswith("-") else lengthen(a, known) for a in arguments)]

    failures: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME)
    def application(config: DictConfig) -> None:
        try:
            task(settings_from(config))
        except Exception as error:  # Hydra would print a line of its own: raise it outside
            failures.append(error)

    try:
        application()
    except (HydraException, OmegaConfBaseException) as error:
        raise override_error(error, arguments) from error
    if failures:
        raise failures[0]
