"""Turn images into features: plan what is missing, run the flow, publish a snapshot."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

from raypipe import pipeline, runtime
from raypipe.augment import resolve_augment
from raypipe.backbone import Backbone
from raypipe.backbone.loading import feature_shapes, load
from raypipe.command import Outcome, run_job
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.ingest import Ingest, bring_up_to_date, check_apart, check_writable
from raypipe.plan import Listing, Plan
from raypipe.progress import say
from raypipe.sources import Source, open_source
from raypipe.sources.remote import check_reachable
from raypipe.spec import Spec
from raypipe.storage import Storage, local_path, user_path
from raypipe.store.identity import create_store, existing_spec
from raypipe.store.master import write_master
from raypipe.store.partition import File
from raypipe.store.reader import StoreReader
from raypipe.transforms import resolve_preprocess

__all__ = ["main", "run"]


def run(config: ExtractConfig) -> Outcome:
    """Extract features; see `ExtractConfig` for the options.

    Raises:
        UsageError: before any expensive work, if the options cannot work.
        RaypipeError: the flow failed; what is finished is kept.
    """
    started = time.monotonic()
    storage = Storage(local_path(config.out, "--out"))
    source = open_source(config)
    check_apart(storage, source.uri)
    augment = resolve_augment(config)
    loaded = _backbone(config)
    preprocess = resolve_preprocess(config, loaded.trained)
    shapes = feature_shapes(loaded, preprocess.size, config.dtype)
    check_writable(storage)
    with contextlib.ExitStack() as stack:
        listing = stack.enter_context(Listing(source.list()))
        if not len(listing):
            raise UsageError(f"SOURCE: no images in {source.uri!r}{_narrowed(config)}")
        spec = Spec(
            backbone=loaded.source.name,
            source_sha256=loaded.source.sha256,
            weights_sha256=loaded.weights_sha256,
            outputs=loaded.outputs,
            preprocess=preprocess,
            augment=augment,
            precision=_precision(config, storage, stack),
            dtype=config.dtype,
        )
        create_store(storage, spec, _provenance(config, loaded, source), config.format)
        write = partial(_write, config, storage, spec, loaded, stack)
        work = bring_up_to_date(config, storage, spec, source.uri, listing, write)
        write_master(storage, work.after, spec)
    return _outcome(storage, work, shapes, time.monotonic() - started)


def _backbone(config: ExtractConfig) -> Backbone:
    return load(
        config.backbone,
        config.weights,
        config.layer,
        pool=config.pool,
        weights_sha256=config.weights_sha256,
        seed=config.seed,
    )


def _write(
    config: ExtractConfig,
    storage: Storage,
    spec: Spec,
    loaded: Backbone,
    stack: contextlib.ExitStack,
    plan: Plan,
) -> Iterator[list[File]]:
    """Run the flow over what is missing."""
    check_reachable(plan.some_uris())
    stack.enter_context(runtime.session(config.address))
    replicas = runtime.plan_replicas(config.actors, config.batch_size, len(plan.units))
    say(
        f"{plan.pending} of {plan.items} images to do, in {len(plan.units)} units, "
        f"{replicas.max_size} × {replicas.device} {spec.precision}"
    )
    return pipeline.write(
        plan.units,
        loaded,
        spec,
        replicas,
        max_pixels=config.max_pixels,
        storage=storage,
        form=config.format,
    )


def _narrowed(config: ExtractConfig) -> str:
    return f" match {', '.join(config.glob)}" if config.glob else "; give a folder of images"


def _precision(config: ExtractConfig, storage: Storage, stack: contextlib.ExitStack) -> Any:
    """Resolve `auto`: what the store was begun with, else the best of the replicas' hardware."""
    if config.precision != "auto":
        return config.precision
    if (there := existing_spec(storage)) is not None:
        return there.precision
    stack.enter_context(runtime.session(config.address))
    return runtime.best_precision()


def _provenance(config: ExtractConfig, loaded: Backbone, source: Source) -> dict[str, Any]:
    """Where things came from, for people and for `predict`; not part of the fingerprint."""
    weights_file = user_path(config.weights, "--weights")
    weights = weights_file if weights_file.is_file() else config.weights
    own = loaded.source.kind == "file"
    return {
        "backbone": loaded.source.target if own else config.backbone,
        "weights": str(weights),
        "seed": config.seed,
        "source": source.uri,
        "versions": {name: version(name) for name in ("raypipe", "torch", "torchvision", "pillow")},
    }


def _outcome(
    storage: Storage,
    work: Ingest,
    shapes: dict[str, tuple[tuple[int, ...], str]],
    seconds: float,
) -> Outcome:
    snapshot = work.after
    store = StoreReader(storage.uri, snapshot.number)
    summary = {
        "store": storage.uri,
        "snapshot": snapshot.number,
        "items": snapshot.rows // store.spec.views + snapshot.rejects,
        "rows": snapshot.rows,
        "rejects": snapshot.rejects,
        "rejects_by_reason": store.reject_counts(),
        "decoded": work.done,
        **work.summary,
        "features": {column: list(shape) for column, (shape, _) in shapes.items()},
        "views": store.spec.views,
        "precision": store.spec.precision,
        "fingerprint": store.spec.fingerprint,
        "seconds": round(seconds, 3),
        "images_per_second": round(work.done / seconds, 2),
    }
    return Outcome(summary, _text(summary, work), store)


def _text(summary: dict[str, Any], work: Ingest) -> str:
    published = f"snapshot {summary['snapshot']}" + ("" if work.is_new else " (nothing to change)")
    lines = [
        f"{summary['store']}: {published}, {summary['rows']} rows, {summary['rejects']} rejects",
        f"decoded {summary['decoded']} images in {summary['seconds']:.1f} s "
        f"({summary['images_per_second']:.1f} images/s, start-up included)",
    ]
    for reason, count in summary["rejects_by_reason"].items():
        lines.append(f"  rejected: {count} × {reason}")
    return "\n".join(lines + work.notes)


def main() -> None:
    """Run from the command line."""
    run_job("extract", ExtractConfig)


if __name__ == "__main__":
    main()
