"""Coverage of items by a store: finding finished work again, and adding to it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.errors import MAY_PASS
from raypipe.rows.versions import Versions
from raypipe.storage import FileInput, Storage
from raypipe.store import hdf5
from raypipe.store.checksums import reading, verified
from raypipe.store.partition import file_format
from raypipe.store.snapshot import Part, Snapshot, newest, succeed

PART = "part"
_ROW = "row"
_SPAN = "span"
_UNAVAILABLE = "\0unavailable"  # a version that no item has
READERS = 16

#: A part's items: their versions, the first row of each, and how many rows it has.
PartRows: TypeAlias = tuple[pa.Table, npt.NDArray[np.int64], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Coverage:
    """Which items a list of parts covers.

    `rows` has one row per item: `schema.VERSION_COLUMNS`, and where it lies: `part` (index), its
    first `row` there, and the `span` of rows from there that are its views.
    """

    parts: tuple[Part, ...]
    rows: pa.Table


def cover(storage: Storage, parts: tuple[Part, ...], *, retry: bool = False) -> Coverage:
    """Read which items the parts cover: only the columns that tell, many files at a time.

    Args:
        storage: the store's folder.
        parts: of a snapshot.
        retry: whether rejects of any reason are to be tried again, not only of one that may pass.
    """
    if not parts:
        return Coverage((), no_rows())
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(partial(_listed_rows, storage, retry=retry), parts))
    return coverage_of(parts, found)


def coverage_of(parts: tuple[Part, ...], found: list[PartRows]) -> Coverage:
    """Return the coverage of parts, given what is in each of them; there is at least one."""
    items, rows, spans = zip(*found, strict=True)
    lengths = [len(one) for one in rows]
    columns: list[pa.Array | pa.ChunkedArray] = [
        pa.chunked_array([chunk for table in items for chunk in table[name].chunks], pa.string())
        for name in schema.VERSION_COLUMNS
    ]
    columns.append(pa.array(np.repeat(np.arange(len(parts), dtype=np.int32), lengths)))
    columns += [pa.array(np.concatenate(rows)), pa.array(np.concatenate(spans))]
    table = pa.Table.from_arrays(columns, schema=no_rows().schema)
    # In one piece: what is done with it later takes time per piece, and there are many files.
    return Coverage(parts, table.combine_chunks())


def merge(base: Coverage, new: Coverage, gone: pa.Array | None = None) -> Coverage:
    """Add rows: they replace rows of the same item, and those whose id is `gone` are dropped.

    An item that the base has in the same version is not taken twice, and a reject whose reason may
    pass, or whose file was not there when it was listed, replaces nothing.
    """
    if not new.parts and gone is None:
        return base
    index, already = Versions(base.rows).find(new.rows)
    # A server that did not answer is no reason to give up what was there before.
    # Nor is a drive that was gone when files were listed.
    nothing = pa.array([_UNAVAILABLE, schema.MISSING])
    down = pc.is_in(new.rows[schema.ETAG], nothing).to_numpy()
    new = without(new, already | (down & (index >= 0)))
    replaced = pc.is_in(base.rows[schema.ID], new.rows[schema.ID].combine_chunks())
    if gone is not None:
        replaced = pc.or_(replaced, pc.is_in(base.rows[schema.ID], gone))
    base = without(base, replaced.to_numpy())
    moved = pc.add(new.rows[PART], pa.scalar(len(base.parts), pa.int32()))
    rows = new.rows.set_column(new.rows.schema.get_field_index(PART), PART, moved)
    return Coverage((*base.parts, *new.parts), pa.concat_tables([base.rows, rows]))


def publish(
    storage: Storage,
    fingerprint: str,
    added: tuple[Part, ...],
    gone: pa.Array | None = None,
    covered: Coverage | None = None,
    *,
    retry: bool = False,
) -> Snapshot:
    """Make a new snapshot: the newest one plus parts, less what they replace and what is gone.

    Two publishers at once: the loser takes the winner's snapshot as its base and tries again.

    Args:
        storage: the store's folder.
        fingerprint: of the store's spec.
        added: parts to add.
        gone: ids whose rows are to be dropped.
        covered: what the newest snapshot covered when it was last looked at; its partitions are
            read again only if there is a newer one by now.
        retry: as for `cover`.

    Returns:
        The new snapshot, or the newest one if there is nothing to change.
    """
    new: Coverage | None = None
    while True:
        base = newest(storage, fingerprint)
        if not added and (gone is None or not len(gone)):
            return base
        if base.parts:
            new = new or cover(storage, added)
            if covered is None or covered.parts != base.parts:
                covered = cover(storage, base.parts, retry=retry)
            parts = merge(covered, new, gone).parts
        else:  # what is added is of one plan, which has every item once
            parts = tuple(part for part in added if part.rows)
        if parts == base.parts:
            return base
        if snapshot := succeed(storage, base, parts):
            return snapshot


def _listed_rows(storage: Storage, part: Part, *, retry: bool) -> PartRows:
    """Read a listed part: pages of Parquet have checksums, of HDF5 the whole file is compared."""
    if part.file.path.endswith(hdf5.SUFFIX):
        read = partial(_one_piece, part=part, retry=retry)
        return next(verified(storage, part.file, read))
    with reading(storage, part.file):
        return part_rows(storage.open(part.file.path), part, retry=retry)


def _one_piece(source: FileInput, part: Part, *, retry: bool) -> Iterator[PartRows]:
    yield part_rows(source, part, retry=retry)


def part_rows(source: FileInput, part: Part, *, retry: bool) -> PartRows:
    """Return a part's items: their versions, the first row of each, and how many rows it has."""
    name = part.file.path
    extra = schema.VIEW if part.is_data else schema.REASON
    table = file_format(name).read_table(source, [*schema.VERSION_COLUMNS, extra])
    types = {table[column].type for column in schema.VERSION_COLUMNS}
    if types != {pa.string()} or len(table) != part.file.rows:
        raise ValueError(f"{name} has other rows than it was written with")
    if not part.is_data:
        table = _retried(table, every=retry)
    # An item's views follow each other, so that its first row stands for all of them.
    is_first = table[extra].to_numpy() == 0 if part.is_data else np.ones(len(table), bool)
    first = np.flatnonzero(is_first)
    span = np.diff(first, append=len(table)).astype(np.int32)
    if part.dropped:
        kept = ~np.isin(first, part.dropped)
        first, span = first[kept], span[kept]
    items = table.select(list(schema.VERSION_COLUMNS))
    return items if len(first) == len(table) else items.take(pa.array(first)), first, span


def _retried(rejects: pa.Table, *, every: bool) -> pa.Table:
    """Give items whose reason may pass a version that no item has, so that they are tried again
    and what becomes of them replaces the reject.
    """
    down = pc.is_in(rejects[schema.REASON], pa.array([reason.value for reason in MAY_PASS]))
    if every:
        down = pc.is_valid(rejects[schema.REASON])
    if not pc.any(down).as_py():
        return rejects
    etags = pc.if_else(down, _UNAVAILABLE, rejects[schema.ETAG].cast(pa.string()))
    return rejects.set_column(rejects.schema.get_field_index(schema.ETAG), schema.ETAG, etags)


def no_rows() -> pa.Table:
    """Return the rows of a `Coverage` of nothing."""
    fields = [pa.field(name, pa.string()) for name in schema.VERSION_COLUMNS]
    fields += [pa.field(PART, pa.int32()), pa.field(_ROW, pa.int64()), pa.field(_SPAN, pa.int32())]
    return pa.schema(fields).empty_table()


def without(coverage: Coverage, drop: npt.NDArray[np.bool_]) -> Coverage:
    """Return the coverage without those of its N rows that `drop`, (N,), says.

    Parts that have none left go as well.
    """
    if not drop.any() and all(part.rows for part in coverage.parts):
        return coverage
    # A part's file stays as it is: what is dropped is noted beside it, by the numbers of its rows,
    # which for one row here are those of all views of its item.
    gone = coverage.rows.filter(pa.array(drop))
    by_part: dict[int, list[int]] = {}
    places = (gone[name].to_pylist() for name in (PART, _ROW, _SPAN))
    for index, row, span in zip(*places, strict=True):
        by_part.setdefault(index, []).extend(range(row, row + span))
    # Parts without rows go, so those behind them move up: `renumbered` has the new place of each,
    # by which the rows that are kept find theirs again. No kept row is of a part that goes.
    parts: list[Part] = []
    renumbered = np.zeros(len(coverage.parts), np.int32)
    for index, part in enumerate(coverage.parts):
        if index in by_part:
            part = replace(part, dropped=tuple(sorted({*part.dropped, *by_part[index]})))
        renumbered[index] = len(parts)
        if part.rows:
            parts.append(part)
    kept = coverage.rows.filter(pa.array(~drop))
    moved = pa.array(renumbered[kept[PART].to_numpy()], pa.int32())
    column = kept.schema.get_field_index(PART)
    return Coverage(tuple(parts), kept.set_column(column, PART, moved))
