"""Settings of a run: Hydra composes, one pydantic tree validates, and the run spec is told apart from the policy."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alphatrade.nodes.tape_spec import TapeSpec
from alphatrade.nodes.venue_spec import VenueSpec
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Policy, canonical, validate

CONFIG_MODULE = "alphatrade.conf"
CONFIG_NAME = "sim"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvSpec(_Model):
    """Where the run takes place, and the defaults of its run flags there."""

    name: Literal["sim", "paper", "live-shadow", "live"]
    exploration: bool
    governed_feedback: bool

    @model_validator(mode="after")
    def _runnable(self) -> Self:
        if self.name != "sim":
            raise ValueError(f"name={self.name}: sim, the only environment that this version can run")
        return self


class OutputSpec(_Model):
    """What is written beside the results; changes none of them."""

    diary: bool = True
    flush_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 16384
    flush_ms: Annotated[int, Field(ge=1, le=60_000)] = 5000
    ack_fd: Annotated[int, Field(ge=0)] | None = None
    stress: bool = True
    report: bool = True


class PathSpec(_Model):
    """Folders: results, and state that outlives a run."""

    artifacts: Path = Path("artifacts")
    state: Path


class RunSpec(_Model):
    """Everything of a run that is not the policy."""

    env: EnvSpec
    tape: TapeSpec
    tapes: Annotated[tuple[TapeSpec, ...], Field(max_length=32)] = ()
    venue: VenueSpec
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    exploration: bool = False
    governed_feedback: bool = False
    flat_at_end: bool = True
    output: OutputSpec
    paths: PathSpec

    @model_validator(mode="after")
    def _mechanisms(self) -> Self:
        for name in ("exploration", "governed_feedback"):
            if getattr(self, name):
                raise ValueError(f"{name}=false: this version has no {name} mechanism to switch on")
        return self

    @property
    def all_tapes(self) -> tuple[Any, ...]:
        """The tape specs to replay together."""
        return self.tapes or (self.tape,)

    def identity(self) -> dict[str, Any]:
        """Return what shapes the results, as plain values: no paths, no output settings, no unused tape."""
        plain = canonical(self)
        for name in ("paths", "output", "tape", "tapes"):
            plain.pop(name)
        # What a tape holds is in its tape_hash, wherever the file lies.
        return plain


class Settings(_Model):
    """The validated whole."""

    policy: Policy
    run: RunSpec


def settings_from(config: DictConfig) -> Settings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError("configuration", first_line(error), "values that can be resolved") from error
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    policy = validate(Policy, plain.pop("policy", {}), "policy")
    return Settings(policy=policy, run=validate(RunSpec, plain, ""))


def compose_settings(overrides: Sequence[str]) -> Settings:
    """
    Compose and validate a configuration from overrides, as on the command line.

    Parameters
    ----------
    overrides : sequence of str
        Hydra overrides; a key may be shortened to any unambiguous tail, as ``cadence.n=5``.

    Raises
    ------
    ConfigError
        If an override or the configuration is wrong.
    """
    known = known_paths()
    try:
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            config = compose(CONFIG_NAME, overrides=[lengthen(item, known) for item in overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise override_error(error, overrides) from error
    return settings_from(config)


def lengthen(override: str, known: Sequence[str]) -> str:
    """
    Return an override with its key written in full, where the key is an unambiguous tail of one known path.

    Parameters
    ----------
    override : str
        For instance ``cadence.n=5``.
    known : sequence of str
        Every path of the default configuration.

    Raises
    ------
    ConfigError
        If several paths end in the key.
    """
    key, equals, value = override.partition("=")
    if not equals or key[:1] in "+~" or "/" in key or "@" in key or key in known:
        return override
    if key.partition(".")[0] in {path.partition(".")[0] for path in known} | {"hydra"}:
        return override
    tails = [path for path in known if path.endswith(f".{key}")]
    if len(tails) > 1:
        raise ConfigError(key, value, f"one of {', '.join(tails)}")
    return f"{tails[0]}={value}" if tails else override


def known_paths() -> list[str]:
    """Return the path of every node of the default configuration, dots between keys."""
    GlobalHydra.instance().clear()
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        config = compose(CONFIG_NAME)
    GlobalHydra.instance().clear()
    found: list[str] = []

    def walk(node: DictConfig, prefix: str) -> None:
        for key in node:
            path = prefix + str(key)
            found.append(path)
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
                walk(child, f"{path}.")

    walk(config, "")
    return found


def override_error(error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Return one clear line for an error of Hydra's or OmegaConf's own."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    text = "; ".join(dict.fromkeys(first_line(item) for item in chain))
    named = [item for item in overrides if item.partition("=")[0].lstrip("+~") in text]
    blamed = max(named, key=lambda item: len(item.partition("=")[0]), default=" ".join(overrides))
    return ConfigError("override", blamed, f"a valid Hydra override ({text})")


def first_line(error: Exception) -> str:
    """Return the first non-empty line of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def plain_yaml(value: dict[str, Any]) -> str:
    """Return plain values as YAML, keys in their own order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def cache_dir(paths: PathSpec) -> Path:
    """Return the folder of converted tapes."""
    return Path(os.path.expanduser(paths.state)) / "cache"
