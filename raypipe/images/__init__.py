"""Bytes to tensors: decoding, preprocessing, augmentation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Values of 0..255 as they travel: bytes, or with `--float-views` fractions, too.
Pixels = npt.NDArray[np.uint8 | np.float32]
