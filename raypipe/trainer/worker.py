"""The work of one worker of Ray Train."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train

from raypipe.trainer.here import make_search

if TYPE_CHECKING:  # importing these takes torch
    from torch import Tensor

    from raypipe.fit.mlp import Workers
    from raypipe.fit.mlp_search import Search

LOG_FILE = "epochs.jsonl"

#: Seconds between checkpoints: Ray Train takes a report when it looks, every two seconds.
_CHECKPOINT_SECONDS = 20.0


def work(config: dict[str, Any]) -> None:
    """Train, and report checkpoints; the last one holds the result.

    Args:
        config: `job`; `threads` of PyTorch; `folder`, where the first worker notes each epoch.
    """
    import torch

    torch.set_num_threads(config["threads"])
    workers = _workers()
    checkpoint = ray.train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else contextlib.nullcontext() as before:
        beside = ray.train.get_context().get_local_world_size()
        search = make_search(config["job"], workers, Path(before) if before else None, beside)
    saved = time.monotonic()

    def after_epoch() -> None:
        nonlocal saved
        if workers.rank == 0:
            with (config["folder"] / LOG_FILE).open("a") as file:
                file.write(json.dumps(search.record.curves[-1]) + "\n")
        # All workers report or none does, by the clock of the first.
        waited = torch.tensor([time.monotonic() - saved], device=workers.device)
        if workers.gather(waited)[0].item() >= _CHECKPOINT_SECONDS:
            _report(search, workers)
            saved = time.monotonic()

    search.run(after_epoch)
    _report(search, workers)


def _report(search: Search, workers: Workers) -> None:
    """Report a checkpoint, which the first worker writes; every worker has to."""
    if workers.rank:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        search.save(Path(folder))
        ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _workers() -> Workers:
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
