"""A random forest as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from raypipe.heads.scorer import Arrays, Floats

#: Values of a block of rows × trees that are worked on at once: some ten megabytes.
_BLOCK = 2**20


@dataclass(frozen=True)
class Forest:
    """All trees one after another; children are numbered through.

    Attributes:
        roots: (T,) first node of each tree.
        left: (nodes,) child where the feature is at most the threshold; −1 in a leaf.
        right: (nodes,) the other child; in a leaf its row of `values`.
        feature: (nodes,) which feature is compared.
        threshold: (nodes,) with what.
        values: (leaves, K) share of each class in a leaf.
    """

    roots: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: Floats
    values: Floats

    kind: ClassVar[str] = "forest"

    def scores(self, x: Floats) -> Floats:
        """Return (N, K) logarithms of the trees' mean share for (N, D); −∞ where it is none."""
        x = np.asarray(x, np.float32)  # as scikit-learn compares
        size = max(1, _BLOCK // len(self.roots))
        blocks = [self._shares(x[start : start + size]) for start in range(0, len(x), size)]
        shares = np.concatenate(blocks) if blocks else np.empty((0, self.values.shape[1]))
        with np.errstate(divide="ignore"):
            logarithms: Floats = np.log(shares)
        return logarithms

    def _shares(self, x: Floats) -> Floats:
        leaves = self._leaves(x)
        total = np.zeros((len(x), self.values.shape[1]))
        for tree in leaves.T:
            total += self.values[self.right[tree]]
        return total / len(self.roots)

    def _leaves(self, x: Floats) -> npt.NDArray[np.int64]:
        """Return (N, T) leaves; each round takes every row of every tree one node down."""
        node = np.tile(self.roots, len(x))
        row = np.repeat(np.arange(len(x)), len(self.roots))
        inner = np.flatnonzero(self.left[node] >= 0)
        while len(inner):
            at = node[inner]
            is_left = x[row[inner], self.feature[at]] <= self.threshold[at]
            node[inner] = below = np.where(is_left, self.left[at], self.right[at])
            inner = inner[self.left[below] >= 0]
        return node.reshape(len(x), len(self.roots))

    def arrays(self) -> Arrays:
        """Return what is saved as safetensors."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def settings(self) -> dict[str, Any]:
        """Return what is saved as JSON."""
        return {}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: Arrays) -> Forest:  # noqa: ARG003
        """Return the scorer that was saved."""
        return cls(**arrays)
