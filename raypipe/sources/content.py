"""Content of an item: from its URI to its bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from raypipe.errors import RejectedItem, RejectReason
from raypipe.sources.array_files import forget_arrays, read_array
from raypipe.sources.faults import patiently, rejected
from raypipe.sources.files import needs_requests
from raypipe.sources.local import FILE_SCHEME, forget_files, path_of, read_local, utf8
from raypipe.sources.members import Member, parse, raise_reject
from raypipe.sources.parquet_content import forget_groups, read_parquet
from raypipe.sources.remote import REMOTE_SCHEMES, read_remote
from raypipe.sources.servers import after_a_pause, counted
from raypipe.sources.tar_content import forget_streams, read_tar, read_tar_gz
from raypipe.sources.zip import read_zip

_BYTES_PER_PIXEL = 8  # four channels of 16 bits
_METADATA_BYTES = 64 * 2**20

_READERS: dict[str, Callable[[Member, int, str | None], bytes]] = {
    "zip": read_zip,
    "tar": read_tar,
    "targz": read_tar_gz,
    "parquet": read_parquet,
    "npy": read_array,
    "npz": read_array,
    "hdf5": read_array,
}
_FORWARD = ("targz:", "npz:")
#: What gives one item after the other, however many threads ask.
_IN_TURN = ("targz", "parquet")


def is_sequential(uri: str) -> bool:
    """Whether items of this kind are to be read in listing order by one thread.

    They are in a compressed stream, which every step back starts again.
    """
    return uri.startswith(_FORWARD)


def local_file(uri: str) -> Path | None:
    """Return the file that an item's bytes are in; None if it is not one of this machine."""
    if uri.startswith(("/", FILE_SCHEME)):
        return Path(path_of(uri))
    if uri.partition(":")[0] not in _READERS:
        return None
    path = parse(uri).path
    return Path(path) if path.startswith("/") else None


def read_item(
    uri: str, max_pixels: int, max_bytes: int | None = None, etag: str | None = None
) -> bytes:
    """Return the bytes of one item; may be called from several threads.

    Args:
        uri: as listed.
        max_pixels: what is larger than so many pixels are without compression is rejected instead
            of read: it is a video or an archive among the images.
        max_bytes: a lower limit.
        etag: as listed: its bytes are of that version, or there are none. None for any.

    Raises:
        RejectedItem: they could not be fetched.
    """
    most = _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES
    max_bytes = most if max_bytes is None else min(most, max_bytes)
    if uri.startswith(("/", FILE_SCHEME)):
        return patiently(partial(read_local, path_of(uri), max_bytes, etag), forget_files)
    scheme = uri.partition(":")[0]
    if scheme in REMOTE_SCHEMES:
        return read_remote(uri, max_bytes, etag)
    if scheme == "reject":
        return raise_reject(uri)
    if scheme not in _READERS:
        return patiently(partial(read_local, uri, max_bytes, etag), forget_files)
    member = parse(uri)
    reading = partial(_read_member, _READERS[scheme], member, max_bytes, etag)
    if not needs_requests(uri):
        return patiently(reading, _forget)
    # A bucket's requests are tried again where they are made.
    with counted(member.path):
        return after_a_pause(member.path, reading) if scheme in _IN_TURN else reading()


def _read_member(
    reader: Callable[[Member, int, str | None], bytes],
    member: Member,
    max_bytes: int,
    etag: str | None,
) -> bytes:
    try:
        return reader(member, max_bytes, etag)
    except OSError as error:
        reject = rejected(utf8(str(member)), error, etag)
        if etag is not None and reject.reason is RejectReason.UNREADABLE:
            # Its file could be read when it was listed.
            reject = RejectedItem(RejectReason.UNAVAILABLE, reject.message)
        raise reject from None


def _forget() -> None:
    """Close what is kept open of containers."""
    for forget in (forget_files, forget_arrays, forget_groups, forget_streams):
        forget()
