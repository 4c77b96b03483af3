"""The nearest of some centres to each row of a block, and what a Lloyd iteration sums up."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["nearest", "squared_distances", "sum_by_center"]

Array = npt.NDArray[Any]

#: Distances held at a time, so that they stay in a core's cache.
_DISTANCES = 2**18


def nearest(x: torch.Tensor, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each row of (N, D) the number of its nearest centre of (K, D), and how far it is.

    ‖x − c‖² = ‖x‖² − 2·x·c + ‖c‖², without the first term, which is the same for all centres: the
    second value is (N,) ‖x − c‖² − ‖x‖². Of equally near centres the first is taken.
    """
    norms = (centers * centers).sum(1)
    length = max(256, _DISTANCES // max(1, len(centers)))
    labels = torch.empty(len(x), dtype=torch.int64, device=x.device)
    least = torch.empty(len(x), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), length):
        here = slice(start, start + length)
        scores = torch.addmm(norms, x[here], centers.T, alpha=-2)
        least[here], labels[here] = scores.min(1)
    return labels, least


def squared_distances(x: torch.Tensor, centers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return (N,) squared distances of rows to their centres, from differences: no cancellation."""
    parts = [
        (x[start : start + 4096] - centers[labels[start : start + 4096]]).square_().sum(1)
        for start in range(0, len(x), 4096)
    ]
    return torch.cat(parts) if parts else x.new_empty(0)


def sum_by_center(x: torch.Tensor, labels: torch.Tensor, count: int) -> tuple[Array, Array]:
    """Return the sum of each centre's rows (K, D) and their number (K,), in float64."""
    total = x.new_zeros(count, x.shape[1])
    total.index_add_(0, labels, x)
    number = torch.bincount(labels, minlength=count)
    return total.double().cpu().numpy(), number.cpu().numpy().astype(np.float64)
