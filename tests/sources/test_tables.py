"""Tables: Parquet, CSV, TSV and JSON lines."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.config import SourceConfig
from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.sources import open_source, read_item
from tests.support.sources import (
    CAP,
    contents,
    csv_of,
    ids,
    jsonl_of,
    labels,
    listed,
    parquet_of,
)


def test_ids_of_bytes_are_rows(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for name in "ab":
        parquet_of(
            tmp_path / "t" / f"{name}.parquet", {"jpg": [b"0", b"1", b"2"]}, row_group_size=2
        )
    assert ids(tmp_path / "t") == [f"{n}/{i}" for n in "ab" for i in range(3)]
    assert contents(tmp_path / "t" / "b.parquet") == {f"b/{i}": b"%d" % i for i in range(3)}
    assert len(ids(tmp_path / "t" / "*.parquet")) == 6


def test_ids_of_uris_are_as_written(tmp_path: Path) -> None:
    source = csv_of(tmp_path / "t.csv", [{"url": "a/1.jpg"}, {"url": "https://h/2.jpg?x=1"}])
    assert ids(source) == ["a/1.jpg", "https://h/2.jpg?x=1"]
    assert listed(source)["uri"].to_pylist() == [f"{tmp_path}/a/1.jpg", "https://h/2.jpg?x=1"]


def test_columns_by_option(tmp_path: Path) -> None:
    rows = [{"k": "1", "where": "a.jpg", "species": "cat", "fold": "test"}]
    chosen = {
        "id_column": "k",
        "image_column": "where",
        "label_column": "species",
        "split": "column",
        "split_column": "fold",
    }
    for source in (
        csv_of(tmp_path / "t.csv", rows),
        jsonl_of(tmp_path / "t.jsonl", rows),
        parquet_of(tmp_path / "t.parquet", {k: [v] for k, v in rows[0].items()}),
    ):
        row = listed(source, **chosen).to_pylist()[0]
        assert (row["id"], row["label"], row["split"]) == ("1", "cat", "test")
        assert row["uri"] == f"{tmp_path}/a.jpg"
        with pytest.raises(UsageError, match="--image-column: no column 'wher' .*mean where"):
            listed(source, **{**chosen, "image_column": "wher"})
        with pytest.raises(UsageError, match="--label column: no column 'label' .*it has 'k'"):
            listed(source, **{**chosen, "label_column": "label", "label": "column"})
        with pytest.raises(UsageError, match="--image-column: .*usual name"):
            listed(source)


def test_etag_of_remote_uris_is_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    rows = [{"uri": "https://h/1.jpg", "etag": "v1"}, {"uri": "a.jpg", "etag": "ignored"}]
    found = listed(csv_of(tmp_path / "t.csv", rows))["etag"].to_pylist()
    assert found[0] == "v1"
    assert found[1] == listed(tmp_path / "a.jpg")["etag"][0].as_py()
    assert (
        listed(jsonl_of(tmp_path / "t.jsonl", [{"uri": "s3://b/1.jpg"}]))["etag"][0].as_py() == ""
    )


def test_values_that_are_no_text(tmp_path: Path) -> None:
    columns = {"id": [7, 8], "image": [b"a", b"b"], "label": pa.array([1, None], pa.int8())}
    assert labels(parquet_of(tmp_path / "t.parquet", columns)) == {"7": "1", "8": None}
    rows = [{"id": 7, "uri": "a", "label": True}, {"id": 8, "uri": "b"}]
    assert labels(jsonl_of(tmp_path / "t.jsonl", rows)) == {"7": "true", "8": None}


def test_class_names_as_hugging_face_writes_them(tmp_path: Path) -> None:
    info = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    table = pa.table({"image": [b"a", b"b"], "label": [1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "t.parquet")
    assert list(labels(tmp_path / "t.parquet").values()) == ["dog", "cat"]


def test_dictionary_columns(tmp_path: Path) -> None:
    columns = {
        "uri": pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
        "label": pa.array(["x", "x"]).dictionary_encode(),
    }
    assert labels(parquet_of(tmp_path / "t.parquet", columns)) == {"a.jpg": "x", "b.jpg": "x"}


def test_pickles_are_refused(tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"image": [None, pickle.dumps([1, 2])]})
    with pytest.raises(UsageError, match="column 'image' .* holds pickled objects"):
        listed(source)


def test_null_images_are_rejected_by_name(tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"image": [b"a", None]})
    uris = listed(source)["uri"].to_pylist()
    assert read_item(uris[0], CAP) == b"a"
    with pytest.raises(RejectedItem, match="row 1 of row group 0 .* no image") as found:
        read_item(uris[1], CAP)
    assert found.value.reason is RejectReason.UNREADABLE


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_rows_without_a_uri_are_rejected_by_name(kind: str, tmp_path: Path) -> None:
    rows = [{"id": "1", "uri": "a.jpg"}, {"id": "2", "uri": ""}]
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        parquet_of(path, {"id": ["1", "2"], "uri": ["a.jpg", None]})
    else:
        (csv_of if kind == "csv" else jsonl_of)(path, rows)
    assert ids(path) == ["1", "2"]
    with pytest.raises(RejectedItem, match=r"(row|line) [12] of .* has no URI"):
        read_item(listed(path)["uri"][1].as_py(), CAP)


def test_too_large_a_value(tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"image": [bytes(2**26 + 100)]})
    with pytest.raises(RejectedItem) as found:
        read_item(listed(source)["uri"][0].as_py(), 1)
    assert found.value.reason is RejectReason.TOO_LARGE


def test_unknown_scheme(tmp_path: Path) -> None:
    source = csv_of(tmp_path / "t.csv", [{"uri": "a.jpg"}, {"uri": "ftp://h/a.jpg"}])
    with pytest.raises(UsageError, match="row 2 of .*file://, http://.*got 'ftp://h/a.jpg'"):
        listed(source)


def test_broken_rows_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("uri,label\na.jpg,x\nb.jpg,y,z\n")
    with pytest.raises(UsageError, match=r"t\.csv' has 3 values in row 2 \(line 3\)"):
        listed(tmp_path / "t.csv")
    (tmp_path / "t.jsonl").write_text('{"uri": "a.jpg"}\n{"uri": \n')
    with pytest.raises(UsageError, match=r"line 2 of '.*t\.jsonl'"):
        listed(tmp_path / "t.jsonl")
    (tmp_path / "u.jsonl").write_text('{"uri": "a.jpg"}\n["b.jpg"]\n')
    with pytest.raises(UsageError, match=r"line 2 of '.*u\.jsonl': expected an object"):
        listed(tmp_path / "u.jsonl")


def test_quoted_line_breaks_and_byte_order_marks(tmp_path: Path) -> None:
    text = '\ufeffuri,label\r\na.jpg,"two\nlines"\r\n"b,c.jpg",x\r\n'
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    assert labels(tmp_path / "t.csv") == {"a.jpg": "two\nlines", "b,c.jpg": "x"}


def test_missing_id(tmp_path: Path) -> None:
    source = csv_of(tmp_path / "t.csv", [{"id": "", "uri": "a.jpg"}])
    with pytest.raises(UsageError, match="row 1 of .* has no 'id'"):
        listed(source)


def test_damaged_table(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(RaypipeError, match=r"cannot read '.*t\.parquet'"):
        listed(tmp_path / "t.parquet")


def test_replaced_table_is_noticed(tmp_path: Path) -> None:
    source = parquet_of(tmp_path / "t.parquet", {"image": [b"old"]})
    before = listed(source)
    assert contents(source) == {"t/0": b"old"}
    parquet_of(source, {"image": [b"newer"]})
    assert contents(source) == {"t/0": b"newer"}
    assert listed(source)["etag"] != before["etag"]


def test_listing_streams(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w") as file:
        file.write("uri\n")
        file.writelines(f"https://h/{i:06d}.jpg\n" for i in range(200_000))
    sizes = [len(b) for b in open_source(SourceConfig(source=str(tmp_path / "t.csv"))).list()]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 16_384
