"""Listings of items, spooled to a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.rows.versions import _hashes

_FEW = 8  # items to look at where one may not be enough
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")  # URIs of one source are much alike


class Listing:
    """The items of a source, checked and spooled to a temporary file.

    In memory stay 8 bytes per item, so that millions can be planned on any machine. Use it as a
    context manager, or `close` it.

    Args:
        batches: the items.
        left_aside: says, once they are listed, how much of the source is no item, by rule.
        labels_not_found: says then what has no label, or is one of nothing, by reason.

    Attributes:
        aside: how much is left aside.
        unlabelled: what labels were not found.

    Raises:
        UsageError: two items have one id.
    """

    def __init__(
        self,
        batches: Iterable[pa.RecordBatch],
        left_aside: Callable[[], Mapping[str, int]] = dict,
        labels_not_found: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._file = tempfile.TemporaryFile(prefix="raypipe-listing-")  # noqa: SIM115
        hashes = [np.empty(0, np.int64)]
        with pa.ipc.new_stream(self._file, schema.ITEMS, options=_COMPRESSED) as spool:
            for batch in batches:
                spool.write_batch(batch)
                hashes.append(_hashes(batch[schema.ID]))
        self.aside, self.unlabelled = (
            {reason: count for reason, count in counts().items() if count}
            for counts in (left_aside, labels_not_found)
        )
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

    def some_items(self) -> list[pa.Table]:
        """Return a few consecutive items from each of eight places near the start."""
        first = pa.Table.from_batches([next(self.batches())])
        step = max(1, len(first) // _FEW)
        return [first.slice(start, _FEW) for start in range(0, len(first), step)][:_FEW]

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
                        f"{row[schema.URI]}; ids have to be unique: name a column of unique ones "
                        "with --id-column, or rename one of two shards of one name"
                    )


def counted(aside: Mapping[str, int], unlabelled: Mapping[str, int]) -> list[str]:
    """Return lines on what of a source is no item, and which labels were not found."""
    lines = [f"  left aside: {count} × {rule}" for rule, count in aside.items() if count]
    return lines + [f"  no label: {count} × {why}" for why, count in unlabelled.items() if count]
