"""Both engines: they learn, their confidence can be believed, their files are hashed and the same everywhere."""

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rfc8785

from alphatrade.reflection.rim.calibration import Calibration, base_brier, brier, expected_calibration_error
from alphatrade.reflection.rim.engines import Columns, Inputs, Labels, RidgeSpec, TrmSpec, fit, load, save
from alphatrade.reflection.rim.examples import Prediction, cut
from alphatrade.reflection.rim.propose import ranked
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT
from tests.reflection.make_examples import examples

TINY = TrmSpec(width=8, hidden=12, latent_steps=1, cycles=2, supervision=2, epochs=2, batch=32, rate=5e-3, folds=2)
SMALL = TrmSpec(width=16, hidden=32, latent_steps=2, cycles=2, supervision=2, epochs=24, rate=3e-3, drop=0.2, folds=4)
SPECS = {"ridge": RidgeSpec(), "trm": SMALL}
TINIES = {"ridge": RidgeSpec(folds=3), "trm": TINY}
ENGINES = sorted(SPECS)


@pytest.fixture(scope="module")
def learnt():
    inputs, labels, _ = examples(120, 20, 1)
    return {kind: fit(kind, inputs, labels, spec, 7) for kind, spec in SPECS.items()}


@pytest.fixture(scope="module")
def unseen():
    return examples(150, 20, 2)


@pytest.fixture(scope="module")
def few():
    return examples(10, 12, 3)[:2]


@pytest.fixture(scope="module")
def tiny(few):
    return {kind: fit(kind, *few, spec, 7) for kind, spec in TINIES.items()}


@pytest.mark.parametrize("kind", ENGINES)
def test_it_learns_on_slices_it_has_not_seen(learnt, unseen, kind):
    inputs, labels, chance = unseen
    found = learnt[kind].predict(inputs)
    assert brier(found.confidence, labels.beat) < 0.9 * base_brier(labels.beat)
    explained = 1.0 - np.mean((found.uplift - labels.uplift) ** 2) / np.var(labels.uplift)
    assert explained > 0.1
    assert np.corrcoef(found.confidence, chance)[0, 1] > 0.7
    chosen = labels.uplift[found.confidence > 0.6]
    assert len(chosen) > 300
    assert chosen.mean() > labels.uplift.mean() + 1.0, "what it is sure of beats no-op, and the rest"
    assert chosen.mean() - 3 * chosen.std() / len(chosen) ** 0.5 > 0


def test_what_promises_most_is_proposed_first_if_it_is_sure_enough():
    told = Prediction(np.array([0.1, 3.0, 0.5, -0.2, 0.5, 0.0]), np.array([0.9, 0.4, 0.6, 0.9, 0.99, 0.9]))
    assert ranked(told, 0.5) == [2, 4, 0], "neither a loss nor nothing, nor what is unsure; equals in their order"
    assert ranked(told, 0.4) == [1, 2, 4, 0]
    assert ranked(told, 1.0) == []


@pytest.mark.parametrize("kind", ENGINES)
def test_its_confidence_is_calibrated(learnt, unseen, kind):
    inputs, labels, _ = unseen
    assert len(labels.beat) >= 2_000
    model = learnt[kind]
    p = model.predict(inputs).confidence
    assert expected_calibration_error(p, labels.beat) <= 0.05
    assert brier(p, labels.beat) < base_brier(labels.beat)
    assert ((p > 0) & (p < 1)).all()
    # With the calibration disabled, or three times as sure as it should be: the figure sees it.
    off = dataclasses.replace(model, calibration=Calibration("platt", np.array([3.0 if kind == "trm" else 1.0, 0.0])))
    assert expected_calibration_error(off.predict(inputs).confidence, labels.beat) > 0.05


@pytest.mark.parametrize("kind", ENGINES)
def test_the_figures_of_the_training_are_out_of_fold(learnt, unseen, kind):
    inputs, labels, _ = unseen
    trained = learnt[kind].trained
    assert (trained.examples, trained.groups) == (2_400, 120)
    assert trained.brier == pytest.approx(brier(learnt[kind].predict(inputs).confidence, labels.beat), abs=0.02)
    assert trained.brier < trained.base


@pytest.mark.parametrize("kind", ENGINES)
def test_where_nothing_can_be_known_it_claims_nothing(kind):
    inputs, labels, _ = examples(40, 10, 4, signal=0.0)
    p = fit(kind, inputs, labels, TINIES[kind], 1).predict(examples(40, 10, 5, signal=0.0)[0]).confidence
    assert abs(p - labels.beat.mean()).max() < 0.2
    assert p.std() < 0.06


@pytest.mark.parametrize("kind", ENGINES)
def test_one_prediction_does_not_depend_on_the_others(tiny, few, kind):
    inputs, _ = few
    whole = tiny[kind].predict(inputs)
    alone = tiny[kind].predict(Inputs(inputs.edit[17:18], inputs.rows[17:18]))
    assert alone.uplift[0] == whole.uplift[17]
    assert alone.confidence[0] == whole.confidence[17]
    assert tiny[kind].predict(Inputs(inputs.edit[:0], inputs.rows[:0])).uplift.shape == (0,)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_wild_number_decides_nothing(tiny, few, kind):
    inputs, _ = few
    wild = Inputs(inputs.edit.copy(), inputs.rows.copy())
    wild.edit[:, 4] = 1.7e308
    far = Inputs(inputs.edit.copy(), inputs.rows.copy())
    far.edit[:, 4] = 1e3
    assert tiny[kind].predict(wild).uplift.tobytes() == tiny[kind].predict(far).uplift.tobytes()


ELSEWHERE = """
import sys
from pathlib import Path
from tests.reflection.make_examples import examples
from tests.reflection.test_engines import TINIES
from alphatrade.reflection.rim.engines import fit, load, save
few = examples(10, 12, 3)[:2]
for kind, spec in TINIES.items():
    model = fit(kind, *few, spec, 7)
    save(model, Path(sys.argv[1]) / kind)
    found = model.predict(few[0])
    (Path(sys.argv[1]) / f"{kind}.answers").write_bytes(found.uplift.tobytes() + found.confidence.tobytes())
"""
POOR = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "PYTHONHASHSEED": "11",
    "TZ": "Asia/Tokyo",
}


def far_away(folder, tiny, few, env):
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder)],
        env=plain | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    for kind in ENGINES:
        save(tiny[kind], folder / "here")
        assert (folder / kind).read_bytes() == (folder / "here").read_bytes()
        found = tiny[kind].predict(few[0])
        answers = (folder / f"{kind}.answers").read_bytes()
        assert answers == found.uplift.tobytes() + found.confidence.tobytes()


def test_another_process_on_another_cpu_learns_the_same_bytes(tmp_path, tiny, few):
    far_away(tmp_path, tiny, few, POOR)


@pytest.mark.long
def test_kernels_compiled_for_another_cpu_learn_the_same_bytes(tmp_path, tiny, few):
    far_away(tmp_path, tiny, few, POOR | {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / "cache")})


@pytest.mark.parametrize("kind", ENGINES)
def test_again_is_the_same_and_another_seed_is_not(tiny, few, kind):
    assert fit(kind, *few, TINIES[kind], 7).model_hash == tiny[kind].model_hash
    assert fit(kind, *few, TINIES[kind], 8).model_hash != tiny[kind].model_hash
    labels = Labels(few[1].uplift.copy(), few[1].beat, few[1].group)
    labels.uplift[0] *= 1.0 + 1e-12
    assert fit(kind, few[0], labels, TINIES[kind], 7).model_hash != tiny[kind].model_hash


@pytest.mark.parametrize("kind", ENGINES)
def test_a_file_gives_the_engine_back(tmp_path, tiny, few, kind):
    save(tiny[kind], tmp_path / "m")
    back = load(tmp_path / "m", tiny[kind].columns)
    assert (back.name, back.model_hash) == (kind, tiny[kind].model_hash)
    assert json.loads((tmp_path / "m").read_bytes())["sha256"] == back.model_hash
    for had, has in zip(tiny[kind].predict(few[0]), back.predict(few[0]), strict=True):
        assert had.tobytes() == has.tobytes()
    save(back, tmp_path / "n")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()


@pytest.fixture(params=ENGINES)
def file(request, tmp_path, tiny):
    path = tmp_path / "model"
    save(tiny[request.param], path)
    return path


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="can be read"):
        load(tmp_path / "none")
    with pytest.raises(ConfigError, match="can be read"):
        load(tmp_path)


@pytest.mark.parametrize("text", [b"", b"\n", b"[]", b"{}", b"null", b"\x80PK", b"[" * 100_000, b'{"format":"alphatrade-rim-1"}'])
def test_a_foreign_file_is_refused(tmp_path, text):
    (tmp_path / "f").write_bytes(text)
    with pytest.raises(ConfigError, match="model"):
        load(tmp_path / "f")


def test_a_cut_or_altered_file_is_refused(file):
    whole = file.read_bytes()
    for end in (1, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises(ConfigError, match="model"):
            load(file)
    for at in np.random.Generator(np.random.PCG64(1)).integers(0, len(whole), 200).tolist():
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ConfigError, match="model"):
            load(file)
    file.write_bytes(whole + b" ")
    with pytest.raises(ConfigError, match="model"):
        load(file)
    file.write_bytes(whole)
    load(file)


def forge(file, change):
    """Alter a model and give it the hash that fits."""
    whole = json.loads(file.read_bytes())
    del whole["sha256"]
    change(whole)
    text = rfc8785.dumps(whole)
    file.write_bytes(rfc8785.dumps(whole | {"sha256": hashlib.sha256(text).hexdigest()}) + b"\n")


def endless(whole):
    packed = next(one for name, one in whole["arrays"].items() if name in ("weights", "theta"))
    values = np.frombuffer(base64.b64decode(packed["f8"])).copy()
    values[3] = np.nan
    packed["f8"] = base64.b64encode(values.tobytes()).decode()


def resize(whole):
    packed = whole["arrays"]["target"]
    packed["shape"], packed["f8"] = [3], base64.b64encode(bytes(24)).decode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda whole: None, None),
        (lambda whole: whole.update(format="alphatrade-rim-2"), "format"),
        (lambda whole: whole.update(kind="forest"), "model.kind"),
        (lambda whole: whole.update(more=1), "model.more"),
        (lambda whole: whole["spec"].update(winsor=0.9), "model.winsor"),
        (lambda whole: whole["arrays"].pop("target"), "model.arrays"),
        (lambda whole: whole["arrays"].pop("calibration"), "model.calibration"),
        (lambda whole: whole["arrays"]["target"].update(shape=[5]), "as many doubles"),
        (lambda whole: whole["arrays"]["target"].update(f8="§"), "as many doubles"),
        (lambda whole: whole["columns"].update(edit=["a"]), "model.arrays"),
        (resize, "model.arrays"),
        (endless, "finite"),
    ],
)
def test_a_wrong_file_with_a_right_hash_is_refused(file, change, why):
    forge(file, change)
    if why is None:
        load(file)
        return
    with pytest.raises(ConfigError, match=why) as error:
        load(file)
    assert len(str(error.value)) < 2_000
    assert "\n" not in str(error.value)


def test_a_model_of_other_columns_is_refused(file, tiny):
    columns = tiny["ridge"].columns
    names = ("other", *columns.edit[1:])
    for other in (
        columns.model_copy(update={"edit": names}),
        columns.model_copy(update={"edit": columns.edit[:-1]}),
        columns.model_copy(update={"blocks": 5}),
        columns.model_copy(update={"version": 2}),
    ):
        with pytest.raises(ConfigError, match=r"model\.columns"):
            load(file, other)


@pytest.mark.parametrize("kind", ENGINES)
def test_inputs_that_do_not_fit_are_refused(tiny, few, kind):
    (edit, rows), predict = few[0], tiny[kind].predict
    for at, bad in ((edit, np.nan), (rows, np.inf)):
        wrong = at.copy()
        wrong.flat[3] = bad
        with pytest.raises(ConfigError, match="finite"):
            predict(Inputs(wrong, rows) if at is edit else Inputs(edit, wrong))
    for wrong in (
        Inputs(edit[:, :-1], rows),
        Inputs(edit, rows[:, :-1]),
        Inputs(edit, rows[:, :, :-1]),
        Inputs(edit[:-1], rows),
        Inputs(edit[0], rows),
        Inputs(np.float64(1), rows),
    ):
        with pytest.raises(ConfigError, match=r"inputs\."):
            predict(wrong)


@pytest.mark.parametrize("kind", ENGINES)
def test_labels_that_do_not_fit_are_refused(few, kind):
    inputs, labels = few
    bad, absurd = labels.uplift.copy(), labels.uplift.copy()
    bad[2], absurd[2] = np.nan, 1e200
    for wrong in (
        labels._replace(uplift=bad),
        labels._replace(uplift=absurd),
        labels._replace(uplift=labels.uplift[:-1]),
        labels._replace(beat=~labels.beat),
        labels._replace(beat=labels.beat.astype(float)),
        labels._replace(group=labels.group * 1.5),
        labels._replace(group=np.zeros_like(labels.group)),
    ):
        with pytest.raises(ConfigError, match=r"labels\."):
            fit(kind, inputs, wrong, TINIES[kind], 1)
    with pytest.raises(ConfigError, match="seed"):
        fit(kind, inputs, labels, TINIES[kind], -1)
    with pytest.raises(ConfigError, match="engine"):
        fit(kind, inputs, labels, TINIES["trm" if kind == "ridge" else "ridge"], 1)
    with pytest.raises(ConfigError, match=r"inputs\.edit"):
        fit(kind, inputs, labels, TINIES[kind], 1, Columns(edit=("a",)))
    with pytest.raises(ConfigError, match="inputs"):
        fit(kind, Inputs(inputs.edit, inputs.rows[:, 0]), labels, TINIES[kind], 1)


@pytest.mark.parametrize("kind", ENGINES)
def test_without_rows_or_with_one_outcome_only_it_still_works(few, kind):
    inputs, labels = few
    bare = Inputs(inputs.edit, np.empty((len(inputs.edit), 0, 0)))
    assert fit(kind, bare, labels, TINIES[kind], 1).predict(bare).uplift.shape == labels.uplift.shape
    lost = labels._replace(uplift=-np.abs(labels.uplift), beat=np.zeros(len(labels.beat), bool))
    p = fit(kind, inputs, lost, TINIES[kind], 1).predict(inputs).confidence
    assert (p < 0.1).all()
    flat = labels._replace(uplift=np.zeros_like(labels.uplift), beat=np.zeros(len(labels.beat), bool))
    assert not fit(kind, inputs, flat, TINIES[kind], 1).predict(inputs).uplift.any()


def test_folds_are_cut_between_groups_and_are_about_equal():
    group = np.repeat(np.arange(37), np.random.Generator(np.random.PCG64(1)).integers(1, 40, 37))
    fold = cut(group, 5, 3)
    assert all(len(set(fold[group == one].tolist())) == 1 for one in range(37))
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() < 12
    assert (cut(group, 5, 3) == fold).all()
    assert (cut(group, 5, 4) != fold).any()
    assert set(cut(np.array([5, 5, 9]), 5, 1).tolist()) == {0, 1}


def test_confidence_is_calibrated_on_what_was_not_learnt(few):
    """Labels that only the group explains: whoever cuts folds within a group is sure of himself, and wrong."""
    rng = np.random.Generator(np.random.PCG64(1))
    group = np.repeat(np.arange(60), 10)
    mark, fate = rng.standard_normal((60, 30))[group], np.where(rng.random(60) < 0.5, 1.0, -1.0)[group]
    inputs = Inputs(mark, np.empty((600, 0, 0)))
    uplift = fate + 0.1 * rng.standard_normal(600)
    spec = RidgeSpec(penalties=(0.001,))
    honest = fit("ridge", inputs, Labels(uplift, uplift > 0, group), spec, 1)
    blind = fit("ridge", inputs, Labels(uplift, uplift > 0, np.arange(600)), spec, 1)
    other = Inputs(rng.standard_normal((600, 30)), np.empty((600, 0, 0)))
    assert honest.predict(other).confidence.std() < 0.15
    assert blind.predict(other).confidence.std() > 0.2
