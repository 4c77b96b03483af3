"""Reading a unit's items ahead of who decodes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeAlias

import pyarrow as pa

from raypipe import schema
from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.content import is_sequential, read_item
from raypipe.sources.files import needs_requests
from raypipe.sources.remote import REMOTE_SCHEMES

Place: TypeAlias = tuple[str, str | None]  # URI and etag

#: Reads in flight per process, whose results wait to be decoded. A request waits for its server
#: most of the time; a disk is kept busy by few.
_REQUESTS, _READS = 32, 4
#: Files that a thread reads at a time: it takes longer to wake it up than to read one from a cache.
_FILES = 4
#: What has more bytes is read when its turn comes, so that what waits has a bound.
_MOST_AHEAD = 16 * 2**20


def read_items(
    items: pa.Table | pa.RecordBatch, max_pixels: int, *, server_etags: bool = False
) -> Iterator[bytes | RejectedItem]:
    """Yield the bytes of each item in order, or why there are none.

    Reading goes on in threads while the caller works on what it got.

    Args:
        items: of `schema.ITEMS`, as listed; an empty etag is of any version.
        max_pixels: as for `read_item`.
        server_etags: whether etags of objects are their servers' own, and not a table's.
    """
    uris = items[schema.URI].to_pylist()
    etags = [
        etag if etag and (server_etags or not _is_at_server(uri)) else None
        for uri, etag in zip(uris, items[schema.ETAG].to_pylist(), strict=True)
    ]
    in_order = any(map(is_sequential, uris))

    def read(place: Place, most: int | None) -> bytes | RejectedItem:
        uri, etag = place
        try:
            return read_item(uri, max_pixels, most, etag)
        except RejectedItem as reject:
            return reject

    def read_all(some: list[Place]) -> list[bytes | RejectedItem]:
        return [read(place, None if in_order else _MOST_AHEAD) for place in some]

    remote = any(map(_is_remote, uris))
    ahead, together = (_REQUESTS, 1) if remote else (_READS, _FILES)
    if in_order:  # whatever its size, nothing is read twice: so little is read ahead
        ahead, together = 2, 1
    waiting: deque[Future[list[bytes | RejectedItem]]] = deque()
    places = list(zip(uris, etags, strict=True))
    rest = (places[start : start + together] for start in range(0, len(uris), together))
    asked: deque[list[Place]] = deque()

    def submit(pool: ThreadPoolExecutor, count: int) -> None:
        for some in islice(rest, count):
            asked.append(some)
            waiting.append(pool.submit(read_all, some))

    def whole(found: bytes | RejectedItem, place: Place) -> bytes | RejectedItem:
        """Read what was too large to be read ahead, now that its turn has come."""
        large = isinstance(found, RejectedItem) and found.reason is RejectReason.TOO_LARGE
        return read(place, None) if large and not in_order else found

    with ThreadPoolExecutor(1 if in_order else ahead) as pool:
        try:
            submit(pool, ahead)
            while waiting:
                found = waiting.popleft().result()
                submit(pool, 1)
                yield from map(whole, found, asked.popleft())
        finally:
            for unread in waiting:
                unread.cancel()


def _is_remote(uri: str) -> bool:
    return _is_at_server(uri) or needs_requests(uri)


def _is_at_server(uri: str) -> bool:
    return uri.partition("://")[0] in REMOTE_SCHEMES
