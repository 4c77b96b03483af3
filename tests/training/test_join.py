"""Clusters written beside the rows of a user's own CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import raypipe
from raypipe.errors import UsageError
from raypipe.training.join import check_some_are_there, join_clusters, order_of, read_ids
from tests.support.sharded import store_of

CLUSTERS = {"a/1.jpg": 3, "a/2.jpg": 0, "b/2.jpg": 4, "b/9": 1}


def joined(tmp_path: Path, text: str) -> list[list[str]]:
    (tmp_path / "images.csv").write_text(text, encoding="utf-8")
    out = tmp_path / "joined.csv"
    table = read_ids(str(tmp_path / "images.csv"))
    check_some_are_there(table, list(CLUSTERS))
    join_clusters(table, CLUSTERS, out)
    return list(csv.reader(out.open(newline="")))


def test_every_row_stays_and_gets_its_cluster(tmp_path: Path) -> None:
    rows = joined(tmp_path, 'note,id\n"x, y",a/1.jpg\nz,b/9\nlost,c/1.jpg\n')
    assert rows == [
        ["note", "id", "cluster"],
        ["x, y", "a/1.jpg", "3"],
        ["z", "b/9", "1"],
        ["lost", "c/1.jpg", ""],
    ]


def test_ids_may_lack_extension_and_folders_where_that_is_unique(tmp_path: Path) -> None:
    rows = joined(tmp_path, "\ufeffname\na/1\n1\n1.jpg\n2\n9\n")
    assert [row[1] for row in rows[1:]] == ["3", "3", "3", "", "1"]  # there are two called 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("id,cluster\na/1.jpg,2\n", "has a column 'cluster' already"),
        ("id,b\na/1.jpg\n", "line 2 of .* has 1 fields, the header 2"),
        ("id,id\na/1,b/9\n", "has two columns 'id'"),
        ("id\nnone.jpg\n", "no id of the file is in the store; the file has 'none.jpg'"),
    ],
)
def test_what_cannot_be_joined(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        joined(tmp_path, text)


def test_a_named_column_is_replaced_where_it_is(tmp_path: Path) -> None:
    table, out = tmp_path / "images.csv", tmp_path / "joined.csv"
    table.write_text("label,ImageID,price\nold,b/9,2\nold,a/1,3\n")
    join_clusters(read_ids(str(table), "ImageID", "label"), CLUSTERS, out)
    rows = list(csv.reader(out.open(newline="")))
    assert rows == [["label", "ImageID", "price"], ["1", "b/9", "2"], ["3", "a/1", "3"]]
    with pytest.raises(UsageError, match=r"--join-id: the columns .* are label, .*; got 'no'"):
        read_ids(str(table), "no")
    with pytest.raises(UsageError, match="--join-column: 'ImageID' holds the ids"):
        read_ids(str(table), "ImageID", "ImageID")


def test_order_is_that_of_the_table_or_refused(tmp_path: Path) -> None:
    table = tmp_path / "images.csv"
    for text, words in (
        ("id\n9\n1\n", "must name every image of the store; 1 are not in it, as '2.jpg'"),
        ("id\n9\n2\n1\n1.jpg\n", "must name each image once; '1.jpg' is there twice"),
    ):
        table.write_text(text)
        with pytest.raises(UsageError, match=words):
            order_of(read_ids(str(table)), ["1.jpg", "2.jpg", "9.jpg"])
    table.write_text("id\n9\nreject\n1\n2\n")
    found = order_of(read_ids(str(table)), ["1.jpg", "2.jpg", "9.jpg"])
    assert found.tolist() == [2, 0, 1]


def test_order_needs_the_table_and_all_features_in_memory(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", np.eye(8, dtype=np.float32)).uri
    table, out = tmp_path / "images.csv", tmp_path / "out"
    table.write_text("id\n" + "".join(f"{n:08d}\n" for n in range(8)))
    given: dict[str, object] = {"k": "2", "out": str(out), "order": "csv"}
    with pytest.raises(UsageError, match="--order csv goes with --join; give --join FILE"):
        raypipe.cluster(store, **given)
    words = "--order csv needs all features in memory, .* got --engine ray, .* give --order id"
    for ray in ({"engine": "ray"}, {"init": "k-means||"}):
        with pytest.raises(UsageError, match=words):
            raypipe.cluster(store, **given, **ray, join=str(table))
    assert not list(out.glob("*"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--join: cannot read"):
        read_ids(str(tmp_path / "none.csv"))
