"""What an image takes is known before it is decoded, and large ones take turns."""

from __future__ import annotations

import io
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images import need, transforms
from raypipe.images.decode import decode
from raypipe.spec import Preprocess
from tests.support.corpus import BOMBS


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(50, 40), (320, 30), (300, 210), (400, 300)], ids=str)
def test_a_band_at_a_time_is_the_same(
    size: tuple[int, int], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (211, 307, 3), np.uint8)
    image = Image.fromarray(noise)
    at_once = transforms._resize_filtered(image, size, mode)
    monkeypatch.setattr(transforms, "_LARGE", 0)
    monkeypatch.setattr(transforms, "BAND", 307 * 17)
    monkeypatch.setattr(need, "BAND", 307 * 17)
    np.testing.assert_array_equal(transforms._resize_filtered(image, size, mode), at_once)
    np.testing.assert_array_equal(need.in_bands(image), noise)


@pytest.mark.parametrize("name", ["png-beyond-the-cap", "jpeg2000", "npy"])
def test_rejected_by_the_header(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = BOMBS[name]()
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(RejectedItem) as reject:
        decode(data, 178_956_970)
    assert reject.value.reason is RejectReason.TOO_LARGE


def test_what_takes_more_than_there_is_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.BytesIO()
    Image.new("RGBA", (300, 200)).save(sink, "WEBP")
    monkeypatch.setattr(need, "BUDGET", 300 * 200 * 8)
    with pytest.raises(
        RejectedItem, match="300×200 pixels of WEBP .* to decode; at most"
    ) as reject:
        decode(sink.getvalue(), 10**6)
    assert reject.value.reason is RejectReason.TOO_LARGE


_HOLDS = """
from raypipe.images.need import in_turn
import sys
with in_turn(2**30):
    print("in turn", flush=True)
    sys.stdin.read()
"""


def test_large_images_take_turns() -> None:
    """Another process's turn ends when it does, however that ends."""
    command = [sys.executable, "-c", _HOLDS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout
        assert first.stdout.readline() == b"in turn\n"
        with need.in_turn(2**20):  # a small one does not wait
            pass
        with subprocess.Popen(command, **pipes) as second:
            time.sleep(0.5)
            first.kill()
            assert second.stdout
            assert second.stdout.readline() == b"in turn\n"
            assert first.wait() < 0
            second.communicate()


@pytest.mark.parametrize("share", [{}, {"decoders": ("a:b",)}], ids=str)
def test_fingerprints_without_decoders_are_what_they_were(share: dict[str, object]) -> None:
    assert ("decoders" in Preprocess(**share).model_dump()) is bool(share)
