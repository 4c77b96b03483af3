"""Features in memory: Arrow tensor columns to arrays and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.display import counted
from raypipe.errors import UsageError

#: What a row has beside its features.
ROW_COLUMNS = (schema.ID, schema.LABEL, schema.SPLIT, schema.VIEW)


@dataclass(frozen=True)
class Rows:
    """Rows of a store without their features.

    Attributes:
        ids: (N,) item of each row.
        labels: (N,) its label, None where it has none.
        splits: (N,) its split, None where it has none.
        views: (N,) 0 for the image itself, 1… for its augmented views.
    """

    ids: npt.NDArray[np.object_]
    labels: npt.NDArray[np.object_]
    splits: npt.NDArray[np.object_]
    views: npt.NDArray[np.int32]

    @classmethod
    def of(cls, table: pa.Table, **more: Any) -> Self:
        """Return the rows of a table with `ROW_COLUMNS`; `more` is what a subclass has besides."""
        ids, labels, splits, views = (table[name] for name in ROW_COLUMNS)
        texts = shared_texts(labels), shared_texts(splits)
        return cls(ids.to_numpy(), *texts, views.to_numpy(), **more)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: npt.NDArray[Any]) -> Self:
        """Return some of the rows, by number or by mask."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Features(Rows):
    """Features in memory, row by row: `features[i]` belongs to `ids[i]` and `labels[i]`.

    Attributes:
        ids: (N,) item of each row.
        labels: (N,) its label, None where it has none.
        splits: (N,) its split, None where it has none.
        views: (N,) 0 for the image itself, 1… for its augmented views.
        features: (N, …).
    """

    features: npt.NDArray[np.floating[Any]]

    def check_finite(self) -> None:
        """Make sure that there is no NaN or infinity.

        Raises:
            UsageError: naming the ids.
        """
        if len(bad := self.ids[~finite(self.features)]):
            raise not_finite(len(bad), bad.tolist())


def finite(features: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which of (N, …) features hold neither NaN nor infinity, (N,)."""
    found: npt.NDArray[np.bool_] = np.isfinite(features.reshape(len(features), -1)).all(axis=1)
    return found


def not_finite(count: int, ids: Sequence[str]) -> UsageError:
    """Return the error for rows with NaN or infinite features; the first few ids are named."""
    return UsageError(
        f"STORE: {counted(count, 'row has', 'rows have')} NaN or infinite features: "
        f"{', '.join(ids[:5])}; extract with --precision fp32"
    )


def to_array(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a feature column as an array of (N, …)."""
    flat = column.combine_chunks()
    is_tensor = isinstance(flat.type, pa.FixedShapeTensorType)
    array: npt.NDArray[Any] = flat.to_numpy_ndarray() if is_tensor else flat.to_numpy()
    return array


def tensor(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """Return an array of (N, …) as an Arrow array of `kind`: a tensor, or plain if it is (N,)."""
    if values.ndim == 1:
        return pa.array(values, kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    width = int(np.prod(values.shape[1:]))
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, width))


def shared_texts(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """Return texts as (N,) objects, equal ones being one: millions of rows have few labels."""
    encoded = pc.dictionary_encode(column.combine_chunks())
    values = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    rows: npt.NDArray[np.object_] = values[encoded.indices.fill_null(len(values) - 1).to_numpy()]
    return rows
