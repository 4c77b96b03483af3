"""What the flow costs beside decoding and the network: by images, by units, by actors."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scale.sections import Section, readable, slope
from benchmarks.scale.watch import Memory, watched

__all__ = ["Flow", "by_actors", "by_images", "by_length", "run_flow"]

_FEW_ROUNDS = 4
_HEAD = ("images", "units", "actors", "steady images/s", "not decode or forward")
_MEMORY_HEAD = ("driver MiB", "replica MiB", "raylet MiB", "GCS MiB")


@dataclass(frozen=True)
class Flow:
    """A run of the flow, and what was seen of it.

    Attributes:
        options: what was run.
        found: what `flow.measure` returned.
        memory: by kind of process.
    """

    options: dict[str, Any]
    found: dict[str, Any]
    memory: dict[str, Memory]

    @property
    def images(self) -> int:
        return int(self.options["images"])

    @property
    def actors(self) -> int:
        return int(self.options["actors"])

    @property
    def units(self) -> int:
        return int(self.found["units"])

    @property
    def own(self) -> float:
        """Seconds per image of decoding and of the network."""
        return float(self.found["decode"] + self.found["forward"])

    @property
    def ideal(self) -> float:
        """Images per second if there were nothing else, and a core for each actor."""
        return self.actors / self.own

    @property
    def working(self) -> float:
        """Seconds for all units: of those after each actor's first one, in proportion."""
        times, later = self.found["arrivals"], self.units - self.actors
        if later < 1 or times[0] == times[-1]:
            return self.own * self.images / self.actors
        return float((times[-1] - times[0]) * self.units / later)

    @property
    def steady(self) -> float:
        """Images per second: the slope of results over time, without each actor's first and last.

        Of all results where there are few, and where there is one, of the work as a whole.
        """
        times = np.array(self.found["arrivals"])
        done = np.linspace(1, self.units, len(times)) * self.images / self.units
        edge = self.actors * len(times) // self.units
        if len(times) >= _FEW_ROUNDS * max(1, edge):
            times, done = times[edge : -edge or None], done[edge : -edge or None]
        if len(times) < 2 or times[0] == times[-1]:
            return self.images / self.working
        return float(np.polyfit(times - times[0], done, 1)[0])

    @property
    def rest(self) -> float:
        """Share of the actors' time that goes into neither decoding nor the network."""
        return 1 - self.steady / self.ideal

    @property
    def until_first(self) -> float:
        """Seconds from handing over the plan to the first result."""
        return float(self.found["arrivals"][0] - self.found["handed"])

    def most(self, kind: str) -> float:
        """Return the MiB a kind of process took at most, from the first result on."""
        memory = self.memory.get(kind, Memory())
        return memory.most(self.found["arrivals"][0])


def run_flow(**options: Any) -> Flow:
    """Run the flow in a process of its own."""
    sys.stderr.write(f"flow {options}\n")
    found, memory = watched("flow", **options)
    return Flow(options, found, memory)


def by_images(large: list[Flow], small: list[Flow]) -> list[Section]:
    """Say what an image and what a unit costs, and how memory grows.

    Args:
        large: runs with units of the usual length, more and more images.
        small: runs with tiny units, more and more of them.
    """
    per_unit, per_image = _costs([*large, *small])
    own = float(np.median([flow.own for flow in large]))
    grown = slope([flow.images for flow in large], [flow.working for flow in large])
    units = slope([flow.units for flow in small], [flow.working for flow in small])
    text = (
        f"A network without a cost, so that what is left is decoding tiny arrays ({own * 1e6:.0f} "
        "µs per image with the network, on one core) and the machinery, all on the cores of this "
        "machine. Slopes of seconds of work in the logarithms: "
        f"{grown:.2f} over the images, {units:.2f} over the units. Fitted over all rows: "
        f"{per_image * 1e6:.0f} µs per image and {per_unit * 1e3:.1f} ms per unit, which is also "
        "one partition, of an actor's time."
    )
    rows = tuple(_row(flow) for flow in [*large, *small])
    head = (*_HEAD, "seconds of work", "s to first result")
    growth = Section("The flow, from few images to many", text, head, rows)
    return [growth, _memory([*large, *small])]


def by_actors(flows: list[Flow]) -> Section:
    """Say how the rate grows with the number of actors, each of which has the same work."""
    rates = slope([flow.actors for flow in flows], [flow.steady for flow in flows])
    cost = 1e3 * float(flows[0].options["cost"])
    text = (
        f"A network that takes {cost:g} ms per image and no core; images in proportion to the "
        f"actors. Slope of the rate in the logarithms: {rates:.3f} (1 is ideal). The last column "
        "has the start of the actors' processes in it, which share the cores of one machine here."
    )
    head = (*_HEAD, "nodes", "s to first result")
    rows = tuple((*_row(f)[:5], str(f.options["nodes"]), _row(f)[6]) for f in flows)
    return Section("Actors", text, head, rows)


def by_length(flows: list[Flow]) -> Section:
    """Say what is lost where units are short: Ray Data looks at its tasks ten times a second."""
    text = (
        "The same images in units of different length. Results are looked for and further units "
        "are handed out about ten times a second, while an actor has two at a time: units that "
        "take less than a few tenths of a second leave it waiting."
    )
    rows = tuple(
        (
            f"{f.images // f.units}",
            f"{1e3 * f.own * f.images / f.units:.0f}",
            str(f.actors),
            readable(f.steady),
            f"{f.rest:.1%}",
        )
        for f in flows
    )
    head = ("images in a unit", "ms of a unit's own", "actors", "steady images/s", _HEAD[-1])
    return Section("Short units", text, head, rows)


def _row(flow: Flow) -> tuple[str, ...]:
    return (
        f"{flow.images:,}",
        f"{flow.units:,}",
        str(flow.actors),
        readable(flow.steady),
        f"{flow.rest:.1%}",
        f"{flow.working:.1f}",
        f"{flow.until_first:.1f}",
    )


def _memory(flows: list[Flow]) -> Section:
    many = [flow for flow in flows if flow.images >= 10**4] or flows
    drift = [
        max(f.most(kind) for f in many) / min(f.most(kind) for f in many) - 1
        for kind in ("driver", "replica")
    ]
    text = (
        "Largest resident memory of a process of each kind after the first result, without pages "
        f"of the object store. From {min(f.images for f in many):,} images to "
        f"{max(f.images for f in many):,}, the driver's differs by {drift[0]:.1%}, the replicas' "
        f"by {drift[1]:.1%}."
    )
    kinds = ("driver", "replica", "raylet", "gcs_server")
    rows = [
        (f"{f.images:,}", f"{f.units:,}", *(f"{f.most(kind):.0f}" for kind in kinds)) for f in flows
    ]
    return Section("Memory of a long run", text, ("images", "units", *_MEMORY_HEAD), tuple(rows))


def _costs(flows: list[Flow]) -> tuple[float, float]:
    """Fit actor-seconds = units × a + images × b, in proportion; return a and b."""
    seconds = np.array([flow.actors * flow.working for flow in flows])
    sizes = np.array([[flow.units, flow.images] for flow in flows], float)
    found = np.linalg.lstsq(sizes / seconds[:, None], np.ones(len(flows)), rcond=None)[0]
    return float(found[0]), float(found[1])
