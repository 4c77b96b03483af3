"""Removing old snapshots, and the files that nothing else lists.

In two steps, since a run that goes on meanwhile may have planned with a file that no snapshot lists
any more: first the snapshots go, and the files that only they listed are noted in `expired/`, from
where no run takes them up again; those that are still unused when a later call finds the note to be
old enough are removed.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from raypipe.errors import RaypipeError, UsageError
from raypipe.storage import Storage
from raypipe.store.lifetime import NOTES, notes, removable
from raypipe.store.snapshot import Snapshot, numbers, read_snapshot, remove_snapshot

_PINS = "pins"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Expiry:
    """What was removed, or would be.

    Attributes:
        snapshots: numbers of the snapshots.
        kept: numbers of the others.
        noted: files that no snapshot lists any more, and that a later call removes.
        removed: files that were noted long enough ago.
        bytes: size of the files that were removed.
    """

    snapshots: tuple[int, ...]
    kept: tuple[int, ...]
    noted: tuple[str, ...]
    removed: tuple[str, ...]
    bytes: int


def pins(storage: Storage) -> dict[str, int]:
    """Return which snapshots are to be kept, by the name of the reason."""
    found = {}
    for path in storage.list(_PINS):
        name = path.removeprefix(f"{_PINS}/").removesuffix(".json")
        try:
            found[name] = int(json.loads(storage.read(path))["snapshot"])
        except FileNotFoundError:  # unpinned meanwhile
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise RaypipeError(
                f"{storage.uri}/{path} is damaged, so it is not known which snapshot is kept; pin "
                f"one by that name again (`raypipe pin {storage.uri} {name} --snapshot N`)"
            ) from None
    return found


def pin(storage: Storage, name: str, number: int) -> None:
    """Keep a snapshot until `unpin`; a pin of that name is moved.

    Raises:
        UsageError: there is no such snapshot, or the name cannot be a file's.
    """
    read_snapshot(storage, number)
    storage.put(_pin_file(name), json.dumps({"snapshot": number}).encode())


def unpin(storage: Storage, name: str) -> None:
    """Forget a pin.

    Raises:
        UsageError: there is none of that name.
    """
    if not storage.exists(_pin_file(name)):
        known = pins(storage)
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"--remove: no pin {name!r}; there are: {listed}")
    storage.delete(_pin_file(name))


def expire(
    storage: Storage,
    *,
    keep: int,
    older_than: float = 0,
    grace: float = 24 * 3600,
    dry_run: bool = False,
) -> Expiry:
    """Remove old snapshots.

    Args:
        storage: the store's folder.
        keep: the newest so many stay, at least 1.
        older_than: only those go that are older, in seconds.
        grace: seconds between the removal of a snapshot and that of its files: longer than any run
            takes.
        dry_run: whether to change nothing.
    """
    now = time.time()
    known = numbers(storage)
    pinned = set(pins(storage).values())
    old = [
        snapshot
        for snapshot in _present(storage, (n for n in known[:-keep] if n not in pinned))
        if now - datetime.fromisoformat(snapshot.created).timestamp() >= older_than
    ]
    gone = {snapshot.number for snapshot in old}
    kept = [n for n in known if n not in gone]
    used = _used(storage, kept)
    files = (part.file for snapshot in old for part in snapshot.parts)
    unused = {file.path: file.bytes for file in files if file.path not in used}
    if not dry_run:
        if unused:  # noted before they are the only trace of themselves
            _note(storage, f"{NOTES}/{uuid.uuid4().hex}.json", now, unused)
        for number in sorted(gone):
            remove_snapshot(storage, number)
    removed, size = _remove_noted(storage, now, grace, dry_run=dry_run)
    noted = tuple(sorted(set(unused) - set(removed)))
    return Expiry(tuple(sorted(gone)), tuple(kept), noted, removed, size)


def _remove_noted(
    storage: Storage, now: float, grace: float, *, dry_run: bool
) -> tuple[tuple[str, ...], int]:
    """Remove the files whose newest note is old enough and that no snapshot lists by now.

    A note from the future is of a clock that was wrong: its grace begins now.
    """
    before = now - grace
    used = _used(storage, numbers(storage))  # a run may have published since
    found = list(notes(storage))  # after `used`: what a snapshot gone meanwhile listed is noted
    removed = removable(found, used, before)
    if not dry_run:
        for path in removed:
            storage.delete(path)
        for name, noted_at, files in found:
            if noted_at <= before and used.isdisjoint(files):
                storage.delete(name)
            elif noted_at > now:
                _note(storage, name, now, files)
    return tuple(sorted(removed)), sum(removed.values())


def _note(storage: Storage, name: str, now: float, files: dict[str, int]) -> None:
    storage.put(name, json.dumps({"time": now, "files": files}).encode())


def _present(storage: Storage, known: Iterable[int]) -> Iterator[Snapshot]:
    """Yield the snapshots that are still there: another call may remove some meanwhile."""
    for number in known:
        try:
            yield read_snapshot(storage, number)
        except UsageError:
            continue


def _used(storage: Storage, known: Iterable[int]) -> set[str]:
    return {part.file.path for snapshot in _present(storage, known) for part in snapshot.parts}


def _pin_file(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"NAME: expected letters, digits, `.`, `_` and `-`; got {name!r}")
    return f"{_PINS}/{name}.json"
