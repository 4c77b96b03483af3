"""Folders and prefixes that hold containers of images, at any depth: shards, tables, arrays."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from raypipe.errors import RaypipeError, UsageError
from raypipe.rows import splits
from raypipe.sources.hidden import HIDDEN, why_hidden
from raypipe.sources.links import Links, is_beyond

#: As many loose files make a folder of images, whatever else is in it: it is not searched further.
MANY = 1000

SHARDS, TABLES, ARRAYS = "tar shards", "Parquet tables", "array files"
_KINDS = {
    SHARDS: (".tar", ".tar.gz", ".tgz"),
    TABLES: (".parquet",),
    ARRAYS: (".npz", ".h5", ".hdf5"),
}
#: Tables that are not read, and what to do.
TO_PARQUET = {
    ".arrow": "save it as .parquet (`Dataset.to_parquet` of Hugging Face)",
    **dict.fromkeys((".feather", ".orc"), "save it as .parquet"),
}
# What cannot be read as a folder of them.
_OTHERS = {
    ".zip": "give one .zip as SOURCE, or unpack them",
    **TO_PARQUET,
    ".tfrecord": "write WebDataset shards (.tar) or Parquet from it",
    ".mds": "write WebDataset shards (.tar) or Parquet from it",
    ".tar.bz2": "recompress it with gzip, or leave it uncompressed",
    ".tar.xz": "recompress it with gzip, or leave it uncompressed",
    ".tar.zst": "recompress it with gzip, or leave it uncompressed",
    ".7z": "write .tar or .zip",
    ".rar": "write .tar or .zip",
}
_TEXTS = (".csv", ".tsv", ".jsonl")
_BESIDE = (
    *_TEXTS,
    *(".json", ".md", ".txt", ".yaml", ".yml", ".toml", ".rst", ".html", ".py", ".sh", ".log"),
    *(".idx", ".index", ".crc", ".md5", ".sha256", ".sha256sum", ".sig", ".lock"),
)
_NAMES_BESIDE = ("license", "licence", "readme", "copying", "citation.cff")

#: Why something is left aside, by rule.
SIDE_DATA = "beside an image in its sample, or data by its extension"
UNNAMED = "member of a shard without an extension"
DESCRIBES = "describes a data set (text, statistics, an index)"
OF_SHARDS = "table beside a tar shard of the same name"


@dataclass
class Survey:
    """What there is below a folder or prefix.

    Attributes:
        containers: paths below it, by kind.
        foreign: containers that cannot be read.
        loose: other files, up to `MANY`.
        aside: how many files are left aside if there are containers, by reason.
        texts: tables as text, which are left aside too.
    """

    containers: dict[str, list[str]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        """Take in the path of one file."""
        name = path.rpartition("/")[2].lower()
        kind = next((kind for kind, ends in _KINDS.items() if name.endswith(ends)), None)
        if reason := why_hidden(path):
            self.aside[reason] += 1
        elif _is_marker(path) or (kind is not None and "/_" in f"/{path}"):
            self.aside[HIDDEN] += 1
        elif kind is not None:
            self.containers.setdefault(kind, []).append(path)
        elif name.endswith(tuple(_OTHERS)):
            self.foreign.append(path)
        elif name.endswith(_BESIDE) or name in _NAMES_BESIDE:
            self.aside[DESCRIBES] += 1
            self.texts += [path] if name.endswith(_TEXTS) else []
        else:
            self.loose.append(path)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all."""
        return not (self.containers or self.foreign or self.loose or self.aside)

    @property
    def is_of_images(self) -> bool:
        """Whether the files themselves are the images."""
        alone = not self.containers and not self.foreign
        return len(self.loose) >= MANY or (alone and bool(self.loose or not self.texts))

    def chosen(self, uri: str) -> tuple[str, list[str]]:
        """Return the kind of the containers, and their paths, sorted.

        Raises:
            UsageError: there are several kinds, ones that cannot be read, or other files.
        """
        self._set_companions_aside()
        if self.foreign and not self.containers and not self.loose:
            first = min(self.foreign)
            advice = next(hint for end, hint in _OTHERS.items() if first.lower().endswith(end))
            raise UsageError(
                f"SOURCE: {uri!r} holds {len(self.foreign)} files as {first!r}, which cannot be "
                f"read; {advice}"
            )
        if not self.containers and not self.loose:
            raise UsageError(
                f"SOURCE: {uri!r} holds no images, but {len(self.texts)} tables as "
                f"{min(self.texts)!r}; give the table itself as SOURCE"
            )
        found = [*self.containers.items(), ("files that cannot be read", self.foreign)]
        found = [(kind, paths) for kind, paths in [*found, ("other files", self.loose)] if paths]
        if len(found) > 1:
            listed = ", ".join(f"{len(paths)} {kind} (as {min(paths)!r})" for kind, paths in found)
            raise UsageError(
                f"SOURCE: {uri!r} holds {listed}; give what is meant: a sub-folder, a file or a "
                "pattern, as FOLDER/*.tar"
            )
        kind, paths = found[0]
        return kind, sorted(paths)

    def _set_companions_aside(self) -> None:
        """Leave tables aside that belong to shards, as img2dataset writes them."""
        shards = {_without_suffix(path) for path in self.containers.get(SHARDS, ())}
        tables = self.containers.get(TABLES, [])
        if shards and tables:
            own = [path for path in tables if _without_suffix(path) not in shards]
            self.aside[OF_SHARDS] += len(tables) - len(own)
            self.containers[TABLES] = own
            self.containers = {kind: paths for kind, paths in self.containers.items() if paths}


def _is_marker(path: str) -> bool:
    """Whether a name is of no image: `_SUCCESS` is a marker, but `_DSC0001.jpg` a photograph."""
    name = path.rpartition("/")[2]
    return name.startswith("_") and "." not in name


def survey(paths: Iterable[str]) -> Survey:
    """Look at the paths of files below a folder, until it is clear that they are the images."""
    found = Survey()
    for path in paths:
        found.add(path)
        if len(found.loose) >= MANY:
            break
    return found


def files_below(folder: str) -> Iterator[str]:
    """Yield the paths of files below a folder; each folder once, however many links lead to it.

    Raises:
        RaypipeError: a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        if not is_beyond(error):
            raise RaypipeError(f"SOURCE: cannot list {error.filename!r}: {error.strerror}")

    links = Links(folder)
    for root, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        folders[:] = [
            name
            for name, path in ((name, f"{root}/{name}") for name in sorted(folders))
            if not os.path.islink(path) or links.follows(path)  # noqa: PTH114
        ]
        below = os.path.relpath(root, folder)
        yield from (name if below == "." else f"{below}/{name}" for name in names)


def _without_suffix(path: str) -> str:
    return re.sub(r"(\.tar\.gz|\.[^./]*)$", "", path)


_HIVE = re.compile(r"([^/=]+)=([^/]*)")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_OF_SPLIT = re.compile(r"([A-Za-z]+)(?:-\d+-of-\d+.*)?")


def columns_of_path(path: str, split_column: str) -> dict[str, str | None]:
    """Return the columns that a table's path below its source stands for.

    `species=rose/part-0.parquet` is Hive's and Spark's way to write a column; the split in a
    folder's or file's name, as `train/0000.parquet` or `test-00000-of-00002.parquet`, that of
    Hugging Face.

    https://huggingface.co/docs/hub/datasets-file-names-and-splits
    """
    *folders, name = path.split("/")
    found: dict[str, str | None] = {}
    for folder in folders:
        if pair := _HIVE.fullmatch(folder):
            value = unquote(pair[2])
            found[unquote(pair[1])] = None if value == _HIVE_NULL else value
    stem = _OF_SPLIT.fullmatch(_without_suffix(name))
    for word in (*folders[::-1], stem[1] if stem else ""):
        if split_column not in found and splits.is_usual(word):
            found[split_column] = splits.canonical(word)
    return found
