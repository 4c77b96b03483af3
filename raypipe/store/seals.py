"""A checksum that a partition carries within itself, for as long as no snapshot has one.

The file is written with a blank in the place of its seal: 64 digits that depend on the spec and on
the unit alone. Its SHA-256 then takes the blank's place. To compare, the blank is put back.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator

from raypipe.spec import digest


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


def _unsealed(pieces: Iterable[bytes], seal: str, blank: str) -> Iterator[bytes]:
    old, new, tail = seal.encode(), blank.encode(), b""
    for piece in pieces:
        whole = (tail + piece).replace(old, new)
        tail = whole[1 - len(old) :]  # the seal may lie across two pieces
        yield whole[: len(whole) - len(tail)]
    yield tail
