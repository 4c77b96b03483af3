"""Formats by their first bytes: those that are decoded, and those that are refused by name."""

from __future__ import annotations

import re

from raypipe.errors import RejectedItem, RejectReason
from raypipe.images.codestreams import refused_jpeg

#: Decoded, by Pillow's names. Nothing else of Pillow is ever called: some of its formats start
#: another program (PostScript), or are decoded by plain Python for minutes.
DECODED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"qoif", "QOI"),
    *((start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
_NETPBM = re.compile(rb"P([1-6]|7|[fF])\s")
_AVIF = (b"avif", b"avis")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_CONVERT = "convert it to PNG"
_RAW = "develop it with rawpy or darktable"
#: What else is met among images: offset, first bytes, name, and what reads it.
_REFUSED = (
    (0, b"\xff\x0a", "JPEG XL", "imagecodecs or pillow-jxl-plugin as a --decoder"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", "imagecodecs or pillow-jxl-plugin as a --decoder"),
    (128, b"DICM", "DICOM", "pydicom as a --decoder (docs/formats.md has it)"),
    (0, b"%PDF", "PDF", "render its pages first, as with pdftoppm"),
    (0, b"%!PS", "PostScript (EPS)", "render it first, as with Ghostscript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)", "render it first, as with Ghostscript"),
    (0, b"8BPS", "Photoshop (PSD)", "psd-tools as a --decoder, or export it"),
    (0, b"FUJIFILMCCD-RAW", "camera RAW (RAF)", _RAW),
    (0, b"IIU\0", "camera RAW (RW2)", _RAW),
    (0, b"IIRO", "camera RAW (ORF)", _RAW),
    (0, b"FOVb", "camera RAW (X3F)", _RAW),
    (4, b"ftypcrx ", "camera RAW (CR3)", _RAW),
    (8, b"CR\x02", "camera RAW (CR2)", _RAW),
    (0, b"II\xbc\x01", "JPEG XR", "imagecodecs as a --decoder"),
    (0, b"v/1\x01", "OpenEXR", "it holds light, not pixels of 0..255: scale it first"),
    (0, b"#?RADIANCE", "Radiance HDR", "it holds light, not pixels of 0..255: scale it first"),
    (0, b"DDS ", "DirectDraw surface (DDS)", _CONVERT),
    (0, b"BLP1", "Blizzard texture (BLP)", _CONVERT),
    (0, b"BLP2", "Blizzard texture (BLP)", _CONVERT),
    (0, b"\0\0\1\0", "Windows icon (ICO)", _CONVERT),
    (0, b"\0\0\2\0", "Windows cursor (CUR)", _CONVERT),
    (0, b"icns", "macOS icon (ICNS)", _CONVERT),
    (0, b"\x59\xa6\x6a\x95", "Sun raster", _CONVERT),
    (0, b"\x01\xda", "SGI image", _CONVERT),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)", "render it first"),
    (0, b"/* XPM */", "XPM", _CONVERT),
    (0, b"gimp xcf", "GIMP (XCF)", "export it"),
    (0, b"FORM", "IFF", _CONVERT),
    (0, b"SIMPLE  =", "FITS", "astropy as a --decoder: its numbers have to be scaled to 0..255"),
    (0, b"\x89HDF", "HDF5", "give the file itself as SOURCE, or h5py as a --decoder"),
    (0, b"PAR1", "Parquet", "give the file itself as SOURCE"),
    (344, b"n+1\0", "NIfTI", "nibabel as a --decoder: take a slice of it"),
    (0, b"AT&TFORM", "DjVu", "render it first"),
    (0, b"BZh", "bzip2 archive (.bz2)", "decompress it: `bunzip2`"),
    (0, b"\xfd7zXZ\0", "xz archive (.xz)", "decompress it: `unxz`"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard archive (.zst)", "decompress it: `unzstd`"),
    (0, b"\x1f\x8b", "gzip archive (.gz)", "decompress it: `gunzip`"),
    (0, b"PK\3\4", "zip archive", "give the archive itself as SOURCE"),
    (0, b"7z\xbc\xaf", "7z archive", "unpack it"),
    (0, b"Rar!", "RAR archive", "unpack it"),
    (257, b"ustar", "tar archive", "give the archive itself as SOURCE"),
    (0, b"\x1aE\xdf\xa3", "video (Matroska, WebM)", "take frames out of it first, as with ffmpeg"),
    (4, b"ftyp", "video (MP4, QuickTime)", "take frames out of it first, as with ffmpeg"),
    (0, b"\0\0\1\xba", "video (MPEG)", "take frames out of it first, as with ffmpeg"),
    (4, b"\x11\xaf", "animation (FLI)", _CONVERT),
    (4, b"\x12\xaf", "animation (FLC)", _CONVERT),
    (0, b"version https://git-lfs", "Git LFS pointer", "the image is not here: `git lfs pull`"),
    (0, b"\x80\x02", "pickled object", "it is not loaded, for it could run anything"),
)
_TEXTS = (
    (re.compile(rb"<svg[\s>]", re.I), "SVG", "render it first, as with rsvg-convert or cairosvg"),
    (re.compile(rb"<!doctype html|<html", re.I), "HTML page", "a server's answer: load it again"),
    (re.compile(rb"\A\s*<\?xml|\A\s*<Error>", re.I), "XML", "a server's answer, perhaps"),
    (re.compile(rb"\A\s*[{\[]"), "JSON", "a server's answer, or a table: give it as SOURCE"),
)
_LOOKED_AT = 1024


def format_of(data: bytes) -> str | None:
    """Return Pillow's name of the format that bytes begin with, if it is decoded; else None."""
    if data.startswith(b"CR\x02", 8):  # Canon's: a TIFF, of which only the thumbnail is an image
        return None
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if _NETPBM.match(data) and data[:2] not in (b"P7", b"Pf", b"PF"):
        return "PPM"
    return "AVIF" if _brands(data) & set(_AVIF) else None


def is_heif(data: bytes) -> bool:
    """Whether bytes begin as HEIC, or as another image in the same container."""
    return bool(_brands(data) & set(_HEIF)) and not _brands(data) & set(_AVIF)


def refusal(data: bytes) -> RejectedItem:
    """Return the reject for bytes of no format that is decoded, by name where it has one."""
    if form := format_of(data):
        if form == "JPEG" and (known := refused_jpeg(data)):
            return known
        return RejectedItem(RejectReason.CORRUPT, f"{form} whose header cannot be made out")
    name, reader = _named(data)
    if name is None:
        # Without bytes of it: a source may name files that messages are not to show.
        return RejectedItem(RejectReason.NOT_AN_IMAGE, "no known image format")
    return RejectedItem(RejectReason.NOT_AN_IMAGE, f"{name}, which is not decoded here: {reader}")


def _named(data: bytes) -> tuple[str | None, str]:
    if is_heif(data):
        heif = "--decoder raypipe.images.heif:decode_heif (extra `heif`)"
        return "HEIC", heif
    if data[:2] in (b"Pf", b"PF") and _NETPBM.match(data):
        return "PFM", "it holds floating point: scale it to 8 or 16 bits first"
    if data[:2] == b"P7" and _NETPBM.match(data):
        return "PAM", _CONVERT
    for offset, start, name, reader in _REFUSED:
        if data.startswith(start, offset):
            return name, reader
    head = bytes(data[:_LOOKED_AT])
    for pattern, name, reader in _TEXTS:
        if pattern.search(head):
            return name, reader
    if data[-18:-2] == b"TRUEVISION-XFILE":
        return "Targa (TGA)", _CONVERT
    return None, ""


def _brands(data: bytes) -> set[bytes]:
    """Return the major and the compatible brands of an ISO media file; none of another."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    places = [8, *range(16, end, 4)]
    return {bytes(data[at : at + 4]) for at in places}
