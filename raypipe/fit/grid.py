"""Kinds of heads: parameters to search and how they are written, default grids, estimators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raypipe.config.values import HiddenLayers
from raypipe.errors import UsageError, nearest

Grid = dict[str, list[Any]]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a head.

    Attributes:
        parse: from text to value; raises ValueError for what is not allowed.
        allowed: what is, in words.
    """

    parse: Callable[[str], Any]
    allowed: str


def _number(low: float, high: float = float("inf"), *, from_low: bool = False) -> Any:
    def parse(text: str) -> float:
        value = float(text)
        if not (low <= value < high if from_low else low < value < high):
            raise ValueError(text)
        return value

    return parse


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _choice(*names: str) -> Any:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Parameter(parse, " or ".join(names))


def _depth(text: str) -> int | None:
    return None if text.lower() == "none" else _whole(text)


def _share(text: str) -> str | float:
    if text in ("sqrt", "log2"):
        return text
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


_POSITIVE = Parameter(_number(0), "positive numbers")
_COUNT = Parameter(_whole, "whole numbers from 1")

#: Names and values as scikit-learn has them; those of mlp as the options of the same name.
PARAMETERS: dict[str, dict[str, Parameter]] = {
    "logistic": {"C": _POSITIVE},
    "svm": {"C": _POSITIVE},
    "forest": {
        "n_estimators": _COUNT,
        "max_depth": Parameter(_depth, "whole numbers from 1, or none"),
        "min_samples_leaf": _COUNT,
        "max_features": Parameter(_share, "sqrt, log2, or shares above 0 and up to 1"),
    },
    "knn": {"n_neighbors": _COUNT, "weights": _choice("uniform", "distance")},
    "mlp": {
        "hidden": Parameter(lambda text: HiddenLayers.parse(text).units, HiddenLayers.allowed),
        "dropout": Parameter(_number(0, 1, from_low=True), "numbers from 0 and below 1"),
        "learning_rate": _POSITIVE,
        "weight_decay": Parameter(_number(0, from_low=True), "numbers from 0"),
        "optimizer": _choice("adam", "adamw", "sgd", "rmsprop"),
    },
}


def _logistic(weight: str | None, stop: dict[str, Any], _seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(class_weight=weight, **stop)


def _svm(weight: str | None, stop: dict[str, Any], seed: int) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(class_weight=weight, random_state=seed, dual="auto", **stop)


def _forest(weight: str | None, _stop: dict[str, Any], seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(class_weight=weight, random_state=seed)


def _knn(_weight: str | None, _stop: dict[str, Any], _seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(algorithm="brute")


#: Makers of scikit-learn's estimators, from the weights of classes, what stops iterations, and the
#: seed. Importing them takes a second, which reading a grid does without.
ESTIMATORS: dict[str, Callable[[str | None, dict[str, Any], int], Any]] = {
    "logistic": _logistic,
    "svm": _svm,
    "forest": _forest,
    "knn": _knn,
}

#: What is tried where --grid is not given.
DEFAULT_GRIDS: dict[str, Grid] = {
    "logistic": {"C": [0.001, 0.01, 0.1, 1.0, 10.0]},
    "svm": {"C": [0.0001, 0.001, 0.01]},
    "forest": {"n_estimators": [200], "min_samples_leaf": [1, 4]},
    "knn": {"n_neighbors": [1, 5, 15], "weights": ["uniform", "distance"]},
    "mlp": {},
}


def parse_grid(head: str, entries: tuple[str, ...]) -> Grid:
    """Read `C=0.1,1,10` into `{"C": [0.1, 1.0, 10.0]}`; no entries give the head's own grid.

    Raises:
        UsageError: an entry of another form, a parameter the head does not have, or a value that
            is not allowed.
    """
    known = PARAMETERS[head]
    grid: Grid = {}
    for entry in entries:
        name, _, values = entry.partition("=")
        if name not in known:
            raise UsageError(
                f"--grid: expected NAME=VALUE,VALUE,… with NAME one of {', '.join(known)} for "
                f"--head {head}; got {entry!r}{nearest(name, known)}"
            )
        try:
            parsed = [known[name].parse(value.strip()) for value in values.split(",")]
        except ValueError:
            raise UsageError(
                f"--grid: {name} must be {known[name].allowed}; got {values!r}"
            ) from None
        grid.setdefault(name, []).extend(parsed)
    return grid or DEFAULT_GRIDS[head]
