"""What is trained on and held out: every image on one side, with all of its views."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, train_test_split

from raypipe.errors import UsageError
from raypipe.fit.evaluate.holdout import hold_out, validation_rows
from raypipe.rows.features import Features
from raypipe.rows.order import permutation


def features(
    images: int = 60, views: int = 1, splits: list[str | None] | None = None, classes: int = 3
) -> Features:
    """`images` images of `classes` classes, sorted by id as a store gives them."""
    ids = np.repeat(np.array([f"i{n:04d}" for n in range(images)], dtype=object), views)
    labels = np.repeat(np.array([f"c{n % classes}" for n in range(images)], dtype=object), views)
    part = np.repeat(np.array(splits or [None] * images, dtype=object), views)
    view = np.tile(np.arange(views, dtype=np.int32), images)
    return Features(ids, labels, part, view, np.arange(images * views, dtype=np.float32)[:, None])


def options(**changes: object) -> dict[str, object]:
    return {"test_size": 0.25, "cv": 3, "seed": 42, **changes}


def test_without_views_it_is_scikit_learns_split() -> None:
    data = features()
    parts = hold_out(data, "auto", **options())
    train, test = train_test_split(
        np.arange(60), test_size=0.25, stratify=data.labels, random_state=42
    )
    assert parts.how == "stratified"
    np.testing.assert_array_equal(parts.train, train)
    np.testing.assert_array_equal(parts.test, test)
    assert len(parts.folds) == 3


def test_the_first_part_of_shuffled_images_trains() -> None:
    data = features()
    parts = hold_out(data, "shuffle", **options())
    shuffled = permutation(list(data.ids), data.views, "shuffle", 42)
    np.testing.assert_array_equal(parts.train, shuffled[:45])
    np.testing.assert_array_equal(parts.test, shuffled[45:])
    usual = StratifiedKFold(3).split(parts.train, data.labels[parts.train])
    for ours, theirs in zip(parts.folds, usual, strict=True):
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_at_random_is_scikit_learns_split_in_natural_order() -> None:
    data = features()
    parts = hold_out(data, "random", **options(test_size=0.333334, seed=1))
    natural = permutation(list(data.ids), data.views, "natural", 0)
    train, test = train_test_split(natural, test_size=0.333334, random_state=1)
    np.testing.assert_array_equal(parts.train, train)
    np.testing.assert_array_equal(parts.test, test)
    assert validation_rows(data, parts, 0.0, 1) == (parts.train, parts.test)


@pytest.mark.parametrize("how", ["stratified", "hash", "store", "shuffle", "random"])
def test_views_of_one_image_never_straddle(how: str) -> None:
    splits = [("train", "train", "train", "test")[n // 3 % 4] for n in range(60)]
    data = features(views=4, splits=splits)
    parts = hold_out(data, how, **options())
    train, test = set(data.ids[parts.train]), set(data.ids[parts.test])
    assert not train & test
    assert train | test == set(data.ids)
    assert len(parts.train) == 4 * len(train)
    assert (data.views[parts.test] == 0).all()  # scored on the images themselves
    for fitted, scored in parts.folds:
        rows = parts.train[scored]
        assert not set(data.ids[parts.train[fitted]]) & set(data.ids[rows])
        assert (data.views[rows] == 0).all()


def test_the_stores_split_with_a_validation_part() -> None:
    splits = [("train", "train", "validation", "test", None)[n // 3 % 5] for n in range(60)]
    data = features(splits=splits)
    parts = hold_out(data, "auto", **options())
    assert parts.how == "store"
    assert set(data.splits[parts.train]) == {"train", "validation"}
    assert set(data.splits[parts.test]) == {"test"}
    ((fitted, scored),) = parts.folds
    assert set(data.splits[parts.train[fitted]]) == {"train"}
    assert set(data.splits[parts.train[scored]]) == {"validation"}


def test_usual_names_of_splits_are_understood_and_others_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    splits = [("train", "val", "Test", "extra")[n // 3 % 4] for n in range(60)]
    data = features(views=3, splits=splits)
    parts = hold_out(data, "auto", **options())
    assert (len(parts.train), len(parts.test)) == (90, 15)
    assert "15 images are in no split" in capsys.readouterr().err
    ((fitted, scored),) = parts.folds
    assert (data.views[parts.train[scored]] == 0).all()
    assert (len(fitted), len(scored)) == (45, 15)


def test_validation_is_held_out_where_there_is_no_test() -> None:
    splits = [("train", "train", "validation")[n // 3 % 3] for n in range(60)]
    parts = hold_out(features(splits=splits), "store", **options())
    assert (len(parts.train), len(parts.test), len(parts.folds)) == (42, 18, 3)


def test_hash_stays_put_as_the_set_grows() -> None:
    small, large = features(60), features(120)
    before = set(small.ids[hold_out(small, "hash", **options()).test])
    after = set(large.ids[hold_out(large, "hash", **options()).test])
    assert before == after & set(small.ids)


@pytest.mark.parametrize(
    ("data", "how", "changes", "words"),
    [
        (features(classes=1), "stratified", {}, "needs two classes or more; labels found: 'c0'"),
        (features(4), "stratified", {}, "every class needs two images or more"),
        (features(6), "stratified", {}, "--test-size: 0.25 of 6 images leaves 2 to test on"),
        (features(12), "stratified", {"cv": 9}, "--cv: 9 folds need 9 training images"),
        (features(2), "random", {"test_size": 0.9}, "got 0 training rows of 0 classes and 2 to"),
        (features(), "store", {}, "--split store: .* it has none"),
        (features(60, splits=["a", "b"] * 30), "store", {}, "it has 'a', 'b'"),
        (
            features(60, splits=["validation", "test"] * 30),
            "store",
            {},
            "--split store .train and validation.: needs two classes or more",
        ),
        (
            features(6, splits=["train", "train", "test"] * 2),
            "store",
            {},
            "'c2' only occur among the held-out images",
        ),
        (
            features(9, splits=["train"] * 6 + ["test"] * 3),
            "store",
            {},
            "--cv: 3 folds need 3 training images of every class; 'c0' has 2",
        ),
    ],
)
def test_what_cannot_be_split(
    data: Features, how: str, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        hold_out(data, how, **options(**changes))
