"""Images that a program has: files, bytes, pictures of Pillow, arrays; as a source of items.

All of them become files, which go the way of any other source's: they are decoded by the same
rules, in processes apart, and predictions are the same to the bit.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from raypipe import schema
from raypipe.config import PredictConfig
from raypipe.errors import UsageError
from raypipe.heads.model import TrainedModel
from raypipe.heads.predictor import Predictor
from raypipe.images.npy import is_image
from raypipe.predictions.checks import head_spec
from raypipe.predictions.inputs import Images
from raypipe.runtime.keeping import ONE_AT_A_TIME
from raypipe.sources.local import named_uri

#: What one image may be.
GivenImage = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.unsignedinteger[Any]]
_Bytes = bytes | bytearray | memoryview

#: What a PNG holds as it is; and what Pillow turns into RGB by the same rule as from a file.
_IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TO_RGB = ("PA", "RGBa", "RGBX", "CMYK", "YCbCr")
_WHY = [schema.REASON, schema.MESSAGE]
_ALLOWED = (
    "expected a path, bytes, a PIL image, an array (H, W) or (H, W, 3) of uint8, or a list of "
    "these; or features, an array (N, …) of floats"
)


def is_features(given: object) -> bool:
    """Whether what is given are features, (N, …) floats, and not images."""
    return isinstance(given, np.ndarray) and given.dtype.kind == "f"


def as_list(given: object) -> list[Any]:
    """Return the images that are given, one or several.

    Raises:
        UsageError: it is neither an image nor a list of images.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "UO" and given.ndim == 1:
        given = given.tolist()  # of paths
    several = list(given) if isinstance(given, list | tuple) else [given]
    for image in several:
        _check(image)
    return several


def _check(image: object) -> None:
    if isinstance(image, np.ndarray):
        if is_image(image):
            return
        got = f"an array {image.shape} of {image.dtype}"
    elif isinstance(image, str | os.PathLike | Image.Image | _Bytes):
        return
    else:
        got = f"{type(image).__name__}"
    raise UsageError(f"images: {_ALLOWED}; got {got}")


def probabilities(
    model: TrainedModel,
    images: Sequence[Any],
    backbone: str | None = None,
    weights: str | None = None,
) -> npt.NDArray[np.float32]:
    """Return (N, K) probabilities of N images, computed in this process.

    Args:
        model: the model.
        images: of `as_list`.
        backbone: where the model's backbone is now, if it has moved.
        weights: where its weights are now, if they have moved.

    Raises:
        UsageError: an image cannot be read, or the backbone is not the model's any more.
    """
    if not images:
        return np.zeros((0, len(model.classes)), np.float32)
    with (
        ONE_AT_A_TIME,
        tempfile.TemporaryDirectory(prefix="raypipe-") as folder,
        ExitStack() as stack,
    ):
        source = GivenSource(images, Path(folder))
        config = PredictConfig(model="model", source=source.uri, backbone=backbone, weights=weights)
        head = head_spec(config, model.classes, model.spec.outputs, model.column, "")
        predictor = Predictor(model.head, head.model_copy(update={"probabilities": True}))
        flow = Images(config, model, predictor, source)
        table = pa.concat_tables(flow.rows(predictor, stack)).sort_by(schema.ID)
    for reason, message, name in zip(
        table[schema.REASON].to_pylist(),
        table[schema.MESSAGE].to_pylist(),
        source.names,
        strict=True,
    ):
        if reason:
            raise UsageError(f"{name} cannot be read: {reason}: {message}")
    found: npt.NDArray[np.float32] = (
        table[schema.PROBABILITIES].combine_chunks().flatten().to_numpy()
    )
    return found.reshape(len(images), -1)


def _check_read(table: pa.Table, names: Sequence[str]) -> None:
    for row, name in zip(table.select(_WHY).to_pylist(), names, strict=True):
        if row[schema.REASON]:
            reason, message = (row[column] for column in _WHY)
            raise UsageError(f"{name} cannot be read: {reason}: {message}")


class GivenSource:
    """Images of a program as a `Source`; those that are in memory become files of a folder.

    Args:
        images: of `as_list`.
        folder: for the files.

    Attributes:
        names: of the images, for messages.

    Raises:
        UsageError: there is no rule for a picture of Pillow.
    """

    uri = "images given in Python"
    auto_label: Literal["folder", "column"] = "column"

    def __init__(self, images: Sequence[Any], folder: Path) -> None:
        self.names = [_name(image, n, len(images)) for n, image in enumerate(images)]
        self._uris = [
            _uri(image, folder / f"{n:08d}", name)
            for n, (image, name) in enumerate(zip(images, self.names, strict=True))
        ]

    @property
    def aside(self) -> Counter[str]:
        """Nothing is left aside."""
        return Counter()

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items; ids are numbers, so that an image may be given twice."""
        count = len(self._uris)
        columns = {
            schema.ID: [f"{n:08d}" for n in range(count)],
            schema.URI: self._uris,
            schema.ETAG: [""] * count,
            schema.LABEL: [None] * count,
            schema.SPLIT: [None] * count,
        }
        yield from pa.table(columns, schema=schema.ITEMS).to_batches()


def _name(image: object, number: int, count: int) -> str:
    if isinstance(image, str | os.PathLike):
        return repr(os.fspath(image))
    which = f"image {number} of {count}" if count > 1 else "the image"
    return f"{which} ({type(image).__name__})"


def _uri(image: Any, file: Path, name: str) -> str:
    """Return where an image is: in its own file, or in the one that is written."""
    if isinstance(image, str | os.PathLike):
        return named_uri(os.fspath(image), "images")
    if isinstance(image, np.ndarray):
        np.save(file.with_suffix(".npy"), image, allow_pickle=False)
        return str(file.with_suffix(".npy"))
    file.write_bytes(_encoded(image, name) if isinstance(image, Image.Image) else image)
    return str(file)


def _encoded(image: Image.Image, name: str) -> bytes:
    """Return a picture of Pillow as a file's content."""
    if (content := _untouched(image)) is not None:
        return content
    if image.format == "TIFF" and image.mode != "RGB":
        raise UsageError(f"{name}: what samples of a TIFF mean is in its file; give its path")
    if image.mode not in _IN_PNG + _TO_RGB:
        raise UsageError(f"{name}: no rule to convert mode {image.mode!r} to RGB")
    exif = image.getexif()
    picture, buffer = image if image.mode in _IN_PNG else image.convert("RGB"), io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1, exif=exif)
    return buffer.getvalue()


def _untouched(image: Image.Image) -> bytes | None:
    """Return the file that a picture was opened from, as long as nothing has been read of it."""
    file = getattr(image, "fp", None)
    if not getattr(image, "tile", None) or file is None or image.tell() != 0:
        return None
    place = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(place)
    return content
