"""Objects in S3 and Google Cloud Storage, as items and as files that hold items."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import IO, Any, Literal, cast

import pyarrow as pa

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.batches import Row, in_batches
from raypipe.sources.faults import changed, is_version
from raypipe.sources.hidden import why_hidden
from raypipe.sources.local import check_size
from raypipe.sources.servers import is_failing, public
from raypipe.storage.answers import answer, failures
from raypipe.storage.keys import again, fetched, listed
from raypipe.storage.object_file import ChangedError, ObjectFile, version_of
from raypipe.storage.objects import ObjectUri, Patience, connect, parse

#: How long an item is waited for, and one on a server that has failed many times in a row.
PATIENCE = Patience(connect=10, answer=60, tries=4, total=60)
HASTY = Patience(connect=2, answer=5, tries=1, total=2)

_OPTION = "SOURCE"
_PIECE = 2**20
_BUFFER = 2**20
# Seconds for which an object is taken to be what it was.
_FRESH = 60


class BucketSource:
    """Every object below a prefix is an item, whatever its extension: content decides.

    `id` is the key below the prefix. Names that start with a dot are not listed, nor are empty
    objects without an extension: they stand for folders.

    Args:
        uri: the bucket and prefix.
        since: the first id to list.
    """

    auto_label: Literal["folder", "column"] = "folder"

    def __init__(self, uri: str, since: str = "") -> None:
        self.place, self.since = parse(uri), since
        self.uri = self.place.uri
        self.aside = Counter[str]()

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of their keys, as the store lists them.

        Raises:
            RaypipeError: the store did not answer, or refuses.
        """
        return in_batches(self._rows())

    def _rows(self) -> Iterator[Row]:
        start = len(self.place.key) + 1 if self.place.key else 0
        query = f"?{self.place.query}" if self.place.query else ""
        self.aside.clear()
        for entry in _listed(self.place, self.since):
            key = entry["path"]
            item = key[start:]
            if item < self.since or not item or _is_folder(entry, item):
                continue
            if why := why_hidden(item):
                self.aside[why] += 1
                continue
            uri = f"{self.place.scheme}://{self.place.bucket}/{key}{query}"
            yield item, uri, version_of(entry), None, None


class OpenObject:
    """An object opened for reading at given offsets, by any number of threads."""

    def __init__(self, uri: str) -> None:
        self._uri, self._place = uri, parse(uri)
        self._version = ""

    def version(self) -> str:
        """Return the etag of the object that the last bytes are of."""
        return self._version

    def read(self, size: int, start: int) -> bytes:
        """Return `size` bytes from `start` on, or what there is of them.

        Raises:
            RejectedItem: as `read_object`, but never UNREADABLE: it could be read when its members
                were listed.
        """
        if not size:
            return b""
        with _rejects(self._uri):
            patience = _patience(self._uri)
            store, key = connect(self._place, patience), self._place.key
            found = fetched(store, key, patience, range=(start, start + size))
            self._version = version_of(found.meta)
            return bytes(found.bytes())


def read_object(uri: str, max_bytes: int, etag: str | None = None) -> bytes:
    """Return an object's bytes.

    Args:
        uri: the object.
        max_bytes: as many it may have.
        etag: as the store has listed it; None where it is not known.

    Raises:
        RejectedItem: UNREADABLE where the store said no, UNAVAILABLE where it gave no answer,
            CHANGED where it is not what was listed.
    """
    place, patience = parse(uri), _patience(uri)
    pieces: list[bytes] = []
    try:
        found = fetched(connect(place, patience), place.key, patience)
        # Without ETags there are times, which listings and answers round in their own ways.
        if etag is not None and found.meta["e_tag"] and version_of(found.meta) != etag:
            raise changed(public(uri))
        check_size(found.meta["size"], max_bytes)
        pieces.extend(map(bytes, found.stream(min_chunk_size=_PIECE)))
    except RejectedItem:
        raise
    except Exception as error:
        raise _reject(uri, error, etag) from None
    return b"".join(pieces)


def probe(uri: str) -> None:
    """Ask for an object's attributes. Raises RejectedItem as `read_object` does."""
    try:
        _head(parse(uri))
    except Exception as error:
        raise _reject(uri, error) from None


def object_exists(uri: str) -> bool:
    """Whether there is an object of exactly this key.

    Raises:
        RaypipeError: the store did not answer, or refuses.
    """
    place = parse(uri)
    try:
        with failures(place, _OPTION, FileNotFoundError):
            _head(place)
    except FileNotFoundError:
        return False
    return True


def names_below(uri: str) -> Iterator[str]:
    """Yield the keys below a prefix, without it, in their order; those that stand for folders not.

    Raises:
        RaypipeError: the store did not answer, or refuses.
    """
    place = parse(uri)
    start = len(place.key) + 1 if place.key else 0
    for entry in _listed(place, ""):
        name = entry["path"][start:]
        if name and not _is_folder(entry, name):
            yield name


def entries(uri: str) -> tuple[list[str], list[str]]:
    """Return the names of the objects and of the folders right below a prefix, sorted.

    Raises:
        RaypipeError: the store did not answer, or refuses.
    """
    import obstore

    place = parse(uri)
    with failures(place, _OPTION):
        store, prefix = connect(place, PATIENCE), place.key or None
        found = again(partial(obstore.list_with_delimiter, store, prefix), PATIENCE)
    names = [entry["path"].rpartition("/")[2] for entry in found["objects"]]
    folders = [path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]]
    return sorted(filter(None, names)), sorted(folders)


def object_etag(uri: str) -> str:
    """Return a value that changes when the object does, as of the last minute.

    Raises:
        FileNotFoundError: there is none.
        RaypipeError: the store did not answer, or refuses.
    """
    return _etag_now(uri, int(time.monotonic() // _FRESH))


def open_object(uri: str, etag: str | None = None) -> IO[bytes]:
    """Return an object as a file that one can seek in.

    Args:
        uri: the object.
        etag: as listed, for items to be read from it; None where it is to be listed.

    Raises:
        FileNotFoundError: when it is to be listed, there is none.
        RaypipeError: when it is to be listed, the store did not answer, or refuses.
        RejectedItem: when items are to be read, for the same reasons, CHANGED and UNAVAILABLE.
        ChangedError: it is another version, or becomes one while it is read.
    """
    place = parse(uri)
    if etag is None:
        raw = ObjectFile(place, PATIENCE, partial(failures, place, _OPTION, FileNotFoundError))
    else:
        raw = ObjectFile(place, _patience(uri), partial(_rejects, uri))
    if not is_version(etag, raw.version):
        raise ChangedError(uri)
    return cast(IO[bytes], io.BufferedReader(raw, _BUFFER))


@lru_cache(maxsize=1024)
def _etag_now(uri: str, _minute: int) -> str:
    place = parse(uri)
    with failures(place, _OPTION, FileNotFoundError):
        return version_of(_head(place))


def _head(place: ObjectUri) -> Any:
    import obstore

    return obstore.head(connect(place, PATIENCE), place.key)


def _listed(place: ObjectUri, since: str) -> Iterator[Any]:
    # The store begins behind the offset, and `since` itself is wanted.
    offset = f"{place.key}/{since}".lstrip("/")[:-1] if since else ""
    with failures(place, _OPTION):  # going on without the rest would make images look deleted
        yield from listed(place, PATIENCE, offset)


def _is_folder(entry: Any, name: str) -> bool:
    return not entry["size"] and "." not in name.rpartition("/")[2]


def _patience(uri: str) -> Patience:
    return HASTY if is_failing(uri) else PATIENCE


@contextmanager
def _rejects(uri: str) -> Iterator[None]:
    """Make a reject of what goes wrong with an object that holds items.

    It is none that stays, since the object could be read when they were listed.
    """
    try:
        yield
    except Exception as error:
        reject = _reject(uri, error, "")
        if reject.reason is RejectReason.UNREADABLE:
            raise RejectedItem(RejectReason.UNAVAILABLE, reject.message) from None
        raise reject from None


def _reject(uri: str, error: Exception, etag: str | None = None) -> RejectedItem:
    found = answer(error)
    if etag is not None and isinstance(error, FileNotFoundError):
        return RejectedItem(RejectReason.CHANGED, f"not there any more: {public(uri)}")
    if found.of_caller:  # with other credentials, the next run may read it
        return RejectedItem(RejectReason.UNAVAILABLE, f"{found.what}: {public(uri)}")
    if found.definite:
        return RejectedItem(RejectReason.UNREADABLE, f"{found.what}: {public(uri)}")
    return RejectedItem(RejectReason.UNAVAILABLE, f"no answer ({found.what}): {public(uri)}")
