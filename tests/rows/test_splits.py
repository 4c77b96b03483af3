"""Splits and orders: who goes where, and that it stays so."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from raypipe.errors import UsageError
from raypipe.rows.order import natural_key, permutation
from raypipe.rows.splits import by_hash, names, stratified

IDS = [f"{'ab'[i % 2]}/{i}.jpg" for i in range(1000)]
LABELS = [i[0] for i in IDS]


def test_names() -> None:
    assert names((0.8, 0.1, 0.1)) == ("train", "validation", "test")
    assert names((0.75, 0.25)) == ("train", "test")


def test_hash_meets_the_shares_and_stays_put() -> None:
    counts = Counter(by_hash(IDS, (0.8, 0.1, 0.1)))
    assert 760 < counts["train"] < 840
    assert min(counts["validation"], counts["test"]) > 70
    assert by_hash(IDS[::-1], (0.8, 0.1, 0.1))[::-1] == by_hash(IDS, (0.8, 0.1, 0.1))
    assert by_hash(IDS[3:9], (0.8, 0.1, 0.1)) == by_hash(IDS, (0.8, 0.1, 0.1))[3:9]
    # The first 64 bits of the SHA-256 of "a": 0xca978112ca1bbdca, 0.791 of the way.
    assert by_hash(["a"], (0.79, 0.21)) == ["test"]
    assert by_hash(["a"], (0.80, 0.20)) == ["train"]


def test_stratified_shares_out_each_class_alike() -> None:
    found = stratified(IDS, LABELS, (0.8, 0.1, 0.1), 0)
    counts = Counter(zip(LABELS, found, strict=True))
    assert counts == {
        (label, split): n
        for label in "ab"
        for split, n in {"train": 400, "validation": 50, "test": 50}.items()
    }
    assert (found != stratified(IDS, LABELS, (0.8, 0.1, 0.1), 1)).any()


def test_stratified_depends_on_the_items_alone_and_keeps_views_together() -> None:
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(1000), 3))
    found = stratified([IDS[i] for i in order], [LABELS[i] for i in order], (0.5, 0.5), 7)
    whole = stratified(IDS, LABELS, (0.5, 0.5), 7)
    assert (found == whole[order]).all()


def test_unlabelled_rows_are_a_class() -> None:
    labels = [None if i % 10 == 0 else label for i, label in enumerate(LABELS)]
    found = stratified(IDS, labels, (0.9, 0.1), 0)
    counts = Counter(split for split, label in zip(found, labels, strict=True) if label is None)
    assert counts == {"train": 90, "test": 10}


def test_too_small_classes_are_named() -> None:
    with pytest.raises(UsageError, match=r"at least 3 items of each class.*got 'c' \(2\); add"):
        stratified([*IDS, "x", "y"], [*LABELS, "c", "c"], (0.8, 0.1, 0.1), 0)
    with pytest.raises(UsageError, match=r"got unlabelled \(1\)"):
        stratified([*IDS, "x"], [*LABELS, None], (0.8, 0.2), 0)
    with pytest.raises(UsageError, match="test would have 0 of 4 items, fewer than the 2 classes"):
        stratified(["a", "b", "c", "d"], ["a", "a", "b", "b"], (0.9, 0.1), 0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(3, 9), min_size=1, max_size=8),
    st.sampled_from([(0.4, 0.3, 0.3), (0.2, 0.4, 0.4), (0.34, 0.33, 0.33), (0.6, 0.4), (0.3, 0.7)]),
    st.integers(0, 5),
)
def test_each_class_is_in_each_part(sizes: list[int], shares: tuple[float, ...], seed: int) -> None:
    labels = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    ids = [f"{i}" for i in range(len(labels))]
    try:
        found = stratified(ids, labels, shares, seed)
    except UsageError:
        reject()  # a part with fewer items than there are classes
    pairs = set(zip(labels, found, strict=True))
    assert len(pairs) == len(sizes) * len(shares)


def test_natural_order() -> None:
    texts = ["b10", "b2", "b02", "a/10/1.jpg", "a/9/12.jpg", "10", "9", "x"]
    expected = ["9", "10", "a/9/12.jpg", "a/10/1.jpg", "b02", "b2", "b10", "x"]
    assert sorted(texts, key=natural_key) == expected


def test_orders_do_not_depend_on_how_rows_came_in() -> None:
    ids = [f"{i}" for i in range(30) for _ in range(2)]
    views = np.array([0, 1] * 30, np.int32)
    mixed = np.random.default_rng(1).permutation(60)
    for order in ("id", "natural", "shuffle"):
        rows = permutation(ids, views, order, 5)
        again = mixed[permutation([ids[i] for i in mixed], views[mixed], order, 5)]
        assert (rows == again).all()
    natural = permutation(ids, views, "natural", 5)
    assert natural.tolist() == list(range(60))
    shuffled = permutation(ids, views, "shuffle", 5)
    assert sorted(shuffled) == list(range(60))
    assert (shuffled != permutation(ids, views, "shuffle", 6)).any()
