"""The thresholds of governance, ``conf/governance``, and whether some are looser than others."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from alphatrade.reflection.stages import STAGES
from alphatrade.reflection.uplift import FEWEST
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec

Share = Annotated[float, Field(gt=0, le=1)]
MORE_IS_STRICTER = ("uplift_bps", "level", "periods", "moved", "embargo_s", "shadow_periods", "canary_periods")
LESS_IS_STRICTER = ("changes_per_day", "flow", "canary_share", "canary_loss_bps", "drawdown")


class GovernanceSpec(Spec):
    """
    The rule: ``conf/governance``.

    Attributes
    ----------
    uplift_bps : float
        Least mean uplift in the replay, bps of the capital an hour.
    level : float
        Confidence that none of the proposals that are ruled on together is applied for nothing.
    periods, moved : int
        Whole periods of the replay, and those in which the change made a difference, at least.
    embargo_s : float
        Between the last row that a proposal rests on and the first of the replay, seconds.
    changes_per_day : int
        Changes that may begin within 24 hours.
    flow : float
        Share of the flow that a change by rule may bear on while it is a canary: share of what it touches times that
        of the canary.
    canary_share : float
        Of the capital.
    stage : str
        The highest at which anything is applied by rule.
    shadow_periods, canary_periods : int
        Periods that a change has to be in shadow, and a canary, before it goes on.
    canary_loss_bps, drawdown : float
        How far a canary may be behind the policy beside it, bps of its own capital, and the drawdown of a changed
        policy, from which it is taken back.
    seed : int
        Of resampling.
    """

    uplift_bps: Annotated[float, Field(ge=0, le=1e4)]
    level: Annotated[float, Field(ge=0.8, lt=1)]
    periods: Annotated[int, Field(ge=FEWEST, le=100_000)]
    moved: Annotated[int, Field(ge=1, le=100_000)]
    embargo_s: Annotated[float, Field(ge=0, le=1e8)]
    changes_per_day: Annotated[int, Field(ge=0, le=1000)]
    flow: Share
    canary_share: Annotated[float, Field(gt=0, le=0.5)]
    stage: Annotated[str, Field(pattern=f"^({'|'.join(STAGES[:2])})$")]
    shadow_periods: Annotated[int, Field(ge=1, le=100_000)]
    canary_periods: Annotated[int, Field(ge=1, le=100_000)]
    canary_loss_bps: Annotated[float, Field(ge=0, le=1e4)]
    drawdown: Share
    seed: Annotated[int, Field(ge=0, lt=2**32)]


def as_spec(plain: Mapping[str, Any]) -> GovernanceSpec:
    """
    Return the rule of plain values, as a ruling in the ledger has it.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        return GovernanceSpec.model_validate(dict(plain))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(["ruling.spec", *map(str, first["loc"])])
        raise ConfigError(place, first["input"], first["msg"].removeprefix("Input should be ")) from None


def looser(spec: GovernanceSpec, than: GovernanceSpec) -> tuple[str, ...]:
    """Return in which thresholds a rule is looser than another, in words; what is no threshold does not count."""
    words = [
        f"{name} {getattr(spec, name):g} ({getattr(than, name):g})"
        for names, sign in ((MORE_IS_STRICTER, 1.0), (LESS_IS_STRICTER, -1.0))
        for name in names
        if sign * getattr(spec, name) < sign * getattr(than, name)
    ]
    if STAGES.index(spec.stage) > STAGES.index(than.stage):
        words.append(f"stage {spec.stage} ({than.stage})")
    return tuple(words)
