"""Reading a unit's items ahead of who decodes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.content import is_sequential, read_item
from raypipe.sources.files import needs_requests
from raypipe.sources.remote import REMOTE_SCHEMES

#: Reads in flight per process, whose results wait to be decoded. A request waits for its server
#: most of the time; a disk is kept busy by few.
_REQUESTS, _READS = 32, 4
#: Files that a thread reads at a time: it takes longer to wake it up than to read one from a cache.
_FILES = 4
#: What has more bytes is read when its turn comes, so that what waits has a bound.
_MOST_AHEAD = 16 * 2**20


def read_items(uris: list[str], max_pixels: int) -> Iterator[bytes | RejectedItem]:
    """Yield the bytes of each item in order, or why there are none.

    Reading goes on in threads while the caller works on what it got.

    Args:
        uris: as listed.
        max_pixels: as for `read_item`.
    """

    in_order = any(map(is_sequential, uris))

    def read(uri: str, most: int | None) -> bytes | RejectedItem:
        try:
            return read_item(uri, max_pixels, most)
        except RejectedItem as reject:
            return reject

    def read_all(some: list[str]) -> list[bytes | RejectedItem]:
        return [read(uri, None if in_order else _MOST_AHEAD) for uri in some]

    remote = any(map(_is_remote, uris))
    ahead, together = (_REQUESTS, 1) if remote else (_READS, _FILES)
    if in_order:  # whatever its size, nothing is read twice: so little is read ahead
        ahead, together = 2, 1
    waiting: deque[Future[list[bytes | RejectedItem]]] = deque()
    rest = (uris[start : start + together] for start in range(0, len(uris), together))
    asked: deque[list[str]] = deque()

    def submit(pool: ThreadPoolExecutor, count: int) -> None:
        for some in islice(rest, count):
            asked.append(some)
            waiting.append(pool.submit(read_all, some))

    def whole(found: bytes | RejectedItem, uri: str) -> bytes | RejectedItem:
        """Read what was too large to be read ahead, now that its turn has come."""
        large = isinstance(found, RejectedItem) and found.reason is RejectReason.TOO_LARGE
        return read(uri, None) if large and not in_order else found

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
    return uri.partition("://")[0] in REMOTE_SCHEMES or needs_requests(uri)
