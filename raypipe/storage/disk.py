"""A folder in which files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Hashable
from pathlib import Path

_TEMPORARY_PREFIX = ".tmp-"
_STALE_SECONDS = 24 * 3600


class FolderStorage:
    """Files below a folder, which several machines may share (NFS included).

    `put` stands on renaming, which replaces atomically; `create` on links, which never replace.
    """

    def __init__(self, root: str | Path) -> None:
        self.folder = Path(root)

    @property
    def uri(self) -> str:
        """Where the folder is, in a form any process can open."""
        return str(self.folder)

    def path(self, name: str) -> Path:
        """Return the absolute path of a file."""
        return self.folder / name

    def list(self, folder: str) -> list[str]:
        """Return the sorted names of the finished files in a folder, or nothing if it is absent."""
        try:
            with os.scandir(self.path(folder)) as entries:
                return sorted(
                    f"{folder}/{entry.name}" for entry in entries if not entry.name.startswith(".")
                )
        except FileNotFoundError:
            return []

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return self.path(name).exists()

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError if it is absent."""
        return self.path(name).read_bytes()

    def open(self, name: str) -> Path:
        """Return the file's path. Raises FileNotFoundError if it is absent."""
        path = self.path(name)
        path.stat()
        return path

    def stamp(self, name: str) -> Hashable:
        """Return what differs between two files of that name. Raises FileNotFoundError."""
        about = self.path(name).stat()
        return about.st_ino, about.st_mtime_ns, about.st_size

    def put(self, name: str, data: bytes) -> None:
        """Write a file atomically, replacing one of that name."""
        temporary = self._write_temporary(name, data)
        temporary.replace(self.path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write a file atomically unless it exists; return whether this call created it."""
        temporary = self._write_temporary(name, data)
        try:
            os.link(temporary, self.path(name))  # unlike rename, a link never replaces
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        self.path(name).unlink(missing_ok=True)

    def check_writable(self) -> None:
        """Create the folder and prove that a file can be written to it.

        Raises:
            OSError: it cannot.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        probe = self._write_temporary("probe", b"")
        link = probe.with_name(probe.name + "-link")
        try:
            os.link(probe, link)  # what `create` stands on; some network drives cannot
            link.unlink()
        finally:
            probe.unlink()

    def remove_stale_temporaries(self, folder: str) -> None:
        """Delete what writers killed more than a day ago left half-written."""
        for leftover in self.path(folder).glob(f"{_TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                    leftover.unlink()

    def _write_temporary(self, name: str, data: bytes) -> Path:
        final = self.path(name)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.parent / f"{_TEMPORARY_PREFIX}{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:  # as of a full disk
                error.filename = str(final)
            raise
        return temporary
