"""Loss and gradient of logistic regression over a block of rows, for many models at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from raypipe.fit.linear_models import LinearModels

Array = npt.NDArray[Any]

#: Scores held at a time. They are read and written several times, so they should stay in a core's
#: cache.
_SCORES = 2**17


def loss_and_gradient(x: torch.Tensor, y: torch.Tensor, models: LinearModels) -> tuple[Array, ...]:
    """Sum over rows the negative log-likelihood of each model and its derivatives.

    For scores z = x·coefᵀ + intercept, a row of class y costs log Σₖ exp(zₖ) − z_y; its derivative
    by zₖ is softmax(z)ₖ − [k = y]. Two classes have one score: log(1 + exp z) − y·z.

    Args:
        x: (N, D).
        y: (N,) class numbers.
        models: M of them.

    Returns:
        Loss (M,), its gradient by the coefficients (M, K, D) and by the intercepts (M, K), in
        float64.
    """
    count, classes, width = models.coef.shape
    dtype = torch.float64 if models.double else torch.float32
    coef = torch.from_numpy(models.coef).reshape(count * classes, width).to(x.device, dtype)
    intercept = torch.from_numpy(models.intercept).reshape(-1).to(x.device, dtype)
    weight = None
    if models.class_weight is not None:
        weight = torch.from_numpy(models.class_weight).to(x.device, dtype)
    derive = _two_classes if classes == 1 else _many_classes
    loss = torch.zeros(count, dtype=torch.float64, device=x.device)
    by_intercept = torch.zeros(count * classes, dtype=torch.float64, device=x.device)
    gradient = torch.zeros(count * classes, width, dtype=dtype, device=x.device)
    length = _chunk_length(count * classes)
    for start in range(0, len(x), length):
        rows = x[start : start + length].to(dtype)
        scores = F.linear(rows, coef, intercept).view(len(rows), count, classes)
        losses, slopes = derive(scores, y[start : start + length], weight)
        loss += losses.sum(0, dtype=torch.float64)
        by_intercept += slopes.sum(0, dtype=torch.float64)
        gradient.addmm_(slopes.T, rows)
    by_coef = gradient.double().view(count, classes, width)
    return (
        loss.cpu().numpy(),
        by_coef.cpu().numpy(),
        by_intercept.view(count, classes).cpu().numpy(),
    )


def hits(x: torch.Tensor, y: torch.Tensor, models: LinearModels) -> Array:
    """Return how many rows each of M models gets right, (M,).

    Args:
        x: (N, D).
        y: (N,) class numbers.
        models: M of them.
    """
    count, classes, width = models.coef.shape
    coef = torch.from_numpy(models.coef).reshape(count * classes, width).to(x)
    intercept = torch.from_numpy(models.intercept).reshape(-1).to(x)
    right = torch.zeros(count, dtype=torch.int64, device=x.device)
    length = _chunk_length(count * classes)
    for start in range(0, len(x), length):
        rows = x[start : start + length]
        scores = F.linear(rows, coef, intercept).view(len(rows), count, classes)
        chosen = (scores[..., 0] > 0).long() if classes == 1 else scores.argmax(2)
        right += (chosen == y[start : start + length, None]).sum(0)
    found: Array = right.cpu().numpy()
    return found


def _chunk_length(columns: int) -> int:
    """Rows whose scores stay in the cache; a power of two, so that it changes seldom."""
    return int(2 ** np.clip(np.log2(_SCORES / columns), 8, 12).astype(int))


def _many_classes(
    scores: torch.Tensor, y: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return losses (N, M) and their derivatives by the scores (N, M·K), in the scores' memory."""
    index = y.view(-1, 1, 1).expand(-1, scores.shape[1], 1)
    scores -= scores.amax(2, keepdim=True)
    own = scores.gather(2, index).squeeze(2)
    scores.exp_()
    total = scores.sum(2, keepdim=True)
    losses = total.squeeze(2).log() - own
    scores /= total
    scores.scatter_add_(2, index, scores.new_full((1, 1, 1), -1.0).expand_as(index))
    if weight is not None:
        of_row = weight[:, y].T
        losses *= of_row
        scores *= of_row[..., None]
    return losses, scores.flatten(1)


def _two_classes(
    scores: torch.Tensor, y: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return losses and their derivatives by the scores, each (N, M)."""
    z, truth = scores.squeeze(2), y.to(scores.dtype)[:, None]
    losses = F.softplus(z, threshold=40) - truth * z
    slopes = torch.sigmoid(z) - truth
    if weight is not None:
        of_row = weight[:, y].T
        losses, slopes = losses * of_row, slopes * of_row
    return losses, slopes
