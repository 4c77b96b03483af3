"""Reading what the contestants have made, each in its own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_features"]

_Found = tuple[list[str], npt.NDArray[Any]]


def read_features(kind: str, out: Path, images: Path) -> _Found:
    """Return the ids (paths below the images' folder) and features of a run, sorted by id.

    Args:
        kind: the contestant's.
        out: what it has written to.
        images: the folder it was given.
    """
    names, rows = _READERS[kind](out)
    ids = [Path(name).relative_to(images).as_posix() if name[0] == "/" else name for name in names]
    order = np.argsort(ids)
    return [ids[i] for i in order], rows[order].astype(np.float32)


def _from_npz(out: Path) -> _Found:
    parts = [np.load(path) for path in out.glob("part-*.npz")]
    ids = [str(name) for part in parts for name in part["ids"]]
    return ids, np.concatenate([part["features"] for part in parts])


def _from_parquet(out: Path) -> _Found:
    import pyarrow.parquet as pq
    import ray.data  # noqa: F401  it registers the type of its tensor columns

    tables = [pq.read_table(path) for path in out.rglob("*.parquet")]
    paths = [path for table in tables for path in table["path"].to_pylist()]
    rows = [np.asarray(row) for table in tables for row in table["features"].to_pylist()]
    return paths, np.stack(rows)


def _from_store(out: Path) -> _Found:
    import raypipe

    data = raypipe.open(str(out)).to_numpy()
    return [str(name) for name in data.ids], np.asarray(data.features)


def _from_clip_retrieval(out: Path) -> _Found:
    import pyarrow.parquet as pq

    paths = pq.read_table(out / "metadata").column("image_path").to_pylist()
    rows = [np.load(path) for path in sorted((out / "img_emb").glob("*.npy"))]
    return paths, np.concatenate(rows)


_READERS = {
    "npz": _from_npz,
    "parquet": _from_parquet,
    "raypipe": _from_store,
    "clip-retrieval": _from_clip_retrieval,
}
