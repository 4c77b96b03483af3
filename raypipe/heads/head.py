"""A fitted head: from features to probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raypipe.heads.calibration import Calibration
from raypipe.heads.scaling import Scaling
from raypipe.heads.scorer import Floats, Scorer, softmax

Spatial = Literal["flatten", "average"]
Channels = Literal["first", "last"]


@dataclass(frozen=True)
class Head:
    """A classifier on features.

    Features become rows (`spatial`), which are scaled and scored; the probabilities are the softmax
    of the scores, or what the calibration makes of them.

    Attributes:
        classes: names of the classes, in the order of the probabilities.
        spatial: how features of several axes become a row: all values, or the mean over positions.
        scaling: of the rows.
        scorer: what was fitted on scaled rows.
        calibration: from scores to probabilities; None for the softmax.
        channels: which axis of the features is not a position; matters with `average` only.
    """

    classes: tuple[str, ...]
    spatial: Spatial
    scaling: Scaling
    scorer: Scorer
    calibration: Calibration | None = None
    channels: Channels = "last"

    @property
    def kind(self) -> str:
        """The kind of head: `logistic`, `svm`, …"""
        return self.scorer.kind

    def scores(self, features: npt.NDArray[Any]) -> Floats:
        """Return (N, K) scores for (N, …) features, or for rows made of them by `as_rows`."""
        rows = as_rows(features, self.spatial, self.channels)
        return self.scorer.scores(self.scaling.apply(rows))

    def predict_proba(self, features: npt.NDArray[Any]) -> Floats:
        """Return (N, K) probabilities for (N, …) features, or for rows made of them."""
        return self.probabilities(self.scores(features))

    def probabilities(self, scores: Floats) -> Floats:
        """Return (N, K) probabilities for (N, K) scores."""
        return self.calibration.apply(scores) if self.calibration else softmax(scores)


def as_rows(
    features: npt.NDArray[Any], spatial: Spatial = "flatten", channels: Channels = "last"
) -> Floats:
    """Return (N, D) rows of (N, …) features; float64 stays, everything else becomes float32."""
    kind = np.float64 if features.dtype == np.float64 else np.float32
    if spatial == "average" and features.ndim > 2:
        axes = tuple(range(1, features.ndim - 1) if channels == "last" else range(2, features.ndim))
        rows: Floats = features.mean(axis=axes, dtype=kind)
        return rows
    width = int(np.prod(features.shape[1:]))  # there may be no rows
    return features.reshape(len(features), width).astype(kind, copy=False)


def row_width(shape: tuple[int, ...], spatial: Spatial, channels: Channels) -> int:
    """Return D, the values of the row that one row's features of this shape become."""
    return int(as_rows(np.empty((0, *shape), np.float32), spatial, channels).shape[1])


def channel_axis(pool: str, shape: tuple[int, ...]) -> Channels:
    """Return which axis of one row's features holds channels.

    A network gives (channels, height, width) or (tokens, channels); pooling `hwc` moves the first
    axis to the end, `none` leaves it where it is.

    Args:
        pool: pooling of the output in the store's spec.
        shape: of one row's features.
    """
    return "last" if (pool == "hwc") == (len(shape) == 3) else "first"
