"""Group the features of a store with k-means."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from raypipe import schema
from raypipe.command import Outcome, run_job
from raypipe.config import ClusterConfig
from raypipe.decode import decode
from raypipe.errors import RejectedItem, UsageError
from raypipe.figures import contact_sheet
from raypipe.fit.join import join_clusters, read_ids
from raypipe.fit.kmeans import Clusters, fit_kmeans, scale_rows
from raypipe.progress import say
from raypipe.sources import read_item
from raypipe.storage import output_folder
from raypipe.store.reader import Features, StoreReader

__all__ = ["main", "run"]

_PICTURE_CLUSTERS = 24
_PICTURE_IMAGES = 10
_PICTURE_PIXELS = 2**26
_JOINED_FILE = "joined.csv"


def run(config: ClusterConfig) -> Outcome:
    """Cluster; see `ClusterConfig` for the options.

    Raises:
        UsageError: more clusters than rows, or features that are no numbers.
    """
    started = time.monotonic()
    store = StoreReader(config.store, config.snapshot)
    images = len(store) // store.spec.views
    if config.k > images:
        raise UsageError(f"--k: at most the number of images, {images}; got {config.k}")
    column = store.column(config.layer)
    wanted = read_ids(config.join) if config.join else None
    out = output_folder(config.out)
    data = store.to_numpy(column)
    data = data[data.views == 0]  # an augmented view is no further image
    data.check_finite()
    say(f"k-means with k={config.k} on {len(data)} rows")
    flat = data.features.reshape(len(data), -1).astype(np.float32, copy=False)
    rows = scale_rows(flat, config.scale)
    clusters = fit_kmeans(rows, config.k, config.seed)
    assignments = _write_assignments(data, clusters, out)
    joined = join_clusters(wanted, assignments, out / _JOINED_FILE) if wanted else None
    summary: dict[str, Any] = {
        "out": str(out),
        "k": config.k,
        "rows": len(data),
        "inertia": clusters.inertia,
        "sizes": clusters.sizes.tolist(),
        "joined": joined,
        "ari": _agreement(data, clusters),
        "iterations": clusters.iterations,
        "scale": config.scale,
        "seed": config.seed,
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "fingerprint": store.spec.fingerprint,
        "seconds": round(time.monotonic() - started, 3),
    }
    (out / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n")
    np.save(out / "centers.npy", clusters.centers)
    pictured = _picture(store, data, clusters, out / "clusters.png")
    return Outcome(summary, _text(summary, pictured=pictured), clusters)


def _write_assignments(data: Features, clusters: Clusters, out: Path) -> dict[str, int]:
    table = pa.table({schema.ID: pa.array(data.ids), "cluster": pa.array(clusters.labels)})
    pq.write_table(table, out / "clusters.parquet")
    pa.csv.write_csv(table, out / "clusters.csv")
    return dict(zip(data.ids, clusters.labels.tolist(), strict=True))


def _agreement(data: Features, clusters: Clusters) -> float | None:
    """Adjusted Rand index against the labels, over the rows that have one."""
    known = np.array([label is not None for label in data.labels], dtype=bool)
    if len(set(data.labels[known])) < 2:
        return None
    return float(adjusted_rand_score(data.labels[known], clusters.labels[known]))


def _picture(store: StoreReader, data: Features, clusters: Clusters, path: Path) -> bool:
    """Draw the images nearest to each centre, where they can still be read."""
    found = store.to_arrow([schema.ID, schema.URI])
    uris = dict(zip(found[schema.ID].to_pylist(), found[schema.URI].to_pylist(), strict=True))
    largest = np.argsort(-clusters.sizes, kind="stable")[:_PICTURE_CLUSTERS]
    sheet = []
    for cluster in largest:
        members = np.flatnonzero(clusters.labels == cluster)
        nearest = members[np.argsort(clusters.distances[members])][:_PICTURE_IMAGES]
        thumbnails = [_thumbnail(uris[data.ids[row]]) for row in nearest]
        images = [image for image in thumbnails if image is not None]
        sheet.append((f"cluster {cluster}\n{clusters.sizes[cluster]} images", images))
    if not any(images for _, images in sheet):
        return False
    contact_sheet(sheet, "images nearest to each cluster's centre", path)
    return True


def _thumbnail(uri: str) -> Image.Image | None:
    try:
        image = decode(read_item(uri, _PICTURE_PIXELS), _PICTURE_PIXELS)
    except RejectedItem:
        return None
    image.thumbnail((96, 96))
    return image


def _text(summary: dict[str, Any], *, pictured: bool) -> str:
    lines = [f"{'cluster':>8} {'images':>8}"]
    lines += [f"{number:>8} {size:>8}" for number, size in enumerate(summary["sizes"])]
    lines.append(f"inertia {summary['inertia']:.6g} after {summary['iterations']} iterations")
    if summary["ari"] is not None:
        lines.append(f"agreement with the labels (adjusted Rand index): {summary['ari']:.3f}")
    if (joined := summary["joined"]) is not None:
        lines.append(f"{_JOINED_FILE}: {joined['found']} of {joined['rows']} rows have a cluster")
    picture = ", clusters.png" if pictured else ""
    lines.append(f"written: {summary['out']}/ (clusters.csv, clusters.parquet{picture})")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("cluster", ClusterConfig)


if __name__ == "__main__":
    main()
