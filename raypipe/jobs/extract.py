"""Turn images into features: plan what is missing, run the flow, publish a snapshot."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from functools import partial
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any

from raypipe.cli.command import Outcome, run_job
from raypipe.config import ExtractConfig
from raypipe.config.version import versions
from raypipe.display import counted, say
from raypipe.errors import UsageError
from raypipe.flow import pipeline
from raypipe.flow.executor import Executor, choose
from raypipe.flow.ingest import Ingest, bring_up_to_date, check_apart, check_writable
from raypipe.flow.known import Known, beside
from raypipe.flow.named import check_named, check_place
from raypipe.flow.plan import Plan
from raypipe.flow.prepare import (
    Extractor,
    check_feasible,
    load_extractor,
    prepare,
    settled,
    spec_of,
)
from raypipe.flow.preview import preview
from raypipe.flow.rejects import check_rejects
from raypipe.flow.sizing import Sizing, settle
from raypipe.images.augment import resolve_augment
from raypipe.rows.listing import Listing
from raypipe.sources import SelectedSource, open_source
from raypipe.spec import Spec
from raypipe.steps.apart import DECODERS
from raypipe.steps.batch import ReadOptions
from raypipe.steps.cost import Finished
from raypipe.steps.pool_plan import Replicas
from raypipe.storage import Storage, open_storage, user_path
from raypipe.store.identity import create_store, existing_spec, is_store
from raypipe.store.master import write_master
from raypipe.store.reader import StoreReader

if TYPE_CHECKING:
    from raypipe.backbone import Backbone

_GLANCE_SECONDS = 3.0
#: For what goes on beside to come to its end, once it is for nothing.
_GIVE_UP_SECONDS = 10.0


def run(config: ExtractConfig) -> Outcome:
    """Extract features; see `ExtractConfig` for the options.

    Raises:
        UsageError: before any expensive work, if the options cannot work.
        RaypipeError: the flow failed, or more images are rejects than may be; what is finished is
            kept.
    """
    started = time.monotonic()
    storage = open_storage(config.out)
    source = open_source(config)
    check_apart(storage, source.uri)
    augment = resolve_augment(config)
    check_named(config)
    check_place(storage)
    with contextlib.ExitStack() as stack:
        listing, network, executor = _start(config, storage, source, stack)
        spec = spec_of(config, network, augment, _precision(executor, config, storage))
        if config.dry_run:
            look = partial(_glance, config, storage, source, spec, network.backbone, stack)
            return preview(config, storage, source.uri, spec, listing, network.shapes, look)
        check_writable(storage)
        reading = ReadOptions(
            spec,
            config.max_pixels,
            config.max_seconds_per_image,
            server_etags=source.server_etags,
        )
        sizing = _create(executor, config, storage, reading, network, source, listing)
        write = partial(
            _write, executor, config, storage, source, reading, network.backbone, sizing, stack
        )
        work = bring_up_to_date(config, storage, spec, source.uri, listing, write)
        write_master(storage, work.after, spec)
        work.record(storage, started)
    outcome = _outcome(storage, work, network.shapes, started)
    images, rejects = work.after.rows // spec.views, work.after.rejects
    check_rejects(images, rejects, config.max_rejects, storage.uri, outcome.value.rejects)
    return outcome


def _start(
    config: ExtractConfig, storage: Storage, source: SelectedSource, stack: contextlib.ExitStack
) -> tuple[Listing, Extractor, Executor]:
    """List the source and load the network; start Ray meanwhile, if it will be needed for sure."""
    DECODERS.start(1)
    batches = source.list()
    first = next((batch for batch in batches if len(batch)), None)
    if first is None:
        why = f" match {', '.join(config.glob)}" if config.glob else "; give a folder of images"
        raise UsageError(f"SOURCE: no images in {source.uri!r}{why}")
    known = Known()
    wanted = takewhile(lambda _: not known.given_up, known.counted(chain([first], batches)))
    listing = beside(lambda: Listing(wanted, lambda: source.aside, lambda: source.labels_not_found))
    loading = beside(partial(load_extractor, config, existing_spec(storage)))
    listing.add_done_callback(known.listed)
    loading.add_done_callback(known.loaded)
    try:
        images = known.images()
        if loading.done():
            loading.result()
        executor = choose(config, stack, images)
        network = loading.result()
        return stack.enter_context(listing.result()), network, executor
    except BaseException:  # a Ctrl-C too: listing a bucket to its end may take an hour
        known.given_up = True
        begun: list[Future[Any]] = [listing, loading]
        wait(begun, _GIVE_UP_SECONDS)
        raise


def _create(
    executor: Executor,
    config: ExtractConfig,
    storage: Storage,
    reading: ReadOptions,
    network: Extractor,
    source: SelectedSource,
    listing: Listing,
) -> Sizing | None:
    """Create the store, or check the one that is there; return what was settled for a new one."""
    sizing = None
    provenance = _provenance(config, network.backbone, source)
    if not is_store(storage.uri):
        check_feasible(executor, config, listing, source.uri, storage)
        some, images = listing.some_items(), len(listing)
        sizing = settle(executor, config, network.backbone, reading, some, images=images)
        provenance["computed"] = sizing.to_dict()
    create_store(storage, reading.spec, provenance, config.format)
    return sizing


def _write(
    executor: Executor,
    config: ExtractConfig,
    storage: Storage,
    source: SelectedSource,
    reading: ReadOptions,
    backbone: Backbone,
    sizing: Sizing | None,
    stack: contextlib.ExitStack,
    plan: Plan,
) -> Iterator[Finished]:
    """Run the flow over what is missing."""
    ready = prepare(
        executor,
        config,
        backbone,
        reading,
        plan,
        source.uri,
        storage,
        stack,
        sizing=sizing,
        kept=settled(storage),
    )
    replicas = ready.replicas
    say(
        f"{plan.pending} of {counted(plan.items, 'image')} to do, by {replicas.in_words}, "
        f"in {reading.spec.precision}"
    )
    return pipeline.write(
        ready.executor,
        plan.units,
        backbone,
        reading,
        replicas,
        storage=storage,
        form=config.format,
    )


def _glance(
    config: ExtractConfig,
    storage: Storage,
    source: SelectedSource,
    spec: Spec,
    backbone: Backbone,
    stack: contextlib.ExitStack,
    plan: Plan,
) -> tuple[Replicas, float | None]:
    """Extract for a few seconds; return the replicas and their rate, None if all are rejects."""
    from raypipe.diagnosis.measure import measure, scratch

    kept = settled(storage)
    if config.compile == "auto" and not kept:  # trying that takes a minute
        config = config.model_copy(update={"compile": "off"})
    folder = stack.enter_context(scratch(None))
    measured = measure(
        config,
        backbone,
        spec,
        plan,
        folder / "store",
        stack,
        source=source.uri,
        images=plan.items,
        seconds=_GLANCE_SECONDS,
        kept=kept,
    )
    return measured.replicas, measured.rates.steady if measured.cost.images else None


def _precision(executor: Executor, config: ExtractConfig, storage: Storage) -> Any:
    """Resolve `auto`: what the store was begun with, else the best of the replicas' hardware."""
    if config.precision != "auto":
        return config.precision
    there = existing_spec(storage)
    return there.precision if there is not None else executor.best_precision()


def _provenance(config: ExtractConfig, loaded: Backbone, source: SelectedSource) -> dict[str, Any]:
    """Where things came from, for people and for `predict`; not part of the fingerprint."""
    weights_file = user_path(config.weights, "--weights")
    weights = weights_file if weights_file.is_file() else config.weights
    begins = {"file": "", "hf": "hf/"}.get(loaded.source.kind)  # targets are absolute paths
    return {
        "backbone": config.backbone if begins is None else f"{begins}{loaded.source.target}",
        "weights": str(weights),
        "seed": config.seed,
        "source": source.uri,
        "versions": versions(),
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
    rate = summary["steady_images_per_second"]
    steady = "" if rate is None else f"; {rate:.1f} without"
    done = (
        f"{counted(summary['decoded'], 'image')} in {summary['seconds']:.1f} s "
        f"({summary['images_per_second']:.1f} images/s, start-up included{steady})"
    )
    lines = [
        f"{summary['store']}: {published}, {counted(summary['rows'], 'row')}, "
        f"{counted(summary['rejects'], 'reject')}",
        f"decoded {done}" if summary["decoded"] else "no image is new or changed",
    ]
    for reason, count in summary["rejects_by_reason"].items():
        lines.append(f"  rejected: {count} × {reason}")
    if summary["rejects"]:
        lines.append(f"  raypipe inspect {shlex.quote(summary['store'])} shows which")
    return "\n".join(lines + work.notes)


def main() -> None:
    """Run from the command line."""
    run_job("extract", ExtractConfig)


if __name__ == "__main__":
    main()
