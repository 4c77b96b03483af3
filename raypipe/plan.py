"""items → units, minus what the store already has."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.spec import Spec, digest

#: A unit's decoded block stays below this: large enough to keep a device busy, small enough to
#: hold several in memory.
_MAX_BLOCK_BYTES = 96 * 2**20
_MIN_UNIT = 64
#: Small sources are cut into at least about this many units, so that all cores have work to the
#: end and little is lost by a kill.
_MIN_UNITS = 32

_FEW = 8  # items to look at where one may not be enough
_HASHED = 2**16
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")  # URIs of one source are much alike


@dataclass(frozen=True)
class Unit:
    """A fixed run of items: the atom of work, of retry and of commit.

    `data` holds the items as a compressed Arrow stream: about a tenth of what they take in memory.
    `batch` is the number of the listed batch they come from, where units follow batches, else −1.
    """

    id: str
    count: int
    data: bytes
    batch: int = -1

    @property
    def items(self) -> pa.Table:
        """The items, of `schema.ITEMS`."""
        return pa.ipc.open_stream(self.data).read_all()


@dataclass(frozen=True)
class Plan:
    """What is left to do: units of items that no partition covers, and ids that are gone."""

    units: list[Unit]
    items: int
    pending: int
    changed: int
    gone: pa.Array

    def some_items(self, count: int = 8) -> list[pa.Table]:
        """Return the first few items of about `count` units, spread over the plan."""
        units = self.units[:: max(1, len(self.units) // count)]
        return [unit.items.slice(0, _FEW) for unit in units]


class Listing:
    """The items of a source, checked and spooled to a temporary file.

    In memory stay 8 bytes per item, so that millions can be planned on any machine. Use it as a
    context manager, or `close` it.

    Raises:
        UsageError: two items have one id.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._file = tempfile.TemporaryFile(prefix="raypipe-listing-")  # noqa: SIM115
        hashes = [np.empty(0, np.int64)]
        with pa.ipc.new_stream(self._file, schema.ITEMS, options=_COMPRESSED) as spool:
            for batch in batches:
                spool.write_batch(batch)
                hashes.append(_hashes(batch[schema.ID]))
        self._hashes = np.concatenate(hashes)
        self._hashes.sort()
        self._check_unique()

    def __len__(self) -> int:
        return len(self._hashes)

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the items as they were listed."""
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)

    def some_items(self, count: int = 8) -> list[pa.Table]:
        """Return a few consecutive items from each of `count` places near the start."""
        first = pa.Table.from_batches([next(self.batches())])
        step = max(1, len(first) // count)
        return [first.slice(start, _FEW) for start in range(0, len(first), step)][:count]

    def absent(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Return which of N ids are not listed, as (N,).

        By hash: with a probability of less than 1 to 10⁷ for a million ids one that is absent goes
        unnoticed, this time; the hash is another one in the next process.
        """
        found = _hashes(ids)
        if not len(self):
            return np.ones(len(found), bool)
        place = np.searchsorted(self._hashes, found).clip(max=len(self) - 1)
        missing: npt.NDArray[np.bool_] = self._hashes[place] != found
        return missing

    def _check_unique(self) -> None:
        suspects = np.unique(self._hashes[1:][self._hashes[1:] == self._hashes[:-1]])
        if not len(suspects):
            return
        seen: dict[str, str] = {}
        for batch in self.batches():
            rows = np.flatnonzero(np.isin(_hashes(batch[schema.ID]), suspects))
            for row in batch.take(pa.array(rows)).to_pylist():
                first = seen.setdefault(row[schema.ID], row[schema.URI])
                if first is not row[schema.URI]:
                    raise UsageError(
                        f"SOURCE: two items have the id {row[schema.ID]!r}: {first} and "
                        f"{row[schema.URI]}; ids have to be unique"
                    )


class Versions:
    """Looks items up among known ones, many at a time.

    Args:
        rows: a table with `schema.VERSION_COLUMNS` and unique ids.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows.select(list(schema.VERSION_COLUMNS)).combine_chunks()
        hashes = _hashes(self._rows[schema.ID])
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(
        self, items: pa.Table | pa.RecordBatch
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the row of each item by id (−1 where it is new), and whether its version is equal.

        Both are (N,) for N items. The version is all of `schema.VERSION_COLUMNS`.
        """
        found = np.full(len(items), -1, np.int64)
        same = np.zeros(len(items), bool)
        wanted = _hashes(items[schema.ID])
        place = np.searchsorted(self._hashes, wanted)
        open_rows = np.arange(len(items))
        while len(open_rows):  # once, unless two ids share a hash
            inside = place[open_rows] < len(self._hashes)
            open_rows = open_rows[inside]
            hit = self._hashes[place[open_rows]] == wanted[open_rows]
            open_rows = open_rows[hit]
            candidates = self._order[place[open_rows]]
            equal = _equal(items, open_rows, self._rows, candidates, schema.ID)
            found[open_rows[equal]] = candidates[equal]
            same[open_rows[equal]] = True
            open_rows = open_rows[~equal]
            place[open_rows] += 1
        known = np.flatnonzero(same)
        for column in schema.VERSION_COLUMNS[1:]:
            same[known] &= _equal(items, known, self._rows, found[known], column)
        return found, same


def unit_length(items: int, spec: Spec) -> int:
    """Return how many items make a unit.

    A power of two that depends on the size of the whole source, not on what is left of it: a run
    that was killed makes the same units again, and so finds the partitions it has written.
    """
    item_bytes = 3 * spec.preprocess.size**2 * spec.views
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


def _unit(items: pa.Table, fingerprint: str, batch: int = -1) -> Unit:
    identity = json.dumps([items[name].to_pylist() for name in schema.VERSION_COLUMNS])
    return Unit(digest(fingerprint, identity)[:32], len(items), pack_items(items), batch)


def pack_items(items: pa.Table) -> bytes:
    """Return items as a unit holds them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, items.schema, options=_COMPRESSED) as stream:
        stream.write_table(items.combine_chunks())
    return bytes(sink.getvalue())


def _hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    found = np.empty(len(texts), np.int64)
    for start in range(0, len(texts), _HASHED):  # Python's strings take more room than Arrow's
        part = texts.slice(start, _HASHED).to_pylist()
        found[start : start + len(part)] = [hash(text) for text in part]
    return found


def _equal(
    left: pa.Table | pa.RecordBatch,
    left_rows: npt.NDArray[np.int64],
    right: pa.Table,
    right_rows: npt.NDArray[np.int64],
    column: str,
) -> npt.NDArray[np.bool_]:
    """Compare a text column row by row; a missing value equals a missing value."""
    a = pc.fill_null(left[column].take(pa.array(left_rows)), "\0")  # which no text equals
    b = pc.fill_null(right[column].take(pa.array(right_rows)), "\0")
    equal = pc.equal(a, b)
    if isinstance(equal, pa.ChunkedArray):
        equal = equal.combine_chunks()
    result: npt.NDArray[np.bool_] = equal.to_numpy(zero_copy_only=False)
    return result
