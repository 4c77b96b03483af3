"""Labels, splits, selection: the same rules for every kind of source."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.cli.options import resolve
from raypipe.config import ExtractConfig, LabelConfig, SourceConfig
from raypipe.errors import UsageError
from raypipe.sources import open_source
from tests.support.sources import csv_of, ids, jsonl_of, labels, listed, tar_of, zip_of

NAMES = ["top.1.jpg", "train/cat/cat.1.jpg", "train/dog/dog_2.jpg", "Val/cat/cat-10.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"x")
    return tmp_path / "set"


def splits(source: object, **options: object) -> dict[str, str | None]:
    table = listed(source, **options)
    return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_auto_is_the_folder_for_folders_and_zips(folder: Path, tmp_path: Path) -> None:
    expected = dict(zip(NAMES, [None, "cat", "dog", "cat"], strict=True))
    assert labels(folder) == expected
    assert labels(zip_of(tmp_path / "z.zip", dict.fromkeys(NAMES, b"x"))) == expected
    auto = [
        open_source(SourceConfig(source=str(path))).auto_label
        for path in (folder, tmp_path / "z.zip", folder / "top.1.jpg")
    ]
    assert auto == ["folder", "folder", "column"]


def test_auto_is_the_column_for_tables_and_shards(tmp_path: Path) -> None:
    rows = [{"uri": "cat/1.jpg", "label": "felis"}, {"uri": "cat/2.jpg", "label": ""}]
    source = csv_of(tmp_path / "t.csv", rows)
    assert list(labels(source).values()) == ["felis", None]
    assert list(labels(source, label="folder").values()) == ["cat", "cat"]
    assert list(labels(source, label="none").values()) == [None, None]
    shard = tar_of(tmp_path / "s.tar", {"a/1.jpg": b"1", "a/1.cls": b"5"})
    assert labels(shard) == {"s/a/1": "5"}
    assert labels(shard, label="folder") == {"s/a/1": "a"}


SCENES = ["apartment/outdoor/1.jpg", "church/outdoor/2.jpg", "church/2/café/3.jpg", "4.jpg"]


def test_folders_of_one_last_name_are_never_one_class_in_silence(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", dict.fromkeys(SCENES, b"x"))
    for options in ({}, {"label": "folder"}):
        with pytest.raises(
            UsageError,
            match=r"--label: the folders 'apartment/outdoor' and 'church/outdoor' .*class 'outdoor'"
            r".*folder:path.*folder:first \('apartment' and 'church'\), folder:last",
        ):
            labels(source, **options)
    assert ids(source, label="none") == sorted(SCENES)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        ("first", ["apartment", "church", "church", None]),
        ("last", ["outdoor", "outdoor", "café", None]),
        ("path", ["apartment/outdoor", "church/outdoor", "church/2/café", None]),
    ],
)
@pytest.mark.parametrize("top", ["", "train/", "Val/"])
def test_depth_of_folders(depth: str, expected: list[str | None], top: str, tmp_path: Path) -> None:
    names = [top + name.replace("é", "e\u0301") if "/" in name else name for name in SCENES]
    found = labels(zip_of(tmp_path / "z.zip", dict.fromkeys(names, b"x")), label=f"folder:{depth}")
    assert sorted(map(str, found.values())) == sorted(map(str, expected))
    assert found[names[0]] == expected[0]


def test_shards_are_no_classes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        members = {f"train/cat/{name}.jpg": b"1", f"dog/{name}.jpg": b"2"}
        tar_of(tmp_path / f"{name}.tar", members)
    for depth in ("folder", "folder:first", "folder:path"):
        found = labels(tmp_path / "*.tar", label=depth)
        assert found == {
            f"{n}/{k}/{n}": k.rpartition("/")[2] for n in "ab" for k in ("train/cat", "dog")
        }


def test_dates_above_a_folder_do_not_make_another_class_of_it(tmp_path: Path) -> None:
    for day in ("2026/11/21", "2026/11/22"):
        (tmp_path / day / "cam1").mkdir(parents=True)
        (tmp_path / day / "cam1" / "1.jpg").touch()
    assert set(labels(tmp_path).values()) == {"cam1"}


def test_dates_are_labels_only_if_asked_for(tmp_path: Path) -> None:
    names = ["2026/11/21/1.jpg", "2026/12/21/2.jpg", "7/3.jpg", "train/8/4.jpg"]
    source = zip_of(tmp_path / "z.zip", dict.fromkeys(names, b"x"))
    assert labels(source) == dict(zip(names, [None, None, "7", "8"], strict=True))
    assert labels(source, label="folder:last")[names[0]] == "21"


def test_plain_listing_has_no_labels(folder: Path) -> None:
    table = pa.Table.from_batches(
        open_source(SourceConfig(source=str(folder), glob="*cat*")).list()
    )
    assert table["label"].to_pylist() == [None, None]


def test_filename(folder: Path) -> None:
    found = labels(folder, label="filename")
    assert found == dict(zip(NAMES, ["top", "cat", "dog", "cat"], strict=True))
    found = labels(folder, label="filename", label_pattern=r"_(\d+)")
    assert found == dict(zip(NAMES, [None, None, "2", None], strict=True))


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "expected a regular expression"), ("x+", "expected a group")]
)
def test_bad_pattern_before_any_work(pattern: str, message: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=f"--label filename: {message}"):
        open_source(LabelConfig(source=str(folder), label="filename", label_pattern=pattern))


@pytest.mark.parametrize("kind", ["folder", "zip", "file", "tar"])
def test_column_where_there_are_none(kind: str, folder: Path, tmp_path: Path) -> None:
    source = {"folder": folder, "file": folder / "top.1.jpg"}.get(kind)
    if kind == "tar":
        with tarfile.open(source := tmp_path / "t.tar", "w") as tar:
            tar.add(folder / "top.1.jpg", "top.jpg")
    source = source or zip_of(tmp_path / "z.zip", {"a.jpg": b"x"})
    for option in ("id_column", "image_column"):
        words = f"--{option.replace('_', '-')}: no column 'name' in .*it has none"
        with pytest.raises(UsageError, match=words):
            listed(source, **{option: "name"})
    if kind == "tar":  # labels may stand beside each image
        return
    with pytest.raises(UsageError, match="--label column: no column 'label' in .*it has none"):
        listed(source, label="column")
    with pytest.raises(UsageError, match="--split column: no column 'split' in .*it has none"):
        listed(source, split="column")


def test_label_file(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "train/cat/cat.1.jpg", "kind": "A"},
        {"id": "train/dog/dog_2", "kind": "B"},
        {"id": "cat-10", "kind": "not by base name"},
    ]
    file = str(csv_of(tmp_path / "labels.csv", rows))
    expected = dict(zip(NAMES, [None, "A", "B", None], strict=True))
    assert labels(folder, label_file=file) == expected
    assert labels(folder, label_file=file, label_column="kind") == expected
    with pytest.raises(UsageError, match="--label file: no column 'sort' in .*it has 'id', 'kind'"):
        labels(folder, label_file=file, label_column="sort")


def test_label_file_that_cannot_be_meant(folder: Path, tmp_path: Path) -> None:
    file = csv_of(tmp_path / "labels.csv", [{"id": "cat.1.jpg", "label": "A"}])
    with pytest.raises(UsageError, match=r"none of the ids.*'cat\.1\.jpg'.*'Val/cat/cat-10\.jpg'"):
        labels(folder, label_file=str(file))
    twice = [{"id": "a", "label": "A"}, {"id": "a", "label": "B"}]
    file = csv_of(tmp_path / "labels.csv", twice)
    with pytest.raises(UsageError, match="two labels for 'a'"):
        labels(folder, label_file=str(file))
    with pytest.raises(UsageError, match="--label file: cannot read"):
        labels(folder, label_file=str(tmp_path / "none.csv"))
    file.write_text("id,label\na\n")
    with pytest.raises(UsageError, match="--label file: .*1 values in row 1"):
        labels(folder, label_file=str(file))


def images(tmp_path: Path, *names: str) -> Path:
    return zip_of(tmp_path / "z.zip", dict.fromkeys(names, b"x"))


@pytest.mark.parametrize(
    "text",
    [
        "1.jpg,cat\n2.jpg,dog\n",  # without a header
        "2.jpg;dog\n1.jpg;cat\n",
        "filename,width,height,class\n1.jpg,10,12,cat\n2.jpg,10,12,dog\n",
        "class,file_name\ncat,1.jpg\ndog,2.jpg\n",
        "label, id\ncat, 1\n dog ,2\n",
        "what,kind\n1.jpg,cat\n2,dog\n",
        "kind,image_id\ncat,1.jpg\ndog,2.jpg\n",
    ],
)
def test_columns_of_a_label_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    source, file = images(tmp_path, "1.jpg", "2.jpg"), str(tmp_path / "labels.csv")
    assert labels(source, label_file=file) == {"1.jpg": "cat", "2.jpg": "dog"}


def test_a_class_with_the_name_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("1.jpg,y\n2.jpg,n\n")
    found = labels(images(tmp_path, "1.jpg", "2.jpg"), label_file=str(tmp_path / "l.csv"))
    assert found == {"1.jpg": "y", "2.jpg": "n"}


@pytest.mark.parametrize(
    "text", ["1.jpg,10,cat\n", "filename,width,height\n1.jpg,1,1\n", "id\n1\n"]
)
def test_columns_of_a_label_file_that_cannot_be_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(
        UsageError, match="expected a column of ids and one of labels.*file:PATH:ID,LABEL"
    ):
        labels(images(tmp_path, "1.jpg"), label_file=str(tmp_path / "labels.csv"))


def test_ids_of_a_label_file_are_compared_alike(tmp_path: Path) -> None:
    source = images(tmp_path, "a/cafe\u0301.jpg", "b/café.jpg", "c\\1.jpg")
    rows = [("a\\café.jpg", "A"), ("b/cafe\u0301", "B"), ("c/1.jpg", "C")]
    file = csv_of(tmp_path / "l.csv", [{"id": name, "label": label} for name, label in rows])
    assert sorted(labels(source, label_file=str(file)).values()) == ["A", "B", "C"]


def test_what_a_label_file_does_not_match_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "l.csv").write_text("what,kind\n1,A\n2,\n8,B\n9,B\n")
    options = {"source": str(images(tmp_path, *(f"{i}.jpg" for i in range(1, 6))))}
    source = open_source(LabelConfig(**options, label_file=str(tmp_path / "l.csv")))
    for _ in range(2):  # each listing counts anew
        found = pa.Table.from_batches(source.list())["label"].to_pylist()
        assert found == ["A", None, None, None, None]
        assert source.labels_not_found == {
            "an image that the label file does not name": 3,
            "a row of the label file that names no image": 2,
        }
    said = capsys.readouterr().err
    assert "3 of 5 images are not in it, as '3.jpg'; 2 of its rows name no image, as '8'" in said


def test_splits_by_folder(folder: Path) -> None:
    assert set(splits(folder).values()) == {None}
    expected = dict(zip(NAMES, [None, "train", "train", "validation"], strict=True))
    assert splits(folder, split="folder") == expected


def test_splits_by_column(tmp_path: Path) -> None:
    rows = [{"uri": "a", "split": "Fold 7"}, {"uri": "b", "split": ""}]
    source = jsonl_of(tmp_path / "t.jsonl", rows)
    assert splits(source, split="column") == {"a": "Fold 7", "b": None}
    assert splits(source) == {"a": None, "b": None}


def test_splits_by_hash_stay_when_the_set_grows(tmp_path: Path) -> None:
    small = csv_of(tmp_path / "s.csv", [{"uri": f"{i}.jpg"} for i in range(500)])
    large = csv_of(tmp_path / "l.csv", [{"uri": f"{i}.jpg"} for i in range(1000)])
    options = {"split": "hash", "split_sizes": "0.6,0.2,0.2"}
    found = splits(large, **options)
    assert splits(small, **options).items() <= found.items()
    counts = [list(found.values()).count(name) for name in ("train", "validation", "test")]
    assert sum(counts) == 1000
    assert all(abs(n - e) < 60 for n, e in zip(counts, (600, 200, 200), strict=True))


def test_limit_by_label_in_natural_order(tmp_path: Path) -> None:
    names = [f"{kind}/{i}.jpg" for kind in "ab" for i in (1, 2, 10, 20)]
    source = zip_of(tmp_path / "z.zip", dict.fromkeys([*names, "free.jpg"], b"x"))
    expected = [f"{kind}/{i}.jpg" for kind in "ab" for i in (1, 2)]
    assert ids(source, label_limit=2) == [*expected, "free.jpg"]
    assert len(ids(source, label_limit=100)) == 9


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        (["*.jpg"], NAMES),
        (["*cat*"], ["Val/cat/cat-10.jpg", "train/cat/cat.1.jpg"]),
        (["train/*.jpg"], []),
        (["train/*/*.jpg"], NAMES[1:3]),
        (["train/**/*.jpg"], NAMES[1:3]),
        (["**/cat/*"], ["Val/cat/cat-10.jpg", "train/cat/cat.1.jpg"]),
        (["[tV]*/**"], ["Val/cat/cat-10.jpg", *NAMES[1:3]]),
        (["top.?.jpg", "dog*"], ["top.1.jpg", "train/dog/dog_2.jpg"]),
        (["top[!1]1.jpg"], ["top.1.jpg"]),
        (["*.JPG"], []),
        (["(top.1.jpg", "*["], []),
    ],
)
def test_glob(glob: list[str], expected: list[str], folder: Path) -> None:
    assert ids(folder, glob=glob) == sorted(expected)


def test_selections_that_leave_nothing(folder: Path) -> None:
    config = LabelConfig(source=str(folder), glob="none*", label_limit=2)
    assert sum(len(batch) for batch in open_source(config).list()) == 0


def test_a_split_that_no_image_has(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "1.png").touch()
    config = LabelConfig(source=str(tmp_path / "photos"), split="folder")
    with pytest.raises(UsageError, match="not one of 1 images has a split; the top"):
        list(open_source(config).list())


def test_labels_are_alike_in_unicode(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    for name in (composed, apart):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.png").touch()
    assert set(labels(tmp_path / "set").values()) == {composed}
    rows = [{"uri": "1", "label": composed}, {"uri": "2", "label": f" {apart} "}]
    assert set(labels(jsonl_of(tmp_path / "t.jsonl", rows)).values()) == {composed}


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"label": "column:kind"}, {"label": "column", "label_column": "kind"}),
        (
            {"label": r"filename:^(\w+):"},
            {"label": "filename", "label_pattern": r"^(\w+):"},
        ),
        ({"label": "file:a:b.csv"}, {"label_file": "a:b.csv"}),
        (
            {"label": "file:l.csv:name,kind"},
            {"label_file": "l.csv", "label_id": "name", "label_column": "kind"},
        ),
        ({"split": "column:part"}, {"split": "column", "split_column": "part"}),
        ({"split": "hash:0.5,0.5"}, {"split": "hash", "split_sizes": "0.5,0.5"}),
    ],
)
def test_old_options_are_the_new_ones_with_one_warning(
    new: dict[str, str], old: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = resolve(LabelConfig, {"source": "s", **new}, environment={})
    assert not capsys.readouterr().err
    assert resolve(LabelConfig, {"source": "s", **old}, environment={}) == config
    said = capsys.readouterr().err
    for name in old.keys() - {"label", "split"}:
        assert said.count(f"--{name.replace('_', '-')} is to go in the next release; give") == 1
    assert resolve(LabelConfig, {"source": "s", **old, **new}, environment={}) == config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"label": "folders"},
            "--label must be auto, folder, .*file:PATH.* or none; got 'folders'",
        ),
        ({"label": "column:"}, "--label must be auto"),
        ({"label": "folder:all"}, "--label must be auto"),
        ({"split": "stratified"}, r"--split must be none, folder, .*hash\[:SHARES\]; got"),
        ({"split": "hash:2,3"}, "two or three positive shares.*got '2,3'"),
        (
            {"label": "column:a", "label_column": "b"},
            "--label and --label-column: expected one of them; got 'column:a' and 'b': leave",
        ),
    ],
)
def test_rules_that_cannot_be_meant(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(LabelConfig, {"source": "s", **given}, environment={})


def test_columns_of_a_label_file_by_name(tmp_path: Path) -> None:
    file = tmp_path / "l.csv"
    file.write_text("label,genus,who\nx,cat,1\ny,dog,2\n")
    source = images(tmp_path, "1.jpg", "2.jpg")
    assert labels(source, label=f"file:{file}:who,genus") == {"1.jpg": "cat", "2.jpg": "dog"}
    with pytest.raises(UsageError, match="--label file: no column 'whom' in .*'who'"):
        labels(source, label=f"file:{file}:whom,genus")


NUMBERS: dict[str, tuple[np.ndarray, list[str | None]]] = {
    "whole": (np.array([1, -2, 3]), ["1", "-2", "3"]),
    "large": (
        np.array([2**53, 2**53 + 1, 2**63 - 1]),
        [str(2**53), str(2**53 + 1), str(2**63 - 1)],
    ),
    "unsigned": (np.array([0, 1, 2**64 - 1], np.uint64), ["0", "1", str(2**64 - 1)]),
    "floating": (np.array([1.0, 2.5, np.nan]), ["1", "2.5", None]),
    "half": (np.array([1.0, 2.5, np.nan], np.float16), ["1", "2.5", None]),
    "truth": (np.array([True, False, True]), ["true", "false", "true"]),
    "turned": (np.array([1, 2, 3], ">i4"), ["1", "2", "3"]),
}


@pytest.mark.parametrize("suffix", ["npz", "h5", "parquet"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_one_label_in_all_kinds_of_files(
    name: str, suffix: str, tmp_path: Path
) -> None:
    values, right = NUMBERS[name]
    path, images = tmp_path / f"s.{suffix}", np.zeros((3, 8, 9, 1), np.uint8)
    if suffix == "npz":
        np.savez(path, images=images, labels=values)
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file["images"], file["labels"] = images, values
    else:
        column = pa.array(values.astype(values.dtype.newbyteorder("=")))
        pq.write_table(pa.table({"image": [b"0", b"1", b"2"], "label": column}), path)
    assert list(labels(path).values()) == right


def test_enumerations_of_hdf5_have_names(tmp_path: Path) -> None:
    kind = h5py.enum_dtype({"cat": 0, "dog": 1})
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["images"] = np.zeros((3, 8, 9, 1), np.uint8)
        file["labels"] = np.array([1, 0, 7], kind)
    assert list(labels(tmp_path / "s.h5").values()) == ["dog", "cat", None]


def test_numbers_that_have_no_text(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 9, 1), np.uint8)
    np.savez(tmp_path / "s.npz", images=images, labels=np.array([1j, 2]))
    with pytest.raises(UsageError, match=r"'labels' .* has type complex128.*save it as text"):
        labels(tmp_path / "s.npz")


def test_a_byte_order_mark_is_no_part_of_a_label(tmp_path: Path) -> None:
    members = {"1.jpg": b"1", "1.cls": b"\xef\xbb\xbf5\r\n", "2.jpg": b"2", "2.cls": b"5"}
    members |= {"3.jpg": b"3", "3.json": b'\xef\xbb\xbf{"label": "5"}'}
    assert set(labels(tar_of(tmp_path / "s.tar", members)).values()) == {"5"}
    rows = {"image": [b"1", b"2"], "label": ["\ufeffcat", "cat"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    assert set(labels(tmp_path / "t.parquet").values()) == {"cat"}


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_what_is_no_label_in_a_sample_is_counted(label: object, tmp_path: Path) -> None:
    side = json.dumps({"label": label}).encode()
    source = tar_of(tmp_path / "s.tar", {"1.jpg": b"1", "1.json": side, "2.jpg": b"2"})
    selected = open_source(ExtractConfig(source=str(source), out="o"))
    found = pa.Table.from_batches(selected.list())["label"]
    assert found.null_count == len(found) == 2
    assert selected.labels_not_found == {"a .cls or .json member that cannot be read": 1}
