"""Settings of a run: Hydra composes, one pydantic tree validates, and the run spec is told apart from the policy."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.nodes.canary import check_canary
from alphatrade.nodes.overrides import (
    HYDRA_ERRORS,
    completed,
    composed,
    explain,
    first_line,
)
from alphatrade.nodes.refusals import checked
from alphatrade.nodes.tape_spec import TapeSpec
from alphatrade.nodes.venue_spec import VenueSpec
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import SINCE_1, Policy, canonical


def _named(value: Any) -> Any:
    if value == "":  # Path would take it for the working directory
        raise ValueError("a folder")
    return value


Folder = Annotated[Path, BeforeValidator(_named)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvSpec(_Model):
    """Where the run takes place, and the defaults of its run flags there."""

    name: Literal["sim", "paper", "live-shadow", "live"]
    exploration: bool
    governed_feedback: bool


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

    artifacts: Folder = Path("artifacts")
    state: Folder


class ExploreSpec(_Model):
    """What an exploring run may explore: of the flow, how often it may change, how far from its alternative."""

    share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    every: Annotated[int, Field(ge=2, le=1_000_000)] = 50
    probability: Annotated[float, Field(gt=0, le=1)] = 0.2
    delta_bps: tuple[float, float] = (-60.0, 60.0)

    @field_validator("delta_bps")
    @classmethod
    def _around_zero(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not -1e4 <= bounds[0] < 0.0 < bounds[1] <= 1e4:
            raise ValueError("a bound below 0 and one above, basis points: [-60, 60]")
        return bounds


class CanarySpec(_Model):
    """Another policy that trades beside the run's own, with a cap: a share of what the law lets the account do."""

    policy: Policy
    share: Annotated[float, Field(gt=0, le=0.5)]


class RunSpec(_Model):
    """Everything of a run that is not the policy."""

    env: EnvSpec
    tape: TapeSpec
    tapes: Annotated[tuple[TapeSpec, ...], Field(max_length=32)] = ()
    venue: VenueSpec
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    exploration: bool = False
    explore: Annotated[ExploreSpec, Field(json_schema_extra=SINCE_1)] = ExploreSpec()
    governed_feedback: bool = False
    flat_at_end: bool = True
    learned: Annotated[Folder | None, Field(json_schema_extra=SINCE_1)] = None
    canary: Annotated[CanarySpec | None, Field(json_schema_extra=SINCE_1)] = None
    output: OutputSpec
    paths: PathSpec

    @property
    def all_tapes(self) -> tuple[Any, ...]:
        """The tape specs to replay together."""
        return self.tapes or (self.tape,)

    def identity(self) -> dict[str, Any]:
        """Return what shapes the results, as plain values: no paths, no output settings, no unused tape."""
        plain = canonical(self)
        for name in ("paths", "output", "tape", "tapes", "learned", "explore"):
            plain.pop(name, None)
        if self.exploration:
            plain["explore"] = self.explore.model_dump(mode="json")
        # What a tape or a learned state holds is in its hash, wherever the file lies.
        return plain


class Settings(_Model):
    """The validated whole; with a genotype, the policy is what it develops into."""

    policy: Policy
    run: RunSpec
    genotype: Genotype | None = None

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.run.exploration and not self.policy.drift.enabled:
            raise ConfigError("exploration", True, "false without policy.drift.enabled: no alarm could freeze it")
        if self.run.canary is not None:
            if self.run.exploration:
                raise ConfigError("exploration", True, "false beside a canary: one experiment at a time")
            check_canary(self.policy, self.run.canary.policy)
        return self


def settings_from(config: DictConfig) -> Settings:
    """
    Validate a composed configuration.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    return settings_of(plain_from(config))


def plain_from(config: DictConfig) -> dict[str, Any]:
    """
    Return a composed configuration as plain values, without Hydra's own.

    Raises
    ------
    ConfigError
        If a value cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or "configuration"
        raise ConfigError(key, first_line(error), "a value that can be resolved") from error
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return {str(name): value for name, value in plain.items()}


def settings_of(plain: dict[str, Any], envs: Sequence[str] = ("sim",)) -> Settings:
    """
    Validate plain values.

    Parameters
    ----------
    plain : dict
    envs : sequence of str
        The environments that may run here.

    Raises
    ------
    ConfigError
        Naming path, value and expectation of the first problem.
    """
    plain = dict(plain)
    plain_policy, genes = plain.pop("policy", {}), plain.pop("genotype", None)
    file = plain.pop("policy_file", None)
    if file is not None:
        plain_policy, genes = _read_policy(file), None
    run = checked(RunSpec, plain, "")
    if run.env.name not in envs:
        words = f"{' or '.join(envs)}: paper and live have verbs of their own"
        raise ConfigError("env.name", run.env.name, words)
    if genes is None:
        return Settings(policy=checked(Policy, plain_policy, "policy"), run=run)
    try:
        genotype = checked(Genotype, genes, "genotype")
        policy = develop(genotype)
    except ConfigError as error:  # its parts are those of a policy, and say so
        field = re.sub(r"^policy\.", "genotype.", error.field)
        raise ConfigError(field, error.value, error.expected) from None
    return Settings(policy=policy, run=run, genotype=genotype)


def _read_policy(file: Any) -> Any:
    """Return the plain values of a file that holds a whole policy."""
    expected = "a JSON file with a whole policy, as `alphatrade rebuild-policy` or a run folder has it"
    try:
        found = json.loads(Path(str(file)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError("policy_file", str(file), f"{expected} ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise ConfigError("policy_file", str(file), expected)
    return found


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
    full = completed(overrides)
    try:
        config = composed(full)
    except HYDRA_ERRORS as error:
        raise explain(error, full) from error
    return settings_from(config)


def plain_yaml(value: dict[str, Any]) -> str:
    """Return plain values as YAML, keys in their own order."""
    return str(yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True))


def cache_dir(paths: PathSpec) -> Path:
    """Return the folder of converted tapes."""
    return Path(os.path.expanduser(paths.state)) / "cache"
