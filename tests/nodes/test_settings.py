"""Configuration through the front: overrides, groups and short names; refusals are in `test_refusals`."""

import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from alphatrade.nodes.overrides import CONFIG_MODULE, composed, lengthen
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT


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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sim", []),
        ("sim", ["tape.hours=3", "seed=2", "policy/risk=tight", "tape=world", "seed=3"]),
        ("sim", ["tapes=[{source: world, seed: 1}]", "policy.router.table.flat-low=breakout", "paths.state='a b'"]),
        ("sim", ["genotype=default", "genotype.sizing.fraction=0.05"]),
        ("sim", ["+policy.features.gap={kind: ret, window: 3}", "~policy.features.ret_1", "hydra.job.chdir=false"]),
        ("paper", ["feed=binance", "feed.symbols=[a,b]"]),
        ("evolve", ["search=small", "search.seed=3"]),
        *(("sim", list(words)) for words in permutations(
            ["venue={starting_balance: 7}", "venue.starting_balance=5", "venue=stock", "tape=str({source: world})"], 3
        )),
        ("live", ["broker.net=mainnet", "broker={net: testnet}"]),
        ("live", ["broker={net: testnet}", "broker.net=mainnet"]),
    ],
)
def test_what_is_composed_in_two_parts_is_what_hydra_composes(name: str, words: list[str]) -> None:
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        whole = compose(name, overrides=words)
    for _ in range(2):
        found = composed(words, name)
        assert (found, list(found)) == (whole, list(whole))
        for key in list(found):
            found[key] = None  # whoever changes his own changes nobody else's


def test_settings_need_neither_pandas_nor_numba(tmp_path: Path) -> None:
    """They take as long to import as all else that a command needs which is refused."""
    code = "import sys; import alphatrade.nodes.settings; assert not {'numba', 'pandas'} & set(sys.modules), 'imported'"
    env = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
