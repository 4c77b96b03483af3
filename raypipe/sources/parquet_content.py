"""Content of the rows of Parquet tables."""

from __future__ import annotations

import threading
from functools import lru_cache

import pyarrow as pa

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.arrow_layouts import bytes_of, leaf_of
from raypipe.sources.files import file_etag, readable
from raypipe.sources.local import check_size, unreadable
from raypipe.sources.members import Member
from raypipe.storage import is_object


def read_parquet(member: Member, max_bytes: int) -> bytes:
    """Return the bytes in one row; the images of its row group are kept for the next ones.

    Raises:
        RejectedItem: there are none, or too many.
    """
    where = member.numbers
    try:
        with _group_lock:  # or every thread would hold the row group
            column = _group(member.path, file_etag(member.path), member.name, where["group"])
    except pa.ArrowInvalid as error:
        raise RejectedItem(RejectReason.CORRUPT, f"{member.path}: {error}") from None
    except OSError as error:
        raise unreadable(member.path, error) from None
    row = f"row {where['row']} of row group {where['group']} of {member.path}"
    if where["row"] >= len(column):
        raise RejectedItem(RejectReason.UNREADABLE, f"{row} is not there any more")
    buffer = bytes_of(column[where["row"]])
    if buffer is None:
        raise RejectedItem(RejectReason.UNREADABLE, f"{row} has no image (null)")
    check_size(buffer.size, max_bytes)
    return bytes(buffer.to_pybytes())


_group_lock = threading.Lock()


@lru_cache(maxsize=1)
def _group(path: str, _etag: str, leaf: str, group: int) -> pa.ChunkedArray:
    from pyarrow import parquet

    with parquet.ParquetFile(readable(path), pre_buffer=is_object(path)) as table:
        column = table.read_row_group(group, columns=[leaf], use_threads=False).column(0)
    return pa.chunked_array([leaf_of(chunk) for chunk in column.chunks])
