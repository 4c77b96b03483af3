"""Training of a perceptron in this process: its search, what it says, and its checkpoints."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raypipe import memory
from raypipe.display import say
from raypipe.fit.mlp.settings import MlpSettings
from raypipe.fit.shards.checkpoint import FILES_FOLDER, Checkpoint
from raypipe.heads import Scaling
from raypipe.training.share import Table, share

if TYPE_CHECKING:  # importing these takes torch, which the command line does without
    from raypipe.fit.mlp.network import Workers
    from raypipe.fit.mlp.search import Record, Search, Tensors

#: Seconds between checkpoints: epochs that take less are cheaper to repeat than to save.
CHECKPOINT_SECONDS = 2.0

_SAY_SECONDS = 0.5

_RAY_TRAINS_INDEX = "checkpoint_manager_snapshot.json"


@dataclass(frozen=True)
class Job:
    """What every worker is given.

    Attributes:
        table: the rows and what they are for.
        combinations: the settings to try.
        scale: scaling of the features.
        class_weights: (K,).
        memory: bytes of features that a worker may hold in memory; None is half of what is there,
            shared with the workers beside it.
    """

    table: Table
    combinations: tuple[MlpSettings, ...]
    scale: str
    class_weights: npt.NDArray[np.float64]
    memory: int | None = None


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        record: all epochs of all combinations.
        kept: weights and biases of the best epoch of the best combination; none without one.
        scaling: in front of it.
    """

    record: Record
    kept: Tensors
    scaling: Scaling


def train_here(job: Job, kept: Checkpoint) -> Trained:
    """Run the job, or what is left of it, in this process; on its GPU where it has one.

    Args:
        job: what to train on what.
        kept: where checkpoints go; a finished search is one, too.
    """
    import torch

    from raypipe.fit.mlp.network import Workers

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    say(f"training in this process, on the {'GPU' if device.type == 'cuda' else 'CPU'}")
    workers = Workers(device=device, wrap=lambda network: network.to(device))
    before = kept.files or _of_ray_train(kept.folder)
    if before:
        say("going on from the checkpoint")
    search = make_search(job, workers, before)
    curves = search.record.curves
    said = saved = time.monotonic()
    shown = len(curves)

    def show() -> None:
        nonlocal said, shown
        if len(curves) > shown:
            say(_text(job, curves[-1]))
        said, shown = time.monotonic(), len(curves)

    def after_epoch() -> None:
        nonlocal saved
        if time.monotonic() - said >= _SAY_SECONDS:
            show()
        if time.monotonic() - saved >= CHECKPOINT_SECONDS:
            kept.save_files(search.save)
            saved = time.monotonic()

    search.run(after_epoch)
    show()
    kept.save_files(search.save)
    return Trained(search.record, search.kept, search.scaling)


def make_search(job: Job, workers: Workers, before: Path | None, beside: int = 1) -> Search:
    """Return one worker's search, with its rows read.

    Args:
        job: what to train on what.
        workers: the others.
        before: the checkpoint to go on from, if there is one.
        beside: workers on this machine.
    """
    import torch

    from raypipe.fit.mlp.search import Search, fit_scaling, load_scaling

    size = job.memory or memory.available() // (2 * beside)
    rows = share(job.table, workers.rank, workers.count, size)
    scaling = load_scaling(job.scale, before) if before else fit_scaling(job.scale, rows, workers)
    weights = torch.as_tensor(job.class_weights, dtype=torch.float32)
    search = Search(rows, job.combinations, scaling, weights, workers)
    if before:
        search.resume(before)
    return search


def _of_ray_train(folder: Path | None) -> Path | None:
    """Return the checkpoint of a fit that was begun when --workers had another default, if any."""
    if folder is None or not (folder / FILES_FOLDER / _RAY_TRAINS_INDEX).exists():
        return None
    index = json.loads((folder / FILES_FOLDER / _RAY_TRAINS_INDEX).read_text())
    last = index["latest_checkpoint_result"]
    return folder / FILES_FOLDER / last["checkpoint_dir_name"] if last else None


def _text(job: Job, entry: dict[str, Any]) -> str:
    number, count = entry["combination"], len(job.combinations)
    which = f"combination {number}/{count}, " if count > 1 else ""
    return (
        f"{which}epoch {entry['epoch']}/{job.combinations[number - 1].epochs}: "
        f"loss {entry['train_loss']:.4f}, accuracy {entry['train_accuracy']:.3f}; "
        f"validation {entry['validation_loss']:.4f}, {entry['validation_accuracy']:.3f} "
        f"({entry['seconds']:.1f} s)"
    )
