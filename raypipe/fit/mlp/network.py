"""A multilayer perceptron in PyTorch: the network, one epoch of it, and its state as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.fit.mlp.minibatches import Batch
from raypipe.fit.mlp.settings import Loss, MlpSettings
from raypipe.heads import Mlp, Scaling

Tensors = dict[str, Tensor]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Workers:
    """What a worker knows of the others; by default there are none.

    Attributes:
        rank: number of this one.
        count: how many there are.
        device: where it computes.
        wrap: moves a network there, so that its gradients are averaged over the workers.
        gather: returns every worker's tensor, in the order of their ranks.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = _CPU
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network
    gather: Callable[[Tensor], list[Tensor]] = lambda tensor: [tensor]

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum over the workers of a tensor, which has the same shape (…,) in each."""
        return torch.stack(self.gather(tensor)).sum(dim=0)


@dataclass(frozen=True)
class Score:
    """Mean loss and share of right answers over some rows."""

    loss: float
    accuracy: float


class Network(nn.Module):
    """Dense layers with ReLU and dropout between them.

    Weights start uniform within ±sqrt(6 / (inputs + outputs)), biases at zero (Glorot and Bengio
    2010, equation 16; the default of Keras).

    Args:
        width: values of a row.
        classes: outputs; of two, `sigmoid` has one, for the second.
        settings: hidden layers, dropout and loss.
    """

    def __init__(self, width: int, classes: int, settings: MlpSettings) -> None:
        super().__init__()
        outputs = 1 if settings.loss == "sigmoid" and classes == 2 else classes
        sizes = [width, *settings.hidden, outputs]
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)
        )
        self.dropout = nn.Dropout(settings.dropout)
        for layer in self._dense():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, K) logits for (n, D) scaled rows."""
        *hidden, last = self._dense()
        if not hidden:
            x = self.dropout(x)
        for layer in hidden:
            x = self.dropout(F.relu(layer(x)))
        logits: Tensor = last(x)
        return logits

    def state(self) -> Tensors:
        """Return a copy of weights and biases, in memory."""
        return {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}

    def _dense(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]


def to_scorer(state: Tensors, loss: Loss = "softmax") -> Mlp:
    """Return a network's state as what predicts.

    The logistic function of a single output z is the softmax of −z/2 and z/2.
    """
    layers = range(len(state) // 2)
    weights = [state[f"layers.{n}.weight"].numpy() for n in layers]
    biases = [state[f"layers.{n}.bias"].numpy() for n in layers]
    if len(biases[-1]) == 1:
        halves = np.array([[-0.5], [0.5]], biases[-1].dtype)
        weights[-1], biases[-1] = halves * weights[-1], halves[:, 0] * biases[-1]
        loss = "softmax"
    return Mlp(tuple(weights), tuple(biases), loss)


def make_optimizer(network: nn.Module, settings: MlpSettings) -> torch.optim.Optimizer:
    """Return the optimiser of a network's parameters."""
    usual: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    parameters = list(network.parameters())
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, momentum=settings.momentum, **usual)
        # Keras's constants, which differ from PyTorch's. Keras 3 adds epsilon below the root, which
        # shortens the steps of gradients under 3e-4; Keras 2 and PyTorch do so outside of it.
        case "rmsprop":
            return torch.optim.RMSprop(parameters, alpha=0.9, eps=1e-7, **usual)
        case "adamw":
            return torch.optim.AdamW(parameters, **usual)
        case _:
            return torch.optim.Adam(parameters, **usual)


def optimizer_state(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return what an optimiser remembers of each parameter, as `number.name`."""
    return {
        f"{number}.{name}": value.detach().cpu().clone()
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Give an optimiser back what `optimizer_state` returned."""
    state: dict[int, Tensors] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def scaler(scaling: Scaling, device: torch.device) -> Callable[[npt.NDArray[Any]], Tensor]:
    """Return what makes (n, D) scaled float32 rows on the device of (n, D) rows as stored."""

    def scale(x: npt.NDArray[Any]) -> Tensor:
        rows = torch.from_numpy(np.ascontiguousarray(x)).to(device, non_blocking=True).float()
        scaled: Tensor = scaling.apply(rows)
        return scaled

    return scale


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    scale: Callable[[npt.NDArray[Any]], Tensor],
    weights: Tensor,
    loss: Loss,
    workers: Workers,
) -> Score:
    """Take a step for each batch; return loss and accuracy as they were while it learned.

    The loss of a step is the weighted cross-entropy summed over the rows of all workers, divided by
    their number: workers may have batches of different sizes.

    Args:
        network: as `Workers.wrap` returned it: the gradient of a step is the mean over workers.
        optimizer: of its parameters.
        batches: this worker's rows; every worker has the same number of batches.
        scale: makes scaled tensors (n, D).
        weights: (K,) of the classes.
        loss: which cross-entropy.
        workers: the others.
    """
    network.train()
    sums = torch.zeros(3, dtype=torch.float64, device=workers.device)
    for batch in batches:
        x, y = scale(batch.x), torch.from_numpy(batch.y).to(workers.device, non_blocking=True)
        logits = network(x)
        total = (losses(logits, y, loss) * weights[y]).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total * (workers.count / batch.total))
        optimizer.step()
        sums += _sums(total, logits, y)
    return _score(workers.total(sums))


@torch.no_grad()
def validate(
    network: nn.Module,
    batches: Iterable[Batch],
    scale: Callable[[npt.NDArray[Any]], Tensor],
    loss: Loss,
    workers: Workers,
) -> Score:
    """Return mean cross-entropy and accuracy over the rows of all workers, without dropout.

    Args:
        network: gives (n, K) logits for (n, D) scaled rows.
        batches: this worker's rows.
        scale: makes scaled tensors (n, D).
        loss: which cross-entropy.
        workers: the others.
    """
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=workers.device)
    for batch in batches:
        y = torch.from_numpy(batch.y).to(workers.device, non_blocking=True)
        logits = network(scale(batch.x))
        sums += _sums(losses(logits, y, loss).sum(), logits, y)
    return _score(workers.total(sums))


def losses(logits: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Return (n,) cross-entropies of (n, K) logits, or (n, 1) of two classes, and (n,) classes."""
    if loss == "softmax":
        return F.cross_entropy(logits, y, reduction="none")
    wanted = F.one_hot(y, logits.shape[1]) if logits.shape[1] > 1 else y[:, None]
    binary = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    return binary.mean(dim=1)


def _sums(loss: Tensor, logits: Tensor, y: Tensor) -> Tensor:
    """Return loss, right answers and rows; they stay on the device, which need not wait."""
    answers = logits.argmax(dim=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
    right = (answers == y).sum()
    rows = torch.tensor(len(y), device=loss.device)
    return torch.stack([loss.detach().double(), right.double(), rows.double()])


def _score(sums: Tensor) -> Score:
    loss, right, rows = sums.tolist()
    return Score(loss / max(rows, 1), right / max(rows, 1))
