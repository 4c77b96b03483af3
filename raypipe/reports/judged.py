"""Predictions beside the labels that are known: how good they are, and what was confused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.reports.album import Album
from raypipe.reports.page import Picture

#: Classes above which the matrix is not drawn: its cells would be too small to be hit.
_MATRIX_CLASSES = 40
_PAIRS = 100
#: Images shown of a cell of the matrix: those it was surest of, on the diagonal the least sure.
IN_CELL = 24
ON_DIAGONAL = 6
_SHOWN = 24
#: Of the standard normal distribution, 95 % lie within.
_NORMAL = 1.959963984540054

Texts = npt.NDArray[np.object_]
#: Finds where images are, by id.
Uris = Callable[[Iterable[str]], dict[str, str]]


@dataclass(frozen=True)
class Judged:
    """Images with a known label and a predicted one: all of them, or those worth showing.

    Attributes:
        ids: (N,) of the images.
        labels: (N,) known.
        predicted: (N,) by the model.
        probability: (N,) that the model gave the predicted class.
        classes: (K,) in the order of the matrix.
    """

    ids: Texts
    labels: Texts
    predicted: Texts
    probability: npt.NDArray[np.floating[Any]]
    classes: tuple[str, ...]

    def show(
        self, confusion: list[list[int]], report: dict[str, Any], album: Album, uris: Uris
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the template shows, and what the script needs.

        Args:
            confusion: (K, K) counts, known class by predicted class.
            report: figures of each class, None where it has none.
            album: gets the pictures.
            uris: finds them.
        """
        counts = np.asarray(confusion)
        wrong = np.flatnonzero(self.labels != self.predicted)
        sure = wrong[np.argsort(-self.probability[wrong], kind="stable")]
        unsure = np.argsort(self.probability, kind="stable")[:_SHOWN]
        cells = self._cells(sure)
        pairs = _pairs(counts)
        named = [*sure[:_SHOWN], *unsure, *(row for rows in cells.values() for row in rows)]
        places = uris(self.ids[np.unique(named)] if named else [])
        album.add((places[self.ids[r]] for r in named if self.ids[r] in places), share=0.8)
        picture = self._pictures(places)
        content = {
            "accuracy": float(counts.trace() / counts.sum()) if counts.sum() else None,
            "interval": wilson(int(counts.trace()), int(counts.sum())),
            "rows": int(counts.sum()),
            "classes": self.classes,
            "confusion": confusion if len(self.classes) <= _MATRIX_CLASSES else None,
            "most_wrong": int((counts - np.diag(np.diag(counts))).max(initial=0)),
            "pair_count": len(pairs),
            "pairs": [(self.classes[i], self.classes[j], n, i, j) for i, j, n in pairs[:_PAIRS]],
            "by_class": _by_class(report, self.classes),
            "mistakes": [picture(row) for row in sure[:_SHOWN]],
            "unsure": [picture(row) for row in unsure],
            "scored": int(counts.sum()),
            "wrong": int(counts.sum() - counts.trace()),
        }
        return content, {
            "cells": self._cell_data(cells, places, album),
            "counts": {f"{i}-{j}": int(counts[i, j]) for i, j in np.argwhere(counts).tolist()},
        }

    def _cells(self, wrong: npt.NDArray[np.int64]) -> dict[str, list[int]]:
        """Return rows of each cell of the matrix, the confused ones first."""
        code = {name: number for number, name in enumerate(self.classes)}
        cells: dict[str, list[int]] = {}
        right = np.flatnonzero(self.labels == self.predicted)
        unsure_first = right[np.argsort(self.probability[right], kind="stable")]
        for rows, most in ((wrong, IN_CELL), (unsure_first, ON_DIAGONAL)):
            for row in rows.tolist():
                place = f"{code[self.labels[row]]}-{code[self.predicted[row]]}"
                cell = cells.setdefault(place, [])
                if len(cell) < most:
                    cell.append(row)
        return cells

    def _cell_data(
        self, cells: dict[str, list[int]], places: dict[str, str], album: Album
    ) -> dict[str, list[tuple[int | None, str, str]]]:
        return {
            cell: [
                (
                    album.key(places.get(self.ids[row])),
                    self.ids[row],
                    f"{self.probability[row]:.2f}",
                )
                for row in rows
            ]
            for cell, rows in cells.items()
        }

    def _pictures(self, places: dict[str, str]) -> Callable[[int], Picture]:
        def picture(row: int) -> Picture:
            name, label, predicted = self.ids[row], self.labels[row], self.predicted[row]
            said = f"{predicted} {self.probability[row]:.2f}"
            caption = said if label == predicted else f"{said}, is {label}"
            return Picture(name, places.get(name), caption)

        return picture


def wilson(right: int, rows: int) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of a share (Wilson, 1927); None without rows."""
    if not rows:
        return None
    share, square = right / rows, _NORMAL**2 / rows
    middle = share + square / 2
    half = _NORMAL * sqrt(share * (1 - share) / rows + square / (4 * rows))
    return max((middle - half) / (1 + square), 0.0), min((middle + half) / (1 + square), 1.0)


def _pairs(counts: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return the classes that are confused most often, with how often."""
    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[: np.count_nonzero(off)]
    places = np.stack(np.unravel_index(order, off.shape), axis=1).tolist()
    return [(i, j, int(off[i, j])) for i, j in places]


def _by_class(report: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    names = {"precision": "precision", "recall": "recall", "f1": "f1-score", "images": "support"}
    return [
        {"name": name} | {own: report[name][theirs] for own, theirs in names.items()}
        for name in classes
        if name in report
    ]
