"""A snapshot's files as their readers see them: whole, or an error; without the rows it drops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.storage import FileInput, Storage
from raypipe.store import hdf5, parquet
from raypipe.store.checksums import DamagedFileError, is_whole, reading, verified
from raypipe.store.partition import File, file_format, read_metadata
from raypipe.store.snapshot import Part


class PartReader:
    """Reads partitions and rejects that a snapshot lists, and remembers which were verified.

    Args:
        storage: the store's folder.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._verified: set[str] = set()

    def shapes(self, file: File, columns: list[str]) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row's features by column.

        Raises:
            RaypipeError: the file is missing or damaged.
        """
        with reading(self.storage, file):
            source = self._opened(file)
            found: dict[str, tuple[int, ...]] = file_format(file.path).shapes(source, columns)
        return found

    def pieces(
        self, part: Part, columns: list[str] | None, split: str | None, *, of_features: bool
    ) -> Iterator[pa.Table]:
        """Yield the rows of a partition, piece by piece.

        The first time that features are read, the file's checksum is compared meanwhile.

        Args:
            part: the partition.
            columns: the columns to read; None reads all.
            split: only rows of this split; None yields all.
            of_features: whether features are among the columns.

        Raises:
            RaypipeError: the file is missing or damaged; none of it is yielded then.
        """
        if not of_features or part.file.path in self._verified:
            with reading(self.storage, part.file):
                yield from _pieces(part, self._opened(part.file), columns, split)
            return
        yield from verified(
            self.storage, part.file, lambda source: _pieces(part, source, columns, split)
        )
        self._verified.add(part.file.path)

    def rejects(self, part: Part, columns: list[str] | None = None) -> pa.Table:
        """Return the rows of a file of rejects, which is small: its checksum is compared."""

        def read(source: FileInput) -> Iterator[pa.Table]:
            yield parquet.read_table(source, columns)

        (table,) = verified(self.storage, part.file, read)
        if not part.dropped:
            return table
        return table.take(np.delete(np.arange(len(table)), part.dropped))

    def _opened(self, file: File) -> FileInput:
        """Return what to read some of a listed file from.

        Pages of Parquet have checksums of their own; HDF5 has none, so all of it is compared first.

        Raises:
            RaypipeError: it is missing, damaged, or another one.
        """
        if file.path in self._verified:
            return self.storage.open(file.path)
        if file_format(file.path) is hdf5:
            if not is_whole(self.storage, file):
                raise DamagedFileError(self.storage, file)
            self._verified.add(file.path)
        elif self.storage.folder is not None:
            metadata = read_metadata(self.storage, file.path)
            if metadata is None or metadata.unit != file.unit:
                raise DamagedFileError(self.storage, file)
        return self.storage.open(file.path)


def _pieces(
    part: Part, source: FileInput, columns: list[str] | None, split: str | None
) -> Iterator[pa.Table]:
    needed = columns if columns is None or split is None else list({*columns, schema.SPLIT})
    start = 0
    for table in file_format(part.file.path).iter_tables(source, needed):
        keep = np.ones(len(table), bool)
        keep[_within(part.dropped, start, len(table))] = False
        start += len(table)
        if split is not None:
            is_split = pc.equal(table[schema.SPLIT], split).fill_null(False)
            keep &= is_split.to_numpy()
            table = table if columns is None else table.select(columns)
        if keep.any():
            yield table if keep.all() else table.take(np.flatnonzero(keep))
    if start != part.file.rows:
        raise ValueError(f"expected {part.file.rows} rows; got {start}")


def _within(dropped: tuple[int, ...], start: int, length: int) -> list[int]:
    return [row - start for row in dropped if start <= row < start + length]
