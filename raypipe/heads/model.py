"""A trained model: arrays and JSON on disk, never pickled code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from raypipe.display.html import table
from raypipe.errors import RaypipeError, UsageError
from raypipe.heads import Head, Linear, Scaling, restore_head, saved_arrays, saved_settings
from raypipe.spec import Spec, digest
from raypipe.storage import instead
from raypipe.storage.checked_json import read_checked, with_checksum

_MODEL_FILE = "model.json"
_ARRAYS_FILE = "arrays.safetensors"
#: What it takes to read a model; the first is there when the model is complete.
MODEL_FILES = (_MODEL_FILE, _ARRAYS_FILE)
#: What `train` writes beside it: the held-out rows, those of them that are near-duplicates of
#: training rows, and the epochs of a perceptron.
HOLDOUT_FILE = "holdout.csv"
DUPLICATES_FILE = "near_duplicates.csv"
CURVES_FILE = "curves.csv"
_TRAINED_ON = "trained_on_sha256"
_FORMAT = 2
_KEYS = (
    *("format", "arrays_sha256", "head", "column", "fingerprint", "spec", "provenance", "metrics"),
)
#: What is raised by files that were damaged, or written by nobody.
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(MemoryError, SafetensorError),
)

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TrainedModel:
    """A head, with what is needed to make the features it was fitted on.

    Attributes:
        head: the classifier.
        spec: of the features.
        column: the feature column it reads.
        provenance: where backbone and weights came from.
        metrics: how it was evaluated.
    """

    head: Head
    spec: Spec
    column: str
    provenance: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.head.classes

    def _repr_html_(self) -> str:
        names = ("head", "best_params", "accuracy", "test_rows", "train_rows", "store", "snapshot")
        facts = [(name, self.metrics[name]) for name in names if name in self.metrics]
        return table(f"Model of {len(self.classes)} classes", [("column", self.column), *facts])

    def predict_proba(self, features: Floats) -> Floats:
        """Return (N, K) probabilities for (N, …) features made with `spec`.

        Examples:
            >>> model.predict_proba(store.to_numpy().features).shape
            (61, 3)
        """
        return self.head.predict_proba(features)


def save_model(model: TrainedModel, folder: Path, trained_on_sha256: str | None = None) -> None:
    """Write a model: arrays as safetensors, everything else as JSON.

    Args:
        model: to write.
        folder: to write it to.
        trained_on_sha256: checksum of the file that says which images it was trained on, if any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = saved_arrays(model.head)
    # Not `save_file`, whose files nobody else may read.
    data = save({n: np.ascontiguousarray(a) for n, a in arrays.items()})
    (folder / _ARRAYS_FILE).write_bytes(data)
    content = {
        "format": _FORMAT,
        "arrays_sha256": hashlib.sha256(data).hexdigest(),
        "head": saved_settings(model.head),
        "column": model.column,
        "fingerprint": model.spec.fingerprint,
        "spec": model.spec.model_dump(mode="json"),
        "provenance": model.provenance,
        "metrics": model.metrics,
        _TRAINED_ON: trained_on_sha256,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / _MODEL_FILE).write_bytes(with_checksum(text))


def load_model(folder: Path, place: str = "") -> TrainedModel:
    """Read a model.

    Args:
        folder: with its files.
        place: where they are copied from, for messages.

    Raises:
        UsageError: there is no model in the folder.
        RaypipeError: it is damaged.
    """
    if not (folder / _MODEL_FILE).is_file():
        place = place or str(folder)
        raise UsageError(
            f"MODEL: no model at {place!r}{instead(place)}; `raypipe train … --out` makes one"
        )
    try:
        content = read_checked((folder / _MODEL_FILE).read_bytes(), _KEYS)
        arrays = load_file(folder / _ARRAYS_FILE)
        _check_arrays(folder / _ARRAYS_FILE, content.get("arrays_sha256"))
        if content["format"] > _FORMAT:
            raise RaypipeError(f"MODEL: {folder} was written by a newer version of raypipe")
        restore = restore_head if content["format"] == _FORMAT else _restore_first_format
        return TrainedModel(
            head=restore(content["head"], arrays),
            spec=Spec.model_validate(content["spec"]),
            column=content["column"],
            provenance=content["provenance"],
            metrics=content["metrics"],
        )
    except RaypipeError:
        raise
    except _DAMAGE as error:
        detail = " ".join(str(error).split())[:160]
        raise RaypipeError(
            f"MODEL: {folder} is damaged: {detail}; restore it from a copy, or train it again"
        ) from None


def _check_arrays(file: Path, expected: str | None) -> None:
    """Make sure that the arrays are those of the model's other file; older models do not say."""
    if expected and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        raise RaypipeError(
            f"MODEL: {file} is not what model.json was written with; train the model again"
        )


def _restore_first_format(settings: dict[str, Any], arrays: dict[str, Any]) -> Head:
    """Return the logistic regression of a model that was saved before there were other heads."""
    return Head(
        classes=tuple(settings["classes"]),
        spatial="flatten",
        scaling=Scaling(settings["scale"], arrays["mean"], arrays["std"]),
        scorer=Linear("logistic", arrays["coef"], arrays["intercept"]),
    )


def trained_on_sha256(folder: Path) -> str | None:
    """Return the checksum that `save_model` was given; None if the model is older.

    Args:
        folder: of a model that `load_model` has read.
    """
    found: str | None = json.loads((folder / _MODEL_FILE).read_text()).get(_TRAINED_ON)
    return found


def head_sha256(folder: Path) -> str:
    """Return the checksum of a saved model's head: its arrays and settings.

    Not part of it are how the head was found and evaluated, the paths it came from, and the
    features it takes, which the spec describes.

    Args:
        folder: of a model that `load_model` has read.
    """
    settings = json.loads((folder / _MODEL_FILE).read_text())["head"]
    arrays = sorted(folder.glob("*.safetensors"))
    contents = (part for path in arrays for part in (path.name, path.read_bytes()))
    return digest(json.dumps(settings, sort_keys=True), *contents)
