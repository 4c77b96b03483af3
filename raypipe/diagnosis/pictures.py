"""Photographs made to measure on, where there is no source."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from raypipe import schema
from raypipe.rows.listing import Listing

#: There are no more of them: one is like the other. Each is listed many times.
_PICTURES, _TIMES = 64, 256
_PICTURE = (500, 375)
_QUALITY = 90


def listed_pictures(folder: Path) -> Listing:
    """Write JPEGs like ImageNet's, 500×375 pixels and about 110 kB; list each many times."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.jpg" for number in range(_PICTURES)]
    for number, path in enumerate(paths):
        path.write_bytes(_picture(number))
    rows = [
        {schema.ID: f"{time}/{path.name}", schema.URI: str(path), schema.ETAG: ""}
        for time in range(_TIMES)
        for path in paths
    ]
    return Listing(pa.Table.from_pylist(rows, schema.ITEMS).to_batches())


def _picture(number: int) -> bytes:
    noise = np.random.default_rng(number)
    coarse = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(_PICTURE, Image.Resampling.BICUBIC))
    grain = smooth + noise.normal(0, 20, smooth.shape)
    file = io.BytesIO()
    Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
