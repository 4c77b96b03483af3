"""Contact sheets say of how many groups, and of how many images of each, they show some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raypipe.fit.kmeans.in_memory import Clusters
from raypipe.heads import Scaling
from raypipe.jobs import dedupe
from raypipe.store.reader import StoreReader
from raypipe.training import cluster_files
from tests.support import stores


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be drawn: rows and title."""
    found: list[Any] = []
    for place in ("raypipe.reports.figures", "raypipe.training.cluster_files"):
        monkeypatch.setattr(f"{place}.contact_sheet", lambda *given: found.extend(given))
    return found


def image_files(folder: Path, count: int) -> list[str]:
    for number in range(count):
        Image.new("L", (9, 9), number).save(folder / f"{number:03d}.png")
    return sorted(map(str, folder.iterdir()))


def test_duplicates(drawn: list[Any], tmp_path: Path) -> None:
    files = image_files(tmp_path, 12)
    groups = [np.array(files, object), *(np.array(files[:2], object) for _ in range(44))]
    dedupe._draw(groups, dict(zip(files, files, strict=True)), tmp_path / "out.png")
    rows, title, _ = drawn
    assert title == "the same picture, several times: 40 of 45 groups"
    assert len(rows) == 40
    assert [caption for caption, _ in rows[:2]] == ["group 0\n8 of 12 images", "group 1\n2 images"]
    assert len(rows[0][1]) == 8


def test_clusters(drawn: list[Any], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    files = image_files(tmp_path / "images", 40)
    names = [f"{number:02d}" for number in range(40)]
    items = stores.items_of(names, uri=files)
    storage, _ = stores.make_store(tmp_path / "store", [items], stores.make_spec())
    labels = np.array([0] * 14 + list(range(1, 27)))
    clusters = Clusters(
        centers=np.zeros((27, 3)),
        labels=labels,
        distances=np.arange(40.0),
        sizes=np.bincount(labels),
        inertia=0.0,
        iterations=1,
        scaling=Scaling.without("none"),
        converged=True,
    )
    store = StoreReader(storage.uri)
    assert cluster_files.picture(store, np.array(names, object), clusters, tmp_path / "out.png")
    rows, title, _ = drawn
    assert title == "images nearest to the centre, of 24 of 27 clusters"
    assert [caption for caption, _ in rows[:2]] == [
        "cluster 0\n10 of 14 images",
        "cluster 1\n1 image",
    ]
