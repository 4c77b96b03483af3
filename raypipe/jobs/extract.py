"""Turn images into features: plan what is missing, run the flow, publish a snapshot."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any

from raypipe import pipeline, runtime
from raypipe.augment import resolve_augment
from raypipe.command import Outcome, run_job
from raypipe.config import ExtractConfig
from raypipe.cost import Finished
from raypipe.errors import UsageError
from raypipe.ingest import Ingest, bring_up_to_date, check_apart, check_writable
from raypipe.jobs.preview import preview
from raypipe.plan import Listing, Plan
from raypipe.preprocessing import resolve_preprocess
from raypipe.progress import say
from raypipe.sizing import Sizing, settle
from raypipe.sources import Source, open_source
from raypipe.spec import Preprocess, Spec
from raypipe.storage import Storage, open_storage, user_path
from raypipe.store.identity import create_store, existing_spec, is_store, read_identity
from raypipe.store.master import write_master
from raypipe.store.reader import StoreReader

if TYPE_CHECKING:
    from raypipe.backbone import Backbone

__all__ = ["main", "run"]


def run(config: ExtractConfig) -> Outcome:
    """Extract features; see `ExtractConfig` for the options.

    Raises:
        UsageError: before any expensive work, if the options cannot work.
        RaypipeError: the flow failed; what is finished is kept.
    """
    started = time.monotonic()
    storage = open_storage(config.out)
    source = open_source(config)
    check_apart(storage, source.uri)
    augment = resolve_augment(config)
    with contextlib.ExitStack() as stack:
        listing, network = _start(config, storage, source, stack)
        spec = Spec(
            backbone=network.backbone.source.name,
            source_sha256=network.backbone.source.sha256,
            arguments=dict(network.backbone.source.arguments),
            weights_sha256=network.backbone.weights_sha256,
            outputs=network.backbone.outputs,
            preprocess=network.preprocess,
            augment=augment,
            precision=_precision(config, storage),
            dtype=config.dtype,
        )
        if config.dry_run:
            shapes = network.shapes
            return preview(
                config, storage, source.uri, spec, network.backbone, listing, shapes, stack
            )
        check_writable(storage)
        sizing = _create(config, storage, spec, network, source, listing)
        write = partial(_write, config, storage, source, spec, network.backbone, sizing, stack)
        work = bring_up_to_date(config, storage, spec, source.uri, listing, write)
        write_master(storage, work.after, spec)
        work.record(storage, started)
    return _outcome(storage, work, network.shapes, started)


@dataclass(frozen=True)
class _Network:
    backbone: Backbone
    preprocess: Preprocess
    shapes: dict[str, tuple[tuple[int, ...], str]]


def _start(
    config: ExtractConfig, storage: Storage, source: Source, stack: contextlib.ExitStack
) -> tuple[Listing, _Network]:
    """List the source and load the network; start Ray meanwhile, if it will be needed for sure."""
    batches = source.list()
    first = next((batch for batch in batches if len(batch)), None)
    if first is None:
        raise UsageError(f"SOURCE: no images in {source.uri!r}{_narrowed(config)}")
    given_up = threading.Event()
    wanted = takewhile(lambda _: not given_up.is_set(), chain([first], batches))
    with ThreadPoolExecutor(2) as beside:
        listing = beside.submit(Listing, wanted)
        loading = beside.submit(_load, config, storage)
        try:
            if not is_store(storage.uri):
                session = runtime.session(config.address, quiet=True, wait=config.wait_for)
                stack.enter_context(session)
            network = loading.result()
            return stack.enter_context(listing.result()), network
        except BaseException:  # a Ctrl-C too: listing a bucket to its end may take an hour
            given_up.set()
            raise


def _load(config: ExtractConfig, storage: Storage) -> _Network:
    from raypipe.backbone.loading import feature_shapes, load  # takes torch: seconds
    from raypipe.backbone.registry import find

    there = existing_spec(storage)
    own = there if there and there.backbone == find(config.backbone).name else None
    keeps = own is not None and not config.layer and "pool" not in config.model_fields_set
    backbone = load(
        config.backbone,
        config.weights,
        config.layer,
        pool=config.pool,
        weights_sha256=config.weights_sha256,
        seed=config.seed,
        size=config.size,
        outputs=own.outputs if own is not None and keeps else (),
    )
    if keeps and backbone.usual and backbone.layers != (backbone.usual,):
        say(
            f"!! {storage.uri} goes on with {', '.join(backbone.layers)}, as it was begun; the "
            f"embedding of {backbone.source.name} is {backbone.usual}"
        )
    preprocess = resolve_preprocess(config, backbone.trained)
    shapes = feature_shapes(backbone, preprocess.size, config.dtype)
    return _Network(backbone, preprocess, shapes)


def _create(
    config: ExtractConfig,
    storage: Storage,
    spec: Spec,
    network: _Network,
    source: Source,
    listing: Listing,
) -> Sizing | None:
    """Create the store, or check the one that is there; return what was settled for a new one."""
    sizing = None
    provenance = _provenance(config, network.backbone, source)
    if not is_store(storage.uri):
        sizing = settle(
            config,
            network.backbone,
            spec,
            listing.some_items(),
            images=len(listing),
            max_pixels=config.max_pixels,
        )
        provenance["computed"] = sizing.to_dict()
    create_store(storage, spec, provenance, config.format)
    return sizing


def _write(
    config: ExtractConfig,
    storage: Storage,
    source: Source,
    spec: Spec,
    backbone: Backbone,
    sizing: Sizing | None,
    stack: contextlib.ExitStack,
    plan: Plan,
) -> Iterator[Finished]:
    """Run the flow over what is missing."""
    stack.enter_context(runtime.session(config.address, wait=config.wait_for))
    runtime.check_reach(plan.some_items(), source.uri, storage)
    kept = read_identity(storage, "--out")["provenance"].get("computed")
    sizing = sizing or settle(
        config,
        backbone,
        spec,
        plan.some_items(),
        images=plan.items,
        max_pixels=config.max_pixels,
        kept=kept,
    )
    replicas = runtime.plan_replicas(
        config.actors, sizing.batch_size, len(plan.units), compiled=sizing.compiled
    )
    say(
        f"{plan.pending} of {plan.items} images to do, in {len(plan.units)} units, "
        f"{replicas.max_size} × {replicas.device} {spec.precision}"
        f"{' compiled' if replicas.compiled else ''}"
    )
    return pipeline.write(
        plan.units,
        backbone,
        spec,
        replicas,
        max_pixels=config.max_pixels,
        storage=storage,
        form=config.format,
    )


def _narrowed(config: ExtractConfig) -> str:
    return f" match {', '.join(config.glob)}" if config.glob else "; give a folder of images"


def _precision(config: ExtractConfig, storage: Storage) -> Any:
    """Resolve `auto`: what the store was begun with, else the best of the replicas' hardware."""
    if config.precision != "auto":
        return config.precision
    there = existing_spec(storage)
    return there.precision if there is not None else runtime.best_precision()


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
    started: float,
) -> Outcome:
    seconds = time.monotonic() - started
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
        **work.paced(started),
    }
    return Outcome(summary, _text(summary, work), store)


def _text(summary: dict[str, Any], work: Ingest) -> str:
    published = f"snapshot {summary['snapshot']}" + ("" if work.is_new else " (nothing to change)")
    lines = [
        f"{summary['store']}: {published}, {summary['rows']} rows, {summary['rejects']} rejects",
        f"decoded {summary['decoded']} images in {summary['seconds']:.1f} s "
        f"({summary['images_per_second']:.1f} images/s, start-up included{_steady(summary)})",
    ]
    for reason, count in summary["rejects_by_reason"].items():
        lines.append(f"  rejected: {count} × {reason}")
    return "\n".join(lines + work.notes)


def _steady(summary: dict[str, Any]) -> str:
    rate = summary["steady_images_per_second"]
    return "" if rate is None else f"; {rate:.1f} without"


def main() -> None:
    """Run from the command line."""
    run_job("extract", ExtractConfig)


if __name__ == "__main__":
    main()
