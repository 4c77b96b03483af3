"""The first images of each label."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from raypipe.rows.order import natural_key
from raypipe.schema import ID, LABEL

Key = tuple[tuple[str | int, ...], str]


def limited(
    listing: Callable[[], Iterable[pa.RecordBatch]], count: int
) -> Iterator[pa.RecordBatch]:
    """Yield the first `count` items of each label by natural order of ids, in listing order.

    Lists twice, and holds `count` ids of each label in between. Items without a label count as
    having the same one.
    """
    kept = _first(listing(), count)
    for batch in listing():
        wanted = [item in kept for item in batch[ID].to_pylist()]
        yield batch.filter(pa.array(wanted, pa.bool_()))


def _first(batches: Iterable[pa.RecordBatch], count: int) -> set[str]:
    best: dict[str | None, list[Key]] = {}
    for batch in batches:
        pairs = zip(batch[ID].to_pylist(), batch[LABEL].to_pylist(), strict=True)
        for item, label in pairs:
            keys, key = best.setdefault(label, []), natural_key(item)
            if len(keys) < count or key < keys[-1]:
                insort(keys, key)
                del keys[count:]
    return {item for keys in best.values() for _, item in keys}
