"""A multilayer perceptron: dense layers with ReLU between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from raypipe.heads.scorer import Arrays, Floats


@dataclass(frozen=True)
class Mlp:
    """`relu(… relu(x · w0.T + b0) …) · wL.T + bL`; dropout only takes part in training.

    Attributes:
        weights: of each layer, (outputs, inputs).
        biases: of each layer, (outputs,).
        loss: `sigmoid` gives the logarithms of a sigmoid for each class as scores, so that the
            probabilities are the sigmoids divided by their sum.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    loss: Literal["softmax", "sigmoid"] = "softmax"

    kind: ClassVar[str] = "mlp"

    def scores(self, x: Floats) -> Floats:
        """Return (N, K) logits, or logarithms of sigmoids, for (N, D) scaled rows."""
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight.T + bias
            if number < last:
                x = np.maximum(x, 0)
        return -np.logaddexp(0, -x) if self.loss == "sigmoid" else x

    def arrays(self) -> Arrays:
        """Return what is saved as safetensors: w0, b0, w1, b1, …"""
        weights = {f"w{number}": array for number, array in enumerate(self.weights)}
        return weights | {f"b{number}": array for number, array in enumerate(self.biases)}

    def settings(self) -> dict[str, Any]:
        """Return what is saved as JSON."""
        return {"layers": len(self.weights), "loss": self.loss}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: Arrays) -> Mlp:
        """Return the scorer that was saved."""
        numbers = range(settings["layers"])
        return cls(
            tuple(arrays[f"w{n}"] for n in numbers),
            tuple(arrays[f"b{n}"] for n in numbers),
            settings.get("loss", "softmax"),
        )
