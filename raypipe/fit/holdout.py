"""What is trained on, validated on and held out: by image, so that its views stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from raypipe.errors import UsageError
from raypipe.rows.splits import by_hash, canonical

Labels = npt.NDArray[np.object_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Holdout:
    """Row numbers for each purpose.

    Attributes:
        how: the rule that was used.
        train: rows to fit on, views included.
        test: rows to score on; of each image only itself, not its views.
        folds: pairs of positions within `train`, to fit on and to validate on.
        left_out: images whose split is none of train, validation and test.
    """

    how: Literal["store", "stratified", "hash"]
    train: Rows
    test: Rows
    folds: list[tuple[Rows, Rows]]
    left_out: int = 0


def hold_out(
    data: Any,
    how: Literal["auto", "store", "stratified", "hash"],
    *,
    test_size: float,
    cv: int,
    seed: int,
) -> Holdout:
    """Split labelled rows for training and evaluation.

    With the store's own split, `test` is held out (or `validation`, if there is no test); a
    validation part beside a test part takes the place of the folds.

    Args:
        data: `store.features.Rows`; every row has a label.
        how: the store's split, a stratified random one, one by hash of the id, or `auto`: the
            store's if it has one.
        test_size: share that is held out (not with the store's split).
        cv: number of folds; 0 makes none.
        seed: of the stratified split and of the folds.

    Raises:
        UsageError: naming the classes and counts that cannot be split so.
    """
    if how == "auto":
        how = "store" if any(split is not None for split in data.splits) else "stratified"
    first = np.flatnonzero(data.views == 0)
    ids, labels = data.ids[first], data.labels[first]
    validation: npt.NDArray[np.bool_] | None = None
    if how == "stratified":
        _check_stratified(labels, cv=cv, test_size=test_size)
        fitted, held = train_test_split(
            np.arange(len(ids)), test_size=test_size, stratify=labels, random_state=seed
        )
    elif how == "hash":
        part = np.array(by_hash(list(ids), (1 - test_size, test_size)), dtype=object)
        fitted, held = np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
    else:
        part = np.array([canonical(split) for split in data.splits[first]], dtype=object)
        _check_store_split(part)
        validation = part == "validation" if {"test", "validation"} <= set(part) else None
        scored = "test" if "test" in part else "validation"
        held = np.flatnonzero(part == scored)
        fitted = np.flatnonzero(np.isin(part, list({"train", "validation"} - {scored})))
    left_out = len(ids) - len(fitted) - len(held)
    train, test = _with_views(first, fitted, len(data)), first[held]
    _check_parts(data.labels, train, test, how)
    if validation is None:
        folds = list(_folds(data, train, cv, seed)) if cv else []
        return Holdout(how, train, test, folds, left_out)
    image = np.cumsum(data.views == 0) - 1  # of each row; its views follow it
    outside = validation[image[train]]
    fold = np.flatnonzero(~outside), np.flatnonzero(outside & (data.views[train] == 0))
    _check_parts(data.labels, train[fold[0]], train[fold[1]], "store (train and validation)")
    return Holdout(how, train, test, [fold], left_out)


def _check_store_split(part: Labels) -> None:
    if not {"train", "validation", "test"} & set(part):
        found = ", ".join(sorted({repr(split) for split in part if split is not None})) or "none"
        raise UsageError(
            "--split store: the store's splits must be train, validation and test (or valid, val, "
            f"dev, …); it has {found}; give --split stratified, or extract with --split"
        )


def _with_views(first: Rows, images: Rows, rows: int) -> Rows:
    """Return all rows of some images; an image's rows follow its first one."""
    end = np.append(first[1:], rows)
    return np.concatenate([np.empty(0, np.int64), *(np.arange(first[i], end[i]) for i in images)])


def _folds(data: Any, train: Rows, cv: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    labels, ids = data.labels[train], data.ids[train]
    own = data.views[train] == 0
    _check_folds(labels[own], cv)
    if own.all():
        yield from StratifiedKFold(cv, shuffle=True, random_state=seed).split(ids, labels)
        return
    grouped = StratifiedGroupKFold(cv, shuffle=True, random_state=seed)
    for fitted, scored in grouped.split(ids, labels, groups=ids):
        yield fitted, scored[own[scored]]


def _check_folds(labels: Labels, cv: int) -> None:
    smallest, name = min((count, name) for name, count in Counter(labels).items())
    if smallest < cv:
        raise UsageError(
            f"--cv: {cv} folds need {cv} training images of every class; {name!r} has {smallest}; "
            "give a smaller --cv"
        )


def _check_parts(labels: Labels, train: Rows, test: Rows, how: str) -> None:
    """Make sure that there is something to fit on and to score on, of the same classes."""
    known = set(labels[train])
    if len(known) < 2 or not len(test):
        raise UsageError(
            f"--split {how}: needs two classes or more to train on and images to test on; got "
            f"{len(train)} training rows of {len(known)} classes and {len(test)} to test on"
        )
    if unknown := sorted(set(labels[test]) - known):
        raise UsageError(
            f"--split {how}: {_some(unknown)} only occur among the held-out images, so that "
            "nothing can be learned of them; give --split stratified, or more images"
        )


def _check_stratified(labels: Labels, *, cv: int, test_size: float) -> None:
    """Make sure that every class can be split and cross-validated."""
    counts = Counter(labels)
    if len(counts) < 2:
        found = ", ".join(map(repr, counts)) or "none"
        raise UsageError(f"STORE: a classifier needs two classes or more; labels found: {found}")
    single = [name for name, count in counts.items() if count < 2]
    if single:
        raise UsageError(
            f"STORE: every class needs two images or more; only one has: {_some(single)}"
        )
    held_out = int(np.ceil(test_size * len(labels)))
    if min(held_out, len(labels) - held_out) < len(counts):
        raise UsageError(
            f"--test-size: {test_size} of {len(labels)} images leaves {held_out} to test on and "
            f"{len(labels) - held_out} to train on; {len(counts)} classes need one each in both"
        )
    smallest, name = min((count, name) for name, count in counts.items())
    training = smallest - int(np.ceil(test_size * smallest))
    if training < cv:
        raise UsageError(
            f"--cv: {cv} folds need {cv} training images of every class; {name!r} has "
            f"{smallest}, about {training} of them for training; give a smaller --cv or --test-size"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, sorted(names)[:5])) + more
