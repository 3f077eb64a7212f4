"""Training of the RIM: labels are of what comes after the slice, and what is referred to evolution is a founder there."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from alphatrade.nodes import rim_train, rim_worlds
from alphatrade.nodes.evolve import referred, search_settings
from alphatrade.nodes.overrides import CONFIG_MODULE
from alphatrade.nodes.rim_settings import model_file, shipped_bounds
from alphatrade.nodes.sim import load_tapes
from alphatrade.reflection.feedback import Case, Feedback
from alphatrade.reflection.rim import engines
from alphatrade.reflection.rim.edits import RouteWeight, apply_edit
from alphatrade.reflection.rim.entries import Ruling
from alphatrade.reflection.rim.proposals import Proposal
from tests.reflection.make_proposal import experiment, ruling


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHATRADE_STATE", str(tmp_path / "state"))


def test_the_window_of_the_labels_begins_an_embargo_after_the_slice() -> None:
    (tape,) = load_tapes(rim_worlds.planted("wrong_tactic", 1).settings.run)
    cut = rim_train.halves(tape)
    assert cut.second.span[0] - cut.first.span[1] >= rim_train.EMBARGO_S * 1e9
    assert cut.first.span[0] == tape.span[0]
    assert cut.second.span[1] == tape.span[1]


@pytest.mark.long
def test_a_label_is_what_the_edit_earns_there_beyond_the_policy() -> None:
    world = rim_worlds.planted("wrong_tactic", 1)  # prices come back, and momentum leads
    own, bounds = world.settings, shipped_bounds()
    second = rim_train.halves(load_tapes(own.run)[0]).second
    right = apply_edit(own.policy, RouteWeight(regime="flat-low", tactic="reversion", weight=1.0), bounds)
    found = rim_train.labelled(world, bounds, 100, 1)
    assert found is not None
    labels = {option.child.policy_hash: uplift for option, uplift in zip(found.options, found.uplift, strict=True)}
    expected = rim_train.earned(right, own, second) - rim_train.earned(own.policy, own, second)
    assert labels[right.policy_hash] == expected
    assert expected > 0.5, "bps an hour: this is the planted fault"
    assert found.inputs.edit.shape == (len(found.options), len(rim_train.INPUT.edit))
    assert np.isfinite(found.inputs.rows).all()


@pytest.mark.long
def test_edits_of_a_slice_are_labelled_the_same_twice_and_drawn_by_the_seed() -> None:
    world, bounds = rim_worlds.planted("no_edge", 2), shipped_bounds()
    first, again, other = (rim_train.labelled(world, bounds, 3, seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.uplift == again.uplift
    assert [one.edit for one in first.options] != [one.edit for one in other.options]


@pytest.mark.parametrize("engine", ["ridge", "trm"])
def test_the_models_that_ship_are_of_the_inputs_of_this_version(engine: str) -> None:
    model = engines.load(model_file(engine), rim_train.INPUT)
    assert model.name == engine
    assert model.trained.brier < model.trained.base


def test_an_experiment_that_was_referred_is_a_founder_of_a_search() -> None:
    with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        own = search_settings(compose("evolve", overrides=["experiments=true"]))
    assert own.experiments
    plain = experiment()  # flat, in up-low
    case = Case(Proposal.model_validate(plain), 1, Ruling.model_validate(ruling(plain, "refer")), 2)
    (founder,) = referred(own, Feedback({plain["id"]: case}))
    assert [gene.kind for gene in founder.topologies["up-low"]] == ["flat"]
    others = {regime: genes for regime, genes in founder.topologies.items() if regime != "up-low"}
    assert others == {regime: genes for regime, genes in own.genotype.topologies.items() if regime != "up-low"}
    rejected = case._replace(ruling=Ruling.model_validate(ruling(plain, "reject")))
    assert referred(own, Feedback({plain["id"]: rejected})) == []
