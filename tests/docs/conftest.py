"""What pages assume to be there: photographs, stores, models, a bucket, and weights to download."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
import torchvision
from PIL import Image

import raypipe
from tests.docs.running import SMALL, small_resolve

CLASSES = ("daisy", "rose", "tulip")
PER_CLASS = 20


@pytest.fixture(scope="session")
def session_ray(s3: str, request: pytest.FixtureRequest) -> None:
    """The session's Ray, with workers that know of the S3 server: they have the environment of
    when Ray starts."""
    assert not ray.is_initialized(), "tests/docs has to come before other tests that use Ray"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{s3}")
        request.getfixturevalue("ray_session")


def state_dict(weights: Any, **_options: Any) -> dict[str, torch.Tensor]:
    """Return random weights in place of published ones, with the same names and shapes."""
    name = type(weights).__name__.removesuffix("_Weights").lower()
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    random = torch.Generator().manual_seed(0)
    found = {}
    for key, value in model.state_dict().items():
        if weights.name == "IMAGENET1K_FEATURES" and key.startswith("classifier"):
            continue
        if value.ndim > 1:
            scale = math.sqrt(2 / math.prod(value.shape[1:]))
            found[key] = torch.randn(value.shape, generator=random) * scale
        else:
            ones = key.endswith(("running_var", "weight"))
            found[key] = torch.full(value.shape, float(ones), dtype=value.dtype)
    return found


@pytest.fixture(scope="session")
def weights() -> Iterator[None]:
    """Nothing is downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models.WeightsEnum, "get_state_dict", state_dict)
        yield


def draw(channel: int, seed: int) -> Image.Image:
    """A picture of smooth spots, most of them in one colour; no two are alike."""
    values = np.random.default_rng(seed).integers(0, 256, (5, 6, 3))
    values[..., channel] = 255 - values[..., channel] // 4
    spots = Image.fromarray(values.astype(np.uint8))
    return spots.resize((48, 40), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, session_ray: None, weights: None) -> Path:
    """A folder with what pages take copies of."""
    folder = tmp_path_factory.mktemp("shelf")
    for c, label in enumerate(CLASSES):
        place = folder / "photos" / label
        place.mkdir(parents=True)
        for i in range(PER_CLASS):
            draw(c, 1000 * c + i).save(place / f"{i + 1:04d}.jpg", quality=95)
    with Image.open(folder / "photos" / "daisy" / "0001.jpg") as image:
        image.save(folder / "photos" / "tulip" / "again.jpg", quality=60)
    (folder / "photos" / "rose" / "broken.jpg").touch()
    for name in ("new-photos", "labelled-photos/daisy", "labelled-photos/rose"):
        (folder / name).mkdir(parents=True)
        for i, letter in enumerate("abc"):
            draw(0, 100 + i).save(folder / name / f"{letter}.jpg")
    raypipe_small(folder)
    return folder


def raypipe_small(folder: Path) -> None:
    """Make a store and a model of the photographs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raypipe.api.job_functions.resolve", small_resolve)
        photos = str(folder / "photos")
        raypipe.extract(photos, out=str(folder / "features"), backbone="resnet50")
        raypipe.train(str(folder / "features"), out=str(folder / "model"), grid="C=0.1")


class Shelf:
    """Puts what a page assumes into its folder."""

    def __init__(self, shelf: Path, folder: Path, request: pytest.FixtureRequest) -> None:
        self.shelf, self.folder, self.request = shelf, folder, request

    def put(self, name: str) -> None:
        """Put something there: what is on the shelf, or what one of the methods below makes."""
        make = getattr(self, name.partition(".")[0].replace("-", "_"), None)
        if make:
            make(name)
        else:
            shutil.copytree(self.shelf / name, self.folder / name)

    def hdf5(self, _name: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("raypipe.api.job_functions.resolve", small_resolve)
            raypipe.extract(
                str(self.shelf / "photos"),
                out=str(self.folder / "features"),
                backbone="resnet18",
                format="hdf5",
                split="hash",
                split_sizes="0.5,0.25,0.25",
            )

    def bucket(self, _name: str) -> None:
        import boto3

        server = self.request.getfixturevalue("s3")
        client = boto3.client("s3", endpoint_url=f"http://{server}")
        client.create_bucket(Bucket="bucket")
        for path in (self.shelf / "photos").rglob("*.jpg"):
            key = str(path.relative_to(self.shelf))
            client.put_object(Bucket="bucket", Key=key, Body=path.read_bytes())
        self.request.addfinalizer(lambda: _empty(client))

    def resnet18(self, name: str) -> None:
        torch.save(state_dict(torchvision.models.ResNet18_Weights.DEFAULT), self.folder / name)

    def shards(self, name: str) -> None:
        raypipe.pack(
            str(self.shelf / "photos"), out=str(self.folder / name), shards=4, prefix="train"
        )

    def listing(self, name: str) -> None:
        rows = [
            f"photos/{path.relative_to(self.shelf / 'photos')},{path.parent.name}\n"
            for path in sorted((self.shelf / "photos").rglob("*.jpg"))
        ]
        (self.folder / name).write_text("".join(["url,species\n", *rows]))

    def dogs(self, name: str) -> None:
        shutil.copytree(self.shelf / "photos", self.folder / name)


def _empty(client: Any) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for entry in page.get("Contents", ()):
            client.delete_object(Bucket="bucket", Key=entry["Key"])
    client.delete_bucket(Bucket="bucket")


@pytest.fixture
def small_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python API's options, where a block leaves them open, are those of small runs."""
    monkeypatch.setattr("raypipe.api.job_functions.resolve", small_resolve)
    assert SMALL
