"""Holds a replica of a truncated backbone and turns pixels into features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from raypipe.backbone import Backbone, restore
from raypipe.backbone.outputs import pool
from raypipe.backbone.precision import DTYPES, prepare
from raypipe.spec import Spec
from raypipe.transforms import normalize

__all__ = ["Embedder"]


class Embedder:
    """Maps uint8 images to features, on the CPU or on a GPU.

    Args:
        backbone: the verified network.
        spec: preprocessing, pooling, precision and output type.
        device: a torch device: `cpu`, `cuda`, `cuda:1`.
        batch_size: images per forward pass. Every pass has this size (a short tail is padded), so
            that an image's features do not depend on how many others come with it.
        threads: CPU threads of the forward pass; None leaves torch's setting.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        device: str = "cpu",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec = spec
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.dtype = DTYPES[spec.precision]
        self.model = prepare(restore(backbone), spec.precision, self.device)

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        """Return the features of (N, size, size, 3) RGB images.

        Returns:
            `{column: (N, …)}` in the spec's dtype; class numbers as int32.
        """
        starts = range(0, len(images), self.batch_size)
        parts = [self._embed(images[start : start + self.batch_size]) for start in starts]
        if not parts:  # the shapes are still needed
            parts = [self._embed(np.zeros((1, *images.shape[1:]), np.uint8))]
            return {column: value[:0] for column, value in parts[0].items()}
        return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}

    @torch.inference_mode()
    def _embed(self, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.generic]]:
        padded = np.zeros((self.batch_size, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        pixels = torch.from_numpy(padded).to(self.device, non_blocking=True)
        outputs = self.model(normalize(pixels, self.spec.preprocess).to(self.dtype))
        return {
            wanted.column: self._to_numpy(pool(outputs[wanted.layer], wanted.pool)[: len(images)])
            for wanted in self.spec.outputs
        }

    def _to_numpy(self, values: torch.Tensor) -> npt.NDArray[np.generic]:
        array = values.cpu().numpy()
        return array.astype(self.spec.dtype) if values.is_floating_point() else array
