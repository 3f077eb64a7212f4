"""Settings of the reflection job, ``conf/rim.yaml``, validated; and the models that come with this version."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import rfc8785
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from alphatrade.evolution.domain import Domain
from alphatrade.nodes.overrides import CONFIG_MODULE, beside
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.settings import EnvSpec, PathSpec, plain_from
from alphatrade.reflection.rim.edits import Bounds, Reach
from alphatrade.reflection.rim.propose import RimSpec
from alphatrade.reflection.thresholds import GovernanceSpec
from alphatrade.risk.errors import ConfigError

_KEYS = ("env", "domain", "governance", "rim", "run", "instrument", "governed_feedback", "slice", "smaller", "paths")


class RimSettings(NamedTuple):
    """
    The validated configuration of ``conf/rim.yaml``.

    Attributes
    ----------
    run_dir : Path
        Whose diary is read.
    instrument : str
        Empty: the only one.
    governed : bool
        The flag governed_feedback.
    share : float
        Of the run's time that the RIM reads.
    bounds : Bounds
    rim : RimSpec
    governance : GovernanceSpec
    paths : PathSpec
    config_hash : str
        Sha256 of all that shapes proposals: domain, bounds and how they are made; of no path and no flag.
    """

    run_dir: Path
    instrument: str
    governed: bool
    share: float
    bounds: Bounds
    rim: RimSpec
    governance: GovernanceSpec
    paths: PathSpec
    config_hash: str


def rim_settings(config: DictConfig) -> RimSettings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    plain = plain_from(config)
    if strange := sorted(set(plain) - set(_KEYS)):
        raise ConfigError(strange[0], plain[strange[0]], f"a known key, one of {', '.join(_KEYS)}")
    if missing := [name for name in _KEYS if name not in plain]:
        raise ConfigError(missing[0], None, "a value: this key is required")
    checked(EnvSpec, plain["env"], "env")
    governed, share = plain["governed_feedback"], plain["slice"]
    if not isinstance(governed, bool):
        raise ConfigError("governed_feedback", governed, "true or false")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.1 <= share <= 0.9:
        raise ConfigError("slice", share, "a share of the run from 0.1 to 0.9")
    if not isinstance(plain["run"], str) or not plain["run"]:
        raise ConfigError("run", plain["run"], "the folder of a run, for instance artifacts/latest")
    domain = checked(Domain, plain["domain"], "domain")
    shaping = {name: plain[name] for name in ("domain", "rim", "slice", "smaller")}
    return RimSettings(
        Path(plain["run"]), str(plain["instrument"] or ""), governed, float(share),
        bounds_of(domain, plain["smaller"]), checked(RimSpec, plain["rim"], "rim"),
        checked(GovernanceSpec, plain["governance"], "governance"), checked(PathSpec, plain["paths"], "paths"),
        hashlib.sha256(rfc8785.dumps(shaping)).hexdigest(),
    )  # fmt: skip


def composed(run_dir: Path, artifacts: Path, state: Path, governed: bool) -> RimSettings:
    """Return the settings of a job on a run, everything else as ``conf/rim.yaml`` has it."""
    with beside(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        config = compose("rim")
    config.run, config.governed_feedback = str(run_dir), governed
    config.paths.artifacts, config.paths.state = str(artifacts), str(state)
    return rim_settings(config)


def shipped_bounds() -> Bounds:
    """Return the bounds of ``conf/rim.yaml`` as it comes."""
    with beside(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return rim_settings(compose("rim")).bounds


@cache
def shipped_governance() -> GovernanceSpec:
    """Return the thresholds of ``conf/governance`` as they come."""
    with beside(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return rim_settings(compose("rim")).governance


def bounds_of(domain: Domain, smaller: Any = ()) -> Bounds:
    """
    Return what edits may reach, as evolution's domain has it.

    Parameters
    ----------
    domain : Domain
    smaller : sequence of str
        Parameters, ``kind.parameter``, that may only become smaller.

    Raises
    ------
    ConfigError
        If one of them is no parameter of the domain.
    """
    known = {f"{kind}.{name}" for kind, topology in domain.topologies.items() for name in topology.params}
    if not isinstance(smaller, list | tuple) or not set(smaller) <= known:
        raise ConfigError("smaller", smaller, f"some of {', '.join(sorted(known))}")
    return Bounds(
        {
            kind: {name: Reach(span.low, span.high, span.log, span.whole) for name, span in topology.params.items()}
            for kind, topology in domain.topologies.items()
        },
        {kind: topology.never for kind, topology in domain.topologies.items()},
        frozenset(smaller),
    )


def model_file(engine: str) -> Path:
    """Return the file of the model of an engine that comes with this version."""
    return Path(str(files("alphatrade.reflection.rim").joinpath("models", f"{engine}.json")))
