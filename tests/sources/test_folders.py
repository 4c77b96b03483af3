"""Listings: every file once, in order, whatever it is called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe import schema
from raypipe.config import LabelConfig
from raypipe.errors import RejectedItem, RejectReason, UsageError
from raypipe.rows.listing import Listing
from raypipe.sources import open_source, read_item
from raypipe.sources.containers import files_below
from raypipe.sources.folder import FolderSource
from raypipe.sources.hidden import OF_SYSTEM
from raypipe.sources.links import BEYOND, LINKED
from raypipe.sources.local import as_uri, path_of, utf8
from tests.support.sources import tar_of, zip_of

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


OF_SYSTEMS = ("Thumbs.db", "b/desktop.ini", "Icon\r", "__MACOSX/x.jpg", "b/@eaDir/y.jpg/SYNO.jpg")


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "shards"])
def test_what_systems_leave_is_left_aside(tmp_path: Path, kind: str) -> None:
    members = dict.fromkeys(OF_SYSTEMS, b"x") | {"b/1.jpg": b"1", "b/thumbs.jpg": b"2"}
    source = tmp_path / f"source.{kind}"
    if kind == "zip":
        zip_of(source, members)
    elif kind == "tar":
        tar_of(source, members)
    else:
        for name, data in members.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    if kind == "shards":
        (source / "b/1.jpg").unlink()
        (source / "b/thumbs.jpg").unlink()
        tar_of(source / "b/s.tar", {"1.jpg": b"1", "thumbs.jpg": b"2"})
    opened = open_source(LabelConfig(source=str(source)))
    found = [name for batch in opened.list() for name in batch["id"].to_pylist()]
    assert [name.rpartition("/")[2].partition(".")[0] for name in found][-2:] == ["1", "thumbs"]
    assert len(found) == 2
    assert opened.aside[OF_SYSTEM] == len(OF_SYSTEMS)


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


ODD_NAMES = [b"bad\xff.jpg", b"bad\xc3.jpg", "bad�FF.jpg".encode(), "bad�.jpg".encode(), b"%FF.jpg"]


def test_names_that_are_not_utf8_are_told_apart_and_read(tmp_path: Path) -> None:
    for number, name in enumerate(ODD_NAMES):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"%d" % number)
    items = listed(tmp_path).sort_by("id")
    found = dict(zip(items["id"].to_pylist(), items["uri"].to_pylist(), strict=True))
    assert list(found) == ["%FF.jpg", "bad�C3.jpg", "bad�FF.jpg", "bad��.jpg", "bad��FF.jpg"]
    contents = {name: read_item(uri, CAP) for name, uri in found.items()}
    assert contents["bad�FF.jpg"] == b"0"
    assert len(set(contents.values())) == len(ODD_NAMES)


@given(st.lists(st.text(st.sampled_from("a�F%\udcff\udcc3\udc80é"), min_size=1), unique=True))
def test_two_names_never_give_one_id(names: list[str]) -> None:
    # What the system can tell apart are bytes; a surrogate may complete a character.
    whole = {os.fsencode(name) for name in names}
    assert len({utf8(os.fsdecode(name)) for name in whole}) == len(whole)
    assert all(path_of(as_uri(os.fsdecode(name))) == os.fsdecode(name) for name in whole)


def test_folders_that_are_linked_to_each_other(tmp_path: Path) -> None:
    for one in range(8):
        touch(tmp_path, f"f{one}/x.jpg")
        for other in range(8):
            (tmp_path / f"f{one}" / f"to{other}").symlink_to(tmp_path / f"f{other}")
    source = FolderSource(tmp_path)
    (batch,) = source.list()
    assert batch["id"].to_pylist() == [f"f{n}/x.jpg" for n in range(8)]
    assert source.aside == {LINKED: 64}
    assert sorted(files_below(str(tmp_path))) == batch["id"].to_pylist()


def test_a_folder_outside_is_followed_by_the_first_link(tmp_path: Path) -> None:
    touch(tmp_path, "out/x.jpg")
    touch(tmp_path, "in/y.jpg")
    for name in ("b", "a"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "out")
    (tmp_path / "out" / "up").symlink_to(tmp_path / "in")
    assert listed(tmp_path / "in")["id"].to_pylist() == ["a/x.jpg", "y.jpg"]


def test_a_hidden_folder_is_followed_by_the_first_link(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/x.jpg", "sub/.old/z.jpg", "y.jpg")
    for name in ("b", "a"):
        (tmp_path / name).symlink_to(".cache")
    (tmp_path / "c").symlink_to("sub/.old")
    (tmp_path / "d").symlink_to(".")
    assert listed(tmp_path)["id"].to_pylist() == ["a/x.jpg", "c/z.jpg", "y.jpg"]
    below = sorted(name for name in files_below(str(tmp_path)) if "/." not in f"/{name}")
    assert below == ["a/x.jpg", "c/z.jpg", "y.jpg"]


def test_a_link_to_itself_is_one_reject(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "b").symlink_to("b")
    items = listed(tmp_path)
    assert items["id"].to_pylist() == ["a.jpg", "b"]
    with pytest.raises(RejectedItem, match="Too many levels"):
        read_item(items["uri"][1].as_py(), CAP)


def test_a_path_that_is_too_long_costs_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    start = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(20):  # deeper than any path from the root can say
            Path("n" * 250).mkdir()
            os.chdir("n" * 250)
        Path("deep.jpg").write_bytes(b"x")
    finally:
        os.chdir(start)
    source = FolderSource(tmp_path)
    assert [name for batch in source.list() for name in batch["id"].to_pylist()] == ["a.jpg"]
    assert source.aside == {BEYOND: 1}
    assert list(files_below(str(tmp_path))) == ["a.jpg"]
    subprocess.run(["rm", "-r", str(tmp_path / ("n" * 250))], check=True)


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
