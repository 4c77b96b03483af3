"""Features to predictions, with thresholds and filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.heads.head import Head
from raypipe.spec import HeadSpec

OK = "ok"
BELOW_THRESHOLD = "below_threshold"
FILTERED = "filtered"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Predictor:
    """Turns the features of some rows into the columns of their predictions.

    Attributes:
        head: the fitted head.
        spec: which columns to make, and which rows get a label.
        exact: keep the probabilities in the head's own precision, instead of float32.
        only: a class; then its probability is the only column.
    """

    head: Head
    spec: HeadSpec
    exact: bool = False
    only: str | None = None

    def __call__(self, features: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Return (N,) arrays by column, and (N, K) `probabilities`.

        Args:
            features: (N, …) arrays of the column that the head reads and of those filtered by.
        """
        probabilities = self._probabilities(features[self.spec.column])
        if self.only is not None:
            chosen = probabilities[:, self.head.classes.index(self.only)]
            return {schema.PROBABILITY: chosen}
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.spec.top_k]
        status = self._status(features, _pick(probabilities, order[:, 0]))
        columns = self._ranked(probabilities, order, status != OK)
        if self.spec.probabilities:
            columns[schema.PROBABILITIES] = probabilities
        if self.spec.is_selective:
            columns[schema.STATUS] = status
        return columns | {name: features[name] for name in self.filtered}

    @property
    def filtered(self) -> tuple[str, ...]:
        """Columns that are filtered by, each once."""
        return tuple(dict.fromkeys(one.column for one in self.spec.where))

    def _probabilities(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not len(features):
            return np.zeros((0, len(self.head.classes)), np.float32)
        found = self.head.predict_proba(features)
        return found if self.exact else found.astype(np.float32)

    def _status(
        self, features: Mapping[str, npt.NDArray[Any]], best: npt.NDArray[Any]
    ) -> npt.NDArray[np.object_]:
        """Say of each row whether it gets a label; a filter's word counts before a threshold's."""
        status = np.full(len(best), OK, object)
        if self.spec.threshold is not None:  # in float32, whatever the head computes in
            status[best.astype(np.float32) < np.float32(self.spec.threshold)] = BELOW_THRESHOLD
        for one in self.spec.where:
            status[~one.accepts(features[one.column])] = FILTERED
        return status

    def _ranked(
        self,
        probabilities: npt.NDArray[Any],
        order: npt.NDArray[np.int64],
        unlabelled: npt.NDArray[np.bool_],
    ) -> Arrays:
        names = np.array(self.head.classes, dtype=object)
        columns: Arrays = {}
        for rank, chosen in enumerate(order.T, 1):
            suffix = f"_{rank}" if rank > 1 else ""
            columns[f"{schema.PREDICTED}{suffix}"] = label = names[chosen]
            label[unlabelled] = None
            columns[f"{schema.PROBABILITY}{suffix}"] = _pick(probabilities, chosen)
        return columns


def to_arrow(columns: Arrays) -> dict[str, pa.Array]:
    """Return (N,) and (N, K) columns as Arrow arrays; texts may be missing."""
    return {name: _column(values) for name, values in columns.items()}


def _column(values: npt.NDArray[Any]) -> pa.Array:
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values, pa.string() if values.dtype == object else None)


def _pick(probabilities: npt.NDArray[Any], chosen: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    picked: npt.NDArray[Any] = probabilities[np.arange(len(chosen)), chosen]
    return picked
