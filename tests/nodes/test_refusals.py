"""Refusals in full: what a user of the command line reads names the key, the value and what would have been right."""

import re

import pytest

from alphatrade.nodes.overrides import explain
from alphatrade.nodes.settings import compose_settings
from alphatrade.risk.errors import ConfigError

TOP = "policy, env, tape, venue, explore, tapes, seed, policy_file, exploration, governed_feedback, flat_at_end, learned, output, paths"
SYNTAX = "key=value: no spaces around =, quotes and brackets closed, special characters in quotes"
BELIEF = "a known key, one of n, k, seed, halflife"
INPUTS: dict[str, tuple[str, str]] = {
    # choices
    "policy/risk=reckless": ("policy/risk: got 'reckless'", "one of default, pilot, tight"),
    "venue=nasdaq": ("venue: got 'nasdaq'", "one of default, stock"),
    "env=prod": ("env: got 'prod'", "one of live, live-shadow, paper, sim"),
    "env=paper": ("env.name: got 'paper'", "sim: paper and live have verbs of their own"),
    "policy=null": ("policy: got 'null'", "one of chaser, default"),
    "risk=tight": (
        "policy.risk: got 'tight'",
        "keys below it, policy.risk.<key>=<value>; a choice from a group is written policy/risk=tight",
    ),
    "policy.cadence=bars": ("policy.cadence: got 'bars'", "keys below it, policy.cadence.<key>=<value>"),
    "policy/riks=tight": (
        "policy/riks: got 'tight'",
        "a group, one of broker, cache, domain, download, env, explore, feed, genotype, governance, grid, policy, promotion, search, tape, venue, policy/belief, policy/drift, policy/features, policy/flags, "
        "policy/learning, policy/regime, policy/risk, policy/router, policy/topologies (did you mean policy/risk?)",
    ),
    # keys
    "sed=2": ("sed: got '2'", f"a known key, one of {TOP} (did you mean seed?)"),
    "leverge=5": ("leverge: got '5'", f"a known key, one of {TOP} (did you mean venue.leverage?)"),
    "belief.kk=1": ("belief.kk: got '1'", BELIEF),
    "policy.belief.sead=1": ("policy.belief.sead: got '1'", f"{BELIEF} (did you mean policy.belief.seed?)"),
    "polcy.belief.k=1": ("polcy.belief.k: got '1'", f"a known key, one of {TOP} (did you mean policy?)"),
    "seed.x=1": ("seed.x: got '1'", "seed=<value>: nothing lies below it"),
    "~nothing": ("nothing: got None", f"a known key, one of {TOP}"),
    "~policy.risk": ("policy.risk: got None", "a value: this key is required"),
    "+policy.belief.kk=1": ("policy.belief.kk: got 1", BELIEF),
    "+new.key=1": (
        "new: got {'key': 1}",
        "a known key, one of env, tape, tapes, venue, seed, exploration, explore, governed_feedback, flat_at_end, "
        "learned, canary, output, paths",
    ),
    "tape.path=x.csv": (
        "tape.path: got 'x.csv'",
        "a known key, one of source, name, start, end, tick, lot, maker_fee, taker_fee, half_spread_bps, "
        "stale_after_s, outlier, max_bad, depth (it is there with tape=catalog or tape=file)",
    ),
    # how it is written
    "nonsense": ("override: got 'nonsense'", SYNTAX),
    "seed=[1": ("override: got 'seed=[1'", SYNTAX),
    "seed='1": ('override: got "seed=\'1"', SYNTAX),
    "seed = 1": ("override: got 'seed = 1'", SYNTAX),
    "seed==1": ("override: got 'seed==1'", SYNTAX),
    "=5": ("override: got '=5'", "key=value: the key is missing"),
    "seed=1,2": ("seed: got '1,2'", "one value; a list is written in brackets: [1,2]"),
    "seed=${nowhere}": ("seed: got \"Interpolation key 'nowhere' not found\"", "a value that can be resolved"),
    "policy@foo=default": (
        "override: got 'policy@foo=default'",
        "one that Hydra accepts (Could not override 'policy@foo'.)",
    ),
    # values
    "governed_feedback=perhaps": ("governed_feedback: got 'perhaps'", "a valid boolean"),
    "explore.share=0": ("explore.share: got 0", "greater than 0"),
    "explore.delta_bps=[1,2]": (
        "explore.delta_bps: got [1, 2]",
        "a bound below 0 and one above, basis points: [-60, 60]",
    ),
    "seed=": ("seed: got ''", "a valid integer"),
    "seed=null": ("seed: got None", "a valid integer"),
    "seed=[1,2]": ("seed: got [1, 2]", "a valid integer"),
    "seed=nan": ("seed: got nan", "a finite number"),
    "seed=1e400": ("seed: got inf", "a finite number"),
    "seed=-1": ("seed: got -1", "greater than or equal to 0"),
    "seed=99999999999999999999": ("seed: got 99999999999999999999", "less than 4294967296"),
    "tapes=world": ("tapes: got 'world'", "a list: [a, b]"),
    "tapes=[{}]": ("tapes.0: got {}", "the key source"),
    "tapes=[{source: moon}]": (
        "tapes.0: got {'source': 'moon'}",
        "a source, one of btcusd_1m, file, catalog, world",
    ),
    "tapes=[{source: world, hours: -1}]": ("tapes.0.hours: got -1", "greater than 0"),
    "tapes=[{source: file}]": ("tapes.0.path: got None", "a value: this key is required"),
    "tape.start=[2026]": ("tape.start: got [2026]", "a valid string or a valid integer"),
    "tape.tick=nan": ("tape.tick: got nan", "a finite number"),
    "tape.name=../../x": ("tape.name: got '../../x'", r"a text that matches ^\w[\w .+-]*$"),
    "paths.artifacts=": ("paths.artifacts: got ''", "a folder"),
    "paths.state=null": ("paths.state: got None", "a path"),
    "policy.router.table.flat-low=oracle": (
        "policy.router.table.flat-low: got 'oracle'",
        "one of the tactics breakout, flat, maker, momentum, reversion",
    ),
}


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose_settings(overrides)
    return str(caught.value)


@pytest.mark.parametrize("override", INPUTS)
def test_a_wrong_override(override: str) -> None:
    got, expected = INPUTS[override]
    assert refusal(override) == f"{got}, expected {expected}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("tape=world", "hours=-1"), "tape.hours: got -1, expected greater than 0"),
        (("tape=world", "tape.hours=nan"), "tape.hours: got nan, expected a finite number"),
        (("tape=file", "tape.path="), "tape.path: got '', expected a text that is not empty"),
        (
            ("tape=file", "tape.path=x.csv", "tape.tz=Mars/Base"),
            "tape.tz: got 'Mars/Base', expected a time zone such as UTC or America/New_York",
        ),
    ],
)
def test_a_wrong_value_below_a_choice(overrides: tuple[str, ...], message: str) -> None:
    assert refusal(*overrides) == message


FILE = ("tape=file", "tape.path=bars.csv")
RISK = "policy/risk: got 'foo', expected one of default, pilot, tight"


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*FILE, "policy/risk=foo"), RISK),
        (("tape=file", "path=bars.csv", "policy/risk=foo"), RISK),
        ((*FILE, "policy/features=foo"), "policy/features: got 'foo', expected one of "),
        ((*FILE, "policy/riks=tight"), "policy/riks: got 'tight', expected a group, one of "),
        ((*FILE, "policy/risk@foo=tight"), "override: got 'policy/risk@foo=tight', expected one that Hydra accepts ("),
        ((*FILE, "+policy/risk=foo"), "override: got '+policy/risk=foo', expected one that Hydra accepts ("),
        (
            ("tape=moon", "tape.path=bars.csv"),
            "tape: got 'moon', expected one of btcusd_1m, catalog, file, reverting, world",
        ),
        (("policy/risk=foo", "sed=2"), RISK),
        ((*FILE, "policy/risk=foo", "policy.belief.kk=1"), RISK),
        ((*FILE, "policy/risk=tight", "sed=2"), "sed: got '2', expected a known key, one of "),
        ((*FILE, "policy/risk='tight'", "sed=2"), "sed: got '2', expected a known key, one of "),
    ],
)
def test_the_blame_for_a_wrong_choice_falls_on_no_other_override(
    overrides: tuple[str, ...], message: str, backwards: bool
) -> None:
    assert refusal(*(reversed(overrides) if backwards else overrides)).startswith(message)


@pytest.mark.parametrize(
    "override", ["policy/risk=tight,pilot", "policy/risk=choice(tight,pilot)", "policy/risk=glob(*)"]
)
def test_a_right_choice_of_a_sweep_is_not_blamed(override: str) -> None:
    error = explain(ValueError("nothing"), [override, "sed=2"], sweep=True)
    assert str(error).startswith("sed: got '2', expected a known key, one of ")


def test_a_wrong_choice_of_a_sweep_is_blamed() -> None:
    error = explain(ValueError("nothing"), ["sed=2", "policy/risk=tight,foo"], sweep=True)
    assert str(error) == "policy/risk: got 'tight,foo', expected one of default, pilot, tight"


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("policy.flags.fast_weights=true", "policy.flags.fast_weights: got True, expected "),
        ("policy.belief.k=64", "policy.belief.k: got 64, expected "),
        ("policy.regime.trend_exit=5", "policy.regime.trend_exit: got 5.0, expected "),
    ],
)
def test_a_rule_over_several_keys_shows_what_it_is_about(override: str, path: str) -> None:
    assert refusal(override).startswith(path)


@pytest.mark.parametrize("override", ["policy.router.table=null", "policy.belief.k=many", f"seed={'x' * 2000}"])
def test_a_refusal_is_one_line_that_can_be_read(override: str) -> None:
    message = refusal(override)
    assert re.fullmatch(r"[^\n]{1,600}", message)
    assert message.count("expected") == 1
