"""Runs whose source goes away or is replaced: nothing is lost for good, nothing is mixed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import raypipe
from raypipe.errors import RaypipeError
from raypipe.flow import pipeline
from raypipe.steps.cost import Finished
from raypipe.store.snapshot import numbers
from tests.conftest import options
from tests.support.sources import files_in, zip_of

COUNT = 1300
BEFORE = 3  # units that are finished when it happens

pytestmark = pytest.mark.usefixtures("ray_session")


def png(colour: int) -> bytes:
    file = io.BytesIO()
    grey = np.full((16, 16, 3), (colour % 256, colour // 256 * 16, 77), np.uint8)
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    return {f"{i:04}.png": png(i) for i in range(COUNT)}


@pytest.fixture
def happening(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have something happen once some units are finished."""
    real = pipeline.write

    def plan(event: Callable[[], Any]) -> None:
        def write(*arguments: Any, **given: Any) -> Iterator[Finished]:
            for number, finished in enumerate(real(*arguments, **given), 1):
                yield finished
                if number == BEFORE:
                    event()

        monkeypatch.setattr(pipeline, "write", write)

    return plan


def extract(source: Path, out: Path) -> Any:
    return raypipe.extract(str(source), out=str(out), **options())


def features(store: Any) -> dict[str, np.ndarray]:
    data = store.to_numpy()
    return dict(zip(data.ids.tolist(), data.features, strict=True))


def check_interrupted(source: Path, out: Path, said: str) -> None:
    """It has ended with one line and published nothing; what was finished is kept."""
    with pytest.raises(RaypipeError, match=said) as ended:
        extract(source, out)
    assert "finished partitions are kept" in str(ended.value)
    assert numbers(raypipe.open(str(out)).storage) == []


def check_whole(source: Path, out: Path, tmp_path: Path) -> None:
    """The next run has all images, and each has its own features."""
    store = extract(source, out)
    assert (len(store), len(store.rejects())) == (COUNT, 0)
    found, expected = features(store), features(extract(source, tmp_path / "undisturbed"))
    assert found.keys() == expected.keys()
    for item, row in found.items():
        np.testing.assert_array_equal(row, expected[item])


def test_a_drive_is_unmounted(
    images: dict[str, bytes], happening: Callable[..., None], tmp_path: Path
) -> None:
    drive, out = tmp_path / "drive", tmp_path / "store"
    photos = drive / "photos"
    photos.mkdir(parents=True)
    for name, data in images.items():
        (photos / name).write_bytes(data)
    away = tmp_path / "away"
    happening(lambda: drive.rename(away) if drive.exists() else None)
    check_interrupted(photos, out, r"none of \d+ images is what was listed: not there any more")
    kept = len(files_in(out / "data"))
    assert kept >= BEFORE
    away.rename(drive)
    happening(lambda: None)
    check_whole(photos, out, tmp_path)


def test_a_zip_is_packed_anew(
    images: dict[str, bytes], happening: Callable[..., None], tmp_path: Path
) -> None:
    archive, out = zip_of(tmp_path / "a.zip", images), tmp_path / "store"
    turned = dict(reversed(images.items()))
    happening(lambda: zip_of(archive, turned))
    check_interrupted(archive, out, r"none of \d+ images is what was listed: has changed since")
    happening(lambda: None)
    check_whole(archive, out, tmp_path)


def test_a_table_is_replaced_by_one_in_another_order(
    images: dict[str, bytes], happening: Callable[..., None], tmp_path: Path
) -> None:
    table, out = tmp_path / "t.parquet", tmp_path / "store"

    def write(names: list[str]) -> None:
        beside = tmp_path / "new"
        columns = {"id": names, "image": [images[name] for name in names]}
        pq.write_table(pa.table(columns), beside, row_group_size=100)
        beside.replace(table)

    write(list(images))
    happening(lambda: write(list(images)[::-1]))
    check_interrupted(table, out, r"none of \d+ images is what was listed: has changed since")
    happening(lambda: None)
    check_whole(table, out, tmp_path)
