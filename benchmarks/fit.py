"""k-means and logistic regression on shards against scikit-learn, and how their cost grows.

    python -m benchmarks.fit             # rows in memory: ratios to scikit-learn on the same cores
    python -m benchmarks.fit --growth    # cost per iteration from 10⁵ to 4·10⁶ rows, and a plot

Both have the same rows in memory, and take turns. Reading the store is not part of the times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmarks.stores import blob_store
from raypipe import runtime
from raypipe.actors.shard_pool import RowsToFit, ShardPool
from raypipe.fit.checkpoint import Checkpoint
from raypipe.fit.groups import RowGroups, group_rows
from raypipe.fit.holdout import Holdout
from raypipe.fit.linear_models import LinearModels
from raypipe.fit.lloyd import Lloyd, fit_lloyd
from raypipe.fit.multinomial import LogisticPath
from raypipe.heads import Scaling
from raypipe.store.index import RowIndex, read_index
from raypipe.store.reader import StoreReader

CLASSES = 17
GRID = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
HERE = Path(__file__).parent


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.monotonic()
    result = call()
    return time.monotonic() - started, result


def nothing() -> Checkpoint:
    return Checkpoint(None, {}, resume=False)


def groups_of(index: RowIndex, folds: int) -> tuple[RowGroups, np.ndarray]:
    codes = index.labels.astype(int).astype(np.int32)
    rows = np.arange(len(index))
    cut: list[Any] = []
    if folds:
        cut = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(rows, codes))
    parts = Holdout("stratified", rows, rows[:0], cut)
    return group_rows(parts, codes, int(codes.max()) + 1), codes


def kmeans(store: StoreReader, index: RowIndex, k: int, rounds: int) -> None:
    x = store.to_numpy().features
    mean = x.mean(axis=0, dtype=np.float64)
    start = x[np.random.default_rng(1).choice(len(x), k, replace=False)]
    scaling = Scaling("standard", mean, np.ones_like(mean))
    rows = RowsToFit(store, "features", index, np.zeros(len(index), np.int8))
    short, long = 4, 14

    def theirs(iterations: int) -> Any:
        return KMeans(k, init=start, n_init=1, tol=0, max_iter=iterations).fit(x)

    with ShardPool(rows) as shards:

        def ours(iterations: int) -> Any:
            how = Lloyd(scaling, tol=0, max_iter=iterations)
            return fit_lloyd(shards, how, [start - mean], nothing())

        ours(1)
        seconds: dict[str, list[float]] = {"scikit-learn": [], "raypipe": []}
        for _ in range(rounds):
            for name, fit in (("scikit-learn", theirs), ("raypipe", ours)):
                few, many = timed(lambda f=fit: f(short))[0], timed(lambda f=fit: f(long))[0]  # type: ignore[misc]
                seconds[name].append((many - few) / (long - short))
    show(f"k-means, k={k}, seconds per iteration", seconds, "scikit-learn")


def logistic(store: StoreReader, index: RowIndex, rounds: int) -> None:
    data = store.to_numpy()
    x = StandardScaler().fit_transform(data.features)
    alone, codes = groups_of(index, 0)
    folds, _ = groups_of(index, 3)
    seconds: dict[str, list[float]] = {"scikit-learn": [], "raypipe": [], "raypipe, grid": []}
    losses = {}

    def path(shards: Any, groups: RowGroups, grid: tuple[float, ...]) -> Any:
        fitted = LogisticPath(shards, groups, penalties=grid, scale="standard", tol=1e-4)
        return fitted.fit()

    def pool(groups: RowGroups) -> ShardPool:
        rows = RowsToFit(store, "features", index, groups.of_row, len(groups), codes)
        return ShardPool(rows)

    with pool(alone) as one:
        path(one, alone, (1.0,))  # scales the rows
        for _ in range(rounds):
            spent, model = timed(lambda: LogisticRegression(C=1.0, max_iter=1000).fit(x, codes))
            seconds["scikit-learn"].append(spent)
            losses["scikit-learn"] = loss(x, codes, model.coef_, model.intercept_, 1.0)
            spent, found = timed(lambda: path(one, alone, (1.0,)))
            seconds["raypipe"].append(spent)
            losses["raypipe"] = found.loss
            print(f"  iterations: {model.n_iter_.max()} and {found.iterations}")
    with pool(folds) as many:
        path(many, folds, (1.0,))
        for _ in range(rounds):
            spent, found = timed(lambda: path(many, folds, GRID))
            seconds["raypipe, grid"].append(spent)
    show("logistic regression, 17 classes, seconds per fit", seconds, "scikit-learn")
    one_fit, grid = (statistics.median(seconds[n]) for n in ("raypipe", "raypipe, grid"))
    print(f"  grid of 6 values and 3 folds against one fit: {grid / one_fit:.2f}×")
    print(f"  loss: {losses['scikit-learn']:.9f} and {losses['raypipe']:.9f}")


def loss(x: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: np.ndarray, c: float) -> float:
    z = x.astype(float) @ coef.T + intercept
    top = z.max(axis=1, keepdims=True)
    own = np.log(np.exp(z - top).sum(axis=1)) + top[:, 0] - z[np.arange(len(y)), y]
    return float(own.mean() + (coef.astype(float) ** 2).sum() / (2 * c * len(y)))


def show(what: str, seconds: dict[str, list[float]], base: str) -> None:
    print(what)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"  {name:<16} {value:8.3f} s  {value / median[base]:5.2f}×")


def growth(sizes: list[int], width: int) -> None:
    found: dict[str, list[float]] = {"k-means, k=100": [], "logistic, 17 classes": []}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            store = blob_store(Path(folder), size, width, CLASSES)
            index = read_index(store)
            groups, codes = groups_of(index, 0)
            rows = RowsToFit(store, "features", index, groups.of_row, len(groups), codes)
            with ShardPool(rows) as shards:
                mean, std = shards.total("moments", None).of([0])
                scaling = Scaling("standard", mean, std)
                centers = np.random.default_rng(0).normal(size=(1, 100, width))
                models = LinearModels(np.zeros((1, CLASSES, width)), np.zeros((1, CLASSES)), None)
                steps: Any = (("lloyd", centers), ("gradient", models, [np.array([0])]))
                for name, (step, *given) in zip(found, steps, strict=True):
                    call = partial(shards.total, step, scaling, *given)
                    call()
                    found[name].append(min(timed(call)[0] for _ in range(5)))
                    print(f"{size:>9} rows  {name:<22} {1e3 * found[name][-1]:8.1f} ms")
    plot(sizes, found, HERE / "fit-growth.png")


def plot(sizes: list[int], found: dict[str, list[float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for name, seconds in found.items():
        slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        print(f"{name}: slope {slope:.3f} in the logarithms")
        axes.loglog(sizes, seconds, "o-", label=f"{name} (slope {slope:.2f})")
    axes.set(xlabel="rows", ylabel="seconds per iteration", title="Cost of one pass over the rows")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    print(f"written: {path}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    given = parser.parse_args()
    with runtime.session("local"):
        if given.growth:
            growth([100_000, 400_000, 1_000_000, 4_000_000], 128)
            return
        with tempfile.TemporaryDirectory() as folder:
            store = blob_store(Path(folder), given.rows, given.width, CLASSES)
            index = read_index(store)
            kmeans(store, index, given.clusters, given.rounds)
            logistic(store, index, given.rounds)


if __name__ == "__main__":
    main()
