"""Images in a .zip archive, read without unpacking it."""

from __future__ import annotations

import bz2
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import pyarrow as pa

from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.sources.batches import Row, in_batches
from raypipe.sources.faults import changed
from raypipe.sources.files import AnyPath, Reader, file_etag, open_file, open_stream
from raypipe.sources.hidden import why_hidden
from raypipe.sources.local import check_size, utf8
from raypipe.sources.members import Member, clean_name, spell, spell_reject
from raypipe.sources.zip_directory import check_directory

_ENCRYPTED = 0x1
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_EXTRA_BYTES = 64
_SIGNATURE = b"PK\x03\x04"


class ZipSource:
    """Every file in the archive is an item, whatever its extension: content decides.

    `id` is the path as stored. What is hidden is not listed.
    """

    auto_label: Literal["folder", "column"] = "folder"

    def __init__(self, path: AnyPath) -> None:
        self.path = path
        self.uri = str(path)
        self.aside = Counter[str]()

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of their ids. The names of all members are held meanwhile."""
        return in_batches(self._rows())

    def _rows(self) -> Iterator[Row]:
        seen: dict[str, int] = {}
        self.aside.clear()
        version = version_number(file_etag(self.uri))  # before the directory is read
        named = ((clean_name(info.filename), info) for info in _directory(self.uri))
        for name, info in sorted(named, key=lambda pair: pair[0] or pair[1].filename):
            if _is_folder(info):
                continue
            if name is not None and (why := why_hidden(name)):
                self.aside[why] += 1
                continue
            shown = utf8(info.filename if name is None else name)
            count = seen[shown] = seen.get(shown, 0) + 1
            problem = _problem(info, name, count)
            uri = self._reject(shown, *problem) if problem else self._reference(info, version)
            item = shown if count == 1 else f"{shown}#{count}"
            yield item, uri, f"{info.CRC:08x}-{info.file_size:x}", None, None

    def _reference(self, info: zipfile.ZipInfo, version: int) -> str:
        return spell(
            "zip",
            self.uri,
            info.orig_filename,
            at=info.header_offset,
            packed=info.compress_size,
            size=info.file_size,
            method=info.compress_type,
            crc=info.CRC,
            of=version,
        )

    def _reject(self, name: str, reason: RejectReason, why: str) -> str:
        return spell_reject(reason, f"member {name!r} of {utf8(self.uri)} {why}")


def _directory(path: str) -> list[zipfile.ZipInfo]:
    try:
        with open_stream(path) as file, zipfile.ZipFile(file) as archive:
            check_directory(archive)
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, struct.error, NotImplementedError) as error:
        raise RaypipeError(
            f"SOURCE: archive {path!r} is damaged or cut short: {error}; repair or replace it"
        ) from None
    except OSError as error:
        raise RaypipeError(f"SOURCE: cannot read {path!r}: {error.strerror or error}") from None


def _is_folder(info: zipfile.ZipInfo) -> bool:
    name = info.filename
    return name.endswith("/") or (name.endswith("\\") and not info.file_size)


def _problem(
    info: zipfile.ZipInfo, name: str | None, count: int
) -> tuple[RejectReason, str] | None:
    """Say why a member must not be read."""
    if name is None:
        return RejectReason.UNREADABLE, "has an unsafe name: it leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return RejectReason.UNREADABLE, "is a link; links in archives are not followed"
    if info.flag_bits & _ENCRYPTED:
        return RejectReason.UNREADABLE, "is encrypted; pack the archive without a password"
    if info.compress_type not in _READABLE:
        return RejectReason.UNSUPPORTED, "is compressed by another method than deflate or bzip2"
    if count > 1:
        return RejectReason.UNREADABLE, f"is there {count} times; the first one is taken"
    return None


def read_zip(member: Member, max_bytes: int, _etag: str | None = None) -> bytes:
    """Return a member's bytes.

    The reference says where they are, so the archive's directory is not read again, which for a
    million members takes seconds and hundreds of MB in every process. Bytes of the listed size and
    CRC are what was listed, whatever else has become of the archive.

    Raises:
        RejectedItem: they are not there, damaged, or too many.
        OSError: they cannot be read.
    """
    where = member.numbers
    check_size(where["size"], max_bytes)
    # Deflate and bzip2 never grow data by more than a little: this is no compressed image.
    if where["packed"] > where["size"] + where["size"] // 8 + 1024:
        message = f"member {member} has more bytes packed than unpacked"
        raise RejectedItem(RejectReason.CORRUPT, utf8(message))
    file = open_file(member.path)
    try:
        data = _content(file, member)
    except (zlib.error, EOFError, OverflowError, ValueError) as error:
        if where.get("of") not in (None, version_number(file.version())):
            raise changed(utf8(str(member))) from None
        message = f"member {member} is not what the archive's directory says: {error}"
        raise RejectedItem(RejectReason.DAMAGED, utf8(message)) from None
    return data


def _content(file: Reader, member: Member) -> bytes:
    """Return a member's bytes; raises ValueError where they are not those of the directory."""
    where = member.numbers
    # With the header, in one request: what a name and its extra fields usually take is known.
    before = _LOCAL_HEADER.size + len(os.fsencode(member.name)) + _EXTRA_BYTES
    found = file.read(before + where["packed"], where["at"])
    if len(found) < _LOCAL_HEADER.size or not found.startswith(_SIGNATURE):
        raise ValueError("there is no member")
    _, name_length, extra_length = _LOCAL_HEADER.unpack_from(found)
    name_end = _LOCAL_HEADER.size + name_length
    start = name_end + extra_length
    if (missing := start + where["packed"] - len(found)) > 0:
        found += file.read(missing, where["at"] + len(found))
    name = found[_LOCAL_HEADER.size : name_end]
    if not _is_name(name, member.name):
        raise ValueError(f"a member of another name, {name.decode('utf-8', 'replace')!r}")
    data = _unpack(found[start : start + where["packed"]], where)
    if len(data) != where["size"]:
        raise ValueError(f"{len(data)} bytes instead of {where['size']}")
    if zlib.crc32(data) != where["crc"]:
        raise ValueError("bytes of another checksum")
    return data


def _is_name(found: bytes, name: str) -> bool:
    """Whether a member calls itself what the directory calls it, as far as both can be compared.

    The directory's name may be in Unicode where the member's is in a code page of its own.
    """
    texts = (found.decode(encoding, "replace") for encoding in ("utf-8", "cp437"))
    is_other = name not in (text.partition("\0")[0] for text in texts)
    return not is_other or not (found.isascii() or name.isascii())


def _unpack(packed: bytes, where: dict[str, int]) -> bytes:
    """Decompress, but never to more bytes than the archive says there are."""
    if where["method"] == zipfile.ZIP_STORED or not where["size"]:
        return packed[: where["size"]]
    if where["method"] == zipfile.ZIP_BZIP2:
        try:
            return bz2.BZ2Decompressor().decompress(packed, where["size"])
        except OSError as error:  # no fault of a drive
            raise ValueError(str(error)) from None
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, where["size"])


def version_number(etag: str) -> int:
    """Return an archive's etag as a number: a member's own etag is its CRC and size alone.

    So the members of an archive that is packed anew stay what they are.
    """
    return int(hashlib.sha256(etag.encode()).hexdigest()[:15], 16)
