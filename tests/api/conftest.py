"""A store, a model and clusters of 24 drawn images, made without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import raypipe
from raypipe.flow import executor
from tests.conftest import TINY, draw_folder, options


@dataclass(frozen=True)
class Made:
    """What the functions have returned, and the folder that it is in."""

    folder: Path
    store: raypipe.Store
    model: raypipe.ImageClassifier
    groups: raypipe.ImageClusters

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "photos").rglob("*.png"))


@pytest.fixture(scope="module")
def no_ray() -> Iterator[None]:
    """Do without Ray, although other tests have started it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_asks_for_ray", lambda _: False)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("api")
    photos = draw_folder(folder / "photos", 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "_asks_for_ray", lambda _: False)
        store = raypipe.extract(photos, out=folder / "store", **options())  # type: ignore[call-overload]
    raypipe.train(store, out=folder / "model", grid="C=0.1")
    groups = raypipe.cluster(store, out=folder / "groups", k=3)
    return Made(folder, store, raypipe.load_model(folder / "model", backbone=TINY), groups)
