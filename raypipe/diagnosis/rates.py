"""From seconds per image to images per second, limits, batch sizes, clusters, hours and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = [
    "DEVICE_STEPS",
    "Costs",
    "Estimate",
    "Limit",
    "Pool",
    "Shape",
    "better_batch",
    "cluster_shape",
    "estimate",
    "images_per_second",
    "knee",
    "limit",
]

_CORE_STEPS = ("wait", "read", "decode", "put", "write")
#: Steps of a replica on a GPU; the others are done by cores.
DEVICE_STEPS = ("get", "to_device", "forward")
#: A change of settings is worth a word from this ratio of the rates on; measurements waver by less.
_CLEARLY = 1.1


@dataclass(frozen=True)
class Costs:
    """Seconds that one image takes in each step, on one core or on one GPU.

    Of steps that go on behind others, only what is left over counts.

    Attributes:
        wait: for storage, as the source was found, beyond all that reading goes on behind.
        read: for bytes that are cached.
        decode: bytes → pixels, and augmented views.
        forward: the network.
        write: its features into a partition.
        put: pixels into the object store; only where they leave the process.
        get: pixels out of it, beyond the network of the unit before.
        to_device: pixels to the GPU.
    """

    wait: float
    read: float
    decode: float
    forward: float
    write: float
    put: float = 0.0
    get: float = 0.0
    to_device: float = 0.0

    @property
    def core(self) -> float:
        """Seconds of a core, where the network runs on a GPU."""
        return self.wait + self.read + self.decode + self.put + self.write

    @property
    def device(self) -> float:
        """Seconds of whatever runs the network."""
        return self.get + self.to_device + self.forward

    @property
    def whole(self) -> float:
        """Seconds of all steps, one after the other."""
        return self.core + self.device


@dataclass(frozen=True)
class Pool:
    """What computes: replicas on GPUs and cores around them, or replicas on a core each.

    Attributes:
        replicas: of the network.
        cores: CPU cores that the cluster has.
        gpus: GPUs that the replicas take; 0 where each one does the whole flow on a core.
    """

    replicas: int
    cores: int
    gpus: int = 0


@dataclass(frozen=True)
class Limit:
    """What an extraction spends its time on.

    Attributes:
        step: name of a cost.
        share: its share of the time of the busy side.
        idle: share of time that the other side waits; 0 where there is only one.
        without: images per second if that step took no time; None if nothing else takes any.
    """

    step: str
    share: float
    idle: float
    without: float | None


@dataclass(frozen=True)
class Shape:
    """How many cores the GPUs need.

    Attributes:
        cores_per_gpu: cores that keep one GPU busy.
        cores_missing: how many more the cluster would need to keep all of its GPUs busy.
    """

    cores_per_gpu: float
    cores_missing: int


@dataclass(frozen=True)
class Estimate:
    """How long so many images take, and what they cost.

    Attributes:
        nodes: how many nodes compute.
        seconds: start-up included.
        cost: in the currency of the price; None where no price is known.
    """

    nodes: int
    seconds: float
    cost: float | None


def images_per_second(costs: Costs, pool: Pool) -> float:
    """Return the steady rate.

    Replicas without a GPU do everything themselves, one step after the other. GPUs and the cores
    around them work at the same time, so that the slower side sets the pace.
    """
    if not pool.gpus:
        return pool.replicas / costs.whole
    return min(pool.gpus / costs.device, pool.cores / costs.core)


def limit(costs: Costs, pool: Pool) -> Limit:
    """Return the step that takes the largest part of the time of the side that sets the pace."""
    seconds = asdict(costs)
    steps, idle = tuple(seconds), 0.0
    if pool.gpus:
        device, core = costs.device / pool.gpus, costs.core / pool.cores
        steps = DEVICE_STEPS if device >= core else _CORE_STEPS
        idle = 1 - min(device, core) / max(device, core)
    step = max(steps, key=lambda name: seconds[name])
    share = seconds[step] / sum(seconds[name] for name in steps)
    rest = Costs(**{**seconds, step: 0.0})
    measurable = rest.device and rest.core if pool.gpus else rest.whole
    return Limit(step, share, idle, images_per_second(rest, pool) if measurable else None)


def knee(rates: Mapping[int, float], within: float = 0.05) -> int:
    """Return the smallest size whose rate is at most `within` below the best.

    Args:
        rates: images per second by batch size.
        within: share of the best rate.

    Raises:
        ValueError: there are no rates.
    """
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= (1 - within) * best)


def better_batch(
    rates: Mapping[int, float], size: int, costs: Costs, pool: Pool
) -> tuple[int, float] | None:
    """Return the batch size to take instead, and the steady rate it gives; None if none is needed.

    Args:
        rates: images per second of one replica's network, transfers included, by batch size.
        size: the batch size that `costs` were measured with.
        costs: seconds per image.
        pool: what computes.
    """
    if size not in rates:
        return None
    best = knee(rates)
    faster = costs.forward * rates[size] / rates[best]
    rate = images_per_second(Costs(**{**asdict(costs), "forward": faster}), pool)
    return (best, rate) if rate >= _CLEARLY * images_per_second(costs, pool) else None


def cluster_shape(costs: Costs, pool: Pool) -> Shape | None:
    """Return how many cores the GPUs need, or None where there is no GPU to measure."""
    if not pool.gpus:
        return None
    needed = costs.core / costs.device
    # a hundredth of a core is within what is measured
    return Shape(needed, max(0, math.ceil(needed * pool.gpus - pool.cores - 0.01)))


def estimate(
    images: int, rate: float, *, nodes: int, times: int, start: float, price: float | None
) -> Estimate:
    """Return what so many images take.

    Args:
        images: how many.
        rate: images per second of the nodes that were measured.
        nodes: how many that were.
        times: how many times as many are to compute. Replicas do not wait for each other, so the
            rate grows with them.
        start: seconds until the first features are there.
        price: cost of one node for an hour.
    """
    seconds = start + images / (rate * times)
    count = nodes * times
    return Estimate(count, seconds, None if price is None else price * count * seconds / 3600)
