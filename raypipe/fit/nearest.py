"""The nearest of some centres to each row of a block, and what a Lloyd iteration sums up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]

#: Rows that are compared at a time, so that they and their distances stay in a core's cache: as
#: many values as this, of the rows or of the distances, whatever is more.
_VALUES = 2**19


def nearest(x: torch.Tensor, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each row of (N, D) the number of its nearest centre of (K, D), and how far it is.

    ‖x − c‖² = ‖x‖² − 2·x·c + ‖c‖², without the first term, which is the same for all centres: the
    second value is (N,) ‖x − c‖² − ‖x‖². Of equally near centres the first is taken.
    """
    found = [scores.min(1) for _, scores in _compared(x, centers)]
    if not found:
        return torch.empty(0, dtype=torch.int64, device=x.device), x.new_empty(0)
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


def sum_by_nearest(x: torch.Tensor, centers: torch.Tensor) -> tuple[Array, Array]:
    """Return the sum (K, D) and number (K,) of the rows nearest to each centre, in float64.

    Args:
        x: (N, D).
        centers: (K, D).
    """
    total = torch.zeros_like(centers)
    number = torch.zeros(len(centers), dtype=torch.int64, device=x.device)
    for rows, scores in _compared(x, centers):
        labels = scores.min(1).indices
        total.index_add_(0, labels, rows)  # while the rows are in the cache
        number += torch.bincount(labels, minlength=len(centers))
    return total.double().cpu().numpy(), number.cpu().numpy().astype(np.float64)


def _compared(
    x: torch.Tensor, centers: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield a few rows at a time, and their (n, K) squared distances but for ‖x‖²."""
    norms = (centers * centers).sum(1)
    factors = (centers.T * -2).contiguous()  # the product is faster with this layout
    length = max(256, _VALUES // max(1, *centers.shape))
    for start in range(0, len(x), length):
        rows = x[start : start + length]
        yield rows, torch.addmm(norms, rows, factors)


def squared_distances(x: torch.Tensor, centers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return (N,) squared distances of rows to their centres, from differences: no cancellation.

    Args:
        x: (N, D).
        centers: (K, D).
        labels: (N,) number of each row's centre.
    """
    parts = [
        (x[start : start + 4096] - centers[labels[start : start + 4096]]).square_().sum(1)
        for start in range(0, len(x), 4096)
    ]
    return torch.cat(parts) if parts else x.new_empty(0)
