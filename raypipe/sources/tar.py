"""WebDataset tar shards, read without unpacking them."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import IO, Any, Literal

import pyarrow as pa

from raypipe.config import LabelConfig, SourceConfig
from raypipe.display import say
from raypipe.errors import RejectReason, UsageError
from raypipe.schema import LABEL
from raypipe.sources.batches import Row, in_batches
from raypipe.sources.columns import check_no_columns
from raypipe.sources.containers import SIDE_DATA, UNNAMED
from raypipe.sources.files import AnyPath, file_etag
from raypipe.sources.hidden import why_hidden
from raypipe.sources.local import utf8
from raypipe.sources.members import clean_name, spell, spell_reject
from raypipe.sources.tar_members import is_gzip, tar_members
from raypipe.storage.paths import is_text

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
IMAGE_EXTENSIONS = frozenset(
    ["jpg", "jpeg", "png", "webp", "ppm", "pgm", "pbm", "tif", "tiff", "bmp", "gif", "avif"]
)
# What WebDataset's decoders take for something else than an image, and texts.
# https://github.com/webdataset/webdataset/blob/main/webdataset/autodecode.py
_TEXTS = "cls cls2 class count index inp id json jsn txt text caption transcript csv tsv xml html"
_ARRAYS = "npy npz ten tb pt pth pyd pkl pickle mp msg cbor parquet safetensors bin md5 sha256"
_MEDIA = "wav mp3 flac ogg m4a mp4 avi mov mkv webm srt vtt md yaml yml htm"
_DATA = frozenset(f"{_TEXTS} {_ARRAYS} {_MEDIA}".split())

_MAX_SIDE_BYTES = 2**20

#: Why a sample has no label though there is a member for it.
_UNREAD = "a .cls or .json member that cannot be read"


class TarSource:
    """Each sample (the members that share a name up to the first dot) is an item.

    `id` is `<shard>/<key>`, or `id` in the sample's json. A sample with several images gives an
    item for each of them, `<shard>/<key>.<extension>`.
    """

    auto_label: Literal["folder", "column"] = "column"

    def __init__(
        self,
        uri: str,
        shards: Sequence[AnyPath],
        config: SourceConfig,
        *,
        names: Sequence[str] | None = None,
        aside: Counter[str] | None = None,
    ) -> None:
        check_no_columns(config, repr(uri), labels=True)
        self.uri = uri
        self.names = [_name_of(name) for name in names or [path.name for path in shards]]
        self.shards = shards
        self.beside = aside or Counter[str]()
        self.aside, self.labels_not_found = Counter[str](), Counter[str]()
        self.config = config if isinstance(config, LabelConfig) else None

    def list(self) -> Iterator[pa.RecordBatch]:
        """Yield the items in order of shards and members, holding the listing of one shard.

        Raises:
            RaypipeError: a shard is damaged.
            UsageError: labels are asked for, and there are none.
        """
        bare = empty = True
        self.aside = Counter(self.beside)
        self.labels_not_found.clear()
        for batch in in_batches(chain.from_iterable(map(self._shard, self.shards, self.names))):
            empty = False
            bare = bare and batch[LABEL].null_count == len(batch)
            yield batch
        config = self.config
        if config and config.label == "column" and bare and not empty:
            raise UsageError(
                f"--label column: no sample of {self.uri!r} has a .cls member, or a .json one with "
                f"{config.label_column!r}; name the key by --label column:NAME, or give another"
            )

    def _shard(self, path: AnyPath, name: str) -> Iterator[Row]:
        shard = _TarShard(path, name, self.config)
        for member, stream in tar_members(shard.path):
            shard.add(member, stream)
        yield from chain.from_iterable(map(shard.rows, shard.entries))
        self.aside += shard.aside
        self.labels_not_found[_UNREAD] += len(shard.unread)
        if shard.unread:
            say(
                f"{len(shard.unread)} .cls and .json members of {shard.path!r} cannot be read and "
                f"give no labels, as {shard.unread[0]}"
            )


@dataclass(slots=True)
class _Sample:
    """What a shard holds under one key."""

    key: str
    images: list[tuple[str, str, str]] = field(default_factory=list)  # extension, uri, etag
    others: list[tuple[str, str, str]] = field(default_factory=list)
    cls: str | None = None
    id: str | None = None
    label: str | None = None
    split: str | None = None


class _TarShard:
    """The samples of one tar file, in order of their first members."""

    def __init__(self, path: AnyPath, name: str, config: LabelConfig | None) -> None:
        self.path = str(path)
        self.name = name
        self.kind = "targz" if is_gzip(self.path) else "tar"
        self.etag = file_etag(self.path)
        self.label_column = config.label_column if config else "label"
        self.split_column = config.split_column if config else "split"
        self.entries: list[_Sample | Row] = []
        self.samples: dict[str, _Sample] = {}
        self.seen: dict[str, int] = {}
        self.aside = Counter[str]()
        self.unread: list[str] = []

    def add(self, member: tarfile.TarInfo, stream: IO[bytes]) -> None:
        """Take in one member; the stream stands at its first byte."""
        name = clean_name(member.name)
        if member.isdir():
            return
        if name is not None and (why := why_hidden(name)):
            self.aside[why] += 1
            return
        shown = utf8(member.name if name is None else name)
        key, _, extension = _base(shown).partition(".")
        unique = f"{shown[: len(shown) - len(extension)]}{extension.lower()}"
        count = self.seen[unique] = self.seen.get(unique, 0) + 1
        if problem := _problem(member, name, count):
            self.entries.append(self._reject(member, shown, count, problem))
        elif extension:
            folder = shown[: len(shown) - len(_base(shown))]
            self._add_to_sample(folder + key, extension.lower(), member, stream)
        else:
            self.aside[UNNAMED] += 1

    def rows(self, entry: _Sample | Row) -> Iterator[Row]:
        """Yield the items of a sample."""
        if isinstance(entry, tuple):
            yield entry
            return
        item = entry.id or f"{self.name}/{entry.key}"
        label = entry.cls if entry.label is None else entry.label
        # Without an image by its name, the content of what is no data by its name decides.
        images = entry.images or entry.others
        self.aside[SIDE_DATA] += len(entry.others) if entry.images else 0
        for extension, uri, etag in images:
            name = f"{item}.{extension}" if len(images) > 1 else item
            yield name, uri, etag, label, entry.split

    def _add_to_sample(
        self, key: str, extension: str, member: tarfile.TarInfo, stream: IO[bytes]
    ) -> None:
        if (sample := self.samples.get(key)) is None:
            sample = self.samples[key] = _Sample(key)
            self.entries.append(sample)
        if extension.rpartition(".")[2] in IMAGE_EXTENSIONS:
            sample.images.append((extension, self._reference(member), self._etag(member)))
            return
        if extension.rpartition(".")[2] not in _DATA:
            sample.others.append((extension, self._reference(member), self._etag(member)))
            return
        self.aside[SIDE_DATA] += 1
        if extension in ("cls", "json"):
            try:
                self._read_side(sample, extension, member, stream)
            except (ValueError, RecursionError) as error:
                shown = utf8(f"member {member.name!r} of {self.path}")
                self.unread.append(f"{shown}: {error}")

    def _read_side(
        self, sample: _Sample, extension: str, member: tarfile.TarInfo, stream: IO[bytes]
    ) -> None:
        if member.size > _MAX_SIDE_BYTES:
            raise ValueError(f"{member.size} bytes")
        text = stream.read(member.size).decode("utf-8-sig")
        if extension == "cls":
            sample.cls = text.strip() or None
            return
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        if not all(is_text(value) for value in values.values() if isinstance(value, str)):
            raise ValueError("half a character, a lone surrogate")
        given = values.get("id")
        sample.id = given if isinstance(given, str) and given else None
        labels = (values.get(name) for name in (self.label_column, "label", "cls"))
        sample.label = next((_text(label) for label in labels if label is not None), None)
        sample.split = _text(values.get(self.split_column))

    def _reference(self, member: tarfile.TarInfo) -> str:
        numbers = {"at": member.offset_data, "size": member.size, "sum": member.chksum}
        return spell(self.kind, self.path, member.name, **numbers)

    def _etag(self, member: tarfile.TarInfo) -> str:
        changed = int(member.mtime) if isfinite(member.mtime) else 0  # a PAX header may say `nan`
        return f"{changed:x}-{member.size:x}-{self.etag}"

    def _reject(self, member: tarfile.TarInfo, shown: str, count: int, problem: str) -> Row:
        uri = spell_reject(
            RejectReason.UNREADABLE, f"member {shown!r} of {utf8(self.path)} {problem}"
        )
        item = f"{self.name}/{shown}" if count == 1 else f"{self.name}/{shown}#{count}"
        return item, uri, self._etag(member), None, None


def _name_of(shard: str) -> str:
    return utf8(re.sub(r"(\.tar|\.tar\.gz|\.tgz)$", "", shard))


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _problem(member: tarfile.TarInfo, name: str | None, count: int) -> str:
    """Say why a member must not be read, if so."""
    if name is None:
        return "has an unsafe name: it leads out of the archive"
    if member.islnk() or member.issym():
        return "is a link; links in archives are not followed"
    if not member.isreg() or member.issparse():
        return "is no regular file"
    return f"is there {count} times; the first one is taken" if count > 1 else ""


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, list | dict):
        raise ValueError(f"a {type(value).__name__} as a label or split")
    return json.dumps(value)
