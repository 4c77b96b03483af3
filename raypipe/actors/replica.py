"""The pool's actor: a backbone's replica with the steps around it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data

from raypipe.memory import keep_freed
from raypipe.steps.batch import UNIT, Batch, ReadOptions
from raypipe.steps.embed import decode_and_embed, embed, read_and_embed
from raypipe.steps.pool_plan import Replicas

Finish = Callable[[Batch], "Batch | pa.Table"]


def noted(batch: Batch, *, step: Callable[[Batch], Any], ledger: Any) -> Any:
    """Do a step; tell the ledger before and after."""
    unit = str(batch[UNIT][0])
    ray.get(ledger.start.remote(unit))
    found = step(batch)
    ledger.finish.remote(unit)
    return found


class EmbedderReplica:
    """An `Embedder` in an actor, which takes its backbone from the object store.

    Args:
        backbone: where that is.
        options: how items are read, and what the features are.
        replicas: what a replica may take.
        finish: the step after it, if all of them happen here.
        ledger: told of each unit, if there is one.
    """

    def __init__(
        self,
        backbone: ray.ObjectRef,
        options: ReadOptions,
        replicas: Replicas,
        finish: Finish | None,
        ledger: Any = None,
    ) -> None:
        from raypipe.actors.embedder import Embedder  # imports torch, which only replicas need
        from raypipe.actors.jpegs import JpegDecoder

        keep_freed()
        self.embedder = Embedder(
            ray.get(backbone),
            options.spec,
            device=replicas.device,
            batch_size=replicas.batch_size,
            threads=replicas.threads,
            compiled=replicas.compiled,
        )
        self.decoder, preprocess = None, options.spec.preprocess
        if preprocess.gpu_decoded:
            self.decoder = JpegDecoder(preprocess, replicas.device, options.max_pixels)
        self.options, self.finish, self.ledger = options, finish, ledger
        self.computing = threading.Lock()  # calls may be made side by side

    def __call__(self, batch: Batch) -> Batch | pa.Table:
        """Embed one unit, with the steps before and after it if they happen here."""
        if self.finish is None:
            how = partial(decode_and_embed, decoder=self.decoder) if self.decoder else embed
            return how(
                batch,
                embedder=self.embedder,
                device_bytes=self.embedder.device_bytes,
                turn=self.computing,
            )
        if self.ledger is None:
            return self._whole_step(batch)
        return noted(batch, step=self._whole_step, ledger=self.ledger)

    def _whole_step(self, batch: Batch) -> Batch | pa.Table:
        embedded = read_and_embed(batch, embedder=self.embedder.stream, options=self.options)
        return self.finish(embedded)  # type: ignore[misc]
