"""The whole benchmark of one network: tune, then rounds of all contestants and of the ideal."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.extraction import ideal, images
from benchmarks.extraction.agreement import LEAST, least_cosine
from benchmarks.extraction.field import (
    BASE,
    Contestant,
    contestants,
    fast_loop,
    ray_data,
    tool_loop,
)
from benchmarks.extraction.measure import FailedRunError, Run, measure
from benchmarks.extraction.networks import Network, prepare
from benchmarks.extraction.outputs import read_features
from benchmarks.extraction.recipe import Job
from benchmarks.extraction.tool import VERSION, ToolUnavailableError, tool_python
from benchmarks.extraction.tuning import Tried, of_fast_loop, of_ray_data, tune
from benchmarks.machine import cores, describe

__all__ = ["Effort", "benchmark"]


@dataclass(frozen=True)
class Effort:
    """How much to do.

    Attributes:
        rounds: how often each contestant runs.
        tuning_images: images of a run that tries settings.
        ideal_seconds: how long each part of the ideal is measured in a round.
        quick: whether to try few settings.
        tool: whether to take part with the public tool.
        only: names of the contestants to take; empty for all.
    """

    rounds: int
    tuning_images: int
    ideal_seconds: float
    quick: bool
    tool: bool
    only: tuple[str, ...] = ()


class Benchmark:
    """One network's measurement in a folder of its own."""

    def __init__(
        self, network: Network, source: Path, count: int | None, effort: Effort, folder: Path
    ) -> None:
        self.effort, self.folder, self.notes = effort, folder, list[str]()
        paths = images.link(source, folder / "images", count)
        self.count, self.mean_bytes = len(paths), images.read_all(paths)
        self.weights = Path(network.weights).name  # `random`, or a file without its folder
        self.network = prepare(network, folder)
        self.job = Job(
            images=str(folder / "images"),
            out="",
            trace="",
            network=self.network.name,
            weights=self.network.weights,
            layer=self.network.layer,
            normalize=self.network.normalize,
            size=self.network.size,
            cores=cores(),
        )

    def run(self) -> dict[str, Any]:
        """Measure everything; return it as it is kept in results.json."""
        tried = self._tune()
        field = self._field(tried)
        runs: dict[str, list[Run]] = {one.name: [] for one in field}
        parts: list[dict[str, Any]] = []
        agreement: dict[str, dict[str, float]] = {}
        for number in range(self.effort.rounds):
            self._round(number, field, runs, agreement)
            parts.append(self._ideal(runs))
            _say(f"round {number + 1}, ideal: {parts[-1]}")
        return {
            "label": self.network.label,
            "weights": self.weights,
            "normalize": self.network.normalize,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": describe(),
            "cores": self.job.cores,
            "images": {"count": self.count, "mean_bytes": round(self.mean_bytes)},
            "tried": tried,
            "ideal": parts,
            "notes": self.notes,
            "contestants": [
                {
                    "name": one.name,
                    "about": one.about,
                    "compiled": one.compiled,
                    "agreement": agreement.get(one.name),
                    "runs": [asdict(run) for run in runs[one.name]],
                }
                for one in field
                if runs[one.name]
            ],
        }

    def _field(self, tried: dict[str, Tried]) -> list[Contestant]:
        """Return the contestants, the public tool among them if it can be had."""
        tool, cores = None, self.job.cores
        if self.effort.tool:
            try:
                _say("looking for the public tool (installed into a temporary folder once)")
                tool = tool_loop(tool_python(), VERSION, cores)
            except ToolUnavailableError as error:
                self.notes.append(f"The public tool could not be installed: {error}")
        best = {name: some[0][0] for name, some in tried.items()}
        recipe, fast = ray_data(best["recipe"], cores), fast_loop(best["loop"])
        field = contestants(cores, recipe, fast, tool)
        return [one for one in field if not self.effort.only or one.name in self.effort.only]

    def _tune(self) -> dict[str, Tried]:
        """Find the best settings of Ray Data's recipe and of the fast loop, on some images."""
        linked = self.folder / "tuning-images"
        images.link(Path(self.job.images), linked, self.effort.tuning_images)
        job, cores, quick = replace(self.job, images=str(linked)), self.job.cores, self.effort.quick

        def rate(contestant: Contestant) -> float | None:
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                found = measure(contestant, job, Path(name)).steady
            _say(f"tuning {contestant.command[2:]}: {found and round(found, 1)} images/s")
            return found

        recipes, loops = of_ray_data(cores), of_fast_loop(cores, quick=quick)
        if quick or not self._takes(ray_data(recipes[0], cores).name):
            recipes = recipes[:1]
        if not self._takes(fast_loop(loops[0]).name):
            loops = loops[:1]
        return {
            "recipe": tune(recipes, lambda settings: rate(ray_data(settings, cores))),
            "loop": tune(loops, lambda settings: rate(fast_loop(settings))),
        }

    def _takes(self, name: str) -> bool:
        """Whether a contestant, or one derived from it, takes part."""
        only = self.effort.only
        return not only or any(one.startswith(name) for one in only)

    def _round(
        self,
        number: int,
        field: list[Contestant],
        runs: dict[str, list[Run]],
        agreement: dict[str, dict[str, float]],
    ) -> None:
        """Run every contestant once, each round beginning with another one."""
        reference: Any = None
        turn = number % len(field)
        # Features are compared in the first round, which begins with those compared with.
        order = sorted(field, key=lambda one: one.name != BASE) if not number else field
        for one in order[turn:] + order[:turn]:
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                try:
                    run = measure(one, self.job, Path(name))
                except FailedRunError as error:
                    if not one.optional:
                        raise
                    self.notes.append(f"Left out of round {number + 1}: {error}")
                    continue
                self._check_count(one, run)
                if not number:
                    found = read_features(one.kind, Path(name) / "out", Path(self.job.images))
                    reference = reference or found
                    agreement[one.name] = _agree(one, found, reference)
            runs[one.name].append(run)
            _say(f"round {number + 1}, {one.name}: {_told(run, self.count)}")

    def _check_count(self, one: Contestant, run: Run) -> None:
        if run.images != self.count:
            raise FailedRunError(f"{one.name}: {run.images} of {self.count} images have features")

    def _ideal(self, runs: dict[str, list[Run]]) -> dict[str, Any]:
        """Measure the parts of the work in the precision that raypipe has chosen."""
        told = [run.own for some in runs.values() for run in some if run.own]
        precision, batch = "fp32", None
        if told:
            precision, batch = told[0]["precision"], told[0]["computed"]["batch_size"]
        seconds = self.effort.ideal_seconds

        def forward(*, compiled: bool) -> dict[str, Any]:
            cost = ideal.measure_forward(
                self.job, precision, seconds, batch=batch, compiled=compiled
            )
            return asdict(cost)

        return {
            "precision": precision,
            "decode": asdict(ideal.measure_decode(self.job, seconds)),
            "forward": forward(compiled=False),
            "compiled": forward(compiled=True),
        }


def benchmark(network: Network, source: Path, count: int | None, effort: Effort) -> dict[str, Any]:
    """Measure one network with all contestants; return what is kept in results.json.

    Raises:
        FailedRunError: a contestant failed, or its features are not those of the others.
    """
    with tempfile.TemporaryDirectory(prefix="raypipe-benchmark-") as name:
        # What is compiled is kept for the next rounds, not for the next benchmark.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name).resolve() / "compiled")
        return Benchmark(network, source, count, effort, Path(name).resolve()).run()


def _agree(one: Contestant, found: Any, reference: Any) -> dict[str, float]:
    """Compare features with those of the base.

    Raises:
        FailedRunError: they are of other images, or too different.
    """
    if found[0] != reference[0]:
        raise FailedRunError(f"{one.name}: its features are of other images")
    cosine = least_cosine(found[1], reference[1])
    if cosine < LEAST:
        raise FailedRunError(f"{one.name}: a feature's cosine to the base's is {cosine:.4f}")
    return {"cosine": cosine, "centred": least_cosine(found[1], reference[1], centred=True)}


def _told(run: Run, count: int) -> str:
    steady = f"{run.steady:.1f}" if run.steady else "–"
    return f"{run.seconds:.1f} s, {count / run.seconds:.1f} images/s, steady {steady}"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
