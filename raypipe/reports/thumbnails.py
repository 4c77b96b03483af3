"""Images of a store that can still be read, small."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageFile, UnidentifiedImageError

from raypipe import schema
from raypipe.errors import RaypipeError, RejectedItem
from raypipe.images.decode import decode
from raypipe.images.formats import DECODED
from raypipe.sources import read_item
from raypipe.store.reader import StoreReader

_PIXELS = 2**26
#: Of a small picture, at most.
SIDE = 96


def find_uris(store: StoreReader, names: Iterable[str]) -> dict[str, str]:
    """Return where images are, by id."""
    wanted = pa.array(sorted(set(names)), pa.string())
    found: dict[str, str] = {}
    for batch in store.iter_batches([schema.ID, schema.URI]):
        chosen = batch.filter(pc.is_in(batch[schema.ID], wanted))
        found |= dict(
            zip(chosen[schema.ID].to_pylist(), chosen[schema.URI].to_pylist(), strict=True)
        )
    return found


def unreadable(uri: str) -> str:
    """Return what is said of images that cannot be read any more, and what to do."""
    return (
        f"images cannot be read where the store says they are, as {uri!r}; put them there again "
        "(a link will do), or extract from where they are now to another --out"
    )


def thumbnail(uri: str, side: int = SIDE) -> Image.Image | None:
    """Return an image, at most so many pixels wide and high; None if it cannot be read any more."""
    try:
        image = decode(read_item(uri, _PIXELS), _PIXELS, least=side)
    except (RejectedItem, RaypipeError, OSError):
        return None
    image.thumbnail((side, side))
    return image


def read_again(uri: str, least: int) -> tuple[Image.Image, tuple[int, int], int] | None:
    """Return an image with sides of at least so many pixels, its own width and height, and its
    size in bytes; None if it cannot be read any more.
    """
    try:
        data = read_item(uri, _PIXELS)
        image = decode(data, _PIXELS, least=least)
        with Image.open(io.BytesIO(data), formats=DECODED) as file:
            sides = file.size
    except UnidentifiedImageError:  # no format of Pillow's: it was decoded whole
        sides = image.size
    except (RejectedItem, RaypipeError, OSError):
        return None
    if (sides[0] < sides[1]) != (image.width < image.height):  # turned, as its EXIF data says
        sides = sides[::-1]
    return image, sides, len(data)


def remains(uri: str) -> Image.Image | None:
    """Return what can be seen of an image that was rejected; None if that is nothing.

    Of a truncated file it is the part that is there. For a process apart: damage may end it, and
    Pillow's leniency is a setting of the process.
    """
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(read_item(uri, _PIXELS)), formats=DECODED)
            image.draft("RGB", (SIDE, SIDE))
            if image.width * image.height > _PIXELS:
                return None
            small = image.convert("RGB")
    except (RejectedItem, RaypipeError, OSError, ValueError, SyntaxError, MemoryError, EOFError):
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
    small.thumbnail((SIDE, SIDE))
    return small
