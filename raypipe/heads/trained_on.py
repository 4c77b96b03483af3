"""Which images a model was trained on, as digests: enough to recognise them, and nothing else."""

from __future__ import annotations

import hashlib
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.errors import RaypipeError

TRAINED_ON_FILE = "trained_on.npy"
_BYTES = 8
#: What NumPy raises on an array's file that makes no sense.
_DAMAGE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError, SyntaxError),
    tokenize.TokenError,
)


@dataclass(frozen=True)
class TrainedOn:
    """Images, known again by where they are, or by their id and version where they have moved.

    Attributes:
        digests: (2N,) of N images, sorted; eight bytes each, so that a million images hardly
            one in ten million others is taken for one of them.
    """

    digests: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, items: pa.Table) -> TrainedOn:
        """Return what recognises items with `id`, `uri` and `etag`."""
        return cls(np.unique(_digests(items)))

    def seen(self, items: pa.Table) -> npt.NDArray[np.bool_]:
        """Return (M,) which of the items, with `id`, `uri` and `etag`, are among the images."""
        known = np.isin(_digests(items), self.digests)
        return np.logical_or(known[:, 0], known[:, 1])

    def save(self, folder: Path) -> str:
        """Write it beside a model: an array as NumPy writes it, and the SHA-256 of that.

        Return the checksum of the file, which the model's own is to hold.
        """
        sink = io.BytesIO()
        np.save(sink, self.digests)
        data = sink.getvalue()
        data += hashlib.sha256(data).digest()
        (folder / TRAINED_ON_FILE).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    @classmethod
    def load(cls, folder: Path, expected: str | None) -> TrainedOn | None:
        """Read it; None if the model is older and does not say.

        Args:
            folder: of the model.
            expected: what `save` returned; None of a model that is older.

        Raises:
            RaypipeError: it is damaged, of another model, or gone.
        """
        path = folder / TRAINED_ON_FILE
        if not path.is_file():
            if expected:
                raise _damaged(path, "it is missing")
            return None
        data = path.read_bytes()
        if expected and hashlib.sha256(data).hexdigest() != expected:
            raise _damaged(path, "it is not what model.json was written with")
        try:
            source = io.BytesIO(data)
            digests = np.lib.format.read_array(source, allow_pickle=False)
            ends = (b"", hashlib.sha256(data[: source.tell()]).digest())  # older ones have none
            if digests.dtype != np.uint64 or digests.ndim != 1 or source.read() not in ends:
                raise ValueError("its checksum is another")
        except _DAMAGE as error:
            raise _damaged(path, " ".join(str(error).split())[:160]) from None
        return cls(digests)


def _damaged(path: Path, why: str) -> RaypipeError:
    return RaypipeError(
        f"MODEL: {path} is damaged: {why}; restore it from a copy, or train the model again"
    )


def _digests(items: pa.Table) -> npt.NDArray[np.uint64]:
    """Return (M, 2): of the place, and of id and version (of the place again without a version)."""
    columns = (items[name].to_pylist() for name in (schema.ID, schema.URI, schema.ETAG))
    raw = bytearray()
    for name, uri, etag in zip(*columns, strict=True):
        for text in (f"uri\0{uri}", f"id\0{name}\0{etag}" if etag else f"uri\0{uri}"):
            raw += hashlib.blake2b(text.encode(), digest_size=_BYTES).digest()
    return np.frombuffer(bytes(raw), np.uint64).reshape(-1, 2)
