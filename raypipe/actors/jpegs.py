"""Decoding JPEGs on the device that computes their features."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from raypipe.errors import RaypipeError, RejectedItem
from raypipe.images.pixels import pixels_of
from raypipe.images.transforms import centre, scaled_size
from raypipe.spec import Preprocess

#: JPEGs handed to the decoder together: enough to keep it busy, and few in its memory.
_TOGETHER = 32


class JpegDecoder:
    """Turns plain JPEGs into the pixels that enter the network, on a device.

    On a GPU, nvJPEG decodes and what follows is computed in float32 and rounded, so that pixels
    differ from those of `decode` and `to_pixels` (see docs/performance.md). On a CPU, it is
    libjpeg-turbo that decodes.

    Args:
        preprocess: with a filtered bilinear or bicubic resize.
        device: a torch device: `cpu`, `cuda`.
        max_pixels: cap on the pixels of images that the device leaves to the CPU.

    Raises:
        RaypipeError: the device cannot decode JPEGs at all.
    """

    def __init__(self, preprocess: Preprocess, device: str, max_pixels: int) -> None:
        self.preprocess, self.max_pixels = preprocess, max_pixels
        self.device = torch.device(device)
        try:
            _decode([_small()], self.device)
        except RuntimeError as error:
            detail = next(iter(str(error).splitlines()), "")
            raise RaypipeError(
                f"--gpu-decode: torchvision cannot decode JPEGs on {device} here ({detail}); "
                "leave it out"
            ) from None

    def __call__(
        self, contents: npt.NDArray[np.object_], encoded: npt.NDArray[np.bool_]
    ) -> tuple[Tensor, dict[int, RejectedItem]]:
        """Bring images to the device, in order.

        Args:
            contents: N JPEGs, or (height, width, 3) uint8 pixels as they lie in memory.
            encoded: N times, which of the two.

        Returns:
            (n, height, width, 3) uint8 on the device, and those there are no pixels of, by number.
        """
        shape = (*self.preprocess.shape, 3)
        found, rejected = list[Tensor](), dict[int, RejectedItem]()
        jpegs = self._pixels(contents[encoded].tolist())
        for number, content in enumerate(contents):
            pixels = next(jpegs) if encoded[number] else self._there(content)
            if isinstance(pixels, RejectedItem):
                rejected[number] = pixels
            else:
                found.append(pixels.view(shape))
        none = torch.empty((0, *shape), dtype=torch.uint8, device=self.device)
        return torch.stack(found) if found else none, rejected

    def _pixels(self, jpegs: Sequence[bytes]) -> Iterator[Tensor | RejectedItem]:
        for start in range(0, len(jpegs), _TOGETHER):
            some = jpegs[start : start + _TOGETHER]
            for data, found in zip(some, self._decoded(some), strict=True):
                yield self._on_cpu(data) if found is None else self._scaled(found)

    def _there(self, pixels: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(pixels, np.uint8).copy()).to(self.device)

    def _decoded(self, images: Sequence[bytes]) -> Sequence[Tensor | None]:
        """Return (3, H, W) uint8 on the device; None where its decoder gives up."""
        try:
            return _decode(images, self.device)
        except RuntimeError:  # of all, for one of them
            if len(images) == 1:
                return [None]
            return [found for data in images for found in self._decoded([data])]

    def _scaled(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        width, height = scaled_size((width, height), self.preprocess)
        scaled = F.interpolate(
            image[None].float(),
            size=(height, width),
            mode=self.preprocess.interpolation,
            antialias=True,
            align_corners=False,
        )
        cut = scaled[0].permute(1, 2, 0)[centre((height, width), self.preprocess)]
        return cut.round().clamp(0, 255).byte().contiguous()

    def _on_cpu(self, data: bytes) -> Tensor | RejectedItem:
        try:
            pixels = pixels_of(data, self.preprocess, self.max_pixels)
        except RejectedItem as reject:
            return reject
        return self._there(pixels.tobytes())


def _small() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    return stream.getvalue()


def _decode(images: Sequence[bytes], device: torch.device) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that bytes may not be written to, that it is to move
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = [torch.frombuffer(data, dtype=torch.uint8) for data in images]
        found: list[Tensor] = decode_jpeg(encoded, ImageReadMode.RGB, device)
    return found
