"""Images that a network is tried out on: read by the driver, and decoded in a process apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.decoding_process import DecodingProcess
from raypipe.images.jpeg import is_plain_jpeg
from raypipe.images.pixels import pixels_of
from raypipe.steps.batch import ReadOptions
from raypipe.steps.read import Fetch

_SAMPLE, _PIXELS = 4, 25 * 10**6
#: What is slow is left to the flow, and how often the process may die before everything is.
_SECONDS, _DEATHS = 10.0, 3

#: One for this process, which may be started ahead.
_apart = DecodingProcess(_SECONDS)


def begin(stack: ExitStack) -> None:
    """Start the process that decodes the sample, without waiting for it; it ends with the stack."""
    stack.callback(_apart.close)
    _apart.begin()


def sampled_pixels(some: Iterable[pa.Table], options: ReadOptions) -> npt.NDArray[np.uint8]:
    """Return the first image that can be read of each of some runs of items.

    Images that are large or slow, or that end the process that decodes them, are left to the flow.

    Returns:
        (N, height, width, 3) uint8, of four images at most.
    """
    blank = np.zeros((0, *options.spec.preprocess.shape, 3), np.uint8)
    found, deaths = list[npt.NDArray[np.uint8]](), 0
    limits = options.spec.preprocess, min(options.max_pixels, _PIXELS)
    with _apart:
        for items in some:
            for data in _contents(items, options):
                if len(found) == _SAMPLE or deaths == _DEATHS:
                    break
                try:
                    found.append(_apart(pixels_of, data, *limits))
                    break
                except RejectedItem as reject:
                    deaths += reject.reason in (RejectReason.CRASHED, RejectReason.TOO_SLOW)
    return np.stack(found) if found else blank


def sampled_jpegs(some: Iterable[pa.Table], options: ReadOptions) -> list[bytes]:
    """Return the first JPEG that a GPU may decode of each of some runs of items: four at most."""
    each = (
        (data for data in _contents(items, options) if is_plain_jpeg(data, options.max_pixels))
        for items in some
    )
    return [data for found in each for data in [next(found, b"")] if data][:_SAMPLE]


def _contents(items: pa.Table, options: ReadOptions) -> Iterator[bytes]:
    for _, _, data in Fetch()(items, options):
        if not isinstance(data, RejectedItem):
            yield bytes(data)
