"""Configuration through the front: overrides, groups and short names; refusals are in `test_refusals`."""

from pathlib import Path

import pytest

from alphatrade.nodes.overrides import lengthen
from alphatrade.nodes.settings import compose_settings
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
    assert compose_settings(["tape=world", "hours=3"]).run.tape.hours == 3, "also of a choice made beside it"
    with pytest.raises(ConfigError, match=r"one of a\.n, b\.n"):
        lengthen("n=1", ["a", "a.n", "b", "b.n"])


def test_the_working_directory_is_a_folder_when_it_is_named() -> None:
    assert compose_settings(["paths.artifacts=."]).run.paths.artifacts == Path()


def test_several_tapes_replace_the_one() -> None:
    settings = compose_settings(["tapes=[{source: world, seed: 1},{source: world, seed: 2, instrument: TWO/USD}]"])
    assert [tape.seed for tape in settings.run.all_tapes] == [1, 2]


def test_the_policy_hash_ignores_where_it_runs() -> None:
    here = compose_settings([]).policy.policy_hash
    assert compose_settings(["seed=5", "tape=world", "venue=stock"]).policy.policy_hash == here
    assert compose_settings(["policy.belief.k=8"]).policy.policy_hash != here
