"""Composition root: all that starts. From Python, ``alphatrade.nodes.run(["seed=2"])`` is ``alphatrade sim seed=2``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alphatrade.nodes.result import RunResult

__all__ = ["run"]


def run(overrides: Sequence[str] = ()) -> "RunResult":
    """
    Replay a tape under the law, as ``alphatrade sim`` does.

    Parameters
    ----------
    overrides : sequence of str
        Hydra overrides, as on the command line.

    Returns
    -------
    RunResult
        Paths, summary and data frames of the run.

    Raises
    ------
    AlphaTradeError
        If configuration, tape or folder cannot be used, or the kill switch is latched.
    """
    from alphatrade.nodes.settings import compose_settings  # these load Nautilus: seconds that `help` need not wait
    from alphatrade.nodes.sim import simulate

    return simulate(compose_settings(overrides))
