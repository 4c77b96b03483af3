"""A fitted head: arrays and JSON on disk, never pickled code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from raypipe.errors import RaypipeError, UsageError
from raypipe.spec import Spec

__all__ = ["Head", "TrainedModel", "load_model", "save_model"]

_MODEL_FILE = "model.json"
_ARRAYS_FILE = "arrays.safetensors"
_FORMAT = 1

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Head:
    """A linear classifier on scaled features.

    `p = softmax(scaled(x) · coef.T + intercept)`; two classes have one row of coefficients and the
    logistic function, as in scikit-learn.

    Attributes:
        kind: the estimator it came from.
        classes: names of the classes, in the order of the probabilities.
        scale: what is done to the features first.
        mean: (D,) subtracted with `standard`.
        std: (D,) divided by with `standard`.
        coef: (K, D), or (1, D) for two classes.
        intercept: (K,), or (1,) for two classes.
    """

    kind: Literal["logistic"]
    classes: tuple[str, ...]
    scale: Literal["none", "standard", "l2"]
    mean: Floats
    std: Floats
    coef: Floats
    intercept: Floats

    def predict_proba(self, features: Floats) -> Floats:
        """Return (N, K) probabilities for (N, …) features."""
        width = int(np.prod(features.shape[1:]))  # there may be no rows
        x = features.reshape(len(features), width).astype(self.coef.dtype)
        if self.scale == "standard":
            x = (x - self.mean) / self.std
        elif self.scale == "l2":
            norms = np.linalg.norm(x, axis=1, keepdims=True)
            x = x / np.where(norms == 0, 1, norms)
        scores = x @ self.coef.T + self.intercept
        if len(self.classes) == 2:
            scores = np.hstack([-scores / 2, scores / 2])
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: Floats = scores / scores.sum(axis=1, keepdims=True)
        return probabilities


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

    def predict_proba(self, features: Floats) -> Floats:
        """Return (N, K) probabilities for (N, …) features made with `spec`."""
        return self.head.predict_proba(features)


def save_model(model: TrainedModel, folder: Path) -> None:
    """Write a model: arrays as safetensors, everything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    head = model.head
    arrays = {name: getattr(head, name) for name in ("mean", "std", "coef", "intercept")}
    save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, folder / _ARRAYS_FILE)
    content = {
        "format": _FORMAT,
        "head": {"kind": head.kind, "classes": head.classes, "scale": head.scale},
        "column": model.column,
        "fingerprint": model.spec.fingerprint,
        "spec": model.spec.model_dump(mode="json"),
        "provenance": model.provenance,
        "metrics": model.metrics,
    }
    (folder / _MODEL_FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load_model(folder: Path) -> TrainedModel:
    """Read a model.

    Raises:
        UsageError: there is no model in the folder.
        RaypipeError: it is damaged.
    """
    if not (folder / _MODEL_FILE).is_file():
        raise UsageError(f"MODEL: no model at {str(folder)!r}; `raypipe train … --out` makes one")
    try:
        content = json.loads((folder / _MODEL_FILE).read_text())
        arrays = load_file(folder / _ARRAYS_FILE)
        described = content["head"] | {"classes": tuple(content["head"]["classes"])}
        return TrainedModel(
            head=Head(**described, **arrays),
            spec=Spec.model_validate(content["spec"]),
            column=content["column"],
            provenance=content["provenance"],
            metrics=content["metrics"],
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError, SafetensorError) as error:
        detail = " ".join(str(error).split())[:160]
        raise RaypipeError(f"MODEL: {folder} is damaged: {detail}") from None
