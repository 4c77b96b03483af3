"""A prefix of a bucket in which objects appear whole or not at all."""

from __future__ import annotations

import contextlib
import io
import time
import uuid
from collections.abc import Hashable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from raypipe.errors import RaypipeError, UsageError
from raypipe.storage.answers import failure, failures
from raypipe.storage.keys import again, fetched, listed, waits
from raypipe.storage.object_file import ObjectFile
from raypipe.storage.objects import Patience, connect, parse

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: How long a store is waited for: it may be busy, and a run of days should not end for a minute.
PATIENCE = Patience(connect=10, answer=60, tries=10, total=180)

#: What is smaller is fetched at once: a request takes as long as so many bytes do.
_WHOLE_BYTES = 2**18


class BucketStorage:
    """Objects below a prefix.

    `put` is one request, or a multipart upload that is completed or leaves nothing. `create` asks
    the store to refuse what is there already (`If-None-Match: *` in S3, generation 0 in GCS).

    Args:
        uri: `s3://bucket/prefix` or `gs://bucket/prefix`; credentials and endpoints come from the
            environment.
        option: the command line's name for it, for messages.

    Raises:
        UsageError: the URI holds credentials, or names no prefix.
    """

    folder = None

    def __init__(self, uri: str, option: str = "--out") -> None:
        self._place = parse(uri)
        self._option = option
        if self._place.credentials not in ("", "anonymous"):
            raise UsageError(
                f"{option}: a URI must not hold credentials, which would end up in logs; set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile or role"
            )
        if not self._place.bucket or not self._place.key:
            raise UsageError(
                f"{option}: expected {self._place.scheme}://bucket/prefix; got {uri!r}"
            )
        self.uri = self._place.whole

    def list(self, folder: str) -> list[str]:
        """Return the sorted names of the objects in a folder, or nothing if there are none."""
        start = len(self._place.key) + 1
        with self._failures():
            found = listed(replace(self._place, key=self._key(folder)), PATIENCE)
            names = [entry["path"][start:] for entry in found]
        return sorted(name for name in names if "/" not in name[len(folder) + 1 :])

    def exists(self, name: str) -> bool:
        """Whether an object is there."""
        try:
            self.stamp(name)
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str) -> bytes:
        """Return an object's content. Raises FileNotFoundError if it is absent."""
        with self._failures():
            return bytes(fetched(self._store, self._key(name), PATIENCE).bytes())

    def open(self, name: str) -> BinaryIO:
        """Return the object as a file. Raises FileNotFoundError if it is absent."""
        place = replace(self._place, key=self._key(name))
        file = ObjectFile(place, PATIENCE, self._failures)
        if file.length <= _WHOLE_BYTES:
            return io.BytesIO(file.read())
        return cast(BinaryIO, file)

    def stamp(self, name: str) -> Hashable:
        """Return what differs between two objects of that name. Raises FileNotFoundError."""
        import obstore

        with self._failures():
            found = obstore.head(self._store, self._key(name))
        return found["e_tag"], found["size"]

    def put(self, name: str, data: bytes) -> None:
        """Write an object atomically, replacing one of that name."""
        import obstore

        with self._failures():
            again(partial(obstore.put, self._store, self._key(name), data), PATIENCE)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object atomically unless it exists; return whether it is this call's."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        for wait in (*waits(PATIENCE), None):
            try:
                with self._failures(AlreadyExistsError, PreconditionError):
                    again(partial(self._create, name, data), PATIENCE)
            except (AlreadyExistsError, PreconditionError) as error:
                with contextlib.suppress(FileNotFoundError):
                    # It may have been this call's own first try, the answer to which was lost.
                    return self.read(name) == data
                if wait is None:
                    raise failure(self._place, error, self._option) from None
                time.sleep(wait)  # another upload is under way, and may come to nothing
            else:
                return True
        raise AssertionError("the last try returns or raises")

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        with contextlib.suppress(FileNotFoundError), self._failures():
            again(partial(obstore.delete, self._store, self._key(name)), PATIENCE)

    def check_writable(self) -> None:
        """Prove that objects can be written, and are not replaced where they must not be.

        Raises:
            UsageError: they cannot, or they are.
            RaypipeError: the store does not answer.
        """
        name = f".probe-{uuid.uuid4().hex}"
        try:
            first, second = self.create(name, b"1"), self.create(name, b"2")
        except FileNotFoundError as error:
            raise failure(self._place, error, self._option) from None
        finally:
            with contextlib.suppress(RaypipeError):
                self.delete(name)
        if not first or second:
            raise UsageError(
                f"{self._option}: {self._place.uri}: this store replaces an object where it was "
                "asked to refuse (conditional writes), so two runs could undo each other's work; "
                "use one that supports `If-None-Match` on PUT, as AWS S3, GCS and MinIO do"
            )

    def remove_stale_temporaries(self, folder: str) -> None:
        """Do nothing: there are none. Uploads cut short are for the bucket's lifecycle rules."""

    def _create(self, name: str, data: bytes) -> None:
        import obstore

        # In one request: a multipart upload would have to be conditional at its end.
        obstore.put(self._store, self._key(name), data, mode="create", use_multipart=False)

    def __reduce__(self) -> Any:
        return BucketStorage, (self.uri, self._option)

    @property
    def _store(self) -> ObjectStore:
        return connect(self._place, PATIENCE)

    def _key(self, name: str) -> str:
        return f"{self._place.key}/{name}"

    def _failures(self, *expected: type[Exception]) -> AbstractContextManager[None]:
        return failures(self._place, self._option, FileNotFoundError, *expected)
