"""Finding the settings of the contestants that have some, before they are measured."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.extraction.field import Settings

__all__ = ["Tried", "of_fast_loop", "of_ray_data", "tune"]

Tried = list[tuple[Settings, float]]


def of_ray_data(cores: int) -> list[Settings]:
    """Return settings of Ray Data's recipe: how its actors leave something to read images with.

    A pool that grows as cores become free; one that leaves a core; one whose actors reserve half.
    """
    fewer = max(1, cores - 1)
    return [
        {"least": 1, "most": cores, "cpus": 1},
        {"least": fewer, "most": fewer, "cpus": 1},
        {"least": cores, "most": cores, "cpus": 0.5},
    ]


def of_fast_loop(cores: int, *, quick: bool = False) -> list[Settings]:
    """Return settings of the best DataLoader loop.

    One loop whose network uses all cores or one, with workers for as many, for one fewer or none
    (a DataLoader without workers decodes between batches); or a loop of one thread per core, each
    with its share of the images, with and without a worker.
    """
    fewer = max(1, cores - 1)
    shapes = [(cores, cores, 1), (0, 1, cores)]
    if not quick:
        shapes += [(fewer, cores, 1), (cores, 1, 1), (fewer, fewer, 1), (1, 1, cores)]
    batches = (32,) if quick else (32, 16, 64)
    return [
        {"batch": batch, "workers": workers, "threads": threads, "processes": processes}
        for workers, threads, processes in dict.fromkeys(shapes)
        for batch in batches
    ]


def tune(settings: list[Settings], rate: Callable[[Settings], float | None]) -> Tried:
    """Try settings; return them with their images per second, best first.

    If they differ in batch size, all are tried in the first one, and the two best in the others.

    Args:
        settings: what may be tried.
        rate: measures images per second in the steady state; None if there is no figure.
    """
    if len(settings) == 1:
        return [(settings[0], 0.0)]  # nothing to choose from
    first = settings[0].get("batch")
    tried = [(one, rate(one) or 0.0) for one in settings if one.get("batch") == first]
    tried.sort(key=lambda one: -one[1])
    best = [_shape(one) for one, _ in tried[:2]]
    later = [one for one in settings if one.get("batch") != first and _shape(one) in best]
    tried += [(one, rate(one) or 0.0) for one in later]
    return sorted(tried, key=lambda one: -one[1])


def _shape(settings: Settings) -> Settings:
    return {name: value for name, value in settings.items() if name != "batch"}
