"""Results of `cluster`: assignments, a picture, and lines for people."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from sklearn.metrics import adjusted_rand_score

from raypipe import schema
from raypipe.display import counted
from raypipe.fit.kmeans.in_memory import Clusters
from raypipe.reports.figures import contact_sheet
from raypipe.reports.thumbnails import find_uris, thumbnail
from raypipe.rows.spreadsheets import without_formulas
from raypipe.store.reader import StoreReader

_PICTURE_CLUSTERS = 24
_PICTURE_IMAGES = 10

#: Rows of a Parquet file; more make a folder of such files.
_FILE_ROWS = 4_000_000


def write_assignments(
    ids: npt.NDArray[np.object_], clusters: Clusters, out: Path, *, csv_safe: bool = False
) -> None:
    """Write `clusters.csv` and `clusters.parquet`, which is a folder if there are many rows.

    `distance` is that to the cluster's centre, among scaled features.

    Args:
        ids: (N,) of the rows.
        clusters: of the same rows.
        out: the folder.
        csv_safe: whether ids in the CSV are for a spreadsheet.
    """
    table = pa.table(
        {
            schema.ID: pa.array(ids),
            "cluster": pa.array(clusters.labels),
            "distance": pa.array(clusters.distances.astype(np.float32)),
        }
    )
    pa.csv.write_csv(without_formulas(table) if csv_safe else table, out / "clusters.csv")
    path = out / "clusters.parquet"
    if path.is_dir():  # of an earlier run
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if len(table) <= _FILE_ROWS:
        pq.write_table(table, path)
        return
    path.mkdir()
    for number, start in enumerate(range(0, len(table), _FILE_ROWS)):
        pq.write_table(table.slice(start, _FILE_ROWS), path / f"part-{number:05d}.parquet")


def agreement(labels: npt.NDArray[np.object_], clusters: Clusters) -> float | None:
    """Return the adjusted Rand index against (N,) labels, over the rows that have one.

    None if these have less than two different labels.
    """
    known = np.array([label is not None for label in labels], dtype=bool)
    if len(set(labels[known])) < 2:
        return None
    return float(adjusted_rand_score(labels[known].astype(str), clusters.labels[known]))


def picture(
    store: StoreReader, ids: npt.NDArray[np.object_], clusters: Clusters, path: Path
) -> bool:
    """Draw the images nearest to each centre, where they can still be read; return if any could.

    Args:
        store: knows where the images are.
        ids: (N,) of the rows.
        clusters: of the same rows.
        path: of the picture.
    """
    largest = np.argsort(-clusters.sizes, kind="stable")[:_PICTURE_CLUSTERS]
    nearest: dict[int, list[str]] = {}
    for cluster in largest:
        members = np.flatnonzero(clusters.labels == cluster)
        rows = members[np.argsort(clusters.distances[members], kind="stable")][:_PICTURE_IMAGES]
        nearest[int(cluster)] = list(ids[rows])
    uris = find_uris(store, (name for names in nearest.values() for name in names))
    sheet = []
    for cluster, names in nearest.items():
        thumbnails = [thumbnail(uris[name]) for name in names]
        images = [image for image in thumbnails if image is not None]
        size = int(clusters.sizes[cluster])
        shown = f"{len(images)} of " if len(images) < size else ""
        sheet.append((f"cluster {cluster}\n{shown}{counted(size, 'image')}", images))
    if not any(images for _, images in sheet):
        return False
    which = f"{len(sheet)} of " if len(sheet) < len(clusters.sizes) else ""
    title = f"images nearest to the centre, of {which}{counted(len(clusters.sizes), 'cluster')}"
    contact_sheet(sheet, title, path)
    return True


def text(summary: dict[str, Any], *, pictured: bool, joined_file: str) -> str:
    """Return what is printed."""
    lines = []
    if chosen := summary["choices"]:
        lines.append(f"{'k':>8} {'inertia':>12} {'silhouette':>11}")
        lines += [f"{c['k']:>8} {c['inertia']:>12.6g} {c['silhouette']:>11.4f}" for c in chosen]
        lines.append(f"chosen on a sample by {summary['choose']}: k={summary['k']}")
    lines.append(f"{'cluster':>8} {'images':>8}")
    lines += [f"{number:>8} {size:>8}" for number, size in enumerate(summary["sizes"])]
    lines.append(
        f"inertia {summary['inertia']:.6g} after {summary['iterations']} iterations, features "
        f"scaled: {summary['scale']}"
    )
    if summary["ari"] is not None:
        lines.append(f"agreement with the labels (adjusted Rand index): {summary['ari']:.3f}")
    if (joined := summary["joined"]) is not None:
        lines.append(f"{joined_file}: {joined['found']} of {joined['rows']} rows have a cluster")
    drawn = ", clusters.png" if pictured else ""
    lines.append(f"written: {summary['out']}/ (clusters.csv, clusters.parquet{drawn})")
    return "\n".join(lines)
