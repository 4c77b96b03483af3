"""The pool's actor: a backbone's replica with the steps around it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
import ray.data

from raypipe.memory import keep_freed
from raypipe.runtime import Replicas
from raypipe.spec import Spec
from raypipe.steps.batch import UNIT, Batch, ReadOptions
from raypipe.steps.embed import decode_and_embed, embed, read_and_embed

if TYPE_CHECKING:  # importing it takes torch, which the workers that write do without
    pass


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
        spec: what the features are.
        replicas: what a replica may take.
        whole: options of the step before it, and the step after it, if all happen here.
        ledger: told of each unit, if there is one.
        max_pixels: cap on an image's pixels, where it decodes JPEGs on its device; else None.
    """

    def __init__(
        self,
        backbone: ray.ObjectRef,
        spec: Spec,
        replicas: Replicas,
        whole: tuple[ReadOptions, Finish] | None,
        ledger: Any = None,
        max_pixels: int | None = None,
    ) -> None:
        from raypipe.actors.embedder import Embedder  # imports torch, which only replicas need
        from raypipe.actors.jpegs import JpegDecoder

        keep_freed()
        self.embedder = Embedder(
            ray.get(backbone),
            spec,
            device=replicas.device,
            batch_size=replicas.batch_size,
            threads=replicas.threads,
            compiled=replicas.compiled,
        )
        self.decoder = None
        if max_pixels is not None:
            self.decoder = JpegDecoder(spec.preprocess, replicas.device, max_pixels)
        self.whole, self.ledger = whole, ledger
        self.computing = threading.Lock()  # calls may be made side by side

    def __call__(self, batch: Batch) -> Batch | pa.Table:
        """Embed one unit, with the steps before and after it if they happen here."""
        if self.whole is None:
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
        reading, finish = self.whole  # type: ignore[misc]
        return finish(read_and_embed(batch, embedder=self.embedder.stream, **vars(reading)))
