"""JPEGs decoded where their features are computed: nvJPEG's part is played by libjpeg-turbo."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import raypipe
from raypipe import runtime
from raypipe.actors import jpegs
from raypipe.actors.jpegs import JpegDecoder
from raypipe.backbone.hardware.parity import least_cosine
from raypipe.config import BackboneConfig, ExtractConfig
from raypipe.errors import RaypipeError, RejectedItem, UsageError
from raypipe.flow import sizing
from raypipe.images.augment import resolve_augment
from raypipe.images.decode import decode
from raypipe.images.jpeg import is_plain_jpeg
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.images.transforms import to_pixels
from raypipe.jobs import extract as job
from raypipe.spec import Preprocess
from tests.conftest import draw, options

_MOST = 10**6


def jpeg(image: Image.Image | None = None, **how: Any) -> bytes:
    stream = io.BytesIO()
    (image or draw("circle", 1, (90, 70))).save(stream, how.pop("format", "JPEG"), **how)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif)


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan stands there again and again."""
    data = jpeg(progressive=True)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + (count - data.count(b"\xff\xda")) * last + data[-2:]


PLAIN = {
    "16 scans": scans(16),
    "colour": jpeg(),
    "grey": jpeg(draw("circle", 1).convert("L")),
    "progressive": jpeg(progressive=True),
    "full chroma": jpeg(subsampling=0),
    "upright": turned(1),
}
OTHERS = {
    "17 scans": scans(17),
    "many pixels": jpeg(Image.new("L", (4097, 4096))),
    "turned": turned(6),
    "CMYK": jpeg(draw("circle", 1).convert("CMYK")),
    "RGB as it is": jpeg(keep_rgb=True),
    "cut": jpeg()[:-200],
    "with a tail": jpeg() + b"tail",
    "PNG": jpeg(format="PNG"),
    "long": jpeg(noise(410, 100)),
    "large": jpeg(noise(1001, 1000)),
    "many bytes": jpeg(noise(900, 900), quality=100, subsampling=0),
    "text": b"not an image",
    "empty": b"",
    "only marks": b"\xff\xd8\xff\xd9",
}


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_which_jpegs_are_plain(name: str) -> None:
    data = (PLAIN | OTHERS)[name]
    cap = 10**9 if name == "many pixels" else _MOST
    assert is_plain_jpeg(data, cap) == (name in PLAIN)
    if name == "many bytes":
        assert len(data) > 2**20


def preprocess(**changes: Any) -> Preprocess:
    given = {"size": 64, "gpu_decode": True} | changes
    return resolve_preprocess(BackboneConfig(**given), None)


def contents(*images: bytes) -> np.ndarray[Any, Any]:
    column = np.empty(len(images), object)
    column[:] = images
    return column


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resize": "squash"},
        {"interpolation": "bicubic"},
        {"size": "80x56"},
        {"size": "56x80", "resize_to": 90},
        {"size": "80x56", "resize": "squash"},
    ],
)
def test_pixels_are_those_of_the_cpu(changes: dict[str, Any]) -> None:
    wanted = preprocess(**changes)
    decoder = JpegDecoder(wanted, "cpu", _MOST)
    images = [jpeg(noise(*size)) for size in ((90, 70), (64, 64), (301, 200), (33, 50))]
    images += PLAIN.values()
    found, rejected = decoder(contents(*images), np.ones(len(images), bool))
    assert not rejected
    assert found.shape == (len(images), *wanted.shape, 3)
    for pixels, data in zip(found.numpy(), images, strict=True):
        expected = to_pixels(decode(data, _MOST), wanted)
        difference = np.abs(pixels.astype(int) - expected)
        # A bicubic filter overshoots, on noise beyond 0..255, which 8-bit arithmetic cuts off
        # after each of the two directions.
        assert difference.max() <= (20 if wanted.interpolation == "bicubic" else 2)
        assert (difference > 1).mean() < 0.03


def test_what_the_device_cannot_decode_is_left_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = b"\xff\xd8\xff\xe0 no image \xff\xd9"
    odd, good = jpeg(quality=50), jpeg()
    pixels = np.arange(64 * 64 * 3, dtype=np.int64).astype(np.uint8)
    calls: list[int] = []

    def strict(images: list[bytes], device: torch.device) -> list[torch.Tensor]:
        calls.append(len(images))
        if damaged in images or odd in images:
            raise RuntimeError("nvJPEG gives up")
        return usual(images, device)

    usual = jpegs._decode
    decoder = JpegDecoder(preprocess(resize="squash"), "cpu", _MOST)
    monkeypatch.setattr(jpegs, "_decode", strict)
    column = contents(good, damaged, pixels.tobytes(), odd, good)
    found, rejected = decoder(column, np.array([True, True, False, True, True]))
    assert calls == [4, 1, 1, 1, 1]
    expected = to_pixels(decode(odd, _MOST), decoder.preprocess)
    np.testing.assert_array_equal(found[-2].numpy(), expected)
    np.testing.assert_array_equal(found[-3].numpy().ravel(), pixels)
    with pytest.raises(RejectedItem) as why:
        decode(damaged, _MOST)
    assert {n: r.reason for n, r in rejected.items()} == {1: why.value.reason}
    assert len(found) == 4
    none, rejected = decoder(contents(), np.zeros(0, bool))
    assert none.shape == (0, 64, 64, 3)
    assert not rejected


def test_a_device_without_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("not compiled with nvJPEG support\nmore lines")

    monkeypatch.setattr(jpegs, "_decode", fails)
    message = r"cannot decode JPEGs on cuda here \(not compiled with nvJPEG support\); leave it out"
    with pytest.raises(RaypipeError, match=message):
        JpegDecoder(preprocess(), "cuda", _MOST)


@pytest.mark.usefixtures("ray_session")
def test_the_flow(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PLAIN, "turned", "CMYK", "cut", "PNG", "long"):
        (photos / "circle" / name).write_bytes((PLAIN | OTHERS)[name])
    (photos / "circle" / "text.jpg").write_text("not an image")
    shutil.copy(next((photos / "square").iterdir()), photos / "circle" / "again")

    def extract(out: str, **changes: Any) -> dict[str, Any]:
        config = ExtractConfig(**options(source=str(photos), out=str(tmp_path / out), **changes))
        return job.run(config).summary

    expected = extract("cpu")
    with pytest.raises(UsageError, match="--gpu-decode: the Ray cluster has no GPU"):
        extract("none", gpu_decode=True)
    assert not (tmp_path / "none" / "spec.json").exists()
    plan = runtime.plan_replicas
    monkeypatch.setattr(sizing, "_check_decoder", lambda *_: None)
    monkeypatch.setattr(
        runtime,
        "plan_replicas",
        lambda *a, **k: replace(plan(*a, **k), whole_flow=False, num_cpus=0),
    )
    said: list[str] = []
    monkeypatch.setattr(sizing, "say", said.append)
    found = extract("gpu", gpu_decode=True)
    told = next(text for text in said if text.startswith("decoded by the GPU: cosine to decoded"))
    assert re.search(r"at least (0\.999\d|1\.0000) on sampled images", told), told
    with monkeypatch.context() as patch:
        patch.setattr("raypipe.flow.trial.decoding_parity", lambda *_, **__: 0.5)
        with pytest.raises(UsageError, match="features have a cosine of 0.5000 to those of images"):
            extract("far", gpu_decode=True)
    assert found["rejects_by_reason"] == expected["rejects_by_reason"]
    assert found["fingerprint"] != expected["fingerprint"]
    one, two = (raypipe.open(str(tmp_path / name)).to_numpy() for name in ("cpu", "gpu"))
    np.testing.assert_array_equal(one.ids, two.ids)
    assert least_cosine(torch.from_numpy(one.features), torch.from_numpy(two.features)) > 0.9999


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"crop": 100}, "--crop"),
        ({"antialias": False}, "--no-antialias"),
        ({"interpolation": "nearest"}, "nearest pixels"),
        ({"interpolation": "lanczos"}, "--interpolation lanczos"),
        ({"scaled_decode": True}, "--scaled-decode"),
    ],
)
def test_what_it_does_not_go_with(others: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"--gpu-decode does not go with .*{named}"):
        preprocess(**others)


def test_views_do_not_go_with_it(photos: Path, tmp_path: Path) -> None:
    config = ExtractConfig(
        **options(source=str(photos), out=str(tmp_path), gpu_decode=True, augment=2, flip=True)
    )
    with pytest.raises(UsageError, match="--augment does not go with --gpu-decode"):
        resolve_augment(config)
