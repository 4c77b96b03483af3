"""Parts to train on, to validate on and held out: by image, so that its views stay together."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raypipe.display import counted, say
from raypipe.errors import UsageError
from raypipe.rows.order import permutation
from raypipe.rows.splits import by_hash, canonical, stratified

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
    """

    how: Literal["store", "stratified", "hash", "shuffle", "random"]
    train: Rows
    test: Rows
    folds: list[tuple[Rows, Rows]]


def hold_out(
    data: Any,
    how: Literal["auto", "store", "stratified", "hash", "shuffle", "random"],
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
        how: the store's split, a stratified random one, one by hash of the id, the first and the
            last part of shuffled images, whose folds are made in that order, a random one of images
            in natural order, or `auto`: the store's if it has one.
        test_size: share that is held out (not with the store's split).
        cv: number of folds; 0 makes none.
        seed: of the stratified split and of the folds.

    Raises:
        UsageError: naming the classes and counts that cannot be split so.
    """
    if how == "auto":
        how = "store" if any(split is not None for split in data.splits) else "stratified"
    first = np.flatnonzero(data.views == 0)
    fitted, held, validation = _choose(data, first, how, test_size=test_size, cv=cv, seed=seed)
    if left_out := len(first) - len(fitted) - len(held):
        some = counted(left_out, "image is", "images are")
        say(f"{some} in no split to train or test on: left out")
    train, test = _with_views(first, fitted, len(data)), first[held]
    _check_parts(data.labels, train, test, how)
    if validation is None:
        folds = list(_folds(data, train, cv, None if how == "shuffle" else seed)) if cv else []
        return Holdout(how, train, test, folds)
    image = np.cumsum(data.views == 0) - 1  # of each row; its views follow it
    outside = validation[image[train]]
    fold = np.flatnonzero(~outside), np.flatnonzero(outside & (data.views[train] == 0))
    _check_parts(data.labels, train[fold[0]], train[fold[1]], "store (train and validation)")
    return Holdout(how, train, test, [fold])


def _choose(
    data: Any, first: Rows, how: str, *, test_size: float, cv: int, seed: int
) -> tuple[Rows, Rows, npt.NDArray[np.bool_] | None]:
    """Return which of the images to fit on and to score on, (n,) and (m,), by one of the rules.

    Also which of all images (N,) take the place of the folds; None if folds are to be made.
    """
    ids, labels = data.ids[first], data.labels[first]
    validation: npt.NDArray[np.bool_] | None = None
    if how == "stratified":
        from sklearn.model_selection import train_test_split  # takes a second

        _check_stratified(labels, cv=cv, test_size=test_size)
        fitted, held = train_test_split(
            np.arange(len(ids)), test_size=test_size, stratify=labels, random_state=seed
        )
    elif how == "shuffle":
        shuffled = permutation(list(ids), data.views[first], "shuffle", seed)
        fitted, held = np.split(shuffled, [int((1 - test_size) * len(ids))])
    elif how == "random":
        natural = permutation(list(ids), data.views[first], "natural", seed)
        drawn = natural[np.random.RandomState(seed).permutation(len(ids))]
        held, fitted = np.split(drawn, [int(np.ceil(test_size * len(ids)))])
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
    return fitted, held, validation


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


def _folds(data: Any, train: Rows, cv: int, seed: int | None) -> Iterator[tuple[Rows, Rows]]:
    """Yield folds, of shuffled rows if there is a seed, else of the rows in their order."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels, ids = data.labels[train], data.ids[train]
    drawn: dict[str, Any] = {"shuffle": seed is not None, "random_state": seed}
    own = data.views[train] == 0
    _check_folds(labels[own], cv)
    if own.all():
        yield from StratifiedKFold(cv, **drawn).split(ids, labels)
        return
    grouped = StratifiedGroupKFold(cv, **drawn)
    for fitted, scored in grouped.split(ids, labels, groups=ids):
        yield fitted, scored[own[scored]]


def _check_folds(labels: Labels, cv: int) -> None:
    smallest, name = min((count, name) for name, count in Counter(labels).items())
    if smallest < cv:
        raise UsageError(
            f"--cv: {cv} folds need {cv} training images of every class; {name!r} has {smallest}; "
            "give a smaller --cv, or leave rare classes out with --min-per-class"
        )


def _check_parts(labels: Labels, train: Rows, test: Rows, how: str) -> None:
    """Make sure that there is something to fit on and to score on, of the same classes."""
    known = set(labels[train])
    if len(known) < 2 or not len(test):
        raise UsageError(
            f"--split {how}: needs two classes or more to train on and images to test on; got "
            f"{counted(len(train), 'training row')} of {counted(len(known), 'class', 'classes')} "
            f"and {len(test)} to test on"
        )
    if unknown := sorted(set(labels[test]) - known):
        raise UsageError(
            f"--split {how}: {_some(unknown)} only occur among the held-out images, so that "
            "nothing can be learned of them; give --split stratified, more images, or leave rare "
            "classes out with --min-per-class"
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
            f"STORE: every class needs two images or more; only one has: {_some(single)}; "
            "add images, or leave such classes out with --min-per-class 2"
        )
    held_out = int(np.ceil(test_size * len(labels)))
    if min(held_out, len(labels) - held_out) < len(counts):
        raise UsageError(
            f"--test-size: {test_size} of {len(labels)} images leaves {held_out} to test on and "
            f"{len(labels) - held_out} to train on; {len(counts)} classes need one each in both; "
            "give another --test-size, or leave rare classes out with --min-per-class"
        )
    smallest, name = min((count, name) for name, count in counts.items())
    training = smallest - int(np.ceil(test_size * smallest))
    if training < cv:
        enough = next(n for n in itertools.count(smallest) if n - int(np.ceil(test_size * n)) >= cv)
        raise UsageError(
            f"--cv: {cv} folds need {cv} training images of every class; {name!r} has "
            f"{smallest}, about {training} of them for training; give a smaller --cv or "
            f"--test-size, or leave rare classes out with --min-per-class {enough}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, sorted(names)[:5])) + more


def validation_rows(data: Any, parts: Holdout, size: float, seed: int) -> tuple[Rows, Rows]:
    """Return rows to fit on (n,), views included, and rows to validate on (m,), which are no views.

    Both are numbers of rows of `data`.

    These are the store's own validation images, where it has some beside those to test on;
    otherwise a stratified random part of the training images, with at least one of each class, or
    with a size of 0 the held-out images.

    Args:
        data: `store.features.Rows`; every row has a label.
        parts: what is trained on.
        size: share of the training images (not with the store's own).
        seed: of the random choice.

    Raises:
        UsageError: naming the classes and counts that cannot be split so.
    """
    train = parts.train
    if parts.how == "store" and len(parts.folds) == 1:
        fitted, validated = parts.folds[0]
        return train[fitted], train[validated]
    if size == 0:
        return train, parts.test
    own = train[data.views[train] == 0]
    _check(Counter(data.labels[own]), size)
    shares = (1 - size, size)
    split = stratified(data.ids[own].tolist(), data.labels[own].tolist(), shares, seed)
    validated = own[split == "test"]
    image = np.cumsum(data.views == 0) - 1  # of each row; its views follow it
    left_out = np.zeros(int(image[-1]) + 1, bool)
    left_out[image[validated]] = True
    return train[~left_out[image[train]]], validated


def _check(counts: Counter[str], size: float) -> None:
    """Make sure that both parts can have an image of every class."""
    total = sum(counts.values())
    validated = round(size * total)
    if single := sorted(name for name, count in counts.items() if count < 2):
        raise UsageError(
            "--head mlp needs two training images or more of every class, one to validate on; "
            f"{single[0]!r} has {counts[single[0]]}; add images, or leave such "
            "classes out with --min-per-class"
        )
    if min(validated, total - validated) < len(counts):
        raise UsageError(
            f"--validation-size: {size:g} of {total} training images leaves {validated} to "
            f"validate on and {total - validated} to fit on; {len(counts)} classes need one each "
            "in both"
        )
