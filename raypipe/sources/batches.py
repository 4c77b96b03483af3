"""Rows of a listing, gathered into Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import pyarrow as pa

from raypipe import schema

#: Rows of a batch: a few MB, however large the source.
BATCH_ROWS = 16_384

#: id, uri, etag, label, split
Row = tuple[str, str, str, str | None, str | None]
Texts: TypeAlias = Sequence[str | None] | Any  # an Arrow array of text, too


def in_batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """Gather rows into batches, holding one of them at a time."""
    stream = iter(rows)
    while chunk := list(islice(stream, BATCH_ROWS)):
        yield one_batch(*zip(*chunk, strict=True))


def one_batch(
    ids: Texts,
    uris: Texts,
    etags: Texts,
    labels: Texts | None = None,
    splits: Texts | None = None,
) -> pa.RecordBatch:
    """Return a batch of `schema.ITEMS` of columns (N,); a column left out is null throughout."""
    given = (ids, uris, etags, labels, splits)
    columns = [
        pa.nulls(len(ids), field.type) if values is None else pa.array(values, field.type)
        for values, field in zip(given, schema.ITEMS, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema.ITEMS)
