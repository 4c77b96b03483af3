"""From the cost of some images to rates, and the step that limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from raypipe.steps.cost import Cost

OTHER = "other"
_STEPS = ("read", "decode", "compute", "write")


@dataclass(frozen=True)
class Pool:
    """What computes: replicas on GPUs and cores around them, or replicas on a core each.

    Attributes:
        replicas: of the network.
        cores: CPU cores that the cluster has.
        gpus: whether replicas are on GPUs; else each one does the whole flow on a core.
        decoding: whether GPUs decode.
    """

    replicas: int
    cores: int
    gpus: bool = False
    decoding: bool = False

    @property
    def on_gpus(self) -> tuple[str, ...]:
        """The steps that GPUs do, or would do if there were any."""
        return ("decode", "compute") if self.gpus and self.decoding else ("compute",)

    @property
    def device(self) -> tuple[str, ...]:
        """The steps that replicas do."""
        return self.on_gpus if self.gpus else _STEPS

    @property
    def sides(self) -> dict[tuple[str, ...], int]:
        """Steps that are done one after the other, and by how many processes at a time."""
        rest = tuple(step for step in _STEPS if step not in self.device)
        return {self.device: self.replicas} | ({rest: self.cores} if rest else {})


@dataclass(frozen=True)
class Limit:
    """What an extraction spends its time on.

    Attributes:
        step: `read`, `decode`, `compute`, `write` or, between units, `other`.
        share: its share of the time of the busier side.
        idle: share of time that the other side waits; 0 where there is only one.
        without: images per second if that step took no time; None if nothing else takes any.
    """

    step: str
    share: float
    idle: float
    without: float | None


class Rates:
    """Seconds per image by step, and what follows from them.

    Replicas without a GPU do one step after the other. GPUs and the cores around them work at the
    same time, so that the busier side sets the pace.

    Args:
        cost: of some images, at least one.
        pool: what computes.
        steady: images per second that were measured; None to reckon them from the cost.

    Attributes:
        seconds: per image, by step; `other` is time of the busier side that is in none of them.
        steady: images per second; no more than the busier side can do.
        shares: of the time of those that do a step, by step.
    """

    def __init__(self, cost: Cost, pool: Pool, steady: float | None) -> None:
        self.pool = pool
        self.seconds: dict[str, float] = {
            step: getattr(cost, f"{step}_seconds") / cost.items for step in _STEPS
        }
        sides = pool.sides
        self._busier = max(sides, key=lambda side: self._sum(side) / sides[side])
        busy, workers = self._sum(self._busier), sides[self._busier]
        most = workers / busy
        self.steady = min(steady or most, most)  # a line through few results may be steeper
        self.seconds[OTHER] = max(0.0, workers / self.steady - busy)
        whole = busy + self.seconds[OTHER]
        self.shares = {step: self.seconds[step] / whole for step in (*self._busier, OTHER)}
        for side in sides.keys() - {self._busier}:
            self.shares |= {step: self.steady * self.seconds[step] / sides[side] for step in side}

    def limit(self) -> Limit:
        """Return the step that takes the largest part of the time of the busier side."""
        sides, parts = self.pool.sides, (*self._busier, OTHER)
        step = max(parts, key=lambda name: self.seconds[name])
        times = [(self._sum(parts) - self.seconds[step]) / sides[self._busier]]
        times += [self._sum(side) / sides[side] for side in sides if side != self._busier]
        idle = max(0.0, 1 - self.steady * times[1]) if len(times) > 1 else 0.0
        without = 1 / max(times) if max(times) > 0 else None
        return Limit(step, self.shares[step], idle, without)

    @property
    def core(self) -> float:
        """Seconds of a core for an image, where a GPU computes."""
        return self._sum(tuple(step for step in _STEPS if step not in self.pool.on_gpus))

    def cores_per_gpu(self) -> float | None:
        """Return how many cores keep one GPU busy; None without a GPU."""
        return self.core / self._sum(self.pool.device) if self.pool.gpus else None

    def cores_missing(self) -> int | None:
        """Return how many more cores would keep all GPUs busy; None without a GPU."""
        needed = self.cores_per_gpu()
        if needed is None:
            return None
        # a hundredth of a core is within what is measured
        return max(0, math.ceil(needed * self.pool.replicas - self.pool.cores - 0.01))

    def _sum(self, steps: tuple[str, ...]) -> float:
        return sum(self.seconds[step] for step in steps)
