"""The part of the flow that the network's replicas do."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.data.block import BlockAccessor

from raypipe import schema
from raypipe.actors.embedder import Embedder
from raypipe.actors.timing import (
    Lap,
    Stopwatch,
    alternate,
    laps,
    most_memory,
    pace,
    sweep,
)
from raypipe.backbone.parity import least_cosine
from raypipe.diagnosis.findings import Precision, Transfer
from raypipe.diagnosis.machine import look
from raypipe.memory import is_out_of_memory
from raypipe.pipeline import EmbedderReplica
from raypipe.reading import Batch
from raypipe.rehearsal.flow import Flow, Place
from raypipe.steps import IMAGE, feature_column

__all__ = ["Device"]

#: What takes longer than this, in seconds, is not tried.
_PATIENCE = 15.0
_TRANSFERRED = 2**26


class Device:
    """A replica on a GPU, whose pixels come from elsewhere.

    Args:
        flow: the steps.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow, self.watch = flow, Stopwatch()
        self.replica = EmbedderReplica(flow.backbone, flow.spec, flow.replicas, None)
        self.blocks: list[Batch] = []

    def place(self) -> Place:
        """Return where this is."""
        return Place(ray.get_runtime_context().get_node_id(), look(gpus=True))

    def fetch(self, references: list[ray.ObjectRef]) -> float:
        """Take units out of the object store; return seconds per item."""
        started = time.perf_counter()
        blocks = [BlockAccessor.for_block(block) for block in ray.get(references)]
        self.blocks = [block.to_batch_format("numpy") for block in blocks]
        seconds = time.perf_counter() - started
        return seconds / sum(len(block[schema.REASON]) for block in self.blocks)

    def warm_up(self) -> tuple[int, float]:
        """Do the first forward passes; return the batch size and seconds per item.

        A batch that would take too long is made smaller.
        """
        embedder = self.replica.embedder
        wanted, embedder.batch_size = embedder.batch_size, 1
        forward = partial(embedder, self.images(1))
        forward()
        affordable = int(_PATIENCE / pace(forward, 0))
        embedder.batch_size = max(1, min(wanted, affordable))
        batch = self.images(embedder.batch_size)
        embedder(batch)
        return embedder.batch_size, self._views * pace(partial(embedder, batch), 0) / len(batch)

    def some_features(self) -> Batch:
        """Return the features of a unit, as a batch that is to be written has them."""
        done = self.embed(self.blocks[0])
        mine = {feature_column(output.column) for output in self.flow.spec.outputs}
        return {name: values for name, values in done.items() if name in mine}

    def forward_laps(self, seconds: float) -> list[Lap]:
        """Embed the units that were fetched, over and over."""
        return laps(self._embed, self.watch, seconds=seconds)

    def sweep(self, sizes: list[int], seconds: float, memory: float) -> dict[int, float]:
        """Return images (views) per second by batch size; see `timing.sweep`."""
        embedder = self.replica.embedder
        usual, images = embedder.batch_size, self.images(max(sizes))

        def forward(size: int) -> None:
            embedder.batch_size = size
            embedder(images[:size])
            if embedder.batch_size != size:
                raise MemoryError("the batch was split to fit")

        try:
            return sweep(forward, sizes, seconds=seconds, memory=memory)
        finally:
            embedder.batch_size = usual

    def compare(self, precision: str, seconds: float) -> Precision | None:
        """Compute in another arithmetic; return None if time or memory are short."""
        batch = self.images(self.replica.embedder.batch_size)
        if pace(partial(self.replica.embedder, batch), 0) > seconds:
            return None
        try:
            return self._compare(batch, precision, seconds)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None
            raise

    def _compare(self, batch: npt.NDArray[np.uint8], precision: str, seconds: float) -> Precision:
        spec = self.flow.spec.model_copy(update={"precision": precision})
        backbone, threads = ray.get(self.flow.backbone), self.flow.replicas.threads
        device = self.flow.replicas.device
        other = Embedder(backbone, spec, device=device, batch_size=len(batch), threads=threads)
        theirs, ours = other(batch), self.replica.embedder(batch)
        passes = {True: partial(other, batch), False: partial(self.replica.embedder, batch)}
        taken = alternate(passes, seconds)
        pairs = [(theirs[name], ours[name]) for name in ours if ours[name].dtype.kind == "f"]
        tensors = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in pairs]
        least = min((least_cosine(a, b) for a, b in tensors), default=1.0)
        return Precision(precision, taken[False] / taken[True], least)

    def to_device(self) -> float:
        """Return the seconds that an item's pixels take to the GPU; 0 without one."""
        device = self.replica.embedder.device
        if device.type != "cuda":
            return 0.0
        pixels = torch.from_numpy(self.images(self.replica.embedder.batch_size))

        def move() -> None:
            pixels.to(device)
            torch.cuda.synchronize(device)

        move()
        return self._views * pace(move, 0.5) / len(pixels)

    def transfer(self, room: int) -> Transfer:
        """Return the object store's rates; at most `room` bytes are put into it."""
        size = max(1, min(_TRANSFERRED, room))
        block = np.resize(self.images(1).ravel(), size)
        references: list[ray.ObjectRef] = []

        def put() -> None:
            references[:] = [ray.put(block)]

        put()
        seconds = pace(put, 0.3)
        return Transfer(size / seconds, size / pace(lambda: ray.get(references[0]).copy(), 0.3))

    def memory(self) -> int:
        """Return the most bytes that this process has had."""
        return most_memory()

    def images(self, count: int) -> npt.NDArray[np.uint8]:
        """Return (count, size, size, 3) pixels: those of the good images, over and over."""
        block = self.blocks[0]
        good = np.flatnonzero(block[schema.REASON] == "")
        pixels = block[IMAGE]
        found = pixels[good if len(good) else slice(None)]
        flat = found.reshape(-1, *pixels.shape[2:])
        chosen: npt.NDArray[np.uint8] = flat[np.arange(count) % len(flat)]
        return chosen

    @property
    def _views(self) -> int:
        """Images that enter the network for each item."""
        return self.flow.spec.views

    def _embed(self, number: int) -> int:
        block = self.blocks[number % len(self.blocks)]
        with self.watch("forward"):
            self.embed(block)
        return len(block[schema.REASON])

    def embed(self, block: Batch) -> Batch:
        """Embed the pixels of a unit, which is left as it is."""
        done = self.replica(dict(block))
        if not isinstance(done, dict):
            raise TypeError("a replica on a GPU hands on batches")
        return done
