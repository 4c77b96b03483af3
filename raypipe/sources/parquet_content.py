"""Content of the rows of Parquet tables."""

from __future__ import annotations

import threading
from functools import lru_cache

import pyarrow as pa

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.arrow_layouts import bytes_of, leaf_of
from raypipe.sources.files import check_version, file_etag, readable
from raypipe.sources.local import check_size
from raypipe.sources.members import Member
from raypipe.storage import is_object


def read_parquet(member: Member, max_bytes: int, etag: str | None = None) -> bytes:
    """Return the bytes in one row; the images of its row group are kept for the next ones.

    Args:
        member: the row.
        max_bytes: as many it may have.
        etag: of the table, as listed; None where it is not known.

    Raises:
        RejectedItem: there are none, or too many, or the table has changed.
        OSError: they cannot be read.
    """
    where = member.numbers
    with _group_lock:  # or every thread would hold the row group
        version = file_etag(member.path) if etag is None else etag
        column = _group(member.path, version, member.name, where["group"])
    row = f"row {where['row']} of row group {where['group']} of {member.path}"
    if where["row"] >= len(column):
        raise RejectedItem(RejectReason.CORRUPT, f"{row} is not there: the table is damaged")
    buffer = bytes_of(column[where["row"]])
    if buffer is None:
        raise RejectedItem(RejectReason.UNREADABLE, f"{row} has no image (null)")
    check_size(buffer.size, max_bytes)
    return bytes(buffer.to_pybytes())


_group_lock = threading.Lock()
# What PyArrow raises on a table it cannot make sense of, or which has no such row group or column.
_DAMAGE = (pa.ArrowException, ValueError, LookupError)


def forget_groups() -> None:
    """Give up the row group that is kept."""
    _group.cache_clear()


@lru_cache(maxsize=1)
def _group(path: str, etag: str, leaf: str, group: int) -> pa.ChunkedArray:
    check_version(path, etag)
    try:
        column = _read_group(path, etag, leaf, group)
    except (OSError, *_DAMAGE) as error:
        check_version(path, etag)  # it may be another table by now
        if isinstance(error, OSError):
            raise
        raise RejectedItem(RejectReason.CORRUPT, f"{path}: {error}") from None
    check_version(path, etag)
    return column


def _read_group(path: str, etag: str, leaf: str, group: int) -> pa.ChunkedArray:
    from pyarrow import parquet

    with parquet.ParquetFile(readable(path, etag), pre_buffer=is_object(path)) as table:
        column = table.read_row_group(group, columns=[leaf], use_threads=False).column(0)
    return pa.chunked_array([leaf_of(chunk) for chunk in column.chunks])
