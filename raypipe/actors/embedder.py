"""Holds a replica of a truncated backbone and turns pixels into features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from raypipe.actors.staging import Staging
from raypipe.backbone import Backbone, restore
from raypipe.backbone.hardware.compiling import compile_network
from raypipe.backbone.hardware.precision import DTYPES, prepare
from raypipe.backbone.outputs import pool
from raypipe.errors import RaypipeError
from raypipe.images import Pixels
from raypipe.images.transforms import normalize
from raypipe.memory import is_out_of_memory
from raypipe.spec import Spec


class Embedder:
    """Maps images, of the spec's `pixel_type`, to features, on the CPU or on a GPU.

    A process that does little else should call `memory.keep_freed` before.

    Args:
        backbone: the verified network.
        spec: preprocessing, pooling, precision and output type.
        device: a torch device: `cpu`, `cuda`, `cuda:1`.
        batch_size: images per forward pass. Every pass has this size (a short tail is padded), so
            that an image's features do not depend on how many others come with it. It is halved
            for good when memory does not suffice.
        threads: CPU threads of the forward pass; None leaves torch's setting.
        compiled: whether the network is compiled, which takes tens of seconds the first time.

    Raises:
        RaypipeError: the network cannot be compiled here.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        device: str = "cpu",
        batch_size: int = 16,
        threads: int | None = None,
        compiled: bool = False,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec = spec
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.dtype = DTYPES[spec.precision]
        self.model = prepare(restore(backbone), spec.precision, self.device, fused=not compiled)
        self._stage = Staging(self.device)
        if compiled:
            example = self._input(_noise(batch_size, *spec.preprocess.shape))
            self.model = compile_network(self.model, example)

    def __call__(self, images: Pixels | torch.Tensor) -> dict[str, npt.NDArray[np.generic]]:
        """Return the features of (N, height, width, 3) RGB images, which may be on the device.

        Returns:
            `{column: (N, …)}` in the spec's dtype; class numbers as int32.

        Raises:
            RaypipeError: not even one image fits in memory.
        """
        starts = range(0, len(images), self.batch_size)
        return self._joined(images[i : i + starts.step] for i in starts)

    def stream(self, images: Iterable[Pixels]) -> dict[str, npt.NDArray[np.generic]]:
        """Return what a call returns, `{column: (N, …)}`, for (height, width, 3) images."""
        return self._joined(map(np.stack, _runs(images, self.batch_size)))

    def _joined(
        self, batches: Iterable[Pixels | torch.Tensor]
    ) -> dict[str, npt.NDArray[np.generic]]:
        parts = [part for batch in batches for part in self._parts(batch)]
        # Without images, the shapes are still needed.
        blank = np.zeros((1, *self.spec.preprocess.shape, 3), self.spec.pixel_type)
        some = parts or list(self._parts(blank))
        found = {name: self._to_numpy([part[name] for part in some]) for name in some[0]}
        return found if parts else {name: value[:0] for name, value in found.items()}

    def _parts(self, images: Pixels | torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
        """Yield features of consecutive images, in as few passes as memory allows."""
        done = 0
        while done < len(images):
            batch = images[done : done + self.batch_size]
            try:
                part = self.embed(batch)
            except (MemoryError, RuntimeError) as error:
                self._halve(error)
                continue
            yield part
            done += len(batch)

    @torch.inference_mode()
    def embed(self, images: Pixels | torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the features of (n, height, width, 3) images, n at most `batch_size`.

        Returns:
            `{column: (n, …)}` on the device: float32, and class numbers as int32.
        """
        outputs = self.model(self._input(images))
        return {
            wanted.column: pool(outputs[wanted.layer], wanted)[: len(images)]
            for wanted in self.spec.outputs
        }

    @torch.inference_mode()
    def _input(self, images: Pixels | torch.Tensor) -> torch.Tensor:
        pixels = images if isinstance(images, torch.Tensor) else self._stage(self._whole(images))
        if short := self.batch_size - len(pixels):
            pixels = torch.cat([pixels, pixels.new_zeros(short, *pixels.shape[1:])])
        return normalize(pixels, self.spec.preprocess, self.dtype)

    def _whole(self, images: Pixels) -> Pixels:
        """Fill a batch up with blanks before it is copied: the room for it is kept."""
        if len(images) == self.batch_size:
            return images
        blank = np.zeros((self.batch_size - len(images), *images.shape[1:]), images.dtype)
        return np.concatenate([images, blank])

    def device_bytes(self) -> int:
        """Return how much of the GPU's memory has been in use at once; 0 on the CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def _halve(self, error: Exception) -> None:
        """Go on with smaller batches, if it was memory that did not suffice."""
        if not is_out_of_memory(error):
            raise error
        if self.batch_size == 1:
            detail = next(iter(str(error).splitlines()), type(error).__name__)
            raise RaypipeError(
                f"one image does not fit in the memory of {self.device} ({detail}); "
                "take a smaller --size or another machine"
            ) from None
        self.batch_size //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _to_numpy(self, parts: list[torch.Tensor]) -> npt.NDArray[np.generic]:
        """Bring a unit's features to the host at once: till then, a GPU is never waited for."""
        array = torch.cat(parts).cpu().numpy()
        if array.dtype.kind != "f":
            return array
        with np.errstate(over="ignore"):  # what becomes infinite is rejected where it is written
            return array.astype(self.spec.dtype, copy=False)


def _runs(images: Iterable[Pixels], length: int) -> Iterator[list[Pixels]]:
    rest = iter(images)
    while run := list(islice(rest, length)):
        yield run


def _noise(count: int, height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
