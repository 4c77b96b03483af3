"""A multilayer perceptron: dense layers with ReLU between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from raypipe.heads.scorer import Arrays, Floats


@dataclass(frozen=True)
class Mlp:
    """`relu(… relu(x · w0.T + b0) …) · wL.T + bL`; dropout only takes part in training.

    Attributes:
        weights: of each layer, (outputs, inputs).
        biases: of each layer, (outputs,).
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    kind: ClassVar[str] = "mlp"

    def scores(self, x: Floats) -> Floats:
        """Return (N, K) logits for (N, D) scaled rows."""
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight.T + bias
            if number < last:
                x = np.maximum(x, 0)
        return x

    def arrays(self) -> Arrays:
        """Return what is saved as safetensors: w0, b0, w1, b1, …"""
        weights = {f"w{number}": array for number, array in enumerate(self.weights)}
        return weights | {f"b{number}": array for number, array in enumerate(self.biases)}

    def settings(self) -> dict[str, Any]:
        """Return what is saved as JSON."""
        return {"layers": len(self.weights)}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: Arrays) -> Mlp:
        """Return the scorer that was saved."""
        numbers = range(settings["layers"])
        return cls(tuple(arrays[f"w{n}"] for n in numbers), tuple(arrays[f"b{n}"] for n in numbers))
