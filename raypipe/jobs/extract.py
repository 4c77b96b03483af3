"""Turn images into features: plan what is missing, run the flow, publish a snapshot."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe import backbone as backbones
from raypipe import pipeline, runtime, schema
from raypipe.command import Outcome, run_job
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.plan import Plan, collect, make_plan
from raypipe.progress import say, track
from raypipe.sources import Source, open_source
from raypipe.spec import Preprocess, Spec
from raypipe.storage import Storage, local_path, user_path
from raypipe.store.coverage import adopt, cover, merge, publish
from raypipe.store.reader import StoreReader, create_store, existing_spec
from raypipe.store.snapshot import Part, Snapshot, newest
from raypipe.transforms import resolve_preprocess

__all__ = ["main", "run"]


@dataclass(frozen=True)
class _Work:
    """What the plan found, and what has been done about it."""

    plan: Plan
    adopted: tuple[Part, ...]
    written: tuple[Part, ...]


def run(config: ExtractConfig) -> Outcome:
    """Extract features; see `ExtractConfig` for the options.

    Raises:
        UsageError: before any expensive work, if the options cannot work.
        RaypipeError: the flow failed; what is finished is kept.
    """
    started = time.monotonic()
    storage = Storage(local_path(config.out, "--out"))
    source = open_source(config.source, label_from_folder=config.label == "folder")
    _check_apart(source, storage)
    loaded = backbones.load(
        config.backbone,
        config.weights,
        config.layer,
        weights_sha256=config.weights_sha256,
        seed=config.seed,
    )
    _check_layer_names(loaded.layers)
    preprocess = resolve_preprocess(config, loaded.trained)
    shapes = backbones.feature_shapes(loaded, preprocess.size, config.pool)
    _check_writable(storage)
    listing = collect(source.list())
    if not len(listing):
        raise UsageError(f"SOURCE: no files below {source.uri!r}; give a folder of images")
    with contextlib.ExitStack() as ray:
        spec = _spec(config, loaded, preprocess, _precision(config, storage, ray))
        create_store(storage, spec, _provenance(config, loaded, source))
        work = _extract(config, storage, spec, loaded, listing, ray)
        before = newest(storage, spec.fingerprint)
        snapshot = publish(
            storage,
            spec.fingerprint,
            work.adopted + work.written,
            work.plan.gone if config.prune else None,
        )
    seconds = time.monotonic() - started
    return _outcome(storage, before, snapshot, work, shapes, seconds, pruned=config.prune)


def _extract(
    config: ExtractConfig,
    storage: Storage,
    spec: Spec,
    loaded: backbones.Backbone,
    listing: pa.Table,
    ray: contextlib.ExitStack,
) -> _Work:
    """Plan, and run the flow over what is missing."""
    base = cover(storage, newest(storage, spec.fingerprint).parts)
    adopted = adopt(storage, base, listing, spec.fingerprint)
    plan = make_plan(listing, merge(base, adopted).rows, spec)
    _check_same_source(config, storage, plan)
    if len(adopted.rows):
        say(f"{len(adopted.rows)} images were finished by an earlier run; they are kept")
    if not plan.units:
        return _Work(plan, adopted.parts, ())
    ray.enter_context(runtime.session(config.address))
    replicas = runtime.plan_replicas(config.actors, config.batch_size, len(plan.units))
    say(
        f"{plan.pending} of {plan.items} images to do, in {len(plan.units)} units, "
        f"{replicas.max_size} × {replicas.device} {spec.precision}"
    )
    stream = pipeline.write(
        plan.units, loaded, spec, replicas, max_pixels=config.max_pixels, storage=storage
    )
    tracked = track(stream, total=plan.pending, count=lambda files: sum(f.rows for f in files))
    written = tuple(Part(file) for files in tracked for file in files)
    return _Work(plan, adopted.parts, written)


def _spec(
    config: ExtractConfig, loaded: backbones.Backbone, preprocess: Preprocess, precision: Any
) -> Spec:
    return Spec(
        backbone=loaded.source.name,
        source_sha256=loaded.source.sha256,
        weights_sha256=loaded.weights_sha256,
        layers=loaded.layers,
        pool=config.pool,
        preprocess=preprocess,
        precision=precision,
        dtype=config.dtype,
    )


def _precision(config: ExtractConfig, storage: Storage, ray: contextlib.ExitStack) -> Any:
    """Resolve `auto`: what the store was begun with, else the best of the replicas' hardware."""
    if config.precision != "auto":
        return config.precision
    if (there := existing_spec(storage)) is not None:
        return there.precision
    ray.enter_context(runtime.session(config.address))
    return runtime.best_precision()


def _check_same_source(config: ExtractConfig, storage: Storage, plan: Plan) -> None:
    """Ids are paths below the source, so another source's images could take the place of these."""
    made_from = StoreReader(storage.uri).provenance["source"]
    here = open_source(config.source).uri
    lost = plan.changed + (len(plan.gone) if config.prune else 0)
    if here != made_from and lost and not config.moved:
        raise UsageError(
            f"SOURCE: {storage.uri} was made from {made_from}; taking {here} would replace or drop "
            f"{lost} of its rows; give --moved if it is the same source in another place, "
            "else another --out"
        )


def _check_apart(source: Source, storage: Storage) -> None:
    """A store within its own source would list its partitions as images."""
    if Path(source.uri).resolve() in [storage.root.resolve(), *storage.root.resolve().parents]:
        raise UsageError(
            f"--out: {storage.uri} lies inside the source {source.uri}; give a folder outside it"
        )


def _check_layer_names(layers: tuple[str, ...]) -> None:
    clashing = [layer for layer in layers if layer in schema.ROW_COLUMNS]
    if len(layers) > 1 and clashing:
        raise UsageError(
            f"--layer: with several layers each one names a column, and {clashing[0]!r} is one "
            "already; cut at a neighbouring node"
        )


def _check_writable(storage: Storage) -> None:
    try:
        storage.check_writable()
        storage.remove_stale_temporaries("data")
        storage.remove_stale_temporaries("rejects")
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--out: cannot write to {storage.uri!r}: {reason}") from None


def _provenance(
    config: ExtractConfig, loaded: backbones.Backbone, source: Source
) -> dict[str, Any]:
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
    before: Snapshot,
    snapshot: Snapshot,
    work: _Work,
    shapes: dict[str, tuple[int, ...]],
    seconds: float,
    *,
    pruned: bool,
) -> Outcome:
    store = StoreReader(storage.uri, snapshot.number)
    reasons = Counter(store.rejects()[schema.REASON].to_pylist())
    decoded = sum(part.file.rows for part in work.written)
    columns = schema.feature_columns(store.spec.layers)
    summary = {
        "store": storage.uri,
        "snapshot": snapshot.number,
        "rows": snapshot.rows,
        "rejects": snapshot.rejects,
        "rejects_by_reason": dict(sorted(reasons.items())),
        "decoded": decoded,
        "reused": sum(part.rows for part in work.adopted),
        "changed": work.plan.changed,
        "gone": len(work.plan.gone),
        "pruned": len(work.plan.gone) if pruned else 0,
        "features": {columns[layer]: list(shape) for layer, shape in shapes.items()},
        "precision": store.spec.precision,
        "fingerprint": store.spec.fingerprint,
        "seconds": round(seconds, 3),
        "images_per_second": round(decoded / seconds, 2),
    }
    return Outcome(summary, _text(summary, new=snapshot.number != before.number), store)


def _text(summary: dict[str, Any], *, new: bool) -> str:
    published = f"snapshot {summary['snapshot']}" + ("" if new else " (nothing to change)")
    lines = [
        f"{summary['store']}: {published}, {summary['rows']} rows, {summary['rejects']} rejects",
        f"decoded {summary['decoded']} images in {summary['seconds']:.1f} s "
        f"({summary['images_per_second']:.1f} images/s, start-up included)",
    ]
    if summary["changed"]:
        lines.append(f"{summary['changed']} changed images have replaced their rows")
    for reason, count in summary["rejects_by_reason"].items():
        lines.append(f"  rejected: {count} × {reason}")
    if summary["gone"] > summary["pruned"]:
        lines.append(f"{summary['gone']} rows have no image any more; --prune drops them")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("extract", ExtractConfig)


if __name__ == "__main__":
    main()
