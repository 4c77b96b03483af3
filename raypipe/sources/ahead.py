"""Reading a unit's items: one after another from disks, many at a time from servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from raypipe.errors import RejectedItem
from raypipe.sources import read_item
from raypipe.sources.remote import REMOTE_SCHEMES

__all__ = ["read_items"]

#: Requests in flight per process. A request waits for its server most of the time; what has been
#: fetched and not been decoded is bounded by this number, too.
_REQUESTS = 32


def read_items(uris: list[str], max_pixels: int) -> Iterator[bytes | RejectedItem]:
    """Yield the bytes of each item in order, or why there are none.

    Args:
        uris: as listed.
        max_pixels: as for `read_item`.
    """

    def read(uri: str) -> bytes | RejectedItem:
        try:
            return read_item(uri, max_pixels)
        except RejectedItem as reject:
            return reject

    if any(uri.partition("://")[0] in REMOTE_SCHEMES for uri in uris):
        yield from _concurrently(read, uris)
    else:
        yield from map(read, uris)


def _concurrently(
    read: Callable[[str], bytes | RejectedItem], uris: list[str]
) -> Iterator[bytes | RejectedItem]:
    waiting: deque[Future[bytes | RejectedItem]] = deque()
    rest = iter(uris)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        waiting.extend(pool.submit(read, uri) for uri in islice(rest, _REQUESTS))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(read, uri) for uri in islice(rest, 1))
