"""The numbered lists of partitions that readers see."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache

from raypipe.errors import RaypipeError, UsageError
from raypipe.storage import Storage, open_storage
from raypipe.storage.checked_json import read_checked, with_checksum
from raypipe.store.lifetime import check_name
from raypipe.store.partition import DATA, File

_FOLDER = "snapshots"
_LINES = ",\n"
_KEYS = ("number", "created", "fingerprint", "rows", "rejects", "partitions")
_NAME = re.compile(_FOLDER + r"/(\d+)\.json")


@dataclass(frozen=True)
class Part:
    """A partition file in a snapshot, and the rows of it that no longer count."""

    file: File
    dropped: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that count."""
        return self.file.rows - len(self.dropped)

    @property
    def is_data(self) -> bool:
        """Whether it holds features; otherwise it holds rejects."""
        return self.file.path.startswith(f"{DATA}/")


@dataclass(frozen=True)
class Snapshot:
    """What readers see: every row of the parts, less the dropped ones. Number 0 is empty."""

    number: int
    fingerprint: str
    parts: tuple[Part, ...] = ()
    created: str = field(default="", compare=False)

    @cached_property
    def data(self) -> list[Part]:
        """Feature partitions."""
        return [part for part in self.parts if part.is_data]

    @cached_property
    def rejected(self) -> list[Part]:
        """Rejects partitions."""
        return [part for part in self.parts if not part.is_data]

    @property
    def rows(self) -> int:
        """How many items have features."""
        return sum(part.rows for part in self.data)

    @property
    def rejects(self) -> int:
        """How many items could not become features."""
        return sum(part.rows for part in self.rejected)

    def to_json(self) -> bytes:
        """Return the file's content: JSON with a partition per line.

        Not indented: that takes `json` seconds for 100,000 partitions, and half as much space
        again.
        """
        about = {
            "number": self.number,
            "created": self.created,
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "rejects": self.rejects,
        }
        lines = [json.dumps(vars(p.file) | {"dropped": list(p.dropped)}) for p in self.parts]
        head = json.dumps(about, indent=1).removesuffix("\n}")
        return with_checksum(f'{head},\n "partitions": [\n{_LINES.join(lines)}\n ]\n}}')

    @classmethod
    def from_json(cls, data: bytes) -> Snapshot:
        """Read the file's content.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is damaged.
        """
        content = read_checked(data, _KEYS)
        parts = []
        for entry in content["partitions"]:
            dropped = tuple(entry.pop("dropped"))
            parts.append(Part(File(**entry), dropped))
        return cls(content["number"], content["fingerprint"], tuple(parts), content["created"])


def snapshot_name(number: int) -> str:
    """Return the name of a snapshot's file."""
    return f"{_FOLDER}/{number:08d}.json"


def numbers(storage: Storage) -> list[int]:
    """Return the numbers of all snapshots, oldest first."""
    found = (_NAME.fullmatch(name) for name in storage.list(_FOLDER))
    return [int(match[1]) for match in found if match]


def newest(storage: Storage, fingerprint: str) -> Snapshot:
    """Return the newest snapshot, or the empty one.

    Raises:
        RaypipeError: it is damaged, or of features of another spec than the store's.
    """
    found = numbers(storage)
    if not found:
        return Snapshot(0, fingerprint)
    return same_features(storage, read_snapshot(storage, found[-1]), fingerprint)


def same_features(storage: Storage, snapshot: Snapshot, fingerprint: str) -> Snapshot:
    """Return the snapshot, if it is of the store's spec.

    Raises:
        RaypipeError: it is not.
    """
    if snapshot.fingerprint != fingerprint:
        raise RaypipeError(
            f"{storage.uri}: spec.json and snapshot {snapshot.number} are of different features: "
            "one of them was edited or lost; restore spec.json from a copy"
        )
    return snapshot


def read_snapshot(storage: Storage, number: int) -> Snapshot:
    """Return a snapshot by number.

    Raises:
        UsageError: there is none of that number.
        RaypipeError: it is damaged.
    """
    name = snapshot_name(number)
    try:
        return _read(storage.uri, name, storage.stamp(name))
    except FileNotFoundError:
        known = ", ".join(map(str, numbers(storage))) or "none"
        raise UsageError(f"--snapshot: no snapshot {number}; there are: {known}") from None


@lru_cache(maxsize=2)
def _read(uri: str, name: str, _stamp: Hashable) -> Snapshot:
    """Read a file that never changes once: a worker opens the same store for each partition."""
    try:
        snapshot = Snapshot.from_json(open_storage(uri).read(name))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RaypipeError(
            f"{uri}/{name} is damaged; restore it from a copy, or remove it if it is the newest"
        ) from None
    for part in snapshot.parts:
        check_name(part.file.path, f"{uri}/{name}")
    if twice := _counted_twice(snapshot.parts):
        raise RaypipeError(f"{uri}/{name} is damaged: it counts rows of {twice} twice; restore it")
    return snapshot


def _counted_twice(parts: tuple[Part, ...]) -> str:
    """Return the name of a file of which two parts count the same row, or nothing.

    Two writers may have taken up one leftover, each of them other rows: that is as it should be.
    """
    by_name: dict[str, list[Part]] = {}
    for part in parts:
        by_name.setdefault(part.file.path, []).append(part)
    for name, several in by_name.items():
        if len(several) > 1:
            kept = [row for p in several for row in {*range(p.file.rows)} - {*p.dropped}]
            if len(kept) > len({*kept}):
                return name
    return ""


def remove_snapshot(storage: Storage, number: int) -> None:
    """Remove a snapshot; the files it lists stay."""
    storage.delete(snapshot_name(number))


def succeed(storage: Storage, base: Snapshot, parts: tuple[Part, ...]) -> Snapshot | None:
    """Create the snapshot that follows `base`, or return None if another run has made it first."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    snapshot = Snapshot(base.number + 1, base.fingerprint, parts, now)
    created = storage.create(snapshot_name(snapshot.number), snapshot.to_json())
    return snapshot if created else None
