"""Promotion: the gate's thresholds as configured."""

from importlib.resources import files

import yaml

from alphatrade.evolution.evidence import PromotionSpec
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.refusals import checked
from alphatrade.risk.errors import ConfigError


def promotion_spec(name: str = "default") -> PromotionSpec:
    """
    Return the thresholds ``conf/promotion/<name>.yaml``.

    Raises
    ------
    ConfigError
        If there is no such file, or a threshold is outside its bounds.
    """
    folder = files(CONFIG_MODULE).joinpath("promotion")
    names = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())
    if name not in names:
        raise ConfigError("promotion", name, f"one of {', '.join(names)}")
    return checked(PromotionSpec, yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text("utf-8")), "promotion")
