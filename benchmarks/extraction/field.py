"""The field: contestants as data, what each one is called, how it is started, how its work is read.

To measure raypipe with other options, add a line to `RAYPIPE`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.extraction.recipe import SCALING, Job

__all__ = [
    "BASE",
    "RAYPIPE",
    "Contestant",
    "Settings",
    "contestants",
    "fast_loop",
    "ray_data",
    "tool_loop",
]

#: A contestant's own options, by name.
Settings = dict[str, float]

#: The contestant that ratios refer to.
BASE = "plain loop"

#: raypipe's contestants: the options each one adds.
RAYPIPE: dict[str, tuple[str, ...]] = {
    "raypipe --compile off": ("--compile", "off"),
    "raypipe --compile on": ("--compile", "on"),
}

_SCRIPTS = "benchmarks.extraction.contestants"


@dataclass(frozen=True)
class Contestant:
    """One way to turn a folder of images into features.

    Attributes:
        name: short name, unique.
        about: what it is, in a line.
        command: how it is started, without the job's arguments.
        kind: whose command line and output it has: a script of this folder, raypipe, or
            clip-retrieval.
        workers: how many pieces of work are in the making at a time.
        compiled: whether it compiles the network, so that it is compared with that ideal.
        optional: whether the others go on when it fails.
    """

    name: str
    about: str
    command: tuple[str, ...]
    kind: Literal["npz", "parquet", "raypipe", "clip-retrieval"]
    workers: int = 1
    compiled: bool = False
    optional: bool = False

    def start(self, job: Job) -> list[str]:
        """Return the command line for a job."""
        return [*self.command, *(_extract(job) if self.kind == "raypipe" else job.arguments())]


def contestants(
    cores: int, recipe: Contestant, fast: Contestant, tool: Contestant | None
) -> list[Contestant]:
    """Return all contestants.

    Args:
        cores: cores of the machine.
        recipe: Ray Data's, tuned.
        fast: the best DataLoader loop, tuned.
        tool: the public tool, where it could be installed.
    """
    compiled = Contestant(
        name=f"{fast.name}, compiled",
        about=f"{fast.about}; `torch.compile` with frozen weights",
        command=(*fast.command, "--compile"),
        kind=fast.kind,
        workers=fast.workers,
        compiled=True,
    )
    plain = Contestant(
        name=BASE,
        about=f"`ImageFolder`, transforms, `DataLoader`, batch 32, {cores} workers, fp32",
        command=_script("plain_loop"),
        kind="npz",
    )
    return [recipe, plain, *([tool] if tool else []), fast, compiled, *_raypipe(cores)]


def ray_data(settings: Settings, cores: int) -> Contestant:
    """Return Ray Data's recipe with these settings: least and most actors, cores of each."""
    return Contestant(
        name="Ray Data's recipe",
        about="`read_images` → `map_batches` → `write_parquet`, batch 32, fp32; actors: "
        + _told(settings),
        command=(*_script("ray_data"), *_options(settings)),
        kind="parquet",
        workers=cores,
    )


def fast_loop(settings: Settings) -> Contestant:
    """Return the best DataLoader loop with these settings: batch, workers, threads, processes."""
    return Contestant(
        name="best loop",
        about="`DataLoader` loop: `decode_jpeg`, uint8 resize, bf16, channels-last, batch norm "
        "folded, allocator that keeps memory; " + _told(settings),
        command=(*_script("fast_loop"), *_options(settings)),
        kind="npz",
        workers=int(settings["processes"]),
    )


def tool_loop(python: str, version: str, cores: int) -> Contestant:
    """Return the public tool's loop, run by an interpreter that has it."""
    return Contestant(
        name="clip-retrieval",
        about=f"its inference loop ({version}), this network for CLIP; batch 32, {cores} workers",
        command=(python, "-m", f"{_SCRIPTS}.clip_retrieval_loop"),
        kind="clip-retrieval",
        optional=True,
    )


def _raypipe(cores: int) -> Iterator[Contestant]:
    for name, extra in RAYPIPE.items():
        yield Contestant(
            name=name,
            about=f"`{' '.join(('raypipe extract', *extra))}`, all else by default",
            command=(sys.executable, "-m", "raypipe.cli", "extract", *extra),
            kind="raypipe",
            workers=cores,
            compiled="--compile on" in " ".join(extra),
        )


def _options(settings: Settings) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def _told(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _script(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"{_SCRIPTS}.{name}")


def _extract(job: Job) -> list[str]:
    """Return the job as raypipe's arguments."""
    network = ["--backbone", job.network, "--weights", job.weights, "--layer", job.layer]
    pixels = ["--size", str(job.size), "--normalize", job.normalize]
    pixels += [part for name, value in SCALING.items() for part in (f"--{name}", value)]
    where = ["--out", job.out, "--address", "local", "--json"]
    return [job.images, *network, *pixels, *where]
