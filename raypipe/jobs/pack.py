"""Pack images into tar shards."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import PackConfig
from raypipe.display import track
from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.rows.listing import Listing, counted
from raypipe.rows.spreadsheets import write_rows
from raypipe.sources import open_source
from raypipe.sources.ahead import read_items
from raypipe.sources.remote import check_reachable
from raypipe.sources.tar import IMAGE_EXTENSIONS
from raypipe.storage import check_not_within, output_folder

_MARK = ".raypipe-pack.json"
_REJECTS = "rejects.csv"
_MB = 10**6
_PROBED = 64
# So many items in a row without an answer are no longer their own fault.
_PATIENCE = 100
_OUTAGE = (RejectReason.UNAVAILABLE, RejectReason.CHANGED)
_NPY_MAGIC = b"\x93NUMPY"
_MAGIC = (
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tif"),
    (0, b"MM\0*", "tif"),
    (8, b"WEBP", "webp"),
    (4, b"ftypavif", "avif"),
)
_NETPBM = {b"1": "pbm", b"4": "pbm", b"2": "pgm", b"5": "pgm", b"3": "ppm", b"6": "ppm"}


@dataclass(frozen=True)
class _Packed:
    """One item, ready to be written, or rejected."""

    number: int
    item: dict[str, Any]
    data: bytes = b""
    extension: str = ""
    reject: RejectedItem | None = None


def run(config: PackConfig) -> Outcome:
    """Pack; see `PackConfig` for the options.

    Raises:
        UsageError: there are no images, or other shards in the folder.
        RaypipeError: a server does not answer.
    """
    started = time.monotonic()
    check_not_within(config.out)
    source = open_source(config)
    with Listing(source.list(), lambda: source.aside, lambda: source.labels_not_found) as listing:
        if not len(listing):
            raise UsageError(f"SOURCE: no images in {source.uri!r}")
        if config.shards and config.shards > len(listing):
            raise UsageError(f"--shards: at most the number of images, {len(listing)}")
        first = next(listing.batches())[schema.URI].slice(0, _PROBED).to_pylist()
        check_reachable(first)
        out = output_folder(config.out)
        _claim(out, config, listing)
        items = _read(listing, config.max_pixels, server_etags=source.server_etags)
        writer = _Writer(out, config, len(listing))
        for packed in _with_patience(track(items, total=len(listing), count=lambda _: 1)):
            writer.add(packed)
    summary = {
        **writer.finish(),
        "left_aside": listing.aside,
        "labels_not_found": listing.unlabelled,
        "seconds": round(time.monotonic() - started, 3),
    }
    lines = [_text(summary), *counted(listing.aside, listing.unlabelled)]
    shards = sorted(str(path) for path in out.glob(f"{config.prefix}-*.tar"))
    return Outcome(summary, "\n".join(lines), shards)


def _claim(out: Path, config: PackConfig, listing: Listing) -> None:
    """Write down what the shards of this folder are made of.

    Raises:
        UsageError: they are made of something else.
    """
    digest = hashlib.sha256()
    for batch in listing.batches():
        versions = batch.select(list(schema.VERSION_COLUMNS))
        digest.update(json.dumps(versions.to_pylist()).encode())
    options = {"prefix": config.prefix, "shards": config.shards, "shard_mb": config.shard_mb}
    mark = json.dumps({**options, "items": len(listing), "sha256": digest.hexdigest()})
    file = out / _MARK
    before = file.read_text() if file.exists() else None
    if before != mark and (before is not None or any(out.glob("*.tar*"))):
        raise UsageError(
            f"--out: {str(out)!r} holds shards of another packing (other images, labels or "
            "options); choose another folder or empty this one"
        )
    file.write_text(mark)


def _read(listing: Listing, max_pixels: int, *, server_etags: bool) -> Iterator[_Packed]:
    """Yield the items in order; some are read ahead, since many wait for a disk or a server."""
    number = 0
    for batch in listing.batches():
        found = read_items(batch, max_pixels, server_etags=server_etags)
        for item, data in zip(batch.to_pylist(), found, strict=True):
            yield _packed(number, item, data)
            number += 1


def _packed(number: int, item: dict[str, Any], data: bytes | RejectedItem) -> _Packed:
    if isinstance(data, RejectedItem):
        return _Packed(number, item, reject=data)
    try:
        if data.startswith(_NPY_MAGIC):
            return _Packed(number, item, _png(data), "png")
        return _Packed(number, item, data, _extension(data, item[schema.ID]))
    except RejectedItem as reject:
        return _Packed(number, item, reject=reject)


def _extension(data: bytes, name: str) -> str:
    """Return the extension that the content asks for, else the one that it had.

    Raises:
        RejectedItem: it is no image that a shard could hold.
    """
    for at, magic, extension in _MAGIC:
        if data.startswith(magic, at):
            return extension
    if data[:1] == b"P" and data[1:2] in _NETPBM:
        return _NETPBM[data[1:2]]
    extension = name.rpartition(".")[2].lower()
    if extension in IMAGE_EXTENSIONS:
        return extension  # damaged, perhaps; who decodes it will tell
    message = f"no image format that a tar shard holds; the file starts with {data[:8]!r}"
    raise RejectedItem(RejectReason.NOT_AN_IMAGE, message)


def _png(data: bytes) -> bytes:
    """Return an image array as PNG with the same pixels."""
    pixels = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        raise UsageError("SOURCE: arrays of 16-bit colour cannot be packed; scale them to uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _with_patience(items: Iterable[_Packed]) -> Iterator[_Packed]:
    failed = 0
    for packed in items:
        down = packed.reject is not None and packed.reject.reason in _OUTAGE
        failed = failed + 1 if down else 0
        if failed == _PATIENCE and packed.reject:
            raise RaypipeError(
                f"SOURCE: the last {failed} images could not be had ({packed.reject.message}); "
                "run the same command again"
            )
        yield packed


class _Writer:
    """Writes shards one after another; each appears under its name when it is whole."""

    def __init__(self, out: Path, config: PackConfig, total: int) -> None:
        self.out, self.config, self.total = out, config, total
        self.temporary = out / ".tmp-shard"
        self.tar: tarfile.TarFile | None = None
        self.shards = self.items = self.bytes = self.in_shard = 0
        self.rejected: list[tuple[str, str, str]] = []

    def add(self, packed: _Packed) -> None:
        """Write one item, or why it is not."""
        if packed.reject:
            reason, message = packed.reject.reason.value, packed.reject.message
            self.rejected.append((packed.item[schema.ID], reason, message))
            return
        self._turn(packed)
        for extension, data in _members(packed):
            self._write(f"{packed.number:06d}.{extension}", data)
        self.items += 1

    def finish(self) -> dict[str, Any]:
        """Publish the last shard and the rejects; return the figures."""
        while self.shards < (self.config.shards or 0) or self.tar:
            self._publish()
        self._write_rejects()
        kept = {self._name(number) for number in range(self.shards)}
        for old in set(self.out.glob(f"{self.config.prefix}-*.tar")) - kept:
            old.unlink()  # an earlier run could read more
        figures = {"shards": self.shards, "items": self.items, "rejects": len(self.rejected)}
        return {"out": str(self.out), **figures, "bytes": self.bytes}

    def _write_rejects(self) -> None:
        path = self.out / _REJECTS
        path.unlink(missing_ok=True)
        if self.rejected:
            heading = (schema.ID, schema.REASON, schema.MESSAGE)
            write_rows(path, [heading, *self.rejected], safe=self.config.csv_safe)

    def _turn(self, packed: _Packed) -> None:
        """Go on to the next shard where it is time."""
        if self.config.shards:
            while self.shards < packed.number * self.config.shards // self.total:
                self._publish()
        elif self.in_shard and self.in_shard + len(packed.data) > self.config.shard_mb * _MB:
            self._publish()

    def _write(self, name: str, data: bytes) -> None:
        self.tar = self.tar or self._open()
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.tar.addfile(member, io.BytesIO(data))
        self.in_shard += len(data) + tarfile.BLOCKSIZE

    def _publish(self) -> None:
        (self.tar or self._open()).close()  # without members if none of them could be read
        self.bytes += self.temporary.stat().st_size
        self.temporary.replace(self._name(self.shards))
        self.tar, self.in_shard, self.shards = None, 0, self.shards + 1

    def _open(self) -> tarfile.TarFile:
        return tarfile.open(self.temporary, "w", format=tarfile.USTAR_FORMAT)

    def _name(self, number: int) -> Path:
        return self.out / f"{self.config.prefix}-{number:06d}.tar"


def _members(packed: _Packed) -> Iterator[tuple[str, bytes]]:
    item = packed.item
    kept = {name: item[name] for name in (schema.ID, schema.LABEL, schema.SPLIT)}
    yield packed.extension, packed.data
    yield "json", json.dumps(kept, ensure_ascii=False).encode()
    if item[schema.LABEL] is not None:
        yield "cls", item[schema.LABEL].encode()


def _text(summary: dict[str, Any]) -> str:
    lines = [
        f"packed  {summary['items']} images into {summary['shards']} shards, "
        f"{summary['bytes'] / 1e6:.1f} MB: {summary['out']}"
    ]
    if summary["rejects"]:
        lines.append(f"rejects {summary['rejects']}: {summary['out']}/{_REJECTS}")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("pack", PackConfig)


if __name__ == "__main__":
    main()
