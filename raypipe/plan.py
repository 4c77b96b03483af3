"""items → units, minus what the store already has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.spec import Spec, digest

__all__ = ["Plan", "Unit", "collect", "make_plan", "same_version", "unit_length"]

#: A unit's decoded block stays below this: large enough to keep a device busy, small enough to
#: hold several in memory.
_MAX_BLOCK_BYTES = 96 * 2**20
_MIN_UNIT = 64
#: Small sources are cut into at least about this many units, so that all cores have work to the
#: end and little is lost by a kill.
_MIN_UNITS = 16


@dataclass(frozen=True)
class Unit:
    """A fixed run of items: the atom of work, of retry and of commit."""

    id: str
    items: pa.Table


@dataclass(frozen=True)
class Plan:
    """What is left to do: units of items that no partition covers, and ids that are gone."""

    units: list[Unit]
    items: int
    pending: int
    changed: int
    gone: pa.Array


def collect(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Gather a listing and check it.

    Raises:
        UsageError: two items have one id.
    """
    listing = pa.Table.from_batches(batches, schema=schema.ITEMS)
    ids = listing[schema.ID]
    if pc.count_distinct(ids).as_py() != len(ids):
        counts = pc.value_counts(ids)
        repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        uris = listing.filter(pc.equal(ids, repeated))[schema.URI].to_pylist()
        raise UsageError(f"SOURCE: two items have the id {repeated!r}: {uris[0]} and {uris[1]}")
    return listing


def unit_length(items: int, spec: Spec) -> int:
    """Return how many items make a unit.

    A power of two that depends on the size of the whole source, not on what is left of it: a run
    that was killed makes the same units again, and so finds the partitions it has written.
    """
    image_bytes = 3 * spec.preprocess.size**2
    most = max(1, _MAX_BLOCK_BYTES // image_bytes)
    wanted = max(_MIN_UNIT, items // _MIN_UNITS)
    return 1 << (min(most, wanted).bit_length() - 1)


def same_version(listing: pa.Table, covered: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Look each listed item up among covered rows, which have unique ids.

    Returns:
        The row index in `covered` by id (null where it is new), and whether it is the same version.
    """
    index = pc.index_in(listing[schema.ID], covered[schema.ID].combine_chunks())
    same = pc.is_valid(index)
    for column in schema.VERSION_COLUMNS[1:]:
        # A null label equals a null label, and no text equals this one.
        left = pc.fill_null(listing[column], "\0")
        right = pc.fill_null(covered[column].combine_chunks(), "\0").take(index)
        same = pc.and_(same, pc.fill_null(pc.equal(left, right), False))
    return _flat(index), _flat(same)


def make_plan(listing: pa.Table, covered: pa.Table, spec: Spec) -> Plan:
    """Return the units that are missing.

    Args:
        listing: all items of the source, of `schema.ITEMS`.
        covered: rows with `schema.VERSION_COLUMNS` of what the store has, features or rejects.
        spec: what the features are to be.
    """
    index, same = same_version(listing, covered)
    pending = listing.filter(pc.invert(same))
    known = pc.is_in(covered[schema.ID], listing[schema.ID].combine_chunks())
    changed = pc.sum(pc.and_(pc.is_valid(index), pc.invert(same))).as_py() or 0
    return Plan(
        units=list(_units(pending, unit_length(len(listing), spec), spec.fingerprint)),
        items=len(listing),
        pending=len(pending),
        changed=changed,
        gone=_flat(covered[schema.ID].filter(pc.invert(known))),
    )


def _units(items: pa.Table, length: int, fingerprint: str) -> Iterator[Unit]:
    for start in range(0, len(items), length):
        run = items.slice(start, length).combine_chunks()
        identities = [
            json.dumps([row[name] for name in schema.VERSION_COLUMNS]) for row in run.to_pylist()
        ]
        yield Unit(digest(fingerprint, *identities)[:32], run)


def _flat(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
