"""Choice of the JPEGs that a GPU may decode in the CPU's stead; no Ray."""

from __future__ import annotations

import io

from PIL import Image

_END = b"\xff\xd9"
#: A unit of these still is a block of Arrow's, whose texts may have 2 GiB in all.
_MOST_BYTES = 2**20
#: What is longer is cut before it is scaled (`transforms`), at a greater length than this.
_LONGEST_ASPECT = 4
_ORIENTATION = 0x0112
#: Nothing watches the time and memory of what a device decodes, so both have to be bounded: 32
#: images of so many pixels are 1.5 GiB, and each scan of a progressive one goes over all of them;
#: 1 MiB holds thousands of empty ones.
_MOST_PIXELS, _MOST_SCANS, _SCAN = 2**24, 16, b"\xff\xda"


def is_plain_jpeg(data: bytes, max_pixels: int) -> bool:
    """Whether a decoder without this project's rules gives what these rules give.

    That is a whole JPEG of at most 1 MiB, 16 megapixels and 16 scans, grey or YCbCr, upright, of a
    usual shape, without more pixels than allowed.
    All else is left to `decode.decode`, which finds out what is wrong, if anything is.
    """
    if len(data) > _MOST_BYTES or not data.startswith(b"\xff\xd8") or not data.endswith(_END):
        return False
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
        upright = image.getexif().get(_ORIENTATION, 1) == 1
    except Exception:  # headers are parsed as they are found in the file
        return False
    return (
        upright
        and image.format == "JPEG"  # not several in one file
        and image.mode in ("L", "RGB")
        and image.info.get("adobe_transform") != 0  # RGB as it is
        and max(image.size) <= _LONGEST_ASPECT * min(image.size)
        and image.width * image.height <= min(max_pixels, _MOST_PIXELS)
        and data.count(_SCAN) <= _MOST_SCANS
    )
