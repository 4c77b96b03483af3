"""Settings of a multilayer perceptron, and grids of them; without torch, which takes long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal, get_args

from raypipe.errors import UsageError, nearest

__all__ = ["MlpSettings", "Optimizer", "combinations", "parse_hidden", "shown"]

Optimizer = Literal["adam", "adamw", "sgd", "rmsprop"]


@dataclass(frozen=True)
class MlpSettings:
    """How a perceptron is built and trained.

    Attributes:
        hidden: width of each hidden layer; empty for none.
        dropout: share of a hidden layer's outputs (or of the features, where there is no hidden
            layer) that is left out at random in each step of training.
        optimizer: `rmsprop` and the initial weights are as in Keras; `sgd` has momentum 0.9.
        learning_rate: constant.
        weight_decay: in `adamw` decoupled from the gradient, in the others added to it.
        minibatch: rows of one step, over all workers.
        epochs: most passes over the training rows.
        patience: epochs without a lower validation loss after which training stops; 0 never stops.
        seed: of initial weights, order of rows, and dropout.
    """

    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.5
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    minibatch: int = 256
    epochs: int = 50
    patience: int = 10
    seed: int = 42

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self) | {"hidden": list(self.hidden)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MlpSettings:
        """Return the settings that `to_json` gave."""
        return cls(**{**content, "hidden": tuple(content["hidden"])})


def parse_hidden(text: str) -> tuple[int, ...]:
    """Return the widths that `256`, `512x128` or `none` stand for.

    Raises:
        ValueError: it has another form; the message says what is allowed.
    """
    if text == "none":
        return ()
    widths = text.split("x")
    if not all(width.isdecimal() and int(width) > 0 for width in widths):
        raise ValueError("`none`, or the width of each hidden layer as 256 or 512x128")
    return tuple(map(int, widths))


def _number(lowest: float, highest: float, *, open_ends: bool) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not (lowest < value < highest or (value == lowest and not open_ends)):
            sign = "above" if open_ends else "of at least"
            raise ValueError(
                f"a number {sign} {lowest:g}" + (f" and below {highest:g}" if highest < 1e9 else "")
            )
        return value

    return parse


def _optimizer(text: str) -> str:
    if text not in get_args(Optimizer):
        raise ValueError(f"one of {', '.join(get_args(Optimizer))}")
    return text


#: What can be searched, and how its values are read.
_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "hidden": parse_hidden,
    "dropout": _number(0, 1, open_ends=False),
    "optimizer": _optimizer,
    "learning_rate": _number(0, float("inf"), open_ends=True),
    "weight_decay": _number(0, float("inf"), open_ends=False),
}


def combinations(settings: MlpSettings, grid: tuple[str, ...]) -> list[MlpSettings]:
    """Return every combination of the grid's values, in place of those of the settings.

    Args:
        settings: what the grid does not name.
        grid: entries as `dropout=0.3,0.5`.

    Raises:
        UsageError: an entry of another form, an unknown parameter or a wrong value.
    """
    values: dict[str, list[Any]] = {}
    for entry in grid:
        name, _, listed = entry.partition("=")
        if name not in _PARAMETERS:
            raise UsageError(
                f"--grid: expected NAME=VALUE,VALUE,… with NAME one of {', '.join(_PARAMETERS)}; "
                f"got {entry!r}{nearest(name, _PARAMETERS)}"
            )
        for text in listed.split(","):
            value = _value(name, text.strip())
            if value not in values.setdefault(name, []):
                values[name].append(value)
    return [replace(settings, **dict(zip(values, chosen, strict=True)))
            for chosen in product(*values.values())]  # fmt: skip


def _value(name: str, text: str) -> Any:
    try:
        return _PARAMETERS[name](text)
    except ValueError as error:
        allowed = str(error)
        if "could not convert" in allowed:
            allowed = "numbers"
        raise UsageError(f"--grid: {name} must be {allowed}; got {text!r}") from None


def shown(settings: MlpSettings) -> dict[str, Any]:
    """Return what can be searched, in the words of the options."""
    return {
        name: "x".join(map(str, settings.hidden)) or "none"
        if name == "hidden"
        else getattr(settings, name)
        for name in _PARAMETERS
    }
