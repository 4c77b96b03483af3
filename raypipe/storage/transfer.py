"""Results that are made as files of a folder, and kept in a bucket."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from raypipe.storage.bucket import BucketStorage
from raypipe.storage.objects import is_object
from raypipe.storage.paths import local_path


@contextlib.contextmanager
def local_copy(place: str, names: Iterable[str], option: str) -> Iterator[Path]:
    """Yield a folder with some files of a folder or of a bucket's prefix, those that are there.

    Args:
        place: the folder, which is yielded itself, or the prefix.
        names: of the files.
        option: the command line's name for it, for messages.

    Raises:
        UsageError: it is neither, or the bucket refuses.
        RaypipeError: the bucket did not answer.
    """
    if not is_object(place):
        yield local_path(place, option, or_bucket=True)
        return
    storage = BucketStorage(place, option)
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                Path(folder, name).write_bytes(storage.read(name))
        yield Path(folder)


def upload(folder: Path, storage: BucketStorage, *, last: str) -> None:
    """Write all files of a folder to a bucket, the one that makes it complete as the last."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    for name in sorted(names, key=lambda name: (name == last, name)):
        data = (folder / name).read_bytes()
        if name.endswith(".json"):  # it may say where it is
            data = data.replace(str(folder).encode(), storage.uri.encode())
        storage.put(name, data)
