"""Has all processes measure at the same time, and puts together what they find."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray

from raypipe.actors.timing import Lap, median
from raypipe.diagnosis.findings import Findings, Node, Precision, Reading
from raypipe.diagnosis.machine import Gpu
from raypipe.diagnosis.rates import Costs, Pool
from raypipe.errors import UsageError
from raypipe.progress import say
from raypipe.rehearsal.company import Company, answers, company, gather
from raypipe.rehearsal.flow import Check, Flow, Place

__all__ = ["rehearse"]

_LAPS_SECONDS = 12.0
_LAP_SECONDS = 3.0
_SWEEP_SECONDS = 10.0
_COMPARED_SECONDS = 4.0
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_GPU_SIZES = (*_SIZES, 128, 256, 512, 1024)
_HANDED_OVER = 2  # units for each GPU
_STORE_SHARE = 0.25


@dataclass(frozen=True)
class _Timed:
    """The laps of all processes, and what goes beside them."""

    cores: list[list[Lap]]
    devices: list[list[Lap]]
    get: float = 0.0
    to_device: float = 0.0


@dataclass(frozen=True)
class _Ready:
    """What is known when all replicas have done a batch.

    `length` is that of the units to time, `get` the seconds per image that a replica on a GPU takes
    to receive them, and `start` what the job has taken so far.
    """

    places: list[Place]
    reading: Reading
    checks: list[Check]
    batch: int
    length: int
    get: float
    start: float


def rehearse(
    flow: Flow,
    items: pa.Table | list[bytes],
    unit: int,
    *,
    others: Sequence[str],
    started: float,
) -> Findings:
    """Run the steps of an extraction and time them.

    Args:
        flow: the steps.
        items: a sample of the source's items, of `schema.ITEMS`, or pictures to work on.
        unit: images that a unit of the extraction has.
        others: further arithmetics to try.
        started: when the job was started, by `time.monotonic`.

    Raises:
        UsageError: none of the items can be decoded.
        RaypipeError: a step failed.
    """
    with company(flow, items) as actors:
        ready = _prepare(flow, actors, unit, started)
        say(f"measuring with {len(actors.devices)} × {flow.replicas.device} {flow.spec.precision}")
        timed = _laps(flow, actors, ready)
        say("measuring batch sizes and precisions")
        return _find(flow, actors, ready, timed, unit, others)


def _find(
    flow: Flow, actors: Company, ready: _Ready, timed: _Timed, unit: int, others: Sequence[str]
) -> Findings:
    """Measure what goes beside the flow, and put everything together."""
    store = min(int(node["Resources"].get("object_store_memory", 0)) for node in _alive())
    return Findings(
        costs=_costs(ready.reading, ready.checks, timed),
        pool=_pool(flow),
        batch_size=ready.batch,
        unit=unit,
        pixel_bytes=3 * flow.spec.views * flow.spec.preprocess.size**2,
        batches=_sweep(flow, actors, ready),
        precision=flow.spec.precision,
        precisions=_precisions(actors, others),
        reading=ready.reading,
        rejects=sum(check.rejects for check in ready.checks),
        message=next((check.message for check in ready.checks if check.message), ""),
        transfer=gather([actors.devices[0].transfer.remote(int(_STORE_SHARE * store))])[0],
        alone=_alone(flow, actors, ready.length),
        start=ready.start,
        nodes=_nodes(actors, ready.places),
        store=store,
        replica_memory=max(answers(actors.devices, "memory")),
    )


def _prepare(flow: Flow, actors: Company, unit: int, started: float) -> _Ready:
    """Read and decode the sample once, and do the first forward passes."""
    places = answers(actors.everyone, "place")
    reading = _reading(answers(actors.cores, "read"))
    checks = answers(actors.cores, "check")
    _refuse_unreadable(checks)
    seconds = max(check.seconds for check in checks)
    length = _length(unit, flow.replicas.batch_size, seconds)
    get = 0.0 if flow.replicas.whole_flow else _hand_over(actors, length)
    warm = answers(actors.devices, "warm_up")
    batch = min(size for size, _ in warm)
    if flow.replicas.whole_flow:
        length = _length(unit, batch, seconds + max(forward for _, forward in warm))
    return _Ready(places, reading, checks, batch, length, get, time.monotonic() - started)


def _refuse_unreadable(checks: Iterable[Check]) -> None:
    found = list(checks)
    count = sum(check.images for check in found)
    if sum(check.rejects for check in found) == count:
        raise UsageError(
            f"SOURCE: none of {count} sampled images can be decoded ({found[0].message}); "
            "give a source with images"
        )


def _hand_over(actors: Company, length: int) -> float:
    """Send decoded units to the GPUs; return the seconds per image of receiving them."""
    some = actors.cores[: _HANDED_OVER * len(actors.devices)]
    references = [reference for (reference,) in answers(some, "hand_over", length)]
    count = len(actors.devices)
    parts = [references[i::count] or references[:1] for i in range(count)]
    received = [a.fetch.remote(part) for a, part in zip(actors.devices, parts, strict=True)]
    return statistics.fmean(gather(received))


def _length(unit: int, batch: int, seconds: float) -> int:
    """Return how many images make a lap: as many as a unit has, unless that would take long."""
    affordable = max(1, int(_LAP_SECONDS / seconds))
    return min(unit, max(batch, 1 << (affordable.bit_length() - 1)))


def _laps(flow: Flow, actors: Company, ready: _Ready) -> _Timed:
    length = ready.length
    if flow.replicas.whole_flow:
        done = answers(actors.cores, "laps", length, _LAPS_SECONDS)
        return _Timed(done, done)
    (features,) = gather([actors.devices[0].some_features.remote()])
    answers(actors.cores, "learn", ray.put(features))
    cores = [core.laps.remote(length, _LAPS_SECONDS) for core in actors.cores]
    devices = [device.forward_laps.remote(_LAPS_SECONDS) for device in actors.devices]
    done = gather([*cores, *devices])
    to_device = statistics.fmean(answers(actors.devices, "to_device"))
    return _Timed(done[: len(cores)], done[len(cores) :], ready.get, to_device)


def _costs(reading: Reading, checks: Sequence[Check], timed: _Timed) -> Costs:
    """Put the steps' seconds together.

    Reading goes on behind decoding, and behind the network where one process does both; a replica
    on a GPU is sent the next unit while it computes. Of these steps counts what is left over.
    """

    def mean(of: list[list[Lap]], step: str) -> float:
        return statistics.fmean(median(done, step) for done in of)

    decode, forward = mean(timed.cores, "decode"), mean(timed.devices, "forward")
    waiting = decode - statistics.fmean(check.busy for check in checks)
    read = min(reading.cached, max(0.0, waiting))
    together = decode + forward if timed.cores is timed.devices else decode
    return Costs(
        wait=max(0.0, reading.found - together),
        read=read,
        decode=decode - read,
        put=mean(timed.cores, "put"),
        write=mean(timed.cores, "write"),
        get=max(0.0, timed.get - forward),
        to_device=timed.to_device,
        forward=max(0.0, forward - timed.to_device),
    )


def _pool(flow: Flow) -> Pool:
    replicas = flow.replicas
    cores = int(ray.cluster_resources().get("CPU", 0))
    return Pool(replicas.max_size, cores, 0 if replicas.whole_flow else replicas.max_size)


def _alone(flow: Flow, actors: Company, length: int) -> float | None:
    """Return the rate of one replica while the others do nothing."""
    if len(actors.devices) == 1 or not flow.replicas.whole_flow:
        return None
    (done,) = answers(actors.devices[:1], "laps", length, _LAP_SECONDS)
    return 1 / sum(median(done, step) for step in ("decode", "forward", "write"))


def _sweep(flow: Flow, actors: Company, ready: _Ready) -> dict[int, float]:
    """Return the mean rates of the sizes that all replicas could do."""
    sizes = _SIZES if flow.replicas.whole_flow else _GPU_SIZES
    wanted = sorted({*sizes, ready.batch})
    memory = min(place.machine.free for place in ready.places) / len(actors.devices)
    found = answers(actors.devices, "sweep", wanted, _SWEEP_SECONDS, memory)
    common = [size for size in wanted if all(size in rates for rates in found)]
    return {size: statistics.fmean(rates[size] for rates in found) for size in common}


def _precisions(actors: Company, others: Sequence[str]) -> tuple[Precision, ...]:
    found = []
    for name in others:
        tried = answers(actors.devices, "compare", name, _COMPARED_SECONDS)
        if all(tried):
            times = statistics.fmean(one.times for one in tried)
            found.append(Precision(name, times, min(one.cosine for one in tried)))
    return tuple(found)


def _reading(found: list[Reading]) -> Reading:
    """Return the mean over the processes."""

    def mean(of: str) -> float:
        return statistics.fmean(getattr(one, of) for one in found)

    cold = None if any(one.cold is None for one in found) else mean("cold")
    images, size = sum(one.images for one in found), sum(one.bytes for one in found)
    return Reading(images, size, mean("found"), mean("cached"), cold)


def _nodes(actors: Company, places: list[Place]) -> tuple[Node, ...]:
    """Return the machines at work, each with the GPUs of all its replicas."""
    cpus = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in _alive()}
    replicas = places[-len(actors.devices) :]
    nodes = []
    for name in dict.fromkeys(place.node for place in places):
        machine = next(place.machine for place in places if place.node == name)
        own = [place for place in replicas if place.node == name]
        gpus: tuple[Gpu, ...] = sum((place.machine.gpus for place in own), ())
        nodes.append(Node(replace(machine, gpus=gpus), len(own), cpus.get(name, 0)))
    return tuple(nodes)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
