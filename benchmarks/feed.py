"""A pool of processes that decode images into units of uint8 pixels in shared memory."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.pool import AsyncResult
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypipe.spec import Preprocess

__all__ = ["Decoders"]

_MAX_PIXELS = 178_956_970
#: Units that may lie ready, beside those in the making.
_AHEAD = 2


class Decoders:
    """Decodes images with some processes; a context manager.

    Args:
        workers: how many processes.
        unit: images of a unit.
        preprocess: how they are resized.
    """

    def __init__(self, workers: int, unit: int, preprocess: Preprocess) -> None:
        self.workers, self.unit, self.preprocess = workers, unit, preprocess
        size = unit * 3 * math.prod(preprocess.shape)
        self._memory = [SharedMemory(create=True, size=size) for _ in range(workers + _AHEAD)]
        context = multiprocessing.get_context(
            "spawn"
        )  # a process that has a GPU must not be forked
        self._pool = context.Pool(workers, _one_thread)
        self._pool.map(_nothing, range(4 * workers), chunksize=1)  # all have started

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()
        for memory in self._memory:
            with contextlib.suppress(BufferError):  # a unit is still held, by an error's frames
                memory.close()
            memory.unlink()

    def units(self, paths: Sequence[Path]) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield (n, height, width, 3) pixels of so many images at a time, in order.

        A unit is valid until the next one is asked for: its memory is used again.
        """
        starts = iter(range(0, len(paths), self.unit))
        free, waiting = deque(self._memory), deque[tuple[SharedMemory, AsyncResult[int]]]()
        while True:
            while free and (start := next(starts, None)) is not None:
                memory, some = free.popleft(), list(paths[start : start + self.unit])
                work = (memory.name, some, self.preprocess)
                waiting.append((memory, self._pool.apply_async(_fill, work)))
            if not waiting:
                return
            memory, done = waiting.popleft()
            yield _pixels(memory, done.get(), self.preprocess.shape)
            free.append(memory)


def _pixels(memory: SharedMemory, count: int, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = np.ndarray((count, *shape, 3), np.uint8, memory.buf)
    return pixels


def _one_thread() -> None:
    import torch

    from raypipe.images import decode, transforms  # noqa: F401  imported before anything is measured

    torch.set_num_threads(1)


def _nothing(_: Any) -> None: ...


def _fill(name: str, paths: list[Path], preprocess: Preprocess) -> int:
    """Decode images into shared memory; return how many."""
    from raypipe.images.decode import decode
    from raypipe.images.transforms import to_pixels

    memory = _attach(name)
    pixels = _pixels(memory, len(paths), preprocess.shape)
    for i, path in enumerate(paths):
        pixels[i] = to_pixels(decode(path.read_bytes(), _MAX_PIXELS), preprocess)
    return len(paths)


_attached: dict[str, SharedMemory] = {}


def _attach(name: str) -> SharedMemory:
    """Map a unit's memory once, so that its pages need not be mapped anew for every unit."""
    if name not in _attached:
        _attached[name] = SharedMemory(name=name)
    return _attached[name]
