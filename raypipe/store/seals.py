"""A checksum that a partition carries within itself, for as long as no snapshot has one.

The file is written with a blank in the place of its seal: 64 digits that depend on the spec and on
the unit alone. Its SHA-256 then takes the blank's place. To compare, the blank is put back.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from raypipe.spec import digest
from raypipe.storage import Storage, stream
from raypipe.storage.hdf5_safety import stuck_in

# Bytes that are enough for what `seal_in` looks for.
_ABOUT = 1024
_PIECE_BYTES = 2**20
_HDF5 = ".h5"


def blank(fingerprint: str, unit: str) -> str:
    """Return what stands for the seal of a unit's partition while it is computed."""
    return digest(fingerprint, unit, "seal")


def seal(sink: io.BytesIO, blank: str) -> None:
    """Put a file's SHA-256 in the place of its blank; without a copy of what may be large."""
    at = sink.getvalue().find(blank.encode())
    with sink.getbuffer() as content:
        checksum = hashlib.sha256(content).hexdigest()
        content[at : at + len(blank)] = checksum.encode()


def is_sealed(pieces: Iterable[bytes], seal: str, blank: str) -> bool:
    """Whether a file, given piece by piece, is what its seal was computed of."""
    checksum = hashlib.sha256()
    for piece in _unsealed(pieces, seal, blank):
        checksum.update(piece)
    return checksum.hexdigest() == seal


def seal_in(pieces: Iterable[bytes], unit: str) -> tuple[str, str] | None:
    """Find fingerprint and seal in the bytes of an HDF5 partition, without its library.

    Texts of attributes stand one after the other, each behind 16 bytes: fingerprint, unit, name of
    the rejects file, seal.

    Args:
        pieces: of the file.
        unit: the unit's id, which the file's name has.

    Returns:
        None where they stand otherwise, or there is no seal.
    """
    told = b"([0-9a-f]{64}).{16}" + re.escape(unit.encode()) + b".{16,24}.{16,160}?([0-9a-f]{64})"
    pattern, tail = re.compile(told, re.DOTALL), b""
    for piece in pieces:
        whole = tail + piece
        if found := pattern.search(whole):
            return found[1].decode(), found[2].decode()
        tail = whole[-_ABOUT:]
    return None


def may_be_opened(storage: Storage, name: str) -> bool:
    """Whether a file that no snapshot lists can be opened: HDF5's library may hang in one.

    So one of HDF5 is compared with its seal first, or gone through in a process apart if it has
    none, as those of 0.1.0 or earlier. Raises OSError or RaypipeError: it cannot be read now.
    """
    if not name.endswith(_HDF5):
        return True
    unit = name.rpartition("part-")[2].removesuffix(_HDF5)
    if found := seal_in(pieces_of(storage, name), unit):
        return is_sealed(pieces_of(storage, name), found[1], blank(found[0], unit))
    with contextlib.ExitStack() as stack:
        source = storage.open(name)
        if not isinstance(source, Path):
            copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=_HDF5))
            copy.writelines(pieces_of(storage, name))
            copy.flush()
            source = Path(copy.name)
        return stuck_in([str(source)]) is None


def pieces_of(storage: Storage, name: str) -> Iterator[bytes]:
    """Yield a file's content in small pieces: many are read at once, and they may be large."""
    with stream(storage.open(name)) as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _unsealed(pieces: Iterable[bytes], seal: str, blank: str) -> Iterator[bytes]:
    old, new, tail = seal.encode(), blank.encode(), b""
    for piece in pieces:
        whole = (tail + piece).replace(old, new)
        tail = whole[1 - len(old) :]  # the seal may lie across two pieces
        yield whole[: len(whole) - len(tail)]
    yield tail
