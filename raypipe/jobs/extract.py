"""Turn images into features: plan what is missing, run the flow, publish a snapshot."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe import pipeline, runtime
from raypipe.augment import resolve_augment
from raypipe.backbone import Backbone
from raypipe.backbone.loading import feature_shapes, load
from raypipe.command import Outcome, run_job
from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.plan import Listing, Plan, make_plan
from raypipe.progress import say, track
from raypipe.sources import Source, open_source
from raypipe.sources.remote import check_reachable
from raypipe.spec import Spec
from raypipe.storage import Storage, local_path, user_path
from raypipe.store.coverage import Coverage, adopt, cover, merge, publish
from raypipe.store.identity import create_store, existing_spec, read_identity
from raypipe.store.master import write_master
from raypipe.store.partition import File
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Part, Snapshot, newest
from raypipe.transforms import resolve_preprocess

__all__ = ["main", "run"]


@dataclass(frozen=True)
class _Work:
    """What the plan found, and what has been done about it."""

    plan: Plan
    adopted: Coverage
    written: tuple[Part, ...]


def run(config: ExtractConfig) -> Outcome:
    """Extract features; see `ExtractConfig` for the options.

    Raises:
        UsageError: before any expensive work, if the options cannot work.
        RaypipeError: the flow failed; what is finished is kept.
    """
    started = time.monotonic()
    storage = Storage(local_path(config.out, "--out"))
    source = open_source(config)
    _check_apart(source, storage)
    augment = resolve_augment(config)
    loaded = _backbone(config)
    preprocess = resolve_preprocess(config, loaded.trained)
    shapes = feature_shapes(loaded, preprocess.size, config.dtype)
    _check_writable(storage)
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
        plan, adopted = _plan(config, storage, spec, source, listing)
        written = _write(config, storage, spec, loaded, plan, stack)
        before = newest(storage, spec.fingerprint)
        gone = plan.gone if config.prune else None
        snapshot = publish(storage, spec.fingerprint, adopted.parts + written, gone)
        write_master(storage, snapshot, spec)
    work = _Work(plan, adopted, written)
    seconds = time.monotonic() - started
    return _outcome(storage, before, snapshot, work, shapes, seconds, pruned=config.prune)


def _really_gone(config: ExtractConfig, ids: pa.Array) -> pa.Array:
    """Return which ids are not in the source at all; the others were not selected this time."""
    everything: dict[str, Any] = {
        "glob": (),
        "label_limit": None,
        "label": "none",
        "label_file": None,
        "split": "none",
    }
    with Listing(open_source(config.model_copy(update=everything)).list()) as listing:
        return ids.filter(pa.array(listing.absent(ids)))


def _backbone(config: ExtractConfig) -> Backbone:
    return load(
        config.backbone,
        config.weights,
        config.layer,
        pool=config.pool,
        weights_sha256=config.weights_sha256,
        seed=config.seed,
    )


def _plan(
    config: ExtractConfig, storage: Storage, spec: Spec, source: Source, listing: Listing
) -> tuple[Plan, Coverage]:
    """Find out what is missing, and what an earlier run has left finished."""
    base = cover(storage, newest(storage, spec.fingerprint).parts)
    adopted = adopt(storage, base, listing, spec.fingerprint)
    plan = make_plan(listing, merge(base, adopted).rows, spec)
    if len(plan.gone) and (config.glob or config.label_limit):
        plan = replace(plan, gone=_really_gone(config, plan.gone))
    _check_same_source(config, storage, source, plan)
    if len(adopted.rows):
        say(f"{len(adopted.rows)} images were finished by an earlier run; they are kept")
    return plan, adopted


def _write(
    config: ExtractConfig,
    storage: Storage,
    spec: Spec,
    loaded: Backbone,
    plan: Plan,
    stack: contextlib.ExitStack,
) -> tuple[Part, ...]:
    """Run the flow over what is missing."""
    if not plan.units:
        return ()
    check_reachable(plan.some_uris())
    stack.enter_context(runtime.session(config.address))
    replicas = runtime.plan_replicas(config.actors, config.batch_size, len(plan.units))
    say(
        f"{plan.pending} of {plan.items} images to do, in {len(plan.units)} units, "
        f"{replicas.max_size} × {replicas.device} {spec.precision}"
    )
    stream = pipeline.write(
        plan.units,
        loaded,
        spec,
        replicas,
        max_pixels=config.max_pixels,
        storage=storage,
        form=config.format,
    )
    tracked = track(stream, total=plan.pending, count=lambda files: _items(files, spec))
    return tuple(Part(file) for files in tracked for file in files)


def _items(files: list[File], spec: Spec) -> int:
    parts = [Part(file) for file in files]
    return sum(part.rows // spec.views if part.is_data else part.rows for part in parts)


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


def _check_same_source(config: ExtractConfig, storage: Storage, source: Source, plan: Plan) -> None:
    """Ids are paths below the source, so another source's images could take the place of these."""
    made_from = read_identity(storage, "--out")["provenance"]["source"]
    lost = plan.changed + (len(plan.gone) if config.prune else 0)
    if source.uri != made_from and lost and not config.moved:
        raise UsageError(
            f"SOURCE: {storage.uri} was made from {made_from}; taking {source.uri} would replace "
            f"or drop {lost} of its rows; give --moved if it is the same source in another place, "
            "else another --out"
        )


def _check_apart(source: Source, storage: Storage) -> None:
    """A store within its own source would list its partitions as images."""
    if Path(source.uri).resolve() in [storage.root.resolve(), *storage.root.resolve().parents]:
        raise UsageError(
            f"--out: {storage.uri} lies inside the source {source.uri}; give a folder outside it"
        )


def _check_writable(storage: Storage) -> None:
    try:
        storage.check_writable()
        storage.remove_stale_temporaries("data")
        storage.remove_stale_temporaries("rejects")
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--out: cannot write to {storage.uri!r}: {reason}") from None


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
    before: Snapshot,
    snapshot: Snapshot,
    work: _Work,
    shapes: dict[str, tuple[tuple[int, ...], str]],
    seconds: float,
    *,
    pruned: bool,
) -> Outcome:
    store = StoreReader(storage.uri, snapshot.number)
    decoded = _items([part.file for part in work.written], store.spec)
    summary = {
        "store": storage.uri,
        "snapshot": snapshot.number,
        "items": snapshot.rows // store.spec.views + snapshot.rejects,
        "rows": snapshot.rows,
        "rejects": snapshot.rejects,
        "rejects_by_reason": store.reject_counts(),
        "decoded": decoded,
        "reused": len(work.adopted.rows),
        "changed": work.plan.changed,
        "gone": len(work.plan.gone),
        "pruned": len(work.plan.gone) if pruned else 0,
        "features": {column: list(shape) for column, (shape, _) in shapes.items()},
        "views": store.spec.views,
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
