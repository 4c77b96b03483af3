"""References to images inside other files: how they are spelled and parsed.

A reference names a file, something in it, and numbers that say where:

    tar:/data/train-000.tar!/a/0001.jpg?at=1536&size=20480&sum=5821
    parquet:/data/train.parquet!/image?group=0&row=17

File and member are percent-encoded, so that `!` and `?` are never part of them and any name
survives. `reject:` carries the reason and the message of an item that must not be read.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

from raypipe.errors import RejectedItem, RejectReason

_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class Member:
    """One image inside a file."""

    kind: str
    path: str
    name: str
    numbers: dict[str, int]

    def __str__(self) -> str:
        return f"{self.name!r} in {self.path}" if self.name else self.path


def spell(kind: str, path: str, name: str = "", **numbers: int) -> str:
    """Return the reference to an image inside a file; `path` is absolute."""
    query = "&".join(f"{key}={value}" for key, value in numbers.items())
    return f"{kind}:{_quoted(path)}!/{quote(os.fsencode(name))}?{query}"


def parse(uri: str) -> Member:
    """Return what a reference refers to.

    Raises:
        RejectedItem: it is none.
    """
    kind, _, rest = uri.partition(":")
    place, _, query = rest.rpartition("?")
    path, _, name = place.partition("!/")
    try:
        pairs = (pair.split("=") for pair in query.split("&"))
        numbers = {key: int(value) for key, value in pairs}
    except ValueError:
        message = f"no reference to an image inside a file: {uri!r}"
        raise RejectedItem(RejectReason.UNREADABLE, message) from None
    return Member(kind, _unquoted(path), _unquoted(name), numbers)


def spell_reject(reason: RejectReason, message: str) -> str:
    """Return the URI of an item that is listed only to be rejected, so that it is not lost."""
    return f"reject:{reason.value}!/{quote(message, errors='replace')}"


def raise_reject(uri: str) -> bytes:
    """Raise what `spell_reject` was told."""
    reason, _, message = uri.partition(":")[2].partition("!/")
    raise RejectedItem(RejectReason(reason), unquote(message))


def clean_name(name: str) -> str | None:
    """Return a member's name without empty parts and `.`, or None if it leaves the archive.

    What Windows writes between folders is a `/`, too.
    """
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or _DRIVE.match(name):
        return None
    return "/".join(part for part in parts if part not in ("", "."))


@lru_cache(maxsize=256)
def _quoted(path: str) -> str:
    return quote(os.fsencode(path))


def _unquoted(text: str) -> str:
    return os.fsdecode(unquote_to_bytes(text))
