"""One Ray for the whole session, generated photographs, and a small network."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.warm import warm_workers

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NETWORKS = Path(__file__).parent / "support" / "networks.py"
TINY = f"{NETWORKS}:tiny"
# Of the S3 server that some tests start. Ray's workers have the environment of when Ray started.
os.environ.update(AWS_ACCESS_KEY_ID="tests", AWS_SECRET_ACCESS_KEY="tests", AWS_REGION="us-east-1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # tests tell nobody of what they do
CLASSES = ("circle", "square", "stripes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason="needs the photographs and weights in ../shared/data")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """A Ray of these tests, whose workers begin with torch in memory; its address.

    A process joins it where `RAY_ADDRESS` says so.
    """
    import ray

    import raypipe

    raypipe.shutdown()  # which other tests may have left
    with warm_workers():
        context = ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield context.address_info["gcs_address"]
        ray.shutdown()


def draw(kind: str, seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """A noisy picture of a shape, different for every seed."""
    noise = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    cx, cy = width / 2 + noise.normal(0, 2), height / 2 + noise.normal(0, 2)
    mask = {
        "circle": (x - cx) ** 2 + (y - cy) ** 2 < 80,
        "square": (abs(x - cx) < 9) & (abs(y - cy) < 9),
        "stripes": (y // 4) % 2 == 0,
    }[kind]
    colour = noise.integers(120, 255, 3)
    pixels = np.where(mask[..., None], colour, 40) + noise.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_folder(folder: Path, per_class: int, classes: tuple[str, ...] = CLASSES) -> Path:
    for c, kind in enumerate(classes):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            draw(kind, 1000 * c + i).save(folder / kind / f"{i:04d}.png")
    return folder


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `photos` are copies of."""
    return draw_folder(tmp_path_factory.mktemp("album") / "photos", 8)


@pytest.fixture
def photos(album: Path, tmp_path: Path) -> Path:
    """24 images in three class folders."""
    return Path(shutil.copytree(album, tmp_path / "photos"))


@pytest.fixture(scope="session")
def album_store(album: Path, ray_session: str) -> Path:
    import raypipe

    return Path(raypipe.extract(str(album), out=str(album.with_name("store")), **options()).uri)


@pytest.fixture
def stored(album_store: Path, album: Path, photos: Path, tmp_path: Path) -> Path:
    """The store of `photos` with the options of `options`, as one that a run has just made."""
    store = Path(shutil.copytree(album_store, tmp_path / "store"))
    for told in store.glob("*.json"):  # of which source it is
        told.write_text(told.read_text().replace(str(album), str(photos)))
    return store


@pytest.fixture(scope="session")
def shape_store(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> str:
    """A store of 120 images, to be read and not changed."""
    import raypipe

    root = tmp_path_factory.mktemp("shapes")
    source = draw_folder(root / "photos", 40)
    store = raypipe.extract(str(source), out=str(root / "store"), **options())
    return store.uri


def options(**changes: object) -> dict[str, object]:
    """Options of an extraction with the small network."""
    return {
        "backbone": TINY,
        "weights": "random",
        "layer": ("block2",),
        "size": 32,
        "resize": "squash",
        "normalize": "unit",
        "precision": "fp32",
        "actors": "1",  # each one imports torch, which is most of what a small test takes
        **changes,
    }


#: Runs a command, given its words, and returns what it said and its status.
Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Commands in this process, for what needs neither its start nor its end."""
    from raypipe import cli

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["raypipe", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return subprocess.CompletedProcess(
            arguments, int(ended.value.code or 0), said.out, said.err
        )

    return run


def flags(**changes: object) -> list[str]:
    """The same as command-line flags."""
    found: list[str] = []
    for name, value in options(**changes).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found += [flag] if value else []
        else:
            for one in value if isinstance(value, tuple) else (value,):
                found += [flag, str(one)]
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window; where CI asks for one, it has to be there.

    It goes with each module: Playwright keeps an event loop running, in which other tests could
    run none.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set, and there is no chromium")
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Host and port of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield ":".join(map(str, server.get_host_and_port()))
    server.stop()


@pytest.fixture
def client(s3: str) -> Iterator[Any]:
    """A client of the server with the empty bucket `photos`."""
    import boto3

    found = boto3.client("s3", endpoint_url=f"http://{s3}")
    found.create_bucket(Bucket="photos")
    yield found
    for page in found.get_paginator("list_objects_v2").paginate(Bucket="photos"):
        for entry in page.get("Contents", ()):
            found.delete_object(Bucket="photos", Key=entry["Key"])
