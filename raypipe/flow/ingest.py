"""Ingestion by `extract` and `predict`: plan against a store, run what is missing, publish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.config import IngestConfig
from raypipe.display import Pace, counted, say, track
from raypipe.errors import MAY_PASS, RaypipeError, UsageError
from raypipe.flow.plan import Plan, apart, make_plan
from raypipe.rows.listing import Listing
from raypipe.rows.listing import counted as aside_lines
from raypipe.sources import from_on, open_source
from raypipe.spec import Spec
from raypipe.steps.cost import Cost, Finished
from raypipe.storage import Storage, is_object
from raypipe.storage.objects import parse
from raypipe.store.adoption import adopt
from raypipe.store.coverage import Coverage, cover, merge, publish
from raypipe.store.history import record_run
from raypipe.store.identity import read_identity, record_source
from raypipe.store.partition import File
from raypipe.store.snapshot import Part, Snapshot, newest


@dataclass(frozen=True)
class Ingest:
    """What a run has found in a store, and what it has done about it.

    Attributes:
        plan: what was missing.
        adopted: what an earlier run had left finished.
        written: the partitions of this run.
        before: the newest snapshot when this one was published.
        after: the snapshot it has published, or `before` if there was nothing to change.
        done: items that became rows or rejects in this run.
        pruned: items whose rows were dropped.
        pace: when results came.
        cost: what the work took.
        aside: how much of the source is no item, by rule.
        unlabelled: what labels were not found, by reason.
    """

    plan: Plan
    adopted: Coverage
    written: tuple[Part, ...]
    before: Snapshot
    after: Snapshot
    done: int
    pruned: int
    pace: Pace
    cost: Cost
    aside: dict[str, int]
    unlabelled: dict[str, int]

    @property
    def summary(self) -> dict[str, Any]:
        """What a job says of it."""
        return {
            "reused": len(self.adopted.rows),
            "changed": self.plan.changed,
            "gone": len(self.plan.gone),
            "pruned": self.pruned,
            "left_aside": self.aside,
            "labels_not_found": self.unlabelled,
        }

    def paced(self, started: float) -> dict[str, Any]:
        """What a job says of its speed, given when it started, and of where time went."""
        first, steady = self.pace.first_at, self.pace.steady
        return {
            "first_feature_seconds": None if first is None else round(first - started, 3),
            "steady_images_per_second": None if steady is None else round(steady, 2),
            "work_seconds": self.cost.seconds,
            "bytes_read": self.cost.bytes_read,
        }

    def record(self, storage: Storage, started: float) -> None:
        """Write down what the run has done, if it has published anything."""
        if not self.is_new:
            return
        seconds = time.monotonic() - started
        run = {
            "finished": self.after.created,
            "images": self.done,
            "seconds": round(seconds, 3),
            "images_per_second": round(self.done / seconds, 2),
            **self.paced(started),
            "rejects": self.cost.rejects,
            **self.summary,
        }
        record_run(storage, self.after.number, run)

    @property
    def is_new(self) -> bool:
        """Whether there is a new snapshot."""
        return self.after.number != self.before.number

    @property
    def notes(self) -> list[str]:
        """Lines for people: what has replaced rows, and which rows have no image any more."""
        lines = aside_lines(self.aside, self.unlabelled)
        if self.plan.changed:
            kept = sum(self.cost.rejects.get(reason.value, 0) for reason in MAY_PASS)
            stay = f"; {kept} could not be had, and keep the rows they had" if kept else ""
            have = "has" if self.plan.changed == 1 else "have"
            lines.append(f"{counted(self.plan.changed, 'image')} {have} changed since{stay}")
        if gone := len(self.plan.gone):
            are, their = ("is", "its") if gone == 1 else ("are", "their")
            rows = f"{their} rows are dropped" if self.pruned else f"--prune drops {their} rows"
            lines.append(f"{counted(gone, 'image')} {are} gone; {rows}")
        return lines


def check_apart(storage: Storage, source: str) -> None:
    """A store within its own source would list its partitions as images.

    Raises:
        UsageError: it lies there.
    """
    if storage.folder is not None and not is_object(source):
        place = storage.folder.resolve()
        inside = Path(source).resolve() in [place, *place.parents]
    else:
        inside = f"{storage.uri}/".startswith(f"{source}/")
    if inside:
        raise UsageError(
            f"--out: {storage.uri} lies inside the source {source}; give a place outside it"
        )


def check_writable(storage: Storage) -> None:
    """Make sure that a store can be written, and remove what killed writers have left.

    Raises:
        UsageError: it cannot.
    """
    try:
        storage.check_writable()
        storage.remove_stale_temporaries("data")
        storage.remove_stale_temporaries("rejects")
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--out: cannot write to {storage.uri!r}: {reason}") from None


def bring_up_to_date(
    config: IngestConfig,
    storage: Storage,
    spec: Spec,
    source: str,
    listing: Listing,
    write: Callable[[Plan], Iterable[Finished]],
    *,
    by_batch: bool = False,
) -> Ingest:
    """Find out what is missing in a store, have it written, and publish a snapshot.

    Args:
        config: the options that select items, and say what becomes of those that are gone.
        storage: the store's folder; its spec is there.
        spec: what the rows are.
        source: where the items come from.
        listing: all items of the source.
        write: writes the partitions of a plan with at least one unit; yields each unit as soon as
            its files are there.
        by_batch: as in `make_plan`.

    Raises:
        UsageError: the rows of another source would be replaced or dropped.
        RaypipeError: not one of the files is there, of which there are rows.
    """
    retry = config.retry_rejects
    base, adopted, plan = find_missing(config, storage, spec, listing, by_batch=by_batch)
    _check_there(listing, base)
    check_same_source(config, storage, source, plan)
    plan = replace(plan, units=apart(storage, plan.units))
    if len(adopted.rows):
        earlier = counted(len(adopted.rows), "image was", "images were")
        say(f"{earlier} finished by an earlier run: kept")
    written: list[File] = []
    cost = Cost()
    pace = Pace(lambda finished: _items(finished.files, spec))
    if plan.units:
        for finished in track(pace.watch(write(plan)), total=plan.pending, count=pace.count):
            written += finished.files
            cost += finished.cost
    parts = tuple(map(Part, written))
    before = newest(storage, spec.fingerprint)
    gone = plan.gone if config.prune else None
    after = publish(storage, spec.fingerprint, adopted.parts + parts, gone, base, retry=retry)
    if config.moved:
        record_source(storage, source)
    pruned = len(plan.gone) if config.prune else 0
    done = _items(written, spec)
    return Ingest(
        *(plan, adopted, parts, before, after, done, pruned, pace, cost),
        aside=listing.aside,
        unlabelled=listing.unlabelled,
    )


def _check_there(listing: Listing, base: Coverage) -> None:
    """Stop where a table names files none of which is there, though there were rows of some."""
    if not len(base.rows) or not len(listing):
        return
    etags = (batch[schema.ETAG] for batch in listing.batches())
    if all(pc.all(pc.equal(etag, schema.MISSING)).as_py() for etag in etags):
        first = next(b for b in listing.batches() if len(b))[schema.URI][0].as_py()
        raise RaypipeError(
            f"SOURCE: not one of {len(listing)} files is there, as {first}; nothing has been "
            "changed: is their drive mounted?"
        )


def find_missing(
    config: IngestConfig, storage: Storage, spec: Spec, listing: Listing, *, by_batch: bool = False
) -> tuple[Coverage, Coverage, Plan]:
    """Return what the newest snapshot covers, what lies there beside it, and what is left to do.

    Args:
        config: the options that select items.
        storage: the store's folder; there need be no store yet.
        spec: what the rows are.
        listing: all items of the source.
        by_batch: as in `make_plan`.
    """
    base = cover(storage, newest(storage, spec.fingerprint).parts, retry=config.retry_rejects)
    adopted = adopt(storage, base, listing, spec.fingerprint)
    plan = make_plan(listing, merge(base, adopted).rows, spec, by_batch=by_batch)
    gone = plan.gone if config.since is None else from_on(plan.gone, config.since)
    if len(gone) and (config.glob or config.label_limit):
        gone = _really_gone(config, gone)
    changed = plan.changed
    if len(adopted.rows):  # what an earlier run has finished takes the place of other rows as well
        known = pc.is_in(adopted.rows[schema.ID], base.rows[schema.ID].combine_chunks())
        changed += pc.sum(known).as_py()
    return base, adopted, replace(plan, gone=gone, changed=changed)


def _items(files: Iterable[File], spec: Spec) -> int:
    parts = [Part(file) for file in files]
    return sum(part.rows // spec.views if part.is_data else part.rows for part in parts)


def _really_gone(config: IngestConfig, ids: pa.Array) -> pa.Array:
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


def check_same_source(config: IngestConfig, storage: Storage, source: str, plan: Plan) -> None:
    """Ids are paths below the source, so another source's images could take the place of these.

    Where it has none of the store's images in their version, it is another one, too.

    Raises:
        UsageError: it is another one.
    """
    made_from = read_identity(storage, "--out")["provenance"]["source"]
    nothing_in_common = plan.pending == plan.items
    lost = plan.changed + (len(plan.gone) if config.prune or nothing_in_common else 0)
    if lost and not config.moved and not same_place(source, made_from):
        raise UsageError(
            f"SOURCE: {storage.uri} was made from {made_from}; taking {source} would replace "
            f"or leave behind {lost} of its rows; give --moved if it is the same source in another "
            "place, else another --out"
        )


def same_place(one: str, other: str) -> bool:
    """Whether two URIs are of the same file, folder or prefix, by whatever links and mounts."""
    if is_object(one) and is_object(other):
        return parse(one).uri == parse(other).uri
    try:
        return one == other or Path(one).samefile(other)
    except OSError:  # one is not there, or a pattern
        return os.path.realpath(one) == os.path.realpath(other)
