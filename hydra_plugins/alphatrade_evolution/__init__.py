"""Where Hydra looks for plug-ins: the sweeper and the launchers of :mod:`alphatrade.evolution`, and nothing else."""

from alphatrade.evolution import launchers, sweeper


class EvolutionSweeper(sweeper.EvolutionSweeper):
    """``hydra/sweeper=evolution``."""


class JoblibLauncher(launchers.JoblibLauncher):
    """``hydra/launcher=joblib``."""


class RayLauncher(launchers.RayLauncher):
    """``hydra/launcher=ray``."""
