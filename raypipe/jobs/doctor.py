"""Measure what limits an extraction, and name the settings that fit."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import TypeAlias

import pyarrow as pa
import ray

from raypipe import pipeline, runtime, schema
from raypipe.augment import resolve_augment
from raypipe.backbone import Backbone
from raypipe.backbone.footprint import cpu_batch_size
from raypipe.backbone.loading import WeightsUnavailableError, feature_shapes, load
from raypipe.command import Outcome, run_job
from raypipe.config import DoctorConfig
from raypipe.diagnosis.machine import busy
from raypipe.diagnosis.report import report
from raypipe.errors import UsageError
from raypipe.ingest import check_apart
from raypipe.plan import Listing, unit_length
from raypipe.preprocessing import resolve_preprocess
from raypipe.progress import say
from raypipe.rehearsal.flow import Flow
from raypipe.rehearsal.rehearse import rehearse
from raypipe.rehearsal.sample import make_pictures, some_items, unit_of
from raypipe.sources import open_source
from raypipe.sources.remote import check_reachable
from raypipe.spec import Spec
from raypipe.storage import is_object, local_path, open_storage

__all__ = ["main", "run"]

_IMAGES = 1_000_000
_USUAL_ON_GPU = 128
_RUNS = 8  # parts of a source with archives or tables that the sample is taken from
_PREFIX = "raypipe-doctor-"

Sample: TypeAlias = pa.Table | list[bytes]


def run(config: DoctorConfig) -> Outcome:
    """Measure; see `DoctorConfig` for the options.

    Raises:
        UsageError: the options cannot work, or no image can be decoded.
        RaypipeError: a step failed.
    """
    started, others = time.monotonic(), busy()
    if config.gpu_decode:
        raise UsageError(
            "--gpu-decode: the doctor measures how fast CPU cores decode, which says whether GPUs "
            "should; leave it out here"
        )
    sample, listed = _sample(config)
    images = config.images or listed
    augment = resolve_augment(config)
    with _folder(config) as folder:
        loaded = _backbone(config)
        preprocess = resolve_preprocess(config, loaded.trained)
        shapes = feature_shapes(loaded, preprocess.size, config.dtype)
        with runtime.session(config.address, wait=config.wait_for):
            best = runtime.best_precision()
            spec = Spec(
                backbone=loaded.source.name,
                source_sha256=loaded.source.sha256,
                arguments=dict(loaded.source.arguments),
                weights_sha256=loaded.weights_sha256,
                outputs=loaded.outputs,
                preprocess=preprocess,
                augment=augment,
                precision=best if config.precision == "auto" else config.precision,
                dtype=config.dtype,
            )
            flow = _flow(config, loaded, spec, images, _one_server(sample), folder)
            unit = min(images, unit_length(images, spec))
            also = {best, "fp32"} - {spec.precision}
            findings = rehearse(flow, sample, unit, others=sorted(also), started=started)
    summary, text = report(findings, config, images, shapes, others)
    return Outcome({**summary, "seconds": round(time.monotonic() - started, 1)}, text, findings)


def _flow(
    config: DoctorConfig, loaded: Backbone, spec: Spec, images: int, one_server: bool, folder: str
) -> Flow:
    units = math.ceil(images / unit_length(images, spec))
    return Flow(
        backbone=ray.put(loaded),
        spec=spec,
        replicas=runtime.plan_replicas(config.actors, _batch_size(config, loaded, spec), units),
        max_pixels=config.max_pixels,
        one_server=one_server,
        form=config.format,
        folder=folder,
    )


def _batch_size(config: DoctorConfig, loaded: Backbone, spec: Spec) -> int:
    """Return what an extraction takes; on a GPU, it tries several sizes, as is done here later."""
    if config.batch_size != "auto":
        return config.batch_size
    return _USUAL_ON_GPU if runtime.device() == "cuda" else cpu_batch_size(loaded, spec)


def _sample(config: DoctorConfig) -> tuple[Sample, int]:
    """Return what to measure on, and how many images to estimate for by default."""
    if config.source is None:
        return make_pictures(config.sample), _IMAGES
    source = open_source(config)
    if config.out is not None:
        check_apart(open_storage(config.out), source.uri)
    with Listing(source.list()) as listing:
        if not len(listing):
            raise UsageError(f"SOURCE: no images in {source.uri!r}")
        items = some_items(listing, config.sample, _RUNS)
        check_reachable(items[schema.URI].to_pylist())
        return items, len(listing)


def _backbone(config: DoctorConfig) -> Backbone:
    """Load the network; without its weights, random ones tell the speed as well."""
    try:
        return _load(config, config.weights, config.weights_sha256)
    except WeightsUnavailableError:
        say(f"the weights of {config.backbone} cannot be downloaded; measuring with random ones")
        return _load(config, "random", None)


def _load(config: DoctorConfig, weights: str, checksum: str | None) -> Backbone:
    return load(
        config.backbone,
        weights,
        config.layer,
        pool=config.pool,
        weights_sha256=checksum,
        seed=config.seed,
        size=config.size,
    )


@contextlib.contextmanager
def _folder(config: DoctorConfig) -> Iterator[str]:
    """Make a folder on the filesystem that --out will be on; remove it in the end.

    For a bucket, one on this machine: what it takes to send partitions there is not measured.

    Raises:
        UsageError: nothing can be written there.
    """
    place = None
    if config.out is not None and not is_object(config.out):
        out = local_path(config.out, "--out", or_bucket=True)
        place = next(folder for folder in (out, *out.parents) if folder.is_dir())
    try:
        folder = tempfile.mkdtemp(prefix=f".{_PREFIX}" if place else _PREFIX, dir=place)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--out: cannot write to {str(place)!r}: {reason}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _one_server(sample: Sample) -> bool:
    if isinstance(sample, list):
        return False
    return pipeline.one_server([unit_of(sample, len(sample), "sample")])


def main() -> None:
    """Run from the command line."""
    run_job("doctor", DoctorConfig)


if __name__ == "__main__":
    main()
