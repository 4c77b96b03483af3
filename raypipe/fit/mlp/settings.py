"""Settings of a multilayer perceptron, and grids of them; without torch, which takes long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from raypipe.fit.grid import Grid

Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]
Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class MlpSettings:
    """How a perceptron is built and trained.

    Attributes:
        hidden: width of each hidden layer; empty for none.
        dropout: share of a hidden layer's outputs (or of the features, where there is no hidden
            layer) that is left out at random in each step of training.
        loss: cross-entropy of one `softmax` over the classes, or the mean binary cross-entropy of a
            `sigmoid` for each class (of two classes, of the second alone).
        optimizer: `rmsprop` and the initial weights are as in Keras.
        momentum: of `sgd`.
        learning_rate: constant.
        weight_decay: in `adamw` decoupled from the gradient, in the others added to it.
        minibatch: rows of one step, over all workers.
        epochs: most passes over the training rows.
        keep: the epoch with the lowest validation loss, or the last one.
        patience: epochs without a lower validation loss after which training stops; 0 never stops.
        seed: of initial weights, order of rows, and dropout.
    """

    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.5
    loss: Loss = "softmax"
    optimizer: Optimizer = "adam"
    momentum: float = 0.9
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    minibatch: int = 256
    epochs: int = 50
    keep: Literal["best", "last"] = "best"
    patience: int = 10
    seed: int = 42


def combinations(settings: MlpSettings, grid: Grid) -> list[MlpSettings]:
    """Return every combination of the grid's values, in place of those of the settings."""
    chosen = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    found = [replace(settings, **values) for values in chosen]
    return list(dict.fromkeys(found))


def shown(settings: MlpSettings) -> dict[str, Any]:
    """Return what can be searched, in the words of the options."""
    hidden = "x".join(map(str, settings.hidden)) or "none"
    rest = ("dropout", "optimizer", "learning_rate", "weight_decay")
    return {"hidden": hidden} | {name: getattr(settings, name) for name in rest}
