"""Folders of shards, tables and arrays, as the usual tools write them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from raypipe.config import LabelConfig
from raypipe.errors import UsageError
from raypipe.sources import open_source
from tests.support.sources import contents, ids, labels, listed, parquet_of, tar_of, zip_of


def aside(source: object, **options: object) -> dict[str, int]:
    opened = open_source(LabelConfig(source=str(source), **options))
    list(opened.list())
    return dict(opened.aside)


def put(path: Path, content: bytes | str = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def shard(path: Path, *keys: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {f"{key}.{end}": f"{key}{end}".encode() for key in keys for end in ("jpg", "txt")}
    return tar_of(path, members)


def table(path: Path, count: int, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return parquet_of(path, {"image": [b"%d" % i for i in range(count)], **columns})


def test_img2dataset(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path / f"0000{number}.tar", f"0000{number}0000", f"0000{number}0001")
        table(tmp_path / f"0000{number}.parquet", 2, url=["http://a/1", "http://a/2"])
        put(tmp_path / f"0000{number}_stats.json", "{}")
    assert ids(tmp_path) == [
        "00000/000000000",
        "00000/000000001",
        "00001/000010000",
        "00001/000010001",
    ]
    assert sorted(aside(tmp_path).values()) == [2, 2, 4]  # tables, statistics, captions


def test_webdataset_in_sub_folders(tmp_path: Path) -> None:
    shard(tmp_path / "train" / "00000.tar", "a", "b")
    shard(tmp_path / "val" / "00000.tar", "a")
    put(tmp_path / "README.md", "text")
    put(tmp_path / "train" / "00000.idx")
    assert ids(tmp_path) == ["train/00000/a", "train/00000/b", "val/00000/a"]
    splits = listed(tmp_path, split="folder")["split"].to_pylist()
    assert splits == ["train", "train", "validation"]
    assert contents(tmp_path)["val/00000/a"] == b"ajpg"


def test_shards_right_in_the_folder_have_the_ids_they_had(tmp_path: Path) -> None:
    shard(tmp_path / "s-000.tar", "k")
    assert ids(tmp_path) == ids(tmp_path / "s-000.tar") == ids(f"{tmp_path}/*.tar") == ["s-000/k"]


def test_hive_partitions_are_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": [b"1", b"2", b"3"], "label": ["a b", "ü/x", None]})
    ds.write_dataset(
        pa.Table.from_pandas(frame, preserve_index=False),
        tmp_path / "set",
        format="parquet",
        partitioning=ds.partitioning(pa.schema([("label", pa.string())]), flavor="hive"),
    )
    put(tmp_path / "set" / "_SUCCESS", b"")
    expected = ds.dataset(tmp_path / "set", partitioning="hive").to_table()
    pairs = dict(zip(expected["image"].to_pylist(), expected["label"].to_pylist(), strict=True))
    found, named = contents(tmp_path / "set"), labels(tmp_path / "set")
    assert {found[item]: label for item, label in named.items()} == pairs
    assert set(named.values()) == {"a b", "ü/x", None}


def test_a_partition_can_be_the_split_or_another_column(tmp_path: Path) -> None:
    table(tmp_path / "set" / "split=test" / "species=rose" / "0.parquet", 2)
    table(tmp_path / "set" / "split=train" / "species=iris" / "0.parquet", 1)
    found = listed(tmp_path / "set", label_column="species", split="column")
    assert found["label"].to_pylist() == ["rose", "rose", "iris"]
    assert found["split"].to_pylist() == ["test", "test", "train"]


def test_a_column_in_the_file_comes_before_one_in_its_path(tmp_path: Path) -> None:
    table(tmp_path / "set" / "label=path" / "0.parquet", 1, label=["file"])
    assert list(labels(tmp_path / "set").values()) == ["file"]


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001-abc123.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
    ],
)
def test_the_root_of_a_hugging_face_data_set(names: tuple[str, str], tmp_path: Path) -> None:
    for name, count in zip(names, (2, 1), strict=True):
        table(tmp_path / name, count, label=["cat", "dog"][:count])
    for name in ("README.md", ".gitattributes", "dataset_infos.json"):
        put(tmp_path / name)
    found = listed(tmp_path, split="column")
    assert Counter(found["split"].to_pylist()) == {"train": 2, "test": 1}
    assert Counter(found["label"].to_pylist()) == {"cat": 2, "dog": 1}
    assert sorted(aside(tmp_path).values()) == [1, 2]


def test_spark(tmp_path: Path) -> None:
    table(tmp_path / "part-00000-1f.snappy.parquet", 2)
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-1f.snappy.parquet.crc"):
        put(tmp_path / name)
    table(tmp_path / "_temporary" / "0" / "part-00001.parquet", 1)
    assert ids(tmp_path) == ["part-00000-1f.snappy/0", "part-00000-1f.snappy/1"]
    assert list(aside(tmp_path).values()) == [4]


def test_photographs_whose_names_begin_with_an_underscore(tmp_path: Path) -> None:
    """Cameras call them so."""
    names = ["_DSC0001.jpg", "_MG_0002.JPG", "_2026/3.jpg"]
    for name in [*names, "labels.csv"]:
        put(tmp_path / name)
    assert ids(tmp_path) == sorted([*names, "labels.csv"])
    shard(tmp_path / "a.tar", "k")
    with pytest.raises(UsageError, match=r"1 tar shards .*, 3 other files"):
        ids(tmp_path)


def test_array_files(tmp_path: Path) -> None:
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    (tmp_path / "b").mkdir()
    for name in ("a.h5", "b/a.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["images"], file["labels"] = images, ["x", "y"]
    np.savez(tmp_path / "c.npz", images=images, ids=np.array(["one", "two"]))
    assert ids(tmp_path) == ["a/0", "a/1", "b/a/0", "b/a/1", "one", "two"]
    assert labels(tmp_path)["b/a/1"] == "y"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a.tar", "b.jpg"], r"1 tar shards \(as 'a.tar'\), 1 other files \(as 'b.jpg'\)"),
        (["a.tar", "x/b.parquet"], r"1 tar shards \(as 'a.tar'\), 1 Parquet tables"),
        (["a.h5", "b.png"], "1 array files"),
        (["a.tar", "b.zip"], "1 files that cannot be read"),
        (["a.csv", "b.csv"], "holds no images, but 2 tables as 'a.csv'; give the table itself"),
        (["a.zip", "b.zip"], "2 files as 'a.zip', which cannot be read; give one .zip"),
        (["data-00000-of-00001.arrow", "state.json"], "save it as .parquet"),
        (["a.tfrecord"], "write WebDataset shards"),
        (["a.tar.zst"], "recompress it"),
        (["a.tar.xz", "b.tar.bz2"], "recompress it"),
        (["index.json", "shard.00000.mds"], "write WebDataset shards"),
    ],
)
def test_mixtures_and_what_cannot_be_read(files: list[str], said: str, tmp_path: Path) -> None:
    for name in files:
        put(tmp_path / name)
    with pytest.raises(UsageError, match=said):
        ids(tmp_path)


def test_images_with_a_table_or_text_beside_them_are_images(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/1.txt", "labels.csv", "README"):
        put(tmp_path / name)
    assert ids(tmp_path) == ["README", "a/1.jpg", "a/1.txt", "labels.csv"]


def test_many_loose_files_are_images_whatever_is_beside_them(tmp_path: Path) -> None:
    for number in range(1000):
        put(tmp_path / f"{number:04d}.jpg")
    shard(tmp_path / "z.tar", "a")
    assert len(ids(tmp_path)) == 1001


def test_a_link_to_a_folder_above_ends_the_search(tmp_path: Path) -> None:
    shard(tmp_path / "a" / "0.tar", "k")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert ids(tmp_path) == ["a/0/k"]


def test_samples_whose_only_image_has_another_name(tmp_path: Path) -> None:
    members = {"1.jfif": b"1", "2.heic": b"2", "2.json": b"{}", "3.img": b"3", "4.txt": b"4"}
    members |= {"5.jpg": b"5", "5.depth.exr": b"e", "noname": b"n", ".hidden": b"h"}
    source = tar_of(tmp_path / "s.tar", members)
    assert ids(source) == ["s/1", "s/2", "s/3", "s/5"]
    assert sorted(aside(source).values()) == [1, 1, 3]
    assert len(ids(source)) + sum(aside(source).values()) == len(members)


def test_a_glob_sees_a_members_extension(tmp_path: Path) -> None:
    members = {"a.jpg": b"1", "b.jpg": b"2", "b.mask.png": b"3", "c.mask.png": b"4"}
    source = tar_of(tmp_path / "s.tar", members)
    assert ids(source, glob=("*.jpg",)) == ["s/a", "s/b.jpg"]
    assert ids(source, glob=("*.mask.png",)) == ["s/b.mask.png", "s/c"]
    assert aside(source, glob=("*.jpg",)) == {"not matched by --glob": 2}


def test_what_is_left_aside_is_counted(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/.DS_Store", ".git/config", "b/2.jpg"):
        put(tmp_path / name)
    assert list(aside(tmp_path).values()) == [2]
    source = zip_of(
        tmp_path.with_suffix(".zip"), {"1.jpg": b"1", "__MACOSX/._1.jpg": b"", ".x": b""}
    )
    assert list(aside(source).values()) == [2]
    put(tmp_path / "b/3.jpg")
    assert aside(tmp_path, label_limit=1)["beyond --label-limit"] == 1


def test_tables_of_which_some_have_labels(tmp_path: Path) -> None:
    for name, columns in (("a", {"label": ["x"]}), ("b", {}), ("c", {"label": ["y"]})):
        parquet_of(tmp_path / f"{name}.parquet", {"image": [name.encode()], **columns})
    source = open_source(LabelConfig(source=str(tmp_path)))
    found = pa.Table.from_batches(source.list())
    assert found["label"].to_pylist() == ["x", None, "y"]
    counted = {"a row of a table without the others' column of labels": 1}
    assert source.labels_not_found == counted
    source = open_source(LabelConfig(source=str(tmp_path), label="none"))
    assert len(list(source.list())) == 3
    assert source.labels_not_found == {}
