"""From a file's bytes to the pixels that enter the network, in one step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from raypipe.images.decode import decode
from raypipe.images.transforms import least_side, to_pixels
from raypipe.spec import Preprocess


def pixels_of(data: bytes, preprocess: Preprocess, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Return an image's (height, width, 3) uint8 in RGB order, before normalisation.

    Raises:
        RejectedItem: there is no image, or one of more pixels than allowed.
        UsageError: there is no such decoder as `preprocess` names.
    """
    least, decoders = least_side(preprocess), preprocess.decoders
    return to_pixels(decode(data, max_pixels, least, preprocess.orientation, decoders), preprocess)
