"""Scale of the machinery itself, from 10³ to 10⁶ images and from 1 to 32 actors.

    python -m benchmarks.scale           # about a quarter of an hour
    python -m benchmarks.scale --quick   # a smoke run of two minutes
    python -m benchmarks.scale --only flow actors --results benchmarks/results.json

Planner, flow and sink are the real ones; the cluster is simulated on this machine, with several
raylets, and the network is `benchmarks/fake_backbone.py`, which costs what it is told to: nothing,
or a pause. The reads are real and tiny. Each measurement runs in a process of its own. Prints
tables; with --results they are put into that file under `scale`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale.flows import by_actors, by_images, by_length, run_flow
from benchmarks.scale.listings import listings
from benchmarks.scale.sections import Section, save
from benchmarks.scale.stores import partitions, snapshots
from raypipe import memory

_UNIT = 512  # images of 224×224 pixels that the planner puts into a unit
_SMALL_UNIT = 4
_REPLICA_BYTES = 450 * 2**20
_NODES = 4
_SHORT_ACTORS, _SHORT_COST = 4, 0.002


@dataclass(frozen=True)
class Sizes:
    """How large the measurements are."""

    images: tuple[int, ...]
    small: tuple[int, ...]
    actors: tuple[int, ...]
    images_per_actor: int
    cost: float
    short_units: int
    opened: tuple[int, ...]
    partitions: tuple[int, ...]
    folder: tuple[int, ...]
    csv: tuple[int, ...]


FULL = Sizes(
    images=(10**3, 10**4, 10**5, 10**6),
    small=(10**3, 4 * 10**3, 16 * 10**3, 32 * 10**3),
    actors=(1, 4, 16, 32),
    images_per_actor=2048,
    cost=0.01,
    short_units=40,
    opened=(10**3, 10**4, 10**5),
    partitions=(10**3, 10**4),
    folder=(10**4, 10**5),
    csv=(10**4, 10**5, 10**6),
)
QUICK = Sizes(
    images=(10**3, 10**4),
    small=(200, 800),
    actors=(1, 2),
    images_per_actor=512,
    cost=0.002,
    short_units=8,
    opened=(10**3, 10**4),
    partitions=(100, 1000),
    folder=(10**3, 10**4),
    csv=(10**3, 10**4),
)


def flow(sizes: Sizes) -> list[Section]:
    common = {"actors": 2, "nodes": 2, "cost": 0.0}
    large = [run_flow(images=count, length=_UNIT, **common) for count in sizes.images]
    small = [run_flow(images=count, length=_SMALL_UNIT, **common) for count in sizes.small]
    return by_images(large, small)


def actors(sizes: Sizes) -> list[Section]:
    room = memory.available() // _REPLICA_BYTES
    counts = [count for count in sizes.actors if count <= room]
    found = [
        run_flow(
            images=count * sizes.images_per_actor,
            length=64,
            actors=count,
            nodes=min(count, _NODES),
            cost=sizes.cost,
        )
        for count in counts
    ]
    return [by_actors(found)]


def units(sizes: Sizes) -> list[Section]:
    found = [
        run_flow(
            images=sizes.short_units * length * _SHORT_ACTORS,
            length=length,
            actors=_SHORT_ACTORS,
            nodes=2,
            cost=_SHORT_COST,
        )
        for length in (32, 64, 128, 256)
    ]
    return [by_length(found)]


def store(sizes: Sizes) -> list[Section]:
    return [snapshots(list(sizes.opened)), partitions(list(sizes.partitions), 10)]


def listing(sizes: Sizes) -> list[Section]:
    return [listings({"folder": list(sizes.folder), "csv": list(sizes.csv)})]


PARTS: dict[str, Callable[[Sizes], list[Section]]] = {
    "listing": listing,
    "store": store,
    "actors": actors,
    "units": units,
    "flow": flow,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--results", type=Path, help="file of results to put the tables into")
    given = parser.parse_args()
    sections: list[Section] = []
    for name in given.only:
        for section in PARTS[name](QUICK if given.quick else FULL):
            print(section, flush=True)
            sections.append(section)
    if given.results:
        save(sections, given.results)


if __name__ == "__main__":
    main()
