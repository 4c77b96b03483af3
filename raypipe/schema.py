"""Arrow schemas and column names: the only place that spells them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

ID = "id"
URI = "uri"
ETAG = "etag"
LABEL = "label"
SPLIT = "split"
VIEW = "view"
FEATURES = "features"
REASON = "reason"
MESSAGE = "message"
PREDICTED = "predicted"
PROBABILITY = "probability"
PROBABILITIES = "probabilities"
STATUS = "status"

#: The etag of a file that was not there when it was listed.
MISSING = "missing"

#: The type of a column of texts, some of which may be missing; as `data_schema` takes it.
TEXT = "object"

#: An item is the same item as before when all of these are equal.
VERSION_COLUMNS = (ID, ETAG, LABEL, SPLIT)

#: One row per image of a source, before it is read.
ITEMS = pa.schema(
    [
        pa.field(ID, pa.string(), nullable=False),
        pa.field(URI, pa.string(), nullable=False),
        pa.field(ETAG, pa.string(), nullable=False),
        pa.field(LABEL, pa.string()),
        pa.field(SPLIT, pa.string()),
    ]
)

#: One row per item that could not become a feature.
REJECTS = pa.schema(
    [
        *ITEMS,
        pa.field(REASON, pa.string(), nullable=False),
        pa.field(MESSAGE, pa.string(), nullable=False),
    ]
)

#: Columns of a feature partition beside the features.
ROW_COLUMNS = (*ITEMS.names, VIEW)

#: Names that no feature column may have: those of the other columns, and of the arrays that stand
#: for them in HDF5.
RESERVED_COLUMNS = (*ROW_COLUMNS, "ids", "labels", "label_names")


def data_schema(columns: Mapping[str, tuple[tuple[int, ...], str]]) -> pa.Schema:
    """Schema of a feature partition.

    Args:
        columns: shape of one row's value and NumPy type, by column. A value of shape () makes a
            plain column, any other a fixed-shape tensor; `TEXT` is text that may be missing.
    """
    fields = [
        pa.field(
            name,
            pa.fixed_shape_tensor(_arrow(dtype), shape) if shape else _arrow(dtype),
            nullable=dtype == TEXT,
        )
        for name, (shape, dtype) in columns.items()
    ]
    return pa.schema([*ITEMS, pa.field(VIEW, pa.int32(), nullable=False), *fields])


def _arrow(dtype: str) -> pa.DataType:
    return pa.string() if dtype == TEXT else pa.from_numpy_dtype(np.dtype(dtype))
