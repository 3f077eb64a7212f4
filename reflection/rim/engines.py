"""Learning engines behind one interface, and their files: fitted from labelled edits, saved whole, hashed, loaded.

A model is one JSON document in canonical form (RFC 8785): weights, scales and calibration as little-endian doubles,
names of the input columns, spec, seed, hash of the examples. Its hash is the sha256 of that document, and stands in
the file; the same examples, spec and seed give the same file, byte for byte, on every CPU.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import rfc8785
from pydantic import Field, ValidationError

from alphatrade.reflection.rim import ridge, trm
from alphatrade.reflection.rim.calibration import (
    Calibration,
    Method,
    base_brier,
    brier,
    calibrate,
    check_calibration,
    confidence,
    expected_calibration_error,
)
from alphatrade.reflection.rim.examples import Columns as Columns
from alphatrade.reflection.rim.examples import Inputs as Inputs
from alphatrade.reflection.rim.examples import Labels as Labels
from alphatrade.reflection.rim.examples import Prediction as Prediction
from alphatrade.reflection.rim.examples import check_inputs, check_labels, cut, digest, name_columns
from alphatrade.reflection.rim.linear import Floats
from alphatrade.reflection.rim.ridge import RidgeSpec as RidgeSpec
from alphatrade.reflection.rim.trm import TrmSpec as TrmSpec
from alphatrade.risk.disk import write_whole
from alphatrade.risk.errors import ConfigError
from alphatrade.strategies.policy import Spec

FORMAT = "alphatrade-rim-1"
Kind = Literal["ridge", "trm"]
LARGEST = 64 * 2**20  # bytes of a model file
SEED = 2**53  # seeds are below: a JSON number holds them


class Engine(Protocol):
    """What proposals are made with: expects an uplift of each edit, and says how sure it is that no-op is beaten."""

    @property
    def name(self) -> str:
        """Kind of engine."""

    @property
    def model_hash(self) -> str:
        """Sha256 of the model, in hex."""

    def predict(self, inputs: Inputs) -> Prediction:
        """Return what the engine expects; ConfigError if the inputs are not of its columns or not finite."""


class Trained(Spec):
    """What a model learnt from, and the figures of its out-of-fold confidence; `base` is the base rate's Brier."""

    examples: int
    groups: int
    sha256: str
    beat: int
    brier: float
    base: float
    ece: float


class Packed(Spec):
    """An array of doubles: shape, and little-endian bytes in base64."""

    shape: tuple[Annotated[int, Field(ge=0)], ...]
    f8: str


class Document(Spec):
    """A model file without its hash."""

    format: Literal["alphatrade-rim-1"]
    kind: Kind
    seed: Annotated[int, Field(ge=0, lt=SEED)]
    columns: Columns
    spec: dict[str, Any]
    trained: Trained
    calibration: Method
    arrays: dict[str, Packed]


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted engine; made by :func:`fit` or :func:`load`."""

    name: Kind
    seed: int
    columns: Columns
    spec: RidgeSpec | TrmSpec
    trained: Trained
    calibration: Calibration
    arrays: dict[str, Floats]

    def predict(self, inputs: Inputs) -> Prediction:
        """Return what is expected of each edit; one does not depend on which others are asked about."""
        checked = check_inputs(inputs, self.columns)
        if isinstance(self.spec, RidgeSpec):
            uplift, score = ridge.answer(checked, self.arrays, self.spec)
        else:
            uplift, score = trm.answer(checked, self.arrays, self.spec)
        return Prediction(uplift, confidence(score, self.calibration))

    @cached_property
    def document(self) -> dict[str, Any]:
        """The model as plain JSON values."""
        arrays = self.arrays | {"calibration": self.calibration.numbers}
        return Document(
            format=FORMAT, kind=self.name, seed=self.seed, columns=self.columns, spec=self.spec.model_dump(),
            trained=self.trained, calibration=self.calibration.method,
            arrays={name: _pack(values) for name, values in arrays.items()},
        ).model_dump(mode="json")  # fmt: skip

    @cached_property
    def model_hash(self) -> str:
        """Sha256 of the canonical document, in hex."""
        return hashlib.sha256(rfc8785.dumps(self.document)).hexdigest()


def fit(
    kind: Kind, inputs: Inputs, labels: Labels, spec: RidgeSpec | TrmSpec, seed: int, columns: Columns | None = None
) -> Model:
    """
    Learn from labelled edits.

    Parameters
    ----------
    kind : {"ridge", "trm"}
    inputs, labels : Inputs, Labels
        Of n edits, from two groups at least.
    spec : RidgeSpec or TrmSpec
    seed : int
        Of the folds, first weights and orders.
    columns : Columns, optional
        Names of the inputs, which a model file carries; by default their places.

    Raises
    ------
    ConfigError
        If something does not fit together, or is not finite.
    """
    if not isinstance(spec, RidgeSpec if kind == "ridge" else TrmSpec) or kind not in ("ridge", "trm"):
        raise ConfigError("engine", kind, "ridge with a RidgeSpec, or trm with a TrmSpec")
    if not 0 <= seed < SEED:
        raise ConfigError("seed", seed, f"an integer from 0 to {SEED - 1}")
    columns = columns or name_columns(inputs)
    inputs = check_inputs(inputs, columns)
    labels = check_labels(labels, len(inputs.edit))
    fold = cut(labels.group, spec.folds, seed)
    if isinstance(spec, RidgeSpec):
        arrays, score = ridge.learn(inputs, labels, fold, spec)
    else:
        arrays, score = trm.learn(inputs, labels, fold, spec, seed)
    calibration = calibrate(score, labels.beat, fold)
    trained = _trained(inputs, labels, confidence(score, calibration))
    return Model(kind, seed, columns, spec, trained, calibration, arrays)


def _trained(inputs: Inputs, labels: Labels, unseen: Any) -> Trained:
    return Trained(
        examples=len(labels.beat), groups=len(np.unique(labels.group)), sha256=digest(inputs, labels),
        beat=int(labels.beat.sum()), brier=brier(unseen, labels.beat), base=base_brier(labels.beat),
        ece=expected_calibration_error(unseen, labels.beat),
    )  # fmt: skip


def _pack(values: Floats) -> Packed:
    little = np.ascontiguousarray(values, "<f8")
    return Packed(shape=values.shape, f8=base64.b64encode(little.tobytes()).decode())


def _unpack(name: str, packed: Packed) -> Floats:
    try:
        values = np.frombuffer(base64.b64decode(packed.f8, validate=True), "<f8").reshape(packed.shape)
    except (ValueError, binascii.Error) as error:
        raise ConfigError(f"model.arrays.{name}", packed.shape, f"as many doubles as that shape ({error})") from error
    if not np.isfinite(values).all():
        raise ConfigError(f"model.arrays.{name}", "a number that is not finite", "finite numbers")
    return values.astype(np.float64)


def save(engine: Engine, path: Path) -> None:
    """Write a model to its file: after a crash it is the old one or the new one."""
    if not isinstance(engine, Model):
        raise ConfigError("engine", type(engine).__name__, "a fitted engine")
    write_whole(path, rfc8785.dumps(engine.document | {"sha256": engine.model_hash}) + b"\n")


def load(path: Path, columns: Columns | None = None) -> Model:
    """
    Return the model of a file.

    Parameters
    ----------
    path : Path
    columns : Columns, optional
        What the caller will ask it about.

    Raises
    ------
    ConfigError
        If the file is missing, damaged, foreign, of another version, or of other columns.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError("model", str(path), f"a model file that can be read ({error.strerror})") from error
    model = _parse(text, str(path))
    if columns is not None and columns != model.columns:
        raise ConfigError("model.columns", _apart(model.columns, columns), "the input columns of this version")
    return model


def _apart(found: Columns, wanted: Columns) -> str:
    """Return the first difference, in words."""
    for name in Columns.model_fields:
        had, want = getattr(found, name), getattr(wanted, name)
        if had != want:
            if isinstance(had, tuple) and len(had) == len(want):
                had, want = next((a, b) for a, b in zip(had, want, strict=True) if a != b)
            elif isinstance(had, tuple):
                had, want = len(had), len(want)
            return f"{name}: {had} in the file, {want} here"
    return ""


def _parse(text: bytes, where: str) -> Model:
    try:
        if len(text) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        whole = json.loads(text)
        if not isinstance(whole, dict) or whole.get("format") != FORMAT:
            raise ConfigError("model", where, f"a model file of format {FORMAT}")
        known = whole.pop("sha256", None)
        found = hashlib.sha256(rfc8785.dumps(whole)).hexdigest()
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise ConfigError("model", where, f"a whole model file ({str(error)[:80]})") from error
    if known != found or rfc8785.dumps(whole | {"sha256": known}) + b"\n" != text:
        raise ConfigError("model", f"{where} with sha256 {found}", f"the bytes that were saved, {known}")
    try:
        document = Document.model_validate(whole)
        spec = (RidgeSpec if document.kind == "ridge" else TrmSpec).model_validate(document.spec)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"model.{place}", str(first.get("input"))[:80], first["msg"]) from error
    arrays = {name: _unpack(name, packed) for name, packed in document.arrays.items()}
    columns = document.columns
    numbers = arrays.pop("calibration", np.empty(0))
    wide = (len(columns.edit), columns.blocks, len(columns.rows))
    wanted = ridge.shapes(*wide, spec) if isinstance(spec, RidgeSpec) else trm.shapes(*wide, spec)
    if (shapes := {name: values.shape for name, values in arrays.items()}) != wanted:
        raise ConfigError("model.arrays", shapes, f"{wanted}")
    calibration = Calibration(document.calibration, numbers)
    check_calibration(calibration)
    return Model(document.kind, document.seed, columns, spec, document.trained, calibration, arrays)
