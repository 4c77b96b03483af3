"""Planning of units: a listing, minus what the store already has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pyarrow as pa

from raypipe import schema
from raypipe.rows.listing import _FEW, Listing
from raypipe.rows.unit import Unit, _unit
from raypipe.rows.versions import Versions
from raypipe.spec import Spec, digest
from raypipe.storage import Storage
from raypipe.store.lifetime import expired_files
from raypipe.store.partition import DATA

#: A unit's decoded block stays below this: large enough to keep a device busy, small enough to
#: hold several in memory.
_MAX_BLOCK_BYTES = 96 * 2**20
_MIN_UNIT = 64
#: Small sources are cut into at least about this many units, so that all cores have work to the
#: end and little is lost by a kill.
_MIN_UNITS = 32


@dataclass(frozen=True)
class Plan:
    """What is left to do: units of items that no partition covers, and ids that are gone."""

    units: list[Unit]
    items: int
    pending: int
    changed: int
    gone: pa.Array

    def some_items(self) -> list[pa.Table]:
        """Return the first few items of about eight units, spread over the plan."""
        units = self.units[:: max(1, len(self.units) // _FEW)]
        return [unit.items.slice(0, _FEW) for unit in units]


def unit_length(items: int, spec: Spec) -> int:
    """Return how many items make a unit.

    A power of two that depends on the size of the whole source, not on what is left of it: a run
    that was killed makes the same units again, and so finds the partitions it has written.
    """
    item_bytes = spec.pixel_bytes
    most = max(1, _MAX_BLOCK_BYTES // item_bytes)
    wanted = max(_MIN_UNIT, items // _MIN_UNITS)
    return 1 << (min(most, wanted).bit_length() - 1)


def make_plan(
    listing: Listing, covered: pa.Table | None, spec: Spec, *, by_batch: bool = False
) -> Plan:
    """Return the units that are missing.

    Args:
        listing: all items of the source.
        covered: rows with `schema.VERSION_COLUMNS` of what the store has, features or rejects.
        spec: what the features are to be.
        by_batch: whether what is missing of a listed batch makes one unit, however much it is.
    """
    known = Versions(covered) if covered is not None and len(covered) else None
    changed = 0

    def pending() -> Iterator[pa.RecordBatch]:
        nonlocal changed
        for batch in listing.batches():
            if known is None:
                yield batch
                continue
            index, same = known.find(batch)
            changed += int(((index >= 0) & ~same).sum())
            yield batch.filter(pa.array(~same))

    fingerprint = spec.fingerprint
    units = list(
        _units_of_batches(pending(), fingerprint)
        if by_batch
        else _units(pending(), unit_length(len(listing), spec), fingerprint)
    )
    gone = pa.array([], pa.string())
    if covered is not None:
        ids = covered[schema.ID]
        gone = ids.filter(pa.array(listing.absent(ids))).combine_chunks()
    return Plan(
        units=units,
        items=len(listing),
        pending=sum(unit.count for unit in units),
        changed=changed,
        gone=gone,
    )


def _units(batches: Iterator[pa.RecordBatch], length: int, fingerprint: str) -> Iterator[Unit]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= length:
            run = pa.Table.from_batches(waiting)
            whole = count - count % length
            for start in range(0, whole, length):
                yield _unit(run.slice(start, length), fingerprint)
            waiting = run.slice(whole).to_batches()
            count -= whole
    if count:
        yield _unit(pa.Table.from_batches(waiting), fingerprint)


def _units_of_batches(batches: Iterator[pa.RecordBatch], fingerprint: str) -> Iterator[Unit]:
    for number, batch in enumerate(batches):
        if len(batch):
            yield _unit(pa.Table.from_batches([batch]), fingerprint, number)


def apart(storage: Storage, units: list[Unit]) -> list[Unit]:
    """Rename units whose partition is there although their items are missing.

    They have been tried before, and what came of it does not count: a server that was down, or
    files that are about to be removed. A finished partition is never replaced.
    """
    if not units:
        return units
    taken = {PurePosixPath(name).stem for name in storage.list(DATA)}
    # A rejects file's name ends in a checksum; a noted one must not be written anew.
    taken |= {PurePosixPath(name).stem.rpartition("-")[0] for name in expired_files(storage)}

    def free(unit: Unit) -> Unit:
        attempt = 1
        while f"part-{unit.id}" in taken:
            attempt += 1
            unit = replace(unit, id=digest(unit.id, f"attempt {attempt}")[:32])
        return unit

    return [free(unit) for unit in units]
