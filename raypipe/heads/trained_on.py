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

    def save(self, folder: Path) -> None:
        """Write it beside a model: an array as NumPy writes it, and the SHA-256 of that."""
        sink = io.BytesIO()
        np.save(sink, self.digests)
        data = sink.getvalue()
        (folder / TRAINED_ON_FILE).write_bytes(data + hashlib.sha256(data).digest())

    @classmethod
    def load(cls, folder: Path) -> TrainedOn | None:
        """Read it; None if the model is older and does not say.

        Raises:
            RaypipeError: it is damaged.
        """
        path = folder / TRAINED_ON_FILE
        if not path.is_file():
            return None
        data = path.read_bytes()
        try:
            source = io.BytesIO(data)
            digests = np.lib.format.read_array(source, allow_pickle=False)
            ends = (b"", hashlib.sha256(data[: source.tell()]).digest())  # older ones have none
            if digests.dtype != np.uint64 or digests.ndim != 1 or source.read() not in ends:
                raise ValueError("its checksum is another")
        except _DAMAGE as error:
            raise RaypipeError(
                f"MODEL: {path} is damaged: {' '.join(str(error).split())[:160]}; restore it from "
                "a copy, or train the model again"
            ) from None
        return cls(digests)


def _digests(items: pa.Table) -> npt.NDArray[np.uint64]:
    """Return (M, 2): of the place, and of id and version (of the place again without a version)."""
    columns = (items[name].to_pylist() for name in (schema.ID, schema.URI, schema.ETAG))
    raw = bytearray()
    for name, uri, etag in zip(*columns, strict=True):
        for text in (f"uri\0{uri}", f"id\0{name}\0{etag}" if etag else f"uri\0{uri}"):
            raw += hashlib.blake2b(text.encode(), digest_size=_BYTES).digest()
    return np.frombuffer(bytes(raw), np.uint64).reshape(-1, 2)
