"""The part of a page about a k-means run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from raypipe import schema
from raypipe.errors import UsageError
from raypipe.heads import Scaling, as_rows, row_width
from raypipe.reports import charts
from raypipe.reports.album import Album
from raypipe.reports.page import PagePart, Picture
from raypipe.reports.thumbnails import find_uris
from raypipe.reports.wording import Facts, left_out, many, spec_facts
from raypipe.rows.features import Rows
from raypipe.store.index import RowIndex, read_index
from raypipe.store.pick import pick
from raypipe.store.reader import StoreReader, reopen

#: Clusters with pictures, the largest ones; and how many of each kind.
_PICTURED = 60
_NEAREST, _RANDOM, _FARTHEST = 10, 6, 6
_ON_MAP = 1500
_LABELS = 3
_SCALES = {
    "none": "none",
    "standard": "mean 0, variance 1",
    "l2": "length 1",
    "standard-l2": "mean 0, variance 1, then length 1",
}


@dataclass(frozen=True)
class _ClusteredImages:
    """The images of a run: their id, cluster, distance to its centre, and label if there is one."""

    ids: npt.NDArray[np.object_]
    clusters: npt.NDArray[np.int64]
    distances: npt.NDArray[np.floating[Any]]
    labels: npt.NDArray[np.object_]


def clusters_part(folder: Path, album: Album) -> PagePart:
    """Return the part about clusters and the images in them.

    Args:
        folder: written by `cluster`.
        album: gets the pictures.

    Raises:
        UsageError: the folder lacks what `cluster` writes, or the store is gone.
    """
    metrics = _metrics(folder)
    store = _store(folder, metrics)
    index = read_index(store)
    table = pq.read_table(folder / "clusters.parquet")
    images = np.flatnonzero(index.views == 0)
    if metrics.get("excluded"):
        clustered = pc.is_in(pa.array(index.ids[images], pa.string()), table[schema.ID])
        images = images[clustered.to_numpy(zero_copy_only=False)]
    rows = _rows(folder, store, index.rows(images), table)
    chosen = {number: _chosen(rows, number, metrics["seed"]) for number in _largest(metrics)}
    sample = _sample(len(rows.ids), metrics["seed"])
    named = _in_turn(chosen)
    places = find_uris(store, rows.ids[np.unique([*named, *sample])])
    album.add((places[rows.ids[row]] for row in named), share=0.6)
    album.add((places[rows.ids[row]] for row in sample), share=0.9)
    points, axes = _points(folder, store, metrics, index, images[sample])
    content = {
        "facts": _facts(metrics),
        "spec": spec_facts(store.spec, store.provenance),
        "ari": metrics["ari"],
        "k": metrics["k"],
        "sizes": (min(metrics["sizes"]), max(metrics["sizes"])),
        "clusters": [_about(rows, number, max(metrics["sizes"])) for number in range(metrics["k"])],
        "labelled": bool(pc.any(pc.is_valid(pa.array(rows.labels, pa.string()))).as_py()),
        "charts": [Markup(chart) for chart in _charts(metrics)],
        "map": Markup(charts.map_of(points, rows.clusters[sample])),
        "on_map": len(sample),
        "axes": axes,
        "rows": len(rows.ids),
        "sheets": [
            (number, {kind: _pictures(rows, some, places) for kind, some in kinds.items()})
            for number, kinds in chosen.items()
        ],
    }
    data = {"map": _map_data(rows, sample, places, album)}
    headline = f"{many(metrics['k'], 'cluster')} of {many(len(rows.ids), 'image')}"
    if metrics["ari"] is not None:
        headline += f": agreement with the labels {metrics['ari']:.2f} of 1"
    return PagePart("clusters.html", "Clusters", headline, content, data)


def _metrics(folder: Path) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"RUN: {folder}/metrics.json cannot be read: {error}") from None
    if "channels" not in metrics:
        raise UsageError(f"RUN: {folder} was written by an older version; run `cluster` again")
    return metrics


def _store(folder: Path, metrics: dict[str, Any]) -> StoreReader:
    try:
        return reopen(metrics)
    except UsageError as error:
        raise UsageError(f"RUN: {folder}: {error}; run `cluster` again") from None


def _rows(folder: Path, store: StoreReader, images: Rows, table: pa.Table) -> _ClusteredImages:
    if not np.array_equal(images.ids, table[schema.ID].to_numpy()):
        raise UsageError(f"RUN: {folder} has other images than {store.uri}; run `cluster` again")
    clusters, distances = (table[name].to_numpy() for name in ("cluster", "distance"))
    return _ClusteredImages(images.ids, clusters, distances, images.labels)


def _largest(metrics: dict[str, Any]) -> list[int]:
    order = np.argsort(-np.asarray(metrics["sizes"]), kind="stable")[:_PICTURED]
    return sorted(order.tolist())


def _chosen(rows: _ClusteredImages, number: int, seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return images of a cluster: the nearest to its centre, the farthest, some of the others."""
    members = np.flatnonzero(rows.clusters == number)
    order = members[np.argsort(rows.distances[members], kind="stable")]
    nearest, rest = order[:_NEAREST], order[_NEAREST:]
    farthest = rest[-_FARTHEST:]
    between = rest[: len(rest) - len(farthest)]
    drawn = np.random.default_rng([seed, number]).permutation(between)[:_RANDOM]
    return {"nearest": nearest, "random": drawn, "farthest": farthest[::-1]}


def _in_turn(chosen: dict[int, dict[str, npt.NDArray[np.int64]]]) -> list[int]:
    """Return the rows: of each cluster the first one, then of each the second one, and so on."""
    each = ([row for some in kinds.values() for row in some.tolist()] for kinds in chosen.values())
    return [row for turn in zip_longest(*each) for row in turn if row is not None]


def _sample(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:_ON_MAP])


def _points(
    folder: Path,
    store: StoreReader,
    metrics: dict[str, Any],
    index: RowIndex,
    images: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[Any], tuple[str, str]]:
    """Return places (N, 2) on the map of some rows of the index, and the names of its axes."""
    column = metrics["column"]
    spatial, channels = metrics["spatial"], store.channels(column)
    found = np.zeros((len(images), row_width(store.shapes[column], spatial, channels)), np.float32)
    for places, features in pick(store, column, index, images):
        found[places] = as_rows(features, spatial, channels)
    return _pca(Scaling(metrics["scale"], *np.load(folder / "scaling.npy")).apply(found))


def _pca(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, str]]:
    from sklearn.decomposition import PCA

    count = min(2, *rows.shape)
    fitted = PCA(count, random_state=0).fit(rows)
    points = np.zeros((len(rows), 2))
    points[:, :count] = fitted.transform(rows)
    shares = [*fitted.explained_variance_ratio_, 0.0][:2]
    first, second = (
        f"{name} principal component ({0 if np.isnan(share) else share:.0%} of the variance)"
        for name, share in zip(("first", "second"), shares, strict=True)
    )
    return points, (first, second)


def _about(rows: _ClusteredImages, number: int, largest: int) -> dict[str, Any]:
    members = rows.clusters == number
    size = int(members.sum())
    labels = Counter(label for label in rows.labels[members] if label is not None)
    return {
        "number": number,
        "size": size,
        "share": size / largest,
        "distance": float(rows.distances[members].mean()) if size else 0.0,
        "labels": [(name, count / size) for name, count in labels.most_common(_LABELS)],
        "more_labels": max(len(labels) - _LABELS, 0),
    }


def _charts(metrics: dict[str, Any]) -> list[str]:
    if not metrics["choices"]:
        return []
    return [
        charts.k_figures(metrics["choices"], metrics["k"], what)
        for what in ("silhouette", "inertia")
    ]


def _facts(metrics: dict[str, Any]) -> Facts:
    chosen = f", chosen by {metrics['choose']}" if metrics["choose"] else ""
    stopped = "" if metrics["converged"] else ", stopped before it had converged"
    facts = [
        ("features", f"{metrics['store']}, snapshot {metrics['snapshot']}, {metrics['column']}"),
        ("clusters", f"{metrics['k']}{chosen}, {metrics['distance']} distance"),
        ("scaling", _SCALES[metrics["scale"]]),
        ("inertia", f"{metrics['inertia']:.6g} after {metrics['iterations']} iterations{stopped}"),
        ("images", str(metrics["rows"])),
        *left_out(metrics),
        ("time", f"{metrics['seconds']:.1f} s, seed {metrics['seed']}, engine {metrics['engine']}"),
    ]
    if metrics["ari"] is not None:
        facts.append(("agreement with labels", f"adjusted Rand index {metrics['ari']:.3f}"))
    return facts


def _pictures(
    rows: _ClusteredImages, chosen: npt.NDArray[np.int64], places: dict[str, str]
) -> list[Picture]:
    return [
        Picture(rows.ids[row], places.get(rows.ids[row]), rows.labels[row] or "") for row in chosen
    ]


def _map_data(
    rows: _ClusteredImages, sample: npt.NDArray[np.int64], places: dict[str, str], album: Album
) -> list[tuple[int | None, str, int, str]]:
    """Return of each point its picture, id, cluster and label."""
    return [
        (
            album.key(places.get(rows.ids[row])),
            rows.ids[row],
            int(rows.clusters[row]),
            rows.labels[row] or "",
        )
        for row in sample
    ]
