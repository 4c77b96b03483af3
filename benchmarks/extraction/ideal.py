"""What the work itself costs, without any framework: decoding alone, and the network alone.

As many processes of one thread as there are cores do the same at once, because cores share caches
and clock. What is told is core-seconds per image: the number of processes divided by the images
that all of them finish in a second. No pipeline on these cores can do more than
`cores / (decode + forward)` images per second with this code.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.extraction.images import jpegs
from benchmarks.extraction.recipe import SCALING, Job

__all__ = ["Cost", "combine", "ideal_rate", "measure_decode", "measure_forward"]

_MAX_PIXELS = 178_956_970
_LIMIT_SECONDS = 1800.0
_Step = Callable[[], int]


@dataclass(frozen=True)
class Cost:
    """Core-seconds per image: by the clock, and as the processes were on a core."""

    seconds: float
    cpu: float
    batch: int = 1


def ideal_rate(decode: float, forward: float, cores: int) -> float:
    """Return images per second of all cores, from core-seconds per image of both parts."""
    return cores / (decode + forward)


def measure_decode(job: Job, seconds: float) -> Cost:
    """Measure reading, decoding and resizing as raypipe does it."""
    return _at_once(_decode, job, seconds, {})


def measure_forward(
    job: Job, precision: str, seconds: float, *, batch: int | None = None, compiled: bool = False
) -> Cost:
    """Measure raypipe's prepared network on inputs that are ready.

    Args:
        job: the network and the images.
        precision: what raypipe has computed in.
        seconds: how long to measure.
        batch: images per pass, as raypipe has taken; None for what it would take.
        compiled: whether the network is compiled.
    """
    options = {"precision": precision, "batch": batch, "compiled": compiled}
    return _at_once(_forward, job, seconds, options)


def _at_once(
    prepare: Callable[..., tuple[_Step, int]], job: Job, seconds: float, options: dict[str, Any]
) -> Cost:
    """Run a step in one process per core, all at the same time."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(job.cores)
    results = context.Queue()
    arguments = (prepare, job, seconds, options, start, results)
    processes = [context.Process(target=_process, args=(i, *arguments)) for i in range(job.cores)]
    for process in processes:
        process.start()
    found = [results.get(timeout=_LIMIT_SECONDS) for _ in processes]
    for process in processes:
        process.join()
    failed = [text for text in found if isinstance(text, str)]
    if failed:
        raise RuntimeError("\n".join(failed))
    return combine(found)


def combine(found: list[tuple[int, float, float, int]]) -> Cost:
    """Return the cost per image from each process's images, seconds, CPU seconds and batch."""
    rate = sum(images / seconds for images, seconds, _, _ in found)
    on_core = sum(images / cpu for images, _, cpu, _ in found)
    return Cost(len(found) / rate, len(found) / on_core, found[0][3])


def _process(
    number: int,
    prepare: Callable[..., tuple[_Step, int]],
    job: Job,
    seconds: float,
    options: dict[str, Any],
    start: Any,
    results: Any,
) -> None:
    try:
        results.put(_timed(number, prepare, job, seconds, options, start))
    except BaseException:  # told to whom waits for it, and the others need not wait
        start.abort()
        results.put(traceback.format_exc())


def _timed(
    number: int,
    prepare: Callable[..., tuple[_Step, int]],
    job: Job,
    seconds: float,
    options: dict[str, Any],
    start: Any,
) -> tuple[int, float, float, int]:
    import torch

    from raypipe.memory import keep_freed

    keep_freed()  # as replicas do
    torch.set_num_threads(1)
    step, batch = prepare(job, number, **options)
    for _ in range(3):
        step()
    start.wait(timeout=_LIMIT_SECONDS)
    began, cpu, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        images += step()
    return images, time.perf_counter() - began, time.process_time() - cpu, batch


def _decode(job: Job, number: int) -> tuple[_Step, int]:
    pixels = _pixels(job, number)

    def step() -> int:
        next(pixels)
        return 1

    return step, 1


def _forward(
    job: Job, number: int, *, precision: str, batch: int | None, compiled: bool
) -> tuple[_Step, int]:
    import torch

    from raypipe.actors.embedder import Embedder
    from raypipe.backbone.hardware.footprint import cpu_batch_size
    from raypipe.backbone.loading import load
    from raypipe.images.transforms import normalize

    backbone = load(job.network, job.weights, (job.layer,))
    spec = _spec(job, backbone, precision)
    size = batch or cpu_batch_size(backbone, spec)
    embedder = Embedder(backbone, spec, batch_size=size, threads=1, compiled=compiled)
    source = _pixels(job, number)
    pixels = torch.from_numpy(np.stack([next(source) for _ in range(embedder.batch_size)]))
    inputs = normalize(pixels, embedder.spec.preprocess, embedder.dtype)

    def step() -> int:
        with torch.inference_mode():
            embedder.model(inputs)
        return len(inputs)

    return step, embedder.batch_size


def _pixels(job: Job, number: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield this process's images, over and over."""
    from raypipe.images.decode import decode
    from raypipe.images.transforms import to_pixels

    preprocess = _preprocess(job)
    paths = jpegs(Path(job.images))[number :: job.cores]
    for path in cycle(paths):
        yield to_pixels(decode(path.read_bytes(), _MAX_PIXELS), preprocess)


def _preprocess(job: Job) -> Any:
    from raypipe.config import BackboneConfig
    from raypipe.images.preprocessing import resolve_preprocess

    options: dict[str, Any] = {"size": job.size, "normalize": job.normalize, **SCALING}
    return resolve_preprocess(BackboneConfig(**options), None)


def _spec(job: Job, backbone: Any, precision: str) -> Any:
    from raypipe.spec import Spec

    return Spec(
        backbone=backbone.source.name,
        weights_sha256=backbone.weights_sha256,
        outputs=backbone.outputs,
        preprocess=_preprocess(job),
        precision=precision,
    )
