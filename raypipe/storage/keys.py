"""Requests to buckets that are made again where their client gives up: after half an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from raypipe.storage.objects import ObjectUri, Patience, connect

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore

T = TypeVar("T")

_LISTED = 1000
# Seconds between two tries; they double.
_WAIT, _MOST = 0.1, 15.0


def listed(place: ObjectUri, patience: Patience, after: str = "") -> Iterator[Any]:
    """Yield the entries below a key, in their order; where an answer breaks off, it goes on.

    Args:
        place: the bucket and the key.
        patience: how long to wait.
        after: a key; what follows it is listed.
    """
    import obstore

    def begin() -> Any:
        store, offset = connect(place, patience), after or None
        return iter(obstore.list(store, place.key or None, offset=offset, chunk_size=_LISTED))

    chunks = begin()

    def following() -> Any:
        nonlocal chunks
        try:
            return next(chunks, ())
        except Exception:
            chunks = begin()
            raise

    while chunk := again(following, patience):
        yield from chunk
        after = chunk[-1]["path"]


def fetched(store: ObjectStore, key: str, patience: Patience, **options: Any) -> GetResult:
    """Ask for an object, again where the answer that there is none, or another refusal, broke off.

    Its client goes on by itself where the content breaks off.

    Args:
        store: the client of its bucket.
        key: the object.
        patience: how often.
        options: of the request, as `range`.

    Raises:
        FileNotFoundError: there is none.
    """
    import obstore

    return again(partial(obstore.get, store, key, options=cast(Any, options)), patience)


def again(request: Callable[[], T], patience: Patience) -> T:
    """Return what a request gives, made again where its answer broke off.

    Args:
        request: that may be made twice.
        patience: how often.
    """
    for wait in waits(patience):
        try:
            return request()
        except Exception as error:
            if not _broke_off(error):
                raise
        time.sleep(wait)
    return request()


def waits(patience: Patience) -> Iterator[float]:
    """Yield seconds to wait before each try but the first."""
    for number in range(patience.tries - 1):
        yield min(_WAIT * 2**number, _MOST)


def _broke_off(error: Exception) -> bool:
    """Whether the client of obstore 0.12 gives up at once: by its words, as it has no classes."""
    text = str(error)
    # The latter of what must not be made twice, for all it knows: POST, and PUT with a condition.
    return "response body" in text or ("error sending request" in text and "retries: 0" in text)
