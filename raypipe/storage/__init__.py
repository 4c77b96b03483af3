"""Filesystems: list, atomic put, create-if-absent."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, cast

from raypipe.storage.beside import new_file, new_files, reason_of, writing
from raypipe.storage.bucket import BucketStorage
from raypipe.storage.destinations import output_file, output_folder
from raypipe.storage.disk import FolderStorage
from raypipe.storage.folder_kinds import check_not_within, instead, result_at
from raypipe.storage.object_file import ChangedError
from raypipe.storage.objects import is_object
from raypipe.storage.paths import local_path, user_path
from raypipe.storage.results import check_result, new_folder, restore_result
from raypipe.storage.transfer import check_uploaded, local_copy, upload

__all__ = [
    "BucketStorage",
    "ChangedError",
    "FileInput",
    "FolderStorage",
    "Storage",
    "check_not_within",
    "check_result",
    "check_uploaded",
    "instead",
    "is_object",
    "local_copy",
    "local_path",
    "new_file",
    "new_files",
    "new_folder",
    "open_storage",
    "output_file",
    "output_folder",
    "reason_of",
    "restore_result",
    "result_at",
    "stream",
    "upload",
    "user_path",
    "writing",
]

#: What a finished file is read from.
FileInput: TypeAlias = Path | BinaryIO

_STREAM_BYTES = 8 * 2**20


class Storage(Protocol):
    """A place in which files appear whole or not at all: a folder, or a prefix of a bucket.

    Names are relative, with `/` between their parts. Writers on several machines may share it:
    `put` replaces atomically and `create` succeeds for exactly one caller.
    """

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one."""

    @property
    def uri(self) -> str:
        """Where it is, in a form any process can open."""

    def list(self, folder: str) -> list[str]:
        """Return the sorted names of the finished files in a folder, or nothing if it is absent."""

    def exists(self, name: str) -> bool:
        """Whether a file is there."""

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError if it is absent."""

    def open(self, name: str) -> FileInput:
        """Return what to read parts of a file from. Raises FileNotFoundError if it is absent."""

    def stamp(self, name: str) -> Hashable:
        """Return what differs between two files of that name. Raises FileNotFoundError."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file atomically, replacing one of that name."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file atomically unless it exists; return whether this call created it."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""

    def check_writable(self) -> None:
        """Prove that files can be written. Raises OSError or RaypipeError: they cannot."""

    def remove_stale_temporaries(self, folder: str) -> None:
        """Delete what writers killed more than a day ago left half-written."""


@contextlib.contextmanager
def stream(source: FileInput) -> Iterator[BinaryIO]:
    """Open what `Storage.open` returned, to be read from its start to its end."""
    with (
        source.open("rb")
        if isinstance(source, Path)
        else io.BufferedReader(cast(io.RawIOBase, source), _STREAM_BYTES) as file
    ):
        yield cast(BinaryIO, file)


def open_storage(uri: str, option: str = "--out") -> Storage:
    """Return the storage at a path, a `file://` URI or `s3://` or `gs://` bucket and prefix.

    Raises:
        UsageError: it is none of these. `option` is named in the message.
    """
    if is_object(uri):
        return BucketStorage(uri, option)
    return FolderStorage(local_path(uri, option, or_bucket=True))
