"""Arrow schemas and column names: the only place that spells them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

__all__ = [
    "ETAG",
    "FEATURES",
    "ID",
    "ITEMS",
    "LABEL",
    "MESSAGE",
    "REASON",
    "REJECTS",
    "ROW_COLUMNS",
    "URI",
    "VERSION_COLUMNS",
    "VIEW",
    "data_schema",
    "feature_columns",
]

ID = "id"
URI = "uri"
ETAG = "etag"
LABEL = "label"
VIEW = "view"
FEATURES = "features"
REASON = "reason"
MESSAGE = "message"

#: An item is the same item as before when all of these are equal.
VERSION_COLUMNS = (ID, ETAG, LABEL)

#: One row per image of a source, before it is read.
ITEMS = pa.schema(
    [
        pa.field(ID, pa.string(), nullable=False),
        pa.field(URI, pa.string(), nullable=False),
        pa.field(ETAG, pa.string(), nullable=False),
        pa.field(LABEL, pa.string()),
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


def feature_columns(layers: tuple[str, ...]) -> dict[str, str]:
    """Map each layer to its column: `features` for a single layer, the layer's name for several."""
    return {layers[0]: FEATURES} if len(layers) == 1 else {layer: layer for layer in layers}


def data_schema(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> pa.Schema:
    """Schema of a feature partition.

    Args:
        shapes: shape of one row's features, by column.
        dtype: `float32` or `float16`.
    """
    value_type = {"float32": pa.float32(), "float16": pa.float16()}[dtype]
    tensors = [
        pa.field(column, pa.fixed_shape_tensor(value_type, shape), nullable=False)
        for column, shape in shapes.items()
    ]
    return pa.schema([*ITEMS, pa.field(VIEW, pa.int32(), nullable=False), *tensors])
