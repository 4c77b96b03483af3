"""Patterns of ids, and of the paths of shards."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.errors import UsageError
from raypipe.schema import ID, URI
from raypipe.sources.buckets import entries, object_exists
from raypipe.sources.files import ObjectPath
from raypipe.sources.members import parse as parse_member
from raypipe.storage.objects import parse

_SPECIAL = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]")
_WORDS = {"**/": "(?:[^/]*/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")


def matching(batch: pa.RecordBatch, patterns: Iterable[str]) -> pa.RecordBatch:
    """Return the items of `schema.ITEMS` whose id matches one of the patterns.

    `*` and `?` stay within a folder, `**/` spans folders. A pattern without `/` is matched with the
    last part of the id. The id of a sample in a shard has no extension; its member's counts too.
    """
    found = re.compile("|".join(map(_translate, patterns)), re.DOTALL).fullmatch
    wanted = [
        found(item) is not None or found(item + _extension(uri)) is not None
        for item, uri in zip(batch[ID].to_pylist(), batch[URI].to_pylist(), strict=True)
    ]
    return batch.filter(pa.array(wanted, pa.bool_()))


def _extension(uri: str) -> str:
    """Return what follows the first dot in the name of a shard's member."""
    if not uri.startswith(("tar:", "targz:")):
        return ""
    dot, extension = parse_member(uri).name.rpartition("/")[2].partition(".")[1:]
    return dot + extension


def from_on(ids: pa.Array, since: str) -> pa.Array:
    """Return the ids that are `since` or sort behind it."""
    return ids.filter(pc.greater_equal(ids, since))


def is_pattern(path: str) -> bool:
    """Whether a path has wildcards or braces."""
    return any(mark in path for mark in "*?[") or _BRACES.search(path) is not None


def expand(pattern: str) -> list[Path]:
    """Return the files that a pattern like `shards/{train,test}-{000..007}.tar` stands for.

    Raises:
        UsageError: there are none, or one that is spelled out is missing.
    """
    found: list[str] = []
    for path in _without_braces(pattern):
        files = sorted(glob.glob(path)) if is_pattern(path) else [path]  # noqa: PTH207
        if not files or not Path(files[0]).is_file():
            raise UsageError(f"SOURCE: no file at {path!r}; correct the pattern {pattern!r}")
        found += files
    return [Path(path) for path in dict.fromkeys(found)]


def expand_objects(pattern: str) -> list[ObjectPath]:
    """Return the objects that a pattern like `s3://bucket/shards/{000..007}.tar` stands for.

    `*`, `?` and `[…]` stand for parts of the last name only.

    Raises:
        UsageError: there are none, or one that is spelled out is missing.
        RaypipeError: the store did not answer, or refuses.
    """
    place = parse(pattern)
    found: dict[str, ObjectPath] = {}
    for key in _without_braces(place.key):
        path = ObjectPath(replace(place, key=key))
        if is_pattern(path.parent.place.key):
            raise UsageError(
                f"SOURCE: wildcards go with the last part of a bucket's URI only; got {pattern!r}"
            )
        if is_pattern(path.name):
            names = entries(str(path.parent))[0]
            some = [path.parent / name for name in names if fnmatch.fnmatchcase(name, path.name)]
        else:
            some = [path] if object_exists(str(path)) else []
        if not some:
            raise UsageError(f"SOURCE: no object at {path}; correct the pattern {pattern!r}")
        found |= {str(one): one for one in some}
    return list(found.values())


def _translate(pattern: str) -> str:
    body, position = [], 0
    for special in _SPECIAL.finditer(pattern):
        word = special.group()
        body.append(re.escape(pattern[position : special.start()]))
        body.append(_WORDS.get(word) or _character_class(word))
        position = special.end()
    body.append(re.escape(pattern[position:]))
    return f"(?:{'' if '/' in pattern else '(?:.*/)?'}{''.join(body)})"


def _character_class(word: str) -> str:
    inside = word[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    inside = "^" + inside[1:] if inside.startswith("!") else inside.replace("^", "\\^")
    try:
        re.compile(f"[{inside}]")
    except re.error:
        return re.escape(word)
    return f"[{inside}]"


def _without_braces(pattern: str) -> list[str]:
    parts = _BRACES.split(pattern)  # text, inside of braces, text, …
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers.groups()
    return [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
