"""What a worker of Ray Train does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raypipe import memory
from raypipe.fit.mlp_settings import MlpSettings
from raypipe.heads import Scaling
from raypipe.trainer.keep import kept, report
from raypipe.trainer.share import Share, Table

if TYPE_CHECKING:  # importing these takes torch, which the driver's command line does without
    from torch import Tensor

    from raypipe.fit.mlp import Workers
    from raypipe.fit.mlp_search import Search

__all__ = ["LOG_FILE", "Job", "load_scaling", "work"]

LOG_FILE = "epochs.jsonl"

_SCALING_FILE = "scaling.npz"
_BAD_ROWS_KEPT = 5

#: Seconds between checkpoints: epochs that take less are cheaper to repeat than to save.
CHECKPOINT_SECONDS = 2.0


@dataclass(frozen=True)
class Job:
    """What every worker is given.

    Attributes:
        table: the rows and what they are for.
        combinations: the settings to try.
        scale: scaling of the features.
        class_weights: (K,).
        folder: for checkpoints and progress; on a path that every node sees.
        memory: bytes of features that a worker may hold in memory; None is half of what is there,
            shared with the workers beside it.
    """

    table: Table
    combinations: tuple[MlpSettings, ...]
    scale: str
    class_weights: npt.NDArray[np.float64]
    folder: Path
    memory: int | None = None


def work(config: dict[str, Any]) -> dict[str, Any]:
    """Train, and report checkpoints; the last one holds the result.

    Args:
        config: `job`; `threads` of PyTorch, None for what they are; `local`, where checkpoints are
            kept if this is the driver's process, else None.

    Returns:
        `bad` and `bad_count` where features are not finite, and nothing was trained.
    """
    import torch

    job: Job = config["job"]
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    workers = _workers()
    share = Share(job.table, workers.rank, workers.count, job.memory or _memory())
    if bad := _bad(share, workers):
        return bad
    with kept(config["local"]) as before:
        _train(job, share, workers, before, config["local"])
    return {}


def load_scaling(kind: str, folder: Path) -> Scaling:
    """Return the scaling that a checkpoint holds."""
    with np.load(folder / _SCALING_FILE) as arrays:
        return Scaling(kind, arrays["mean"], arrays["std"])  # type: ignore[arg-type]


def _train(
    job: Job, share: Share, workers: Workers, before: Path | None, local: Path | None
) -> None:
    import torch

    from raypipe.fit.mlp import scaler
    from raypipe.fit.mlp_search import Search, fit_scaling

    batches = share.batches
    scaling = (
        load_scaling(job.scale, before) if before else fit_scaling(job.scale, batches, workers)
    )
    weights = torch.as_tensor(job.class_weights, dtype=torch.float32)
    scale = scaler(scaling, workers.device)
    search = Search(batches, job.combinations, scale, weights, workers)
    if before:
        search.resume(before)
    reports = Reports(job, search, scaling, workers, local)
    search.run(reports.after_epoch)
    reports.save()


def _memory() -> int:
    import ray.train

    beside: int = ray.train.get_context().get_local_world_size()
    return memory.available() // (2 * beside)


def _workers() -> Workers:
    import ray.train
    import torch
    from ray.train.torch import get_device, prepare_model

    from raypipe.fit.mlp import Workers

    context = ray.train.get_context()
    count = context.get_world_size()

    def gather(tensor: Tensor) -> list[Tensor]:
        if count == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(count)]
        torch.distributed.all_gather(found, tensor.contiguous())
        return found

    return Workers(context.get_world_rank(), count, get_device(), prepare_model, gather)


def _bad(share: Share, workers: Workers) -> dict[str, Any] | None:
    """Return the same on every worker: which rows are not finite, or None."""
    import torch

    own = [share.bad_count, *share.bad]
    own += [-1] * (1 + _BAD_ROWS_KEPT - len(own))
    found = torch.stack(workers.gather(torch.tensor(own, device=workers.device)))
    if not (count := int(found[:, 0].sum())):
        return None
    rows = sorted(row for row in found[:, 1:].flatten().tolist() if row >= 0)
    return {"bad": rows[:_BAD_ROWS_KEPT], "bad_count": count}


class Reports:
    """Notes each epoch, and reports a checkpoint now and then."""

    def __init__(
        self, job: Job, search: Search, scaling: Scaling, workers: Workers, local: Path | None
    ) -> None:
        self.job = job
        self.search = search
        self.scaling = scaling
        self.workers = workers
        self.local = local
        self.last = time.monotonic()

    def after_epoch(self) -> None:
        import torch

        if self.workers.rank == 0:
            with (self.job.folder / LOG_FILE).open("a") as file:
                file.write(json.dumps(self.search.record.curves[-1]) + "\n")
        # All workers report or none does, by the clock of the first.
        waited = torch.tensor([time.monotonic() - self.last], device=self.workers.device)
        if self.workers.gather(waited)[0].item() >= CHECKPOINT_SECONDS:
            self.save()

    def save(self) -> None:
        report(None if self.workers.rank else self._write, self.local)
        self.last = time.monotonic()

    def _write(self, folder: Path) -> None:
        self.search.save(folder)
        np.savez(folder / _SCALING_FILE, mean=self.scaling.mean, std=self.scaling.std)
