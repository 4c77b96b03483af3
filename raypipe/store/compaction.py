"""Small partitions merged into larger files, as a new snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa

from raypipe import schema
from raypipe.display import say
from raypipe.spec import Spec, digest
from raypipe.storage import Storage
from raypipe.store import parquet
from raypipe.store.checksums import verified
from raypipe.store.lifetime import expired_files
from raypipe.store.partition import (
    File,
    Format,
    Metadata,
    data_name,
    describe,
    encode_pieces,
    file_format,
    recover,
    rejects_name,
)
from raypipe.store.snapshot import Part, Snapshot, newest, succeed


@dataclass(frozen=True)
class Compaction:
    """The snapshot before, and the one after; the same one if there was nothing to do."""

    before: Snapshot
    after: Snapshot


def compact(storage: Storage, spec: Spec, form: Format, target_bytes: int) -> Compaction:
    """Merge partitions smaller than half of a size into files of about that size.

    Rows that no longer count are left out. The files that were merged stay: older snapshots list
    them. In memory are one file's content and about 128 MB of rows. What another run publishes
    meanwhile is taken as the new base; files that are already merged are not merged again.

    Args:
        storage: the store's folder.
        spec: what the features are.
        form: format of the feature partitions.
        target_bytes: size of the files to make.
    """
    while True:
        before = newest(storage, spec.fingerprint)
        parts: list[Part] = []
        for is_data in (True, False):
            for group in _groups(before.data if is_data else before.rejected, target_bytes):
                if len(group) == 1:
                    parts += group
                    continue
                file = _merge(storage, spec, form, group)
                say(f"{file.path}: {file.rows} rows, {file.bytes / 1e6:.1f} MB")
                parts.append(Part(file))
        if len(parts) == len(before.parts):
            return Compaction(before, before)
        if after := succeed(storage, before, tuple(parts)):
            return Compaction(before, after)


def _groups(parts: list[Part], target_bytes: int) -> list[list[Part]]:
    """Put neighbouring small parts together, and large ones alone.

    A group ends before it would exceed the size, so that all but the last are above half of it.
    """
    groups: list[list[Part]] = []
    small: list[Part] = []
    total = 0.0
    for part in parts:
        size = _size(part)
        if size >= target_bytes / 2:
            groups.append([part])
            continue
        if total + size > target_bytes:
            groups.append(small)
            small, total = [], 0.0
        small.append(part)
        total += size
    return [*groups, small] if small else groups


def _size(part: Part) -> float:
    """Return about how many bytes the rows that count take."""
    return part.file.bytes * part.rows / max(1, part.file.rows)


def _merge(storage: Storage, spec: Spec, form: Format, group: list[Part]) -> File:
    """Write the rows of several partitions as one, unless that has been done before."""
    origin = json.dumps([[part.file.path, part.dropped] for part in group])
    noted = expired_files(storage)
    unit = digest(spec.fingerprint, "compact", origin)[:32]
    rows = sum(part.rows for part in group)
    if not group[0].is_data:
        content = parquet.encode_pieces(schema.REJECTS, _rows(storage, group), rows, {})
        while _is_taken(storage, name := rejects_name(unit, content), noted):
            unit = digest(unit)[:32]
        storage.create(name, content)
        return describe(storage, name, unit)
    while _is_taken(storage, name := data_name(unit, form), noted):
        unit = digest(unit)[:32]
    if not storage.exists(name):
        metadata = Metadata(spec.fingerprint, unit, "")
        pieces = _rows(storage, group)
        first = next(pieces)  # every part of a snapshot has rows
        content = encode_pieces(first.schema, chain([first], pieces), rows, metadata, form)
        storage.create(name, content)
    return describe(storage, name, unit)


def _is_taken(storage: Storage, name: str, noted: set[str]) -> bool:
    """Whether a name cannot be used: its file is about to be removed, or a damaged leftover."""
    return name in noted or (storage.exists(name) and recover(storage, name, "") is None)


def _rows(storage: Storage, group: list[Part]) -> Iterator[pa.Table]:
    for part in group:
        read = partial(file_format(part.file.path).iter_tables, columns=None)
        start = 0
        for table in verified(storage, part.file, read):
            keep = ~np.isin(np.arange(start, start + len(table)), part.dropped)
            start += len(table)
            yield table if keep.all() else table.take(pa.array(np.flatnonzero(keep)))
