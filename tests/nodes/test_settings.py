"""Configuration through the front: overrides, groups, short names, and refusals in one line."""

import pytest

from alphatrade.nodes.settings import compose_settings, lengthen
from alphatrade.risk.errors import ConfigError


def test_defaults_compose_and_validate() -> None:
    settings = compose_settings([])
    assert settings.run.tape.source == "btcusd_1m"
    assert settings.policy.risk.name == "default"


def test_groups_and_values_are_overridden() -> None:
    settings = compose_settings(["policy/risk=tight", "tape=world", "tape.seed=3", "venue.account=cash", "seed=9"])
    assert settings.policy.risk.name == "tight"
    assert (settings.run.tape.source, settings.run.tape.seed) == ("world", 3)
    assert (settings.run.venue.account, settings.run.seed) == ("cash", 9)


def test_a_key_may_be_shortened_to_an_unambiguous_tail() -> None:
    settings = compose_settings(["cadence.kind=events", "cadence.n=7", "account=cash"])
    assert (settings.policy.cadence.kind, settings.policy.cadence.n) == ("events", 7)
    assert settings.run.venue.account == "cash"
    with pytest.raises(ConfigError, match=r"one of a\.n, b\.n"):
        lengthen("n=1", ["a", "a.n", "b", "b.n"])


def test_several_tapes_replace_the_one() -> None:
    settings = compose_settings(["tapes=[{source: world, seed: 1},{source: world, seed: 2, instrument: TWO/USD}]"])
    assert [tape.seed for tape in settings.run.all_tapes] == [1, 2]


def test_the_policy_hash_ignores_where_it_runs() -> None:
    here = compose_settings([]).policy.policy_hash
    assert compose_settings(["seed=5", "tape=world", "venue=stock"]).policy.policy_hash == here
    assert compose_settings(["policy.belief.k=8"]).policy.policy_hash != here


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["nonsense=1"], r"nonsense"),
        (["policy.belief.k=many"], r"policy\.belief\.k: got 'many', expected a valid integer"),
        (["policy.risk.drawdown_max=7"], r"policy\.risk\.drawdown_max: got 7, expected less than or equal to 1"),
        (["policy/risk=reckless"], r"policy/risk=reckless.*Could not find 'policy/risk/reckless'"),
        (["seed=[1"], r"seed=\[1"),
        (["+policy.extra=1"], r"policy\.extra: got 1, expected no such key"),
        (["exploration=true"], r"no exploration mechanism"),
        (["governed_feedback=true"], r"no governed_feedback mechanism"),
        (["env=paper"], r"only environment that this version can run"),
        (["policy.flags.linear_attention=true"], r"no linear_attention mechanism"),
        (["venue.prob_slippage=1.5"], r"venue\.prob_slippage: got 1\.5"),
        (["tape.source=moon"], r"tape"),
        (["seed=${nowhere}"], r"nowhere"),
        (["tapes=5"], r"tapes: got 5"),
    ],
)
def test_bad_configuration_is_one_clear_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose_settings(overrides)
    assert "\n" not in str(caught.value)
