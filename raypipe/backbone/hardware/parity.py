"""Nearness of features to those of plain float32."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

#: Less than this between features of two ways to compute one network is an error, not rounding.
ENOUGH = 0.99

_NOTHING = 1e-12


def least_cosine(expected: Tensor, found: Tensor) -> float:
    """Return the least cosine, a scalar, between the rows of two (N, …) tensors of one shape.

    Rows that are zero in both are equal; a row with values that are no numbers has cosine −1.
    """
    a, b = expected.double().flatten(1), found.double().flatten(1)
    cosine = F.cosine_similarity(a, b, dim=1)
    both_zero = (a.norm(dim=1) < _NOTHING) & (b.norm(dim=1) < _NOTHING)
    cosine = cosine.masked_fill(both_zero, 1.0).nan_to_num(nan=-1.0)
    return float(cosine.min()) if len(cosine) else 1.0
