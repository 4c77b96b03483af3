"""Filesystems: list, atomic put, create-if-absent."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raypipe.errors import UsageError

__all__ = ["Storage", "local_path", "output_folder", "user_path"]

_TEMPORARY_PREFIX = ".tmp-"
_STALE_SECONDS = 24 * 3600


def local_path(uri: str, option: str) -> Path:
    """Return the absolute path that a path or `file://` URI names.

    Raises:
        UsageError: the URI has another scheme. `option` is named in the message.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).absolute()
    if parts.scheme and "://" in uri:
        raise UsageError(f"{option}: expected a path or file:// URI; got {uri!r}")
    return user_path(uri, option)


def user_path(text: str, option: str) -> Path:
    """Return the absolute path a user means, with `~` for a home folder.

    Raises:
        UsageError: nobody has that home folder. `option` is named in the message.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{option}: {text!r}: {error}") from None


def output_folder(path: str) -> Path:
    """Create a folder for results.

    Raises:
        UsageError: it cannot be written to.
    """
    folder = local_path(path, "--out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out: cannot write to {str(folder)!r}: {error.strerror}") from None
    return folder


class Storage:
    """A folder in which files appear whole or not at all.

    Names are relative, with `/` between their parts. Writers on several machines may share the
    folder (NFS included): `put` replaces atomically and `create` succeeds for exactly one caller.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def uri(self) -> str:
        """Where the folder is, in a form any process can open."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """Return the absolute path of a file."""
        return self.root / name

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

    def check_writable(self) -> None:
        """Create the folder and prove that a file can be written to it.

        Raises:
            OSError: it cannot.
        """
        self.root.mkdir(parents=True, exist_ok=True)
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
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary
