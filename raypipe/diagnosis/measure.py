"""The flow of an extraction, run for a while on a sample into a store that goes again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe import runtime, schema
from raypipe.backbone import Backbone
from raypipe.config import ExtractConfig
from raypipe.diagnosis.rates import Pool, Rates
from raypipe.display import Pace, say
from raypipe.errors import UsageError
from raypipe.flow import pipeline
from raypipe.flow.executor import on_ray
from raypipe.flow.plan import Plan
from raypipe.flow.prepare import prepare
from raypipe.flow.sizing import Sizing
from raypipe.rows.unit import Unit, pack_items
from raypipe.runtime.cluster_nodes import alive_nodes
from raypipe.sources.content import is_sequential
from raypipe.spec import Spec, digest
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Cost
from raypipe.steps.pool_plan import Replicas
from raypipe.storage import is_object, local_path, open_storage

#: The fewest results that a rate is taken from, once each replica has had its first unit.
_RESULTS = 4
#: Units per replica of the sample, and of a run of units that follow each other in the source.
_UNITS, _RUN = 64, 2
#: The longest that a unit should take, by the trial's first pass, which is a slow one; and how many
#: images (each view counts) it has all the same: what lies between units would weigh too much.
_UNIT_SECONDS, _LEAST = 15.0, 32
_END_SECONDS = 60.0
_PREFIX = "raypipe-doctor-"


@dataclass(frozen=True)
class Measured:
    """A short extraction.

    Attributes:
        replicas: what computed.
        pool: the same, with the cores around it.
        cost: what the units that were finished took, summed over processes.
        warm: the same without the first unit of each replica, if there were enough others.
        steady: items per second as `extract` reports them, start-up left out; None if there were
            too few results to tell.
        first_at: when the first unit was finished, by `time.monotonic`.
        unit: items of a unit.
    """

    replicas: Replicas
    pool: Pool
    cost: Cost
    warm: Cost
    steady: float | None
    first_at: float
    unit: int

    @property
    def rates(self) -> Rates:
        """What follows from it."""
        return Rates(self.warm, self.pool, self.steady)


def measure(
    config: ExtractConfig,
    backbone: Backbone,
    spec: Spec,
    plan: Plan,
    folder: Path,
    stack: contextlib.ExitStack,
    *,
    source: str,
    images: int,
    seconds: float,
    most: int | None = None,
    kept: Mapping[str, Any] | None = None,
) -> Measured:
    """Extract units from all over a plan as `extract` would, until the time is over.

    Args:
        config: the options.
        backbone: the network.
        spec: what the features are.
        plan: what an extraction would do; at least one unit.
        folder: where partitions go; see `scratch`.
        stack: Ray runs until it is closed.
        source: where the items come from, for messages.
        images: how many the extraction is to have, which says whether compiling pays.
        seconds: how long to go on after the first result.
        most: images at most; None for no limit.
        kept: what the store has settled, if there is one.

    Raises:
        UsageError: as `extract` raises it before its flow.
        RaypipeError: the flow failed.
    """
    reading = ReadOptions(spec, config.max_pixels, config.max_seconds_per_image)
    ready = prepare(
        on_ray(config, stack),
        config,
        backbone,
        reading,
        plan,
        source,
        None,
        stack,
        images=images,
        kept=kept,
    )
    sizing, replicas = ready.sizing, ready.replicas
    length = _unit_length(plan, sizing, replicas, spec.views, most)
    units = sample_units(plan.units, replicas.max_size, length, most)
    whole = images <= plan.items and sum(unit.count for unit in units) == plan.pending
    say(f"measuring the speed of {replicas.in_words}, in {spec.precision}")
    # What is done first includes the start of each replica. A run over all of the source tells
    # the same figure as the extraction would, from which that is not left out, either.
    first = 0 if whole else replicas.max_size
    write = partial(pipeline.write, ready.executor, units, backbone, reading, replicas)
    with _ending(str(folder)):
        results = write(storage=open_storage(str(folder)), form=config.format)
        pace, costs = _for_a_while(results, seconds, first + _RESULTS)
    pool = Pool(
        replicas.max_size,
        runtime.cores(),
        gpus=not replicas.whole_flow,
        decoding=spec.preprocess.gpu_decoded,
    )
    steady = pace.steady_from(first) or pace.steady
    # A network is slow at first, which is no part of the pace that extractions tell.
    warm = costs[replicas.max_size :] if len(costs) >= replicas.max_size + _RESULTS else costs
    first_at, longest = pace.first_at or 0, max(unit.count for unit in units)
    cost = reduce(add, costs)
    return Measured(replicas, pool, cost, reduce(add, warm), steady, first_at, longest)


def _for_a_while(results: Any, seconds: float, least: int) -> tuple[Pace, list[Cost]]:
    """Take results until the time is over, and at least so many; then end the flow."""
    pace, costs = Pace(lambda finished: finished.cost.items), list[Cost]()
    with contextlib.closing(results):
        for finished in pace.watch(results):
            costs.append(finished.cost)
            over = time.monotonic() - (pace.first_at or 0) >= seconds
            if over and len(costs) >= least:
                break
    return pace, costs


def sample_units(units: list[Unit], replicas: int, length: int, most: int | None) -> list[Unit]:
    """Return units from all over a plan, cut to a length.

    Units come in short runs that follow each other in the source, as an extraction takes them, and
    the runs in random order, so that those that are done in the time are from all over it as well.
    What can only be read from its beginning is taken from there.

    Args:
        units: those of the plan.
        replicas: how many work on them.
        length: items of a unit.
        most: items at most; None for no limit.
    """
    count = _UNITS * replicas if most is None else max(1, most // length)
    if count < len(units) and not is_sequential(units[0].items[schema.URI][0].as_py()):
        run = _RUN * replicas
        starts = np.random.default_rng(0).permutation(range(0, len(units), run))
        units = [unit for start in starts for unit in units[start : start + run]]
    return list(islice((piece for unit in units for piece in _pieces(unit, length)), count))


def _pieces(unit: Unit, length: int) -> Iterator[Unit]:
    if unit.count <= length:
        yield unit
        return
    items = unit.items
    for start in range(0, len(items), length):
        some = items.slice(start, length)
        yield Unit(digest(unit.id, str(start))[:32], len(some), pack_items(some))


def _unit_length(
    plan: Plan, sizing: Sizing, replicas: Replicas, views: int, most: int | None
) -> int:
    """Return the items of a unit: as the plan has them, but for slow networks and few images."""
    length = max(unit.count for unit in plan.units)
    if sizing.seconds:
        affordable = max(1, int(_UNIT_SECONDS / (sizing.seconds * views)))
        least = -(-max(sizing.batch_size, _LEAST) // views)
        length = min(length, max(least, 1 << affordable.bit_length() - 1))
    if most is not None:
        length = min(length, max(1, most // (_RESULTS * replicas.max_size)))
    return length


@contextlib.contextmanager
def scratch(out: str | None) -> Iterator[Path]:
    """Make a folder on the filesystem that a store will be on; remove it in the end.

    For a bucket, one on this machine: what it takes to send partitions there is not measured.

    Raises:
        UsageError: nothing can be written there.
    """
    place = None
    if out is not None and not is_object(out):
        path = local_path(out, "--out", or_bucket=True)
        place = next(folder for folder in (path, *path.parents) if folder.is_dir())
    prefix = f".{_PREFIX}" if place else _PREFIX
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--out: cannot write to {str(place)!r}: {reason}") from None
    with made as folder:
        yield Path(folder)


@contextlib.contextmanager
def _ending(folder: str) -> Iterator[None]:
    """Wait in the end until nothing works any more; remove what other nodes have written."""
    before = ray.available_resources()
    try:
        yield
    finally:
        end = time.monotonic() + _END_SECONDS
        while time.monotonic() < end and _taken(before):
            time.sleep(0.1)
        # Not a function of this package: the worker that runs it would import PyTorch.
        remove = ray.remote(num_cpus=0)(shutil.rmtree)
        here = ray.get_runtime_context().get_node_id()
        others = [node["NodeID"] for node in alive_nodes() if node["NodeID"] != here]
        there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in others]
        jobs = [remove.options(scheduling_strategy=one).remote(folder, True) for one in there]
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(jobs, timeout=_END_SECONDS)


def _taken(before: Mapping[str, float]) -> bool:
    now = ray.available_resources()
    return any(now.get(kind, 0) < before.get(kind, 0) for kind in ("CPU", "GPU"))
