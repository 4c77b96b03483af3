"""What the headers of JPEGs and JPEG 2000 say of samples that have no rule here."""

from __future__ import annotations

from collections.abc import Iterator

from raypipe.errors import RejectedItem, RejectReason

#: Frames of a JPEG by their marker; what is decoded is sequential or progressive, of 8 bits.
_KINDS = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical JPEG"),
    0xF7: "JPEG-LS",
}
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA, *_KINDS})
_START_OF_SCAN, _ALONE = 0xDA, frozenset({0x01, *range(0xD0, 0xD9)})
_CODESTREAM, _COMPONENTS = b"\xff\x4f\xff\x51", 40
_DEEPEST = 16


def refused_jpeg(data: bytes) -> RejectedItem | None:
    """Return the reject for a JPEG of a kind that is not decoded; None for the others."""
    for marker, segment in _segments(data):
        if marker in _FRAMES and segment:
            kind = _KINDS.get(marker, f"JPEG of {segment[0]} bits")
            if marker in _KINDS or segment[0] != 8:
                return _refused(kind, "take imagecodecs as a --decoder")
    return None


def check_jpeg_2000(data: bytes) -> None:
    """Make sure that a JPEG 2000's samples have a rule.

    Raises:
        RejectedItem: they are signed, of which no range is stated, or have more than 16 bits.
    """
    start = data.find(_CODESTREAM) + _COMPONENTS
    count = int.from_bytes(data[start : start + 2], "big") if start >= _COMPONENTS else 0
    for depth in data[start + 2 : start + 2 + 3 * count : 3]:
        if depth & 0x80:
            raise _refused("JPEG 2000 of signed samples, without a stated range", "scale them")
        if depth + 1 > _DEEPEST:
            raise _refused(f"JPEG 2000 of {depth + 1} bits", "scale them to 8 or 16")


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and content of each segment in front of the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _START_OF_SCAN:
            return
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _refused(what: str, remedy: str) -> RejectedItem:
    return RejectedItem(RejectReason.UNSUPPORTED, f"{what}: not decoded here; {remedy}")
