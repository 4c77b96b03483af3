"""Arrow's layouts of bytes and of text, of which a table's columns may have any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.errors import UsageError

#: The fields of a struct with an image, as Hugging Face has it: its bytes, or where they are.
BYTES, PATH = "bytes", "path"


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type is bytes, of any layout, also through a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_bytes(kind.value_type)
    checks = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(check(kind) for check in checks)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text, of any layout, also through a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def field_of(kind: pa.DataType, name: str) -> pa.DataType | None:
    """Return the type of a struct's field, if there is one."""
    index = kind.get_field_index(name) if pa.types.is_struct(kind) else -1
    return kind.field(index).type if index >= 0 else None


def can_hold_images(kind: pa.DataType) -> bool:
    """Whether a type is bytes, text, or a struct with bytes."""
    inner = field_of(kind, BYTES) if pa.types.is_struct(kind) else kind
    return inner is not None and (is_bytes(inner) or (inner is kind and is_text(inner)))


def as_text(values: pa.ChunkedArray, name: str, where: str, classes: Sequence[str] | None) -> Any:
    """Return a column's values as (N,) text; NaN is null, as is a number without a class.

    Args:
        values: (N,) text, bytes in UTF-8, numbers, dates, or a dictionary of these.
        name: the column's, for messages.
        where: the file, for messages.
        classes: names that whole numbers stand for, if there are some.

    Raises:
        UsageError: they are of a type that is no text, not UTF-8, or a number has no name.
    """
    flat = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_dictionary(flat.type):
        flat = flat.dictionary_decode()
    if pa.types.is_nested(flat.type):
        raise UsageError(
            f"SOURCE: column {name!r} of {where} is {flat.type}; give a column of text or numbers"
        )
    if classes and pa.types.is_integer(flat.type):
        flat = _named(flat, classes, name, where)
    if pa.types.is_floating(flat.type):
        flat = pc.if_else(pc.is_nan(flat), pa.scalar(None, flat.type), flat)
    try:
        text = flat.cast(pa.string())
        text.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"SOURCE: column {name!r} of {where} ({flat.type}) cannot be read as text in UTF-8: "
            f"{error}; write it as text"
        ) from None
    return text


def _named(flat: pa.Array, classes: Sequence[str], name: str, where: str) -> pa.Array:
    """A negative number is how tables say that there is no class."""
    highest = pc.max(flat).as_py()
    if highest is not None and highest >= len(classes):
        raise UsageError(
            f"SOURCE: column {name!r} of {where} has the number {highest}, but only {len(classes)} "
            "names of classes; correct the table's features"
        )
    known = [classes[i] if i is not None and i >= 0 else None for i in flat.to_pylist()]
    return pa.array(known, pa.string())


def leaf_of(column: Any) -> Any:
    """Return the (N,) bytes of images in a column, null where there are none."""
    return pc.struct_field(column, BYTES) if pa.types.is_struct(column.type) else column


def bytes_of(value: Any) -> pa.Buffer | None:
    """Return the bytes of one value, of any layout."""
    value = value.value if isinstance(value, pa.DictionaryScalar) else value
    return value.as_buffer() if value is not None and value.is_valid else None
