"""Adoption of finished partitions that no snapshot lists, left by a run that was stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from raypipe import schema
from raypipe.display import say
from raypipe.errors import RaypipeError
from raypipe.rows.listing import Listing
from raypipe.rows.versions import Versions
from raypipe.storage import Storage
from raypipe.store.coverage import (
    PART,
    READERS,
    Coverage,
    PartRows,
    coverage_of,
    no_rows,
    part_rows,
    without,
)
from raypipe.store.lifetime import expired_files
from raypipe.store.partition import DATA, UNDECODABLE, File, count_rows, read_metadata, recover
from raypipe.store.seals import may_be_opened
from raypipe.store.snapshot import Part


def adopt(storage: Storage, covered: Coverage, listing: Listing, fingerprint: str) -> Coverage:
    """Find finished partitions that no snapshot lists, left by a run that was stopped.

    Of their rows those count whose item is listed in that very version and is not covered yet; the
    others are dropped. So it does not matter how the items were cut into units then.

    Args:
        storage: the store's folder.
        covered: what the newest snapshot covers.
        listing: all items of the source.
        fingerprint: of the store's spec; partitions made with another one are left alone.
    """
    missing = _missing(listing, covered)
    if not len(missing):  # nothing that could be of use, however many files lie there
        return Coverage((), no_rows())
    noted = expired_files(storage)
    listed = {part.file.path for part in covered.parts} | noted
    names = [name for name in storage.list(DATA) if name not in listed]
    with ThreadPoolExecutor(READERS) as pool:
        units = pool.map(partial(_unlisted, storage, fingerprint, noted), names)
        found = [pair for unit in units for pair in unit]
    if not found:
        return Coverage((), no_rows())
    parts = tuple(part for part, _ in found)
    useful = _keep(coverage_of(parts, [rows for _, rows in found]), missing)
    with ThreadPoolExecutor(READERS) as pool:
        checked = list(pool.map(partial(_checked, storage), useful.parts))
    parts = tuple(new or old for new, old in zip(checked, useful.parts, strict=True))
    damaged = [index for index, part in enumerate(checked) if part is None]
    return without(replace(useful, parts=parts), np.isin(useful.rows[PART].to_numpy(), damaged))


def _unlisted(
    storage: Storage, fingerprint: str, noted: set[str], name: str
) -> list[tuple[Part, PartRows]]:
    """Return a unit's files and what is in them; without rejects that are about to go, or gone."""
    if not _may_be_opened(storage, name):
        _pass_over(storage, name)
        return []
    metadata = read_metadata(storage, name)
    stem = PurePosixPath(name).stem
    if metadata is None or metadata.fingerprint != fingerprint or stem != f"part-{metadata.unit}":
        return []
    names, rejects = [name], metadata.rejects
    if rejects and rejects not in noted and storage.exists(rejects):
        names.append(rejects)
    # Size and checksum are found out later, for those that turn out to be of use.
    found = []
    for one in names:
        try:
            part = Part(File(one, metadata.unit, count_rows(storage, one), 0, ""))
            found.append((part, part_rows(storage.open(one), part, retry=False)))
        except UNDECODABLE as error:
            if isinstance(error, OSError) and error.errno:  # it says nothing of the file
                raise _cannot_be_read(storage, one, error) from error
            _pass_over(storage, one)
    return found


def _may_be_opened(storage: Storage, name: str) -> bool:
    try:
        return may_be_opened(storage, name)
    except OSError as error:
        raise _cannot_be_read(storage, name, error) from error


def _cannot_be_read(storage: Storage, name: str, error: OSError) -> RaypipeError:
    return RaypipeError(f"{storage.uri}/{name} cannot be read: {error.strerror or error}")


def _pass_over(storage: Storage, name: str) -> None:
    say(
        f"{storage.uri}/{name} is damaged, and no snapshot lists it: its items are made again; "
        "remove it"
    )


def _checked(storage: Storage, part: Part) -> Part | None:
    """Find out size and checksum of a file, or return None and say that it is damaged."""
    file = part.file
    found = recover(storage, file.path, file.unit, file.rows)
    if found is None:
        _pass_over(storage, file.path)
        return None
    return replace(part, file=found)


def _missing(listing: Listing, covered: Coverage) -> pa.Table:
    """Versions of the listed items that are not covered."""
    known, columns = Versions(covered.rows), list(schema.VERSION_COLUMNS)
    missing = [
        batch.filter(pa.array(~known.find(batch)[1])).select(columns) for batch in listing.batches()
    ]
    return pa.Table.from_batches(missing, pa.schema([schema.ITEMS.field(n) for n in columns]))


def _keep(coverage: Coverage, wanted: pa.Table) -> Coverage:
    """Drop rows that are not wanted, and all but the first of several rows of one item."""
    rows = coverage.rows
    _, current = Versions(wanted).find(rows)
    candidates = np.flatnonzero(current)
    ids = rows[schema.ID].take(pa.array(candidates)).to_numpy()
    keep = np.zeros(len(rows), bool)
    keep[candidates[np.unique(ids.astype(str), return_index=True)[1]]] = True
    return without(coverage, ~keep)
