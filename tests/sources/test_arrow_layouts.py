"""Parquet columns of every layout that Arrow has: right, or refused by name."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.errors import RejectedItem, UsageError
from raypipe.sources import read_item
from tests.support.sources import CAP, contents, labels, listed, parquet_of

IMAGES = [b"abc", b"abd", b"abc"]
BINARY = [
    pa.binary(),
    pa.large_binary(),
    pa.binary(3),
    pa.binary_view(),
    pa.dictionary(pa.int8(), pa.binary()),
    pa.dictionary(pa.int32(), pa.large_binary()),
]
TEXT = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int16(), pa.large_string()),
]
NAMES = ["café", None, "b"]


def column(values: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


@pytest.mark.parametrize("kind", BINARY, ids=str)
def test_images_of_every_layout(kind: pa.DataType, tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"image": column(IMAGES, kind)}, row_group_size=2)
    right = pd.read_parquet(source)["image"]
    assert list(contents(source).values()) == right.tolist() == IMAGES


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3)], ids=str)
def test_images_in_structs_of_every_layout(kind: pa.DataType, tmp_path: Path) -> None:
    values = [{"bytes": data, "path": None} for data in IMAGES]
    structs = pa.array(values, pa.struct([("bytes", kind), ("path", pa.string())]))
    assert list(contents(parquet_of(tmp_path / "t.parquet", {"image": structs})).values()) == IMAGES


@pytest.mark.parametrize("kind", [*TEXT, *(k for k in BINARY if k != pa.binary(3))], ids=str)
@pytest.mark.parametrize("uris", [False, True])
def test_labels_and_ids_of_every_layout(kind: pa.DataType, uris: bool, tmp_path: Path) -> None:
    as_bytes = kind in BINARY
    values = [name.encode() if as_bytes and name else name for name in NAMES]
    names = [name.encode() if as_bytes else name for name in ("á", "b", "c")]
    columns = {"id": column(names, kind), "label": column(values, kind)}
    columns["path" if uris else "image"] = ["á", "b", "c"] if uris else IMAGES
    source = parquet_of(tmp_path / "t.parquet", columns)
    assert labels(source) == dict(zip(("á", "b", "c"), NAMES, strict=True))


@pytest.mark.parametrize("kind", TEXT, ids=str)
def test_uris_of_every_layout(kind: pa.DataType, tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"path": column(["a", "b"], kind)})
    assert listed(source)["uri"].to_pylist() == [f"{tmp_path}/a", f"{tmp_path}/b"]


@pytest.mark.parametrize(
    ("values", "right"),
    [
        (pa.array([1, None], pa.uint8()), ["1", None]),
        (pa.array([1.0, float("nan")]), ["1", None]),
        (pa.array([1.5, float("nan")], pa.float32()), ["1.5", None]),
        (pa.array([1.0, float("nan")], pa.float16()), ["1", None]),
        (pa.array([1.0, float("nan")]).dictionary_encode(), ["1", None]),
        (pa.array([True, None]), ["true", None]),
        (pa.nulls(2), [None, None]),
        (pa.array(["", " "]), [None, None]),
        (pa.array(["nan", " a "]), ["nan", "a"]),
        (pa.array([datetime.date(2026, 1, 2), None]), ["2026-01-02", None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_that_are_labels(values: pa.Array, right: list[object], tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"image": [b"a", b"b"], "label": values})
    assert list(labels(source).values()) == right


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int8()),
        pa.large_list(pa.string()),
        pa.list_(pa.int8(), 1),
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
    ],
    ids=str,
)
def test_nested_columns_are_refused_by_name(kind: pa.DataType, tmp_path: Path) -> None:
    nested = pa.nulls(1, kind)
    source = parquet_of(tmp_path / "t.parquet", {"image": [b"a"], "label": nested})
    with pytest.raises(UsageError, match=r"column 'label' of .* is .*; give a column of text"):
        listed(source)
    source = parquet_of(tmp_path / "u.parquet", {"image": nested})
    with pytest.raises(UsageError, match=r"no column of .* holds bytes or URIs; it has image \("):
        listed(source)
    with pytest.raises(UsageError, match=r"--image-column: expected .*'image' in .* is "):
        listed(source, image_column="image")


def test_labels_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    images = [b"a", b"b"]
    source = parquet_of(tmp_path / "t.parquet", {"image": images, "label": [b"a", b"caf\xe9"]})
    with pytest.raises(UsageError, match=r"column 'label' of .* \(binary\) cannot be read as text"):
        listed(source)
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"caf\xe9"]).buffers())
    source = parquet_of(tmp_path / "u.parquet", {"image": images, "label": text})
    with pytest.raises(UsageError, match=r"column 'label' of .* \(string\) cannot be read as text"):
        listed(source)


def test_a_number_without_a_class_is_refused(tmp_path: Path) -> None:
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    for values, right in (([1, -1], ["dog", None]), ([0, 2], None)):
        table = pa.table({"image": [b"a", b"b"], "label": values})
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        pq.write_table(table, tmp_path / "t.parquet")
        if right:
            assert list(labels(tmp_path / "t.parquet").values()) == right
        else:
            with pytest.raises(UsageError, match="has the number 2, but only 2 names of classes"):
                listed(tmp_path / "t.parquet")


@pytest.mark.parametrize("statistics", [True, False])
def test_paths_beside_null_bytes_are_used(statistics: bool, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"from a file")
    values = [
        {"bytes": b"own", "path": "1.png"},
        {"bytes": None, "path": "1.png"},
        {"bytes": None, "path": "gone.png"},
        None,
        {"bytes": None, "path": "https://h/5.png"},
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    source = parquet_of(
        tmp_path / "t.parquet",
        {"image": pa.array(values, kind)},
        row_group_size=3,
        write_statistics=statistics,
    )
    found = listed(source)
    uris = found["uri"].to_pylist()
    assert found["id"].to_pylist() == [f"t/{i}" for i in range(5)]
    assert [read_item(uri, CAP) for uri in uris[:2]] == [b"own", b"from a file"]
    with pytest.raises(RejectedItem, match=r"row 2 of .* no bytes .* 'gone\.png' is not there"):
        read_item(uris[2], CAP)
    with pytest.raises(RejectedItem, match="has no image"):
        read_item(uris[3], CAP)
    assert uris[4] == "https://h/5.png"


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    arrays = [pa.array([b"a"]), pa.array(["x"]), pa.array(["y"])]
    table = pa.Table.from_arrays(arrays, names=["image", "label", "label"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="has 2 columns of the name 'label'; rename one"):
        listed(tmp_path / "t.parquet")
