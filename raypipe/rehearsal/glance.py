"""How long the steps of an extraction take, seen in a few seconds: enough for an estimate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from raypipe import runtime
from raypipe.actors.embedder import Embedder
from raypipe.backbone import Backbone
from raypipe.errors import RejectedItem
from raypipe.reading import decoded
from raypipe.spec import Spec

__all__ = ["Glance", "glance"]

_IMAGES = 32
_SECONDS = 1.5


@dataclass(frozen=True)
class Glance:
    """Seconds per image of one core, and of one replica.

    Attributes:
        decode: reading, decoding and preprocessing, by one core.
        forward: the network, by one replica.
    """

    decode: float
    forward: float

    def rate(self, replicas: runtime.Replicas) -> float:
        """Return images per second of all replicas together.

        A replica without a GPU does both, one with a GPU is fed by the cores.
        """
        if replicas.whole_flow:
            return replicas.max_size / (self.decode + self.forward)
        return min(replicas.max_size / self.forward, runtime.cores() / self.decode)


def glance(
    backbone: Backbone, spec: Spec, some: Sequence[pa.Table], replicas: runtime.Replicas, most: int
) -> Glance | None:
    """Read and embed a few images where a replica could run; None if none of them can be read.

    Args:
        backbone: the network.
        spec: what the features are.
        some: a few items of each of some units.
        replicas: as the run would have them.
        most: cap on an image's pixels.
    """
    items = pa.concat_tables(some).slice(0, _IMAGES)
    device, size = replicas.device, replicas.batch_size
    return runtime.on_replica_hardware(_measure, backbone, spec, items, most, device, size)


def _measure(
    backbone: Backbone, spec: Spec, items: pa.Table, most: int, device: str, batch_size: int
) -> Glance | None:
    started = time.perf_counter()
    found = [views for views in decoded(items, spec, most) if not isinstance(views, RejectedItem)]
    decode = (time.perf_counter() - started) / len(items)
    if not found:
        return None
    threads = torch.get_num_threads()  # of the caller's process, if this is all there is
    try:
        forward = _forward(backbone, spec, found[0][:1], device, batch_size)
    finally:
        torch.set_num_threads(threads)
    return Glance(decode, forward * spec.views)


def _forward(
    backbone: Backbone, spec: Spec, image: npt.NDArray[np.uint8], device: str, batch_size: int
) -> float:
    embedder = Embedder(backbone, spec, device=device, batch_size=batch_size, threads=1)
    images = image.repeat(batch_size, axis=0)
    embedder(images)  # the first pass allocates memory
    started, passes = time.perf_counter(), 0
    while not passes or time.perf_counter() - started < _SECONDS:
        embedder(images)
        passes += 1
    return (time.perf_counter() - started) / (passes * batch_size)
