"""Execution topologies: wirings from signal to orders and exits, one module each, behind one small interface."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from alphatrade.actors.features import load_class
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.topologies.base import Desire, Limit, Topology, View
from alphatrade.strategies.topologies.breakout_stop import BreakoutStop
from alphatrade.strategies.topologies.flat import Flat
from alphatrade.strategies.topologies.passive_reversion import PassiveReversion
from alphatrade.strategies.topologies.taker_momentum import TakerMomentum
from alphatrade.strategies.topologies.two_sided_maker import TwoSidedMaker

__all__ = ["BUILT_IN", "Desire", "Limit", "Topology", "View", "load_topology"]

BUILT_IN: Mapping[str, type[Topology]] = {
    "breakout_stop": BreakoutStop,
    "flat": Flat,
    "passive_reversion": PassiveReversion,
    "taker_momentum": TakerMomentum,
    "two_sided_maker": TwoSidedMaker,
}


def load_topology(path: str, kind: str, params: Mapping[str, Any], features: Sequence[str]) -> Topology:
    """
    Return one tactic: a topology with validated parameters.

    Parameters
    ----------
    path : str
        Its place in the configuration, for messages.
    kind : str
        A built-in kind or an import path ``package.module:Class``.
    params : mapping
        Fields of the topology's ``Params``.
    features : sequence of str
        Names of the policy's features in vector order.

    Raises
    ------
    ConfigError
        If the kind is unknown, a parameter is wrong, or a signal names no feature of the policy.
    """
    found = load_class(kind, BUILT_IN, Topology, f"{path}.kind")
    try:
        valid = found.Params.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([path, "params", *(str(part) for part in first["loc"])])
        known = f"one of the parameters {', '.join(found.Params.model_fields) or '(none)'}"
        expected = known if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Input should be ")
        raise ConfigError(where, first["input"], expected) from None
    signal = getattr(valid, "signal", None)
    if signal is not None and signal not in features:
        raise ConfigError(f"{path}.params.signal", signal, f"one of the features {', '.join(features)}")
    return found(valid, features)
