"""Images stacked in one array: .npy, .npz and HDF5."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config import LabelConfig, SourceConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.schema import ID
from raypipe.sources.array_files import DAMAGE, Arrays, open_arrays
from raypipe.sources.arrow_layouts import as_text
from raypipe.sources.batches import BATCH_ROWS, Texts, one_batch
from raypipe.sources.columns import label_columns, present
from raypipe.sources.local import file_etag
from raypipe.sources.members import spell
from raypipe.storage.hdf5_safety import stuck_in

_KINDS = {".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5"}
ARRAY_SUFFIXES = tuple(_KINDS)

_IMAGE_NAMES = ("images", "image", "x", "X", "data")
_LABEL_NAMES = ("labels", "y")
_CHANNELS = (1, 3, 4)


class ArraySource:
    """Each row of an N×height×width[×channels] array is an item.

    `id` is the array `ids` next to the images, else the number of the row.
    """

    auto_label: Literal["folder", "column"] = "column"

    def __init__(self, path: Path, config: SourceConfig) -> None:
        self.path = path
        self.uri = str(path)
        self.aside = Counter[str]()
        self.kind = _KINDS[path.suffix.lower()]
        self.etag = file_etag(self.uri)  # before it is read: what changes meanwhile has another
        if self.kind == "hdf5":
            _check_hdf5(self.uri)
        with _readable(self.uri):
            self.arrays = open_arrays(self.kind, self.uri)
            self._choose(config)

    def _choose(self, config: SourceConfig) -> None:
        names = self.arrays.names()
        self.image = self._image(names, config.image_column)
        _check_images(self.arrays, self.image, self.uri)
        self.size = self.arrays.shape(self.image)[0]
        self._check_stack(names)
        folder, slash, _ = self.image.rpartition("/")
        self.prefix = folder + slash  # labels and ids are next to the images
        columns = [name.removeprefix(self.prefix) for name in names]
        where = repr(self.uri)
        label, split = label_columns(columns, _with_usual_label(config, columns), where)
        ids = "ids" if "ids" in columns else None
        if config.id_column:
            ids = present(config.id_column, columns, "--id-column", where)
        self.label, self.split, self.ids = (self._column(n) for n in (label, split, ids))
        self.label_names = self._label_names() if "label_names" in columns else []

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of the rows, holding one batch of them."""
        width = len(str(max(self.size - 1, 0)))
        prefix = spell(self.kind, self.uri, self.image, rows=self.size)
        for start in range(0, self.size, BATCH_ROWS):
            rows = range(start, min(start + BATCH_ROWS, self.size))
            with _readable(self.uri):
                ids = self._ids(rows, width)
                labels, splits = self._labels(rows), self._texts(self.split, rows)
            uris = [f"{prefix}&row={row}" for row in rows]
            yield one_batch(ids, uris, [self.etag] * len(rows), labels, splits)

    def _ids(self, rows: range, width: int) -> Texts:
        found = self._texts(self.ids, rows)
        if found is None:
            return [f"{row:0{width}d}" for row in rows]
        if None in found:
            row = rows[found.index(None)]
            raise UsageError(
                f"SOURCE: row {row} of {self.uri!r} has no {self.ids!r}; give every row an id"
            )
        return found

    def _image(self, names: Sequence[str], wanted: str | None) -> str:
        if wanted:
            return present(wanted, names, "--image-column", repr(self.uri))
        fit = [name for name in names if not _misfit(self.arrays, name)]
        for name in _IMAGE_NAMES:
            if name in names:
                return name
        if len(fit) == 1 or len(names) == 1:
            return (fit or names)[0]
        listed = ", ".join(f"{name} {self.arrays.shape(name)}" for name in names) or "none"
        raise UsageError(
            f"--image-column: which array of {self.uri!r} holds the images? It has {listed}"
        )

    def _check_stack(self, names: Sequence[str]) -> None:
        """Refuse what may be one image in colour, unless other arrays have as many rows."""
        shape = self.arrays.shape(self.image)
        if len(shape) != 3 or (not {shape[0], shape[2]} & {3, 4} and shape[2] != 1):
            return
        if any(self.arrays.shape(n)[:1] == shape[:1] for n in names if n != self.image):
            return
        raise UsageError(
            f"SOURCE: {self.uri!r} has shape {shape}, which is one image as well as a stack of "
            f"{shape[0]} grey ones; save a stack as (images, height, width, 1) by "
            "array[..., np.newaxis], one image as (1, height, width, channels) by array[np.newaxis]"
        )

    def _full(self, name: str) -> str:
        return self.prefix + name if self.prefix + name in self.arrays.names() else name

    def _column(self, name: str | None) -> str | None:
        """Return the full name of an array that has a value for each image."""
        if name is None:
            return None
        shape = self.arrays.shape(full := self._full(name))
        if shape not in ((self.size,), (self.size, 1)):
            raise UsageError(
                f"SOURCE: array {full!r} of {self.uri!r} has shape {shape}; "
                f"expected one value for each of the {self.size} images"
            )
        return full

    def _label_names(self) -> Sequence[str | None]:
        name = self._full("label_names")
        return self._texts(name, range(self.arrays.shape(name)[0])) or []

    def _texts(self, name: str | None, rows: range) -> Texts | None:
        if name is None:
            return None
        return self._as_texts(name, self._values(name, rows), rows)

    def _values(self, name: str, rows: range) -> npt.NDArray[Any]:
        return np.asarray(self.arrays.read(name, rows.start, rows.stop)).reshape(-1)

    def _as_texts(self, name: str, values: npt.NDArray[Any], rows: range) -> Texts:
        metadata: dict[str, dict[str, int]] = dict(values.dtype.metadata or {})
        if "enum" in metadata:  # as h5py gives it
            names = {number: name for name, number in metadata["enum"].items()}
            return [names.get(number) for number in values.tolist()]
        if values.dtype.kind in "biufc":
            column = pa.chunked_array([_as_arrow(values, name, self.uri)])
            texts: list[str | None] = as_text(column, name, repr(self.uri), None).to_pylist()
            return texts
        found: list[str | None] = []
        for row, value in zip(rows, values, strict=True):
            try:
                found.append(_text(value))
            except UnicodeError:
                raise UsageError(
                    f"SOURCE: row {row} of array {name!r} of {self.uri!r} is no text in UTF-8: "
                    f"{value!r}; save it as UTF-8"
                ) from None
        return found

    def _labels(self, rows: range) -> Texts | None:
        if self.label is None:
            return None
        values = self._values(self.label, rows)
        if not len(self.label_names) or values.dtype.kind not in "iu":
            return self._as_texts(self.label, values, rows)
        count = len(self.label_names)
        if values.max(initial=-1) >= count:
            raise UsageError(
                f"SOURCE: {self.uri!r} has the label {values.max()}, but only {count} label_names"
            )
        # A negative number is how arrays say that there is no label.
        return [self.label_names[value] if value >= 0 else None for value in values]


class ArrayFiles:
    """Several files of arrays; what has no ids of its own is `<file>/<row>`."""

    auto_label: Literal["folder", "column"] = "column"

    def __init__(
        self,
        uri: str,
        paths: Sequence[Path],
        config: SourceConfig,
        *,
        names: Sequence[str],
        aside: Counter[str],
    ) -> None:
        self.uri, self.aside = uri, aside
        self.files = [
            (name.rpartition(".")[0], ArraySource(path, config))
            for name, path in zip(names, paths, strict=True)
        ]

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of files and rows, holding one batch of them."""
        for name, file in self.files:
            for batch in file.list():
                ids = batch[ID]
                if file.ids is None:
                    ids = pc.binary_join_element_wise(pa.scalar(f"{name}/"), ids, "")
                yield batch.set_column(
                    batch.schema.get_field_index(ID), batch.schema.field(ID), ids
                )


def _check_hdf5(uri: str) -> None:
    if stuck := stuck_in([uri]):
        raise UsageError(
            f"SOURCE: {uri!r} is damaged: {stuck[1]}; replace it by a copy, or write it again "
            "(h5dump shows what can still be read)"
        )


@contextlib.contextmanager
def _readable(uri: str) -> Iterator[None]:
    """Tell in one line what the libraries say of a damaged file."""
    try:
        yield
    except RaypipeError:
        raise
    except (OSError, *DAMAGE) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"SOURCE: cannot read {uri!r}: {said}; replace it by a copy") from None


def _with_usual_label(config: SourceConfig, columns: Sequence[str]) -> SourceConfig:
    """Look for labels under the names usual among arrays, unless another one is asked for."""
    usual = next((name for name in _LABEL_NAMES if name in columns), None)
    default = LabelConfig.model_fields["label_column"].default
    named = getattr(config, "label_column", None)
    if usual is None or default in columns or named != default:
        return config
    return config.model_copy(update={"label_column": usual})


def _text(value: Any) -> str | None:
    if not isinstance(value, str | bytes | int | float | np.number | np.bool_):
        raise TypeError(f"{type(value).__name__} is neither a text nor a number")
    text = value.decode() if isinstance(value, bytes) else str(value)
    text.encode()  # HDF5 gives what cannot be decoded as surrogates
    return text or None


def _as_arrow(values: npt.NDArray[Any], name: str, uri: str) -> pa.Array:
    try:
        return pa.array(values.astype(values.dtype.newbyteorder("=")))
    except (pa.ArrowException, TypeError) as error:
        raise UsageError(
            f"SOURCE: array {name!r} of {uri!r} has type {values.dtype}, which is no text and no "
            f"number: {error}; save it as text"
        ) from None


def _misfit(arrays: Arrays, name: str) -> str:
    """Say why an array holds no images, if so."""
    dtype, shape = arrays.dtype(name), arrays.shape(name)
    if dtype is None:
        return "" if len(shape) == 1 else "encoded images must be in one dimension"
    if dtype.kind in "OSUV":
        return (
            "text or opaque bytes, which may end early; write encoded images as uint8 of variable "
            "length (h5py.vlen_dtype('uint8')), pixels as uint8"
        )
    if dtype not in (np.uint8, np.uint16):
        return "expected uint8 or uint16; scale it to uint8 (0..255)"
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in _CHANNELS):
        channels = ", ".join(map(str, _CHANNELS))
        return (
            "expected (images, height, width) or (images, height, width, channels) with "
            f"{channels} channels; transpose it"
        )
    return ""


def _check_images(arrays: Arrays, name: str, uri: str) -> None:
    if why := _misfit(arrays, name):
        shown = f"array {name!r} of {uri!r}" if name else repr(uri)
        raise UsageError(
            f"SOURCE: {shown} has type {arrays.dtype(name)} and shape {arrays.shape(name)}: {why}"
        )
