"""Listings: every file once, in order, whatever it is called."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe import schema
from raypipe.config import LabelConfig
from raypipe.errors import RejectedItem, RejectReason, UsageError
from raypipe.rows.listing import Listing
from raypipe.sources import open_source, read_item

CAP = 1_000_000


def listed(path: Path, **options: object) -> pa.Table:
    return pa.Table.from_batches(
        open_source(LabelConfig(source=str(path), **options)).list(), schema=schema.ITEMS
    )


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_any_depth_in_order_with_the_folder_as_label(tmp_path: Path) -> None:
    touch(tmp_path, "b/x.jpg", "a/deep/er/y.jpg", "a-b/z.jpg", "a.jpg", "a/1.jpg")
    items = listed(tmp_path)
    assert items["id"].to_pylist() == [
        "a-b/z.jpg",
        "a.jpg",
        "a/1.jpg",
        "a/deep/er/y.jpg",
        "b/x.jpg",
    ]
    assert items["label"].to_pylist() == ["a-b", None, "a", "er", "b"]
    assert [Path(uri).read_bytes().decode() for uri in items["uri"].to_pylist()] == items[
        "id"
    ].to_pylist()


def test_labels_can_be_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg")
    assert listed(tmp_path, label="none")["label"].to_pylist() == [None]


def test_hidden_files_are_not_items(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", ".DS_Store", "a/.hidden.jpg", ".git/y.jpg")
    assert listed(tmp_path)["id"].to_pylist() == ["a/x.jpg"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "real/x.jpg", "source/a/y.jpg")
    (tmp_path / "source" / "b").symlink_to(tmp_path / "real")
    (tmp_path / "source" / "a" / "loop").symlink_to(tmp_path / "source")
    assert listed(tmp_path / "source")["id"].to_pylist() == ["a/y.jpg", "b/x.jpg"]


def test_etag_changes_with_content(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg")
    before = listed(tmp_path)["etag"].to_pylist()
    (tmp_path / "x.jpg").write_bytes(b"longer than it was")
    assert listed(tmp_path)["etag"].to_pylist() != before


def test_dangling_link_is_an_item_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    items = listed(tmp_path)
    assert items["id"].to_pylist() == ["gone.jpg"]
    with pytest.raises(RejectedItem, match="No such file") as found:
        read_item(items["uri"][0].as_py(), CAP)
    assert found.value.reason is RejectReason.UNREADABLE


def test_pipe_is_rejected_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(RejectedItem, match="not a regular file"):
        read_item(listed(tmp_path)["uri"][0].as_py(), CAP)


def test_name_that_is_not_utf8_is_kept_as_a_reject(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/bad\xff.jpg"
    Path(os.fsdecode(name)).write_bytes(b"x")
    items = listed(tmp_path)
    assert items["id"].to_pylist() == ["bad\\xff.jpg"]
    with pytest.raises(RejectedItem):
        read_item(items["uri"][0].as_py(), CAP)


def test_single_file(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg")
    items = listed(tmp_path / "a" / "x.jpg")
    assert items.select(["id", "label"]).to_pylist() == [{"id": "x.jpg", "label": None}]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SOURCE: no file or folder"):
        listed(tmp_path / "nothing")


def test_two_items_with_one_id_are_named() -> None:
    rows = [{"id": "x", "uri": f"/{i}", "etag": "", "label": None} for i in "ab"]

    with pytest.raises(UsageError, match="'x': /a and /b"):
        Listing([pa.RecordBatch.from_pylist(rows, schema=schema.ITEMS)])


def test_huge_file_is_rejected_instead_of_read(tmp_path: Path) -> None:
    with (tmp_path / "video.mp4").open("wb") as file:
        file.truncate(2**40)  # takes no space
    with pytest.raises(RejectedItem, match="1099511627776 bytes") as found:
        read_item(str(tmp_path / "video.mp4"), CAP)
    assert found.value.reason is RejectReason.TOO_LARGE
