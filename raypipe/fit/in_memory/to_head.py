"""From what scikit-learn has fitted to arrays that predict the same without it."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from raypipe.heads import Forest, Head, Linear, Neighbours, Scaling, Scorer


def to_head(fitted: Pipeline, kind: str) -> Head:
    """Return a fitted pipeline of `scale` and `head` as a head on rows, of a kind."""
    return Head(
        classes=tuple(map(str, fitted.classes_)),
        spatial="flatten",
        scaling=_scaling(fitted["scale"]),
        scorer=_scorer(fitted["head"], kind),
    )


def _scaling(step: Any) -> Scaling:
    if isinstance(step, StandardScaler):
        return Scaling("standard", step.mean_, step.scale_)
    return Scaling.without("l2" if isinstance(step, Normalizer) else "none")


def _scorer(classifier: Any, kind: str) -> Scorer:
    if isinstance(classifier, RandomForestClassifier):
        return _forest(classifier)
    if isinstance(classifier, KNeighborsClassifier):
        return _neighbours(classifier)
    return Linear(kind, classifier.coef_, classifier.intercept_)


def _forest(classifier: RandomForestClassifier) -> Forest:
    trees = [estimator.tree_ for estimator in classifier.estimators_]
    leaves = [tree.children_left < 0 for tree in trees]
    first_node = [0, *accumulate(tree.node_count for tree in trees)]
    first_leaf = [0, *accumulate(int(leaf.sum()) for leaf in leaves)]
    below = [_children(*both) for both in zip(trees, leaves, first_node, first_leaf, strict=False)]
    values = np.concatenate([t.value[leaf, 0] for t, leaf in zip(trees, leaves, strict=True)])
    return Forest(
        roots=np.array(first_node[:-1]),
        left=np.concatenate([left for left, _ in below]),
        right=np.concatenate([right for _, right in below]),
        feature=np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        values=values / values.sum(axis=1, keepdims=True),  # counts before scikit-learn 1.3
    )


def _children(
    tree: Any, leaf: npt.NDArray[np.bool_], first_node: int, first_leaf: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return both children of each node, numbered through; of leaves −1 and their number."""
    left = np.where(leaf, -1, tree.children_left + first_node)
    right = np.where(leaf, np.cumsum(leaf) - 1 + first_leaf, tree.children_right + first_node)
    return left.astype(np.int32), right.astype(np.int32)


def _neighbours(classifier: KNeighborsClassifier) -> Neighbours:
    rows = classifier._fit_X  # public in no other way; its type is checked by the tests
    return Neighbours(
        rows=rows,
        codes=np.asarray(classifier._y, np.int64),
        classes=len(classifier.classes_),
        k=classifier.n_neighbors,
        weights=classifier.weights,
    )
