"""Search among settings of a perceptron: every combination is trained, one epoch of it kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raypipe.fit.mlp.minibatches import Batches
from raypipe.fit.mlp.network import (
    Network,
    Workers,
    make_optimizer,
    optimizer_state,
    restore_optimizer,
    scaler,
    train_epoch,
    validate,
)
from raypipe.fit.mlp.settings import MlpSettings
from raypipe.fit.shards.sums import Moments, merged, moments_of
from raypipe.heads import Scaling

_RECORD_FILE = "search.json"
_TENSORS_FILE = "search.safetensors"
_SCALING_FILE = "scaling.npz"

Tensors = dict[str, Tensor]


@dataclass
class Record:
    """How far a search is.

    Attributes:
        combination: number of the combination that is being trained.
        epoch: epochs of it that are done.
        curves: one entry for each epoch of each combination.
        best: the epoch to keep so far, of this combination: that with the lowest validation loss,
            or the last.
        finished: the best epoch of each combination that is done; None where its loss left the
            range of numbers before the first epoch's end.
        kept: number of the best combination so far.
    """

    combination: int = 0
    epoch: int = 0
    curves: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    finished: list[dict[str, Any] | None] = field(default_factory=list)
    kept: int | None = None


class Search:
    """Trains the combinations one after another.

    Every random number comes from the seed, the epoch and the worker's rank. So a search that goes
    on from a saved state ends as if it had not been interrupted.

    Args:
        batches: this worker's rows.
        combinations: the settings to try.
        scaling: of the rows.
        weights: (K,) of the classes.
        workers: the others.

    Attributes:
        record: how far it is.
        kept: weights and biases of the best epoch of the best combination that is done.
    """

    def __init__(
        self,
        batches: Batches,
        combinations: Sequence[MlpSettings],
        scaling: Scaling,
        weights: Tensor,
        workers: Workers,
    ) -> None:
        self.batches = batches
        self.combinations = combinations
        self.scaling = scaling
        self.scale = scaler(scaling, workers.device)
        self.weights = weights.to(workers.device)
        self.workers = workers
        self.record = Record()
        self.kept: Tensors = {}
        self._best: Tensors = {}
        self._saved: dict[str, Tensors] = {}
        self._network: Network | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def run(self, after_epoch: Callable[[], None]) -> None:
        """Train what is left to train; call `after_epoch` after each epoch."""
        while self.record.combination < len(self.combinations):
            self._combination(self.combinations[self.record.combination], after_epoch)

    def save(self, folder: Path) -> None:
        """Write what `resume` reads, and `load_scaling`."""
        parts = {"best": self._best, "kept": self.kept}
        if self._network is not None and self._optimizer is not None:
            parts["network"] = self._network.state()
            parts["optimizer"] = optimizer_state(self._optimizer)
        tensors = {f"{part}.{name}": t for part, ts in parts.items() for name, t in ts.items()}
        save_file({name: t.contiguous() for name, t in tensors.items()}, folder / _TENSORS_FILE)
        np.savez(folder / _SCALING_FILE, mean=self.scaling.mean, std=self.scaling.std)
        (folder / _RECORD_FILE).write_text(json.dumps(asdict(self.record)))

    def resume(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        self.record, self._saved = load_search(folder)
        self.kept, self._best = self._saved["kept"], self._saved["best"]

    def _combination(self, settings: MlpSettings, after_epoch: Callable[[], None]) -> None:
        network, wrapped = self._start(settings)
        while not self._is_done(settings):
            self._epoch(settings, network, wrapped)
            after_epoch()
        self._finish()

    def _start(self, settings: MlpSettings) -> tuple[Network, nn.Module]:
        torch.manual_seed(settings.seed)
        network = Network(self.batches.width, self.batches.classes, settings)
        if self.record.epoch:
            network.load_state_dict(self._saved["network"])
        wrapped = self.workers.wrap(network)
        self._network, self._optimizer = network, make_optimizer(network, settings)
        if self.record.epoch:
            restore_optimizer(self._optimizer, self._saved["optimizer"])
        self._saved = {}
        return network, wrapped

    def _epoch(self, settings: MlpSettings, network: Network, wrapped: nn.Module) -> None:
        started = time.monotonic()
        record, batches = self.record, self.batches
        seed = np.random.SeedSequence([settings.seed, record.epoch, self.workers.rank])
        torch.manual_seed(int(seed.generate_state(1)[0]))  # of dropout
        rows = batches.training(settings.minibatch, settings.seed, record.epoch)
        if self._optimizer is None:
            raise RuntimeError("no combination was started")
        common = settings.loss, self.workers
        training = train_epoch(wrapped, self._optimizer, rows, self.scale, self.weights, *common)
        validation = validate(network, batches.validation(), self.scale, *common)
        record.epoch += 1
        entry = {
            "combination": record.combination + 1,
            "epoch": record.epoch,
            "train_loss": training.loss,
            "train_accuracy": training.accuracy,
            "validation_loss": validation.loss,
            "validation_accuracy": validation.accuracy,
            "learning_rate": settings.learning_rate,
            "seconds": round(time.monotonic() - started, 3),
        }
        record.curves.append(entry)
        lowest = record.best["validation_loss"] if record.best else math.inf
        is_later = settings.keep == "last" and _is_finite(entry)
        if validation.loss < lowest or is_later:
            record.best, self._best = entry, network.state()

    def _is_done(self, settings: MlpSettings) -> bool:
        record = self.record
        last = record.best["epoch"] if record.best else 0
        waited = settings.patience and record.epoch - last >= settings.patience
        lost = record.epoch > 0 and not _is_finite(record.curves[-1])
        return bool(record.epoch >= settings.epochs or waited or lost)

    def _finish(self) -> None:
        record = self.record
        record.finished.append(record.best)
        before = record.finished[record.kept] if record.kept is not None else None
        if record.best and (before is None or _rank(record.best) > _rank(before)):
            record.kept, self.kept = record.combination, self._best
        record.combination += 1
        record.epoch, record.best, self._best = 0, None, {}
        self._network = self._optimizer = None


def load_search(folder: Path) -> tuple[Record, dict[str, Tensors]]:
    """Return what `Search.save` wrote: the record, and tensors by part and name."""
    record = Record(**json.loads((folder / _RECORD_FILE).read_text()))
    parts: dict[str, Tensors] = {"network": {}, "optimizer": {}, "best": {}, "kept": {}}
    for key, tensor in load_file(folder / _TENSORS_FILE).items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    return record, parts


def load_scaling(kind: str, folder: Path) -> Scaling:
    """Return the scaling of the search that was saved there."""
    with np.load(folder / _SCALING_FILE) as arrays:
        return Scaling(kind, arrays["mean"], arrays["std"])  # type: ignore[arg-type]


def fit_scaling(kind: str, batches: Batches, workers: Workers) -> Scaling:
    """Return the scaling of the training rows of all workers, from one pass over them."""
    if kind != "standard":
        return Scaling.without("l2" if kind == "l2" else "none")
    width = batches.width
    own = moments_of((batch.x for batch in batches.in_order()), width)
    flat = torch.from_numpy(np.concatenate([own.count, own.mean[0], own.squares[0]]))
    everyone = [one.cpu().numpy() for one in workers.gather(flat.to(workers.device))]
    parts = (np.split(one, [1, 1 + width]) for one in everyone)
    total = merged((Moments(n, mean[None], squares[None]) for n, mean, squares in parts), width)
    return Scaling("standard", *total.of([0]))


def _is_finite(entry: dict[str, Any]) -> bool:
    return math.isfinite(entry["train_loss"]) and math.isfinite(entry["validation_loss"])


def _rank(entry: dict[str, Any]) -> tuple[float, float]:
    return entry["validation_accuracy"], -entry["validation_loss"]
