"""Arrays in .npy, .npz and HDF5 files, row by row."""

from __future__ import annotations

import io
import os
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from raypipe.errors import RejectedItem, RejectReason, UsageError
from raypipe.sources.files import check_version, file_etag
from raypipe.sources.local import check_size
from raypipe.sources.members import Member
from raypipe.sources.zip_directory import check_directory
from raypipe.storage.hdf5_walk import is_written

_NPY = ".npy"
_PICKLED = "pickled objects, which are refused because they run code"
_CHUNK_CACHE = 64 * 2**20
#: What NumPy, zipfile and h5py raise on files they cannot make sense of, beside OSError.
DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError),
    *(RuntimeError, MemoryError, SyntaxError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


class Arrays(Protocol):
    """The arrays in a file, by name."""

    def names(self) -> Sequence[str]:
        """Return the names of all arrays."""

    def shape(self, name: str, /) -> tuple[int, ...]:
        """Return an array's shape."""

    def dtype(self, name: str, /) -> np.dtype[Any] | None:
        """Return an array's type, or None for encoded images of different lengths."""

    def read(self, name: str, /, start: int, stop: int) -> Any:
        """Return a range of an array's rows."""


class _NpyArray:
    """The one array of a .npy file.

    Rows are read, not mapped: a file that is cut short would end the process that touches a map.
    """

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - for as long as the array is used
        try:
            self.array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "object" in str(error):
                raise UsageError(
                    f"SOURCE: {path!r} holds {_PICKLED}; save the images as uint8"
                ) from None
            raise

    def names(self) -> Sequence[str]:
        return ("",)

    def shape(self, _name: str) -> tuple[int, ...]:
        return tuple(self.array.shape)

    def dtype(self, _name: str) -> np.dtype[Any] | None:
        found: np.dtype[Any] = self.array.dtype
        return found

    def read(self, _name: str, start: int, stop: int) -> Any:
        if not isinstance(self.array, np.memmap) or not self.array.flags.c_contiguous:
            return self.array[start:stop]
        shape, dtype = self.array.shape[1:], self.array.dtype
        row = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        length = (min(stop, len(self.array)) - start) * row
        data = os.pread(self._file.fileno(), length, self.array.offset + start * row)
        return np.frombuffer(data, dtype).reshape(-1, *shape)


class _NpzArrays:
    """The arrays of a .npz file. Images are read forward from the compressed stream."""

    def __init__(self, path: str) -> None:
        self.archive = zipfile.ZipFile(path)
        check_directory(self.archive)
        self.streams: dict[str, Any] = {}

    def names(self) -> Sequence[str]:
        return [n.removesuffix(_NPY) for n in self.archive.namelist() if n.endswith(_NPY)]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._stream(name)[1])

    def dtype(self, name: str) -> np.dtype[Any] | None:
        found: np.dtype[Any] = self._stream(name)[2]
        return found

    def read(self, name: str, start: int, stop: int) -> Any:
        stream, shape, dtype, first = self._stream(name)
        if dtype.hasobject:
            raise UsageError(f"SOURCE: array {name!r} holds {_PICKLED}; save it as numbers or text")
        row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        stream.seek(first + start * row)
        data = stream.read((stop - start) * row)
        return np.frombuffer(data, dtype).reshape(-1, *shape[1:])

    def _stream(self, name: str) -> Any:
        if name not in self.streams:
            stream = self.archive.open(name + _NPY)
            major = np.lib.format.read_magic(stream)[0]
            header = np.lib.format.read_array_header_1_0
            read = header if major == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            if fortran and len(shape) > 1:
                raise UsageError(f"SOURCE: array {name!r} is in Fortran order; save it in C order")
            first, size = stream.tell(), self.archive.getinfo(name + _NPY).file_size
            if not dtype.hasobject and first + prod(shape) * dtype.itemsize != size:
                raise ValueError(f"array {name!r} promises {shape} values, but has {size} bytes")
            self.streams[name] = (stream, shape, dtype, first)
        return self.streams[name]


class _Hdf5Arrays:
    """The datasets of an HDF5 file, in groups of any depth."""

    def __init__(self, path: str) -> None:
        import h5py

        self.file = h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE)
        self.encoded = {np.dtype(np.uint8), np.dtype(np.int8)}

    def names(self) -> Sequence[str]:
        import h5py

        found: list[str] = []
        self.file.visititems(
            lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
        )
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        dataset = self.file[name]
        _check_written(dataset)
        return tuple(dataset.shape)

    def dtype(self, name: str) -> np.dtype[Any] | None:
        import h5py

        dtype: np.dtype[Any] = self.file[name].dtype
        return None if h5py.check_vlen_dtype(dtype) in self.encoded else dtype

    def read(self, name: str, start: int, stop: int) -> Any:
        import h5py

        dataset = self.file[name]
        if h5py.check_string_dtype(dataset.dtype):
            return dataset.asstr("utf-8", errors="surrogateescape")[start:stop]
        return dataset[start:stop]


def _check_written(dataset: Any) -> None:
    """Refuse an array of which a part was never written: HDF5 gives zeros for it.

    Raises:
        ValueError: there is one, or the dataset is none of an array.
    """
    if dataset.shape is None:
        raise ValueError(f"dataset {dataset.name!r} is empty")
    if not is_written(dataset):
        raise ValueError(
            f"array {dataset.name!r} promises {dataset.shape} values, of which a part was never "
            "written"
        )


_OPENERS: dict[str, Callable[[str], Arrays]] = {
    "npy": _NpyArray,
    "npz": _NpzArrays,
    "hdf5": _Hdf5Arrays,
}
_lock = threading.Lock()  # streams have one position, and HDF5 one thread


def open_arrays(kind: str, path: str) -> Arrays:
    """Return the arrays of a file of kind npy, npz or hdf5. Raises OSError or one of `DAMAGE`."""
    return _OPENERS[kind](path)


def read_array(member: Member, max_bytes: int, etag: str | None = None) -> bytes:
    """Return one row: as a .npy file, or the encoded image that it holds.

    Args:
        member: the row.
        max_bytes: as many it may have.
        etag: of the file, as listed; None where it is not known.

    Raises:
        RejectedItem: it is not there, or too large, or the file has changed.
        OSError: it cannot be read.
    """
    try:
        found, encoded = _row(member, max_bytes, etag)
    except (OSError, *DAMAGE) as error:
        check_version(member.path, etag)  # it may be another file by now
        if isinstance(error, OSError):
            raise
        message = f"{member} cannot be read: {error}"
        raise RejectedItem(RejectReason.CORRUPT, message) from None
    check_version(member.path, etag)
    if not len(found):
        message = f"row {member.numbers['row']} of {member} is not there: the file is damaged"
        raise RejectedItem(RejectReason.CORRUPT, message)
    if encoded:
        check_size(len(found[0]), max_bytes)
        return bytes(found[0].tobytes())
    return _serialised(found[0])


def forget_arrays() -> None:
    """Close the files that are kept open."""
    with _lock:
        _opened.cache_clear()


def _row(member: Member, max_bytes: int, etag: str | None) -> tuple[Any, bool]:
    """Return a row as an array of (1, …), and whether it is an encoded image."""
    row, version = member.numbers["row"], file_etag(member.path) if etag is None else etag
    with _lock:
        arrays = _opened(member.kind, member.path, version)
        shape, dtype = arrays.shape(member.name), arrays.dtype(member.name)
        if dtype is not None:
            check_size(int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize, max_bytes)
        return arrays.read(member.name, row, row + 1), dtype is None


@lru_cache(maxsize=4)
def _opened(kind: str, path: str, etag: str) -> Arrays:
    check_version(path, etag)
    return open_arrays(kind, path)


def _serialised(image: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(image), allow_pickle=False)
    return file.getvalue()
