"""One run of planner, flow and sink on a simulated cluster, in a process of its own.

    python -m benchmarks.scale.flow \
        '{"images": 1000, "length": 64, "actors": 2, "nodes": 2, "cost": 0}'

The images are rows of an .npy file, 8×8 pixels each and all black; reading and decoding them is
real. The network is `benchmarks/fake_backbone.py`. Units have the length that the planner would
choose if `length` images had the size of a block. Prints what took how long, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import ray
from ray.cluster_utils import Cluster

from benchmarks import fake_backbone
from raypipe import runtime
from raypipe.actors.embedder import Embedder
from raypipe.backbone import Backbone
from raypipe.backbone.loading import load
from raypipe.config import ExtractConfig
from raypipe.config.values import Actors
from raypipe.flow import pipeline, plan
from raypipe.flow.ingest import bring_up_to_date, check_writable
from raypipe.flow.on_ray import OnRay
from raypipe.flow.plan import Plan
from raypipe.images.decode import decode
from raypipe.images.transforms import to_pixels
from raypipe.rows.listing import Listing
from raypipe.sources import open_source, read_item
from raypipe.spec import Preprocess, Spec
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Finished
from raypipe.storage import FolderStorage
from raypipe.store.identity import create_store

__all__ = ["Run", "measure"]

BATCH = 32
_MAX_PIXELS = 10**6
_OBJECT_STORE = 256 * 2**20
_ALONE = 1024  # images that the work alone is measured on
_PATIENCE = 900.0  # seconds for all replicas to start


@dataclass(frozen=True)
class Run:
    """What to run.

    Attributes:
        images: how many.
        length: of a unit, at most.
        actors: replicas.
        nodes: of the simulated cluster.
        cost: seconds that the network takes per image.
    """

    images: int
    length: int
    actors: int
    nodes: int
    cost: float


def measure(what: Run) -> dict[str, Any]:
    """Run it, and return times and counts; times of events are those of `time.monotonic`."""
    os.environ[fake_backbone.COST_VARIABLE] = str(what.cost)
    block = what.length * 3 * fake_backbone.SIZE**2
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(plan, "_MAX_BLOCK_BYTES", block),
    ):
        return _measure(what, Path(folder))


def _measure(what: Run, folder: Path) -> dict[str, Any]:
    backbone, spec = _network()
    storage, source = FolderStorage(folder / "store"), _images(folder, what.images)
    config = ExtractConfig(source=source, out=storage.uri)
    check_writable(storage)
    create_store(storage, spec, {"source": source}, "parquet")
    marks: dict[str, float] = {"begin": time.monotonic()}
    arrivals: list[float] = []
    with ExitStack() as stack:
        listing = stack.enter_context(Listing(open_source(config).list()))
        marks["listed"] = time.monotonic()
        found = alone(backbone, spec, listing)

        def write(planned: Plan) -> Iterator[Finished]:
            found["units"] = len(planned.units)
            stack.enter_context(_cluster(what))
            marks["handed"] = time.monotonic()
            for files in _flow(what, planned, backbone, spec, storage):
                arrivals.append(time.monotonic())
                yield files

        work = bring_up_to_date(config, storage, spec, source, listing, write)
        marks["published"] = time.monotonic()
    if work.after.rows != what.images:
        raise RuntimeError(f"{work.after.rows} rows of {what.images} images")
    return found | marks | {"arrivals": _thinned(arrivals), "results": len(arrivals)}


def _network() -> tuple[Backbone, Spec]:
    backbone = load(f"{fake_backbone.__file__}:network", "random", ("features",))
    spec = Spec(
        backbone="fake",
        weights_sha256=backbone.weights_sha256,
        outputs=backbone.outputs,
        preprocess=Preprocess(size=fake_backbone.SIZE, resize="squash"),
        precision="fp32",
    )
    return backbone, spec


def _images(folder: Path, count: int) -> str:
    path = folder / "images.npy"
    shape = (count, fake_backbone.SIZE, fake_backbone.SIZE, 3)
    np.lib.format.open_memmap(path, "w+", np.uint8, shape)  # a hole in the file reads as zeros
    return str(path)


def alone(backbone: Backbone, spec: Spec, listing: Listing) -> dict[str, Any]:
    """Return seconds per image of the work itself, by one thread without Ray."""
    uris = next(listing.batches())["uri"].slice(0, _ALONE).to_pylist()
    started = time.monotonic()
    pixels = [
        to_pixels(decode(read_item(uri, _MAX_PIXELS), _MAX_PIXELS), spec.preprocess) for uri in uris
    ]
    decoded = time.monotonic()
    embedder = Embedder(backbone, spec, batch_size=BATCH, threads=1)
    some = np.stack(pixels[: 4 * BATCH])
    embedder(some[:BATCH])
    prepared = time.monotonic()
    embedder(some)
    forward = (time.monotonic() - prepared) / len(some)
    return {"decode": (decoded - started) / len(uris), "forward": forward}


@contextmanager
def _cluster(what: Run) -> Iterator[None]:
    """Start as many raylets on this machine as there are nodes, and join them."""
    share = -(-what.actors // what.nodes)
    cluster = Cluster()
    for number in range(what.nodes):
        options: dict[str, Any] = {} if number else {"include_dashboard": False}
        cluster.add_node(num_cpus=share, object_store_memory=_OBJECT_STORE, **options)
    context = ray.data.DataContext.get_current()
    context.wait_for_min_actors_s = _PATIENCE  # else the first to start would do the work
    try:
        with runtime.session(cluster.address):
            yield
    finally:
        for node in [*cluster.worker_nodes, cluster.head_node]:
            cluster.remove_node(node, allow_graceful=False)  # which takes some ten seconds


def _flow(
    what: Run, planned: Plan, backbone: Backbone, spec: Spec, storage: FolderStorage
) -> Iterator[Finished]:
    replicas = runtime.plan_replicas(Actors.parse(what.actors), BATCH, len(planned.units))
    return pipeline.write(
        OnRay(),
        planned.units,
        backbone,
        ReadOptions(spec, _MAX_PIXELS),
        replicas,
        storage=storage,
        form="parquet",
    )


def _thinned(arrivals: list[float], most: int = 2000) -> list[float]:
    """Return arrivals spread evenly, the first and the last among them."""
    places = np.linspace(0, len(arrivals) - 1, min(most, len(arrivals))).round().astype(int)
    return [arrivals[place] for place in places]


if __name__ == "__main__":
    print(json.dumps(measure(Run(**json.loads(sys.argv[1])))))
