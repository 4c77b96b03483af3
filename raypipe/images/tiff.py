"""TIFF by its tags: what Pillow reads, and what the samples mean.

Pillow names a mode by the size of samples, and leaves what else the tags say aside. So the tags are
looked at first. What is in no table here has no rule and is rejected, with its layout.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from raypipe.errors import RejectedItem, RejectReason

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _COLOURS, _INKS, _EXTRA, _FORMAT, _SUBSAMPLING = (
    277,
    284,
    320,
    332,
    338,
    339,
    530,
)
_REDUCED, _OTHERS, _DNG, _PREDICTOR = 254, 330, 50706, 317
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_RAW, _OLD_JPEG = 1, 6
#: Compressions that libtiff decodes in Pillow's own builds, and those that undo a predictor.
_PREDICTING = frozenset({5, 8, 32946, 34925, 50000})
_COMPRESSIONS = frozenset({_RAW, 2, 3, 4, _OLD_JPEG, 7, 32771, 32773, 32809}) | _PREDICTING
_OTHER_COMPRESSIONS = {
    **dict.fromkeys((33003, 33004, 33005, 34712, 50003), "JPEG 2000"),
    **dict.fromkeys((34892, 50002, 52546), "JPEG XL or lossy JPEG"),
    **dict.fromkeys((22610, 34934, 48124), "JPEG XR"),
    34887: "LERC",
    34933: "PNG",
    50001: "WebP",
    **dict.fromkeys((34676, 34677), "LogLuv"),
}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_PHOTOMETRICS = {
    _WHITE_IS_ZERO: "WhiteIsZero",
    _BLACK_IS_ZERO: "BlackIsZero",
    _RGB: "RGB",
    _PALETTE: "palette",
    4: "mask",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    8: "Lab",
    32803: "colour filter array (camera RAW)",
    34892: "linear raw (camera RAW)",
}
#: Bits of a sample by what it is part of; those of grey also scale it.
_BITS_OF = {
    _WHITE_IS_ZERO: (1, 2, 4, 8, 16),
    _BLACK_IS_ZERO: (1, 2, 4, 8, 12, 16, 32),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _CMYK: (8, 16),
    _YCBCR: (8,),
}
_COLOURS_OF = {_RGB: 3, _CMYK: 4, _YCBCR: 3}
_PIXELS_AT_ONCE = 2**20
#: Pillow's modes of grey with more than 8 bits.
WIDE_GREY = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})

# Pillow has these for the other order of bytes only.
_BIG = b"MM"
TiffImagePlugin.OPEN_INFO.setdefault((_BIG, 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
TiffImagePlugin.OPEN_INFO.setdefault((_BIG, 1, (1,), 1, (32,), ()), ("I", "I;32B"))


@dataclass(frozen=True)
class Layout:
    """What the tags of a TIFF's first page say of its pixels.

    Attributes:
        photometric: what samples stand for; None where it is not said.
        bits: of each sample of a pixel.
        kind: 1 unsigned, 2 signed, 3 floating point, as `SampleFormat` has it.
        extra: what the samples beyond the colours are, as `ExtraSamples` has it.
        planar: whether samples lie in planes.
        compression: as the tag has it.
        subsampled: whether YCbCr has fewer samples of colour than pixels.
        inks: 1 for cyan, magenta, yellow and black.
        narrow_palette: whether a palette's colours have 8 bits.
        predictor: as the tag has it; 1 for none.
        swapped: whether samples of 32 bits come in the other order than Pillow takes them in.
    """

    photometric: int | None
    bits: tuple[int, ...]
    kind: int
    extra: tuple[int, ...]
    planar: bool
    compression: int
    subsampled: bool
    inks: int
    narrow_palette: bool
    predictor: int = 1
    swapped: bool = False

    def __str__(self) -> str:
        """Return what is said in messages."""
        kinds = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating-point"}
        samples = f"{len(self.bits)} sample{'s' * (len(self.bits) > 1)} of {self.bits[0]} bits"
        name = _PHOTOMETRICS.get(self.photometric or 0, str(self.photometric))
        name = "no photometric interpretation" if self.photometric is None else name
        planes = ", in planes" if self.planar and len(self.bits) > 1 else ""
        return f"{name}, {samples}, {kinds.get(self.kind, 'other')}{planes}"


def check_layout(data: bytes) -> Layout:
    """Return the layout of a TIFF's first page.

    Raises:
        RejectedItem: it has no rule.
    """
    tags = _tags(data)
    layout = _layout(tags)
    if _is_raw(tags):
        message = (
            "camera RAW (DNG, NEF, ARW, PEF), whose first page is a thumbnail; develop it with "
        )
        message += "rawpy or darktable"
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    if why := _without_rule(layout):
        message = f"TIFF with {why} ({layout}): no rule to make RGB of it; give a --decoder"
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    return layout


def grey_levels(image: Image.Image, layout: Layout) -> Image.Image:
    """Return wide grey as 8 bits, and associated alpha divided out; others as they are.

    Raises:
        RejectedItem: 32-bit values that all would be black.
    """
    if image.mode == "La":
        return _undivided(image)
    if image.mode not in WIDE_GREY:
        return image
    bits, white = layout.bits[0], layout.photometric == _WHITE_IS_ZERO
    most = 2**bits - 1
    as_type = np.uint32 if bits == 32 else np.uint16
    narrow, highest = np.empty((image.height, image.width), np.uint8), 0
    step = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, step):  # in pieces: wider numbers take eight times as much
        bottom = min(image.height, top + step)
        rows = np.asarray(image.crop((0, top, image.width, bottom)))
        rows = (rows.byteswap() if layout.swapped and bits == 32 else rows).astype(as_type)
        highest = max(highest, int(rows.max()))
        narrow[top:bottom] = _scaled(most - rows if white else rows, most)
    if bits == 32 and 0 < highest < most // 255:
        message = f"TIFF: 32-bit values up to {highest} of {most} would all be black; scale them"
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    return Image.fromarray(narrow)


def _scaled(values: npt.NDArray[Any], most: int) -> npt.NDArray[np.uint8]:
    """Return floor(255 · x / most)."""
    wider = values.astype(np.uint64 if most > 2**16 else np.uint32)
    return (wider * 255 // most).astype(np.uint8)


def _undivided(image: Image.Image) -> Image.Image:
    """Return grey of which alpha has been divided out, as it is of colours."""
    grey, alpha = (np.asarray(image.getchannel(band)).astype(np.uint32) for band in (0, 1))
    plain = np.minimum(255, 255 * grey // np.maximum(alpha, 1))
    return Image.fromarray(np.where(alpha == 0, grey, plain).astype(np.uint8))


def _tags(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    if data[3:4] == b"+":
        message = "BigTIFF with the most significant byte first; save it with the other order"
        raise RejectedItem(RejectReason.UNSUPPORTED, message)
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:3] == b"+" else 8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise EOFError("truncated: a directory without a width and a height")
    return tags


def _is_raw(tags: Any) -> bool:
    """Whether the picture itself is in another directory than the first, as cameras write it."""
    return _DNG in tags or (bool(tags.get(_REDUCED, 0) & 1) and _OTHERS in tags)


def _layout(tags: Any) -> Layout:
    compression = tags.get(_COMPRESSION, _RAW)
    photometric = tags.get(_PHOTOMETRIC)
    if compression == _OLD_JPEG:
        photometric = _YCBCR
    jpeg_colour = compression == _OLD_JPEG and photometric in (_RGB, _YCBCR)
    bits = tags.get(_BITS, (1,))
    samples = tags.get(_SAMPLES, 3 if jpeg_colour else 1)
    bits = bits * samples if len(bits) == 1 and samples <= 64 else bits
    kinds = set(tags.get(_FORMAT, (1,)))
    colours = tags.get(_COLOURS, (65535,)) if photometric == _PALETTE else (65535,)
    return Layout(
        photometric=photometric,
        bits=tuple(bits[: max(1, samples)]),
        kind=kinds.pop() if len(kinds) == 1 else 0,
        extra=tuple(tags.get(_EXTRA, ())),
        planar=tags.get(_PLANAR, 1) == 2,
        compression=compression,
        subsampled=tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1),
        inks=tags.get(_INKS, 1),
        narrow_palette=max(colours) < 256 and max(colours) > 0,
        predictor=tags.get(_PREDICTOR, 1),
        swapped=tags.prefix == _BIG and compression != _RAW,  # libtiff swaps, and Pillow again
    )


def _without_rule(layout: Layout) -> str:
    """Return why a layout has no rule; empty for one that has."""
    colours = _COLOURS_OF.get(layout.photometric or 0, 1)
    beyond = len(layout.bits) - colours
    if layout.kind == _FLOAT:
        return "floating-point samples, which have no stated range"
    if layout.kind != _UNSIGNED:
        return "signed samples, which have no stated range"
    of_grey = layout.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    if beyond > 1 or (beyond == 1 and of_grey and (layout.bits[0] != 8 or not layout.extra)):
        return f"{len(layout.bits)} bands"
    if beyond < 0 or len(layout.extra) > max(0, beyond) or len(set(layout.bits)) != 1:
        return "samples that do not go with its colours"
    known = -1 if layout.photometric is None else layout.photometric
    if layout.bits[0] not in _BITS_OF.get(known, ()):
        return "an unusual kind of pixel"
    return _unusual(layout, beyond)


def _unusual(layout: Layout, beyond: int) -> str:
    bits = layout.bits[0]
    if layout.compression not in _COMPRESSIONS:
        return f"{_OTHER_COMPRESSIONS.get(layout.compression, layout.compression)} compression"
    if layout.predictor != 1 and layout.compression not in _PREDICTING:
        return "a predictor that its compression has none of"
    if layout.planar and len(layout.bits) > 1 and (bits != 8 or beyond):
        return "wide samples or alpha in planes"
    if layout.photometric == _YCBCR and layout.compression == _RAW and layout.subsampled:
        return "subsampled colours without compression"
    if layout.photometric == _YCBCR and layout.planar:
        return "YCbCr in planes"
    if layout.photometric == _CMYK and layout.inks != 1:
        return "inks other than cyan, magenta, yellow and black"
    if layout.photometric == _CMYK and layout.extra not in ((), (0,)):
        return "alpha beside inks"
    if layout.narrow_palette:
        return "a palette of 8-bit colours"
    if beyond and bits not in (8, 16):
        return "an alpha channel of few bits"
    return ""
