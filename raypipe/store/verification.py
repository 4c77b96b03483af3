"""All files of a store compared with what its snapshots and its spec say of them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from raypipe.errors import RaypipeError, UsageError
from raypipe.spec import Spec
from raypipe.storage import FileInput, Storage
from raypipe.store.checksums import DamagedFileError, verified
from raypipe.store.identity import SPEC_FILE, read_identity
from raypipe.store.lifetime import NOTES
from raypipe.store.partition import DATA, File, Metadata, metadata_of
from raypipe.store.snapshot import (
    Snapshot,
    newest,
    numbers,
    read_snapshot,
    snapshot_name,
    succeed,
)

#: Of a bucket, each holds a file in memory.
_READERS = 4


@dataclass(frozen=True)
class Verification:
    """What was compared, and what is not as it should be.

    Attributes:
        snapshots: numbers of the snapshots whose files were read.
        files: how many files these are.
        bytes: their size.
        damaged: what is wrong, by the name of the file.
    """

    snapshots: tuple[int, ...]
    files: int
    bytes: int
    damaged: dict[str, str]


@dataclass(frozen=True)
class Repair:
    """The snapshot before, the one after, and what the latter does without."""

    before: Snapshot
    after: Snapshot
    damaged: dict[str, str]


def verify(storage: Storage, number: int | None = None, *, every: bool = False) -> Verification:
    """Read all files of a snapshot, and compare checksums and fingerprints.

    Args:
        storage: the store's folder.
        number: of the snapshot; None takes the newest.
        every: whether to read the files of all snapshots.

    Raises:
        UsageError: there is no store, or no such snapshot.
        RaypipeError: the spec's file is damaged, or something cannot be read now.
    """
    identity = read_identity(storage, "STORE")
    spec = Spec.model_validate(identity["spec"])
    damaged: dict[str, str] = {}
    if identity.get("fingerprint") != spec.fingerprint:
        damaged[SPEC_FILE] = "has a fingerprint that is not its spec's; restore it from a copy"
    known = numbers(storage)
    chosen = known if every else known[-1:] if number is None else [number]
    files: dict[File, str] = {}
    for one in chosen:
        try:
            snapshot = read_snapshot(storage, one)
        except UsageError:
            if number is None:  # expired meanwhile
                continue
            raise
        except RaypipeError as error:
            damaged[snapshot_name(one)] = str(error)
            continue
        if snapshot.fingerprint != spec.fingerprint:
            damaged[snapshot_name(one)] = "is of another spec than spec.json's; restore spec.json"
        files |= {part.file: snapshot.fingerprint for part in snapshot.parts}
    damaged |= _differing(storage, files)
    size = sum(file.bytes for file in files)
    return Verification(tuple(chosen), len(files), size, damaged)


def repair(storage: Storage, spec: Spec) -> Repair:
    """Publish a snapshot without damaged files, and note them, so that no run takes them up.

    Their rows and rejects are missing then, and the next extraction makes them again. The files
    stay as long as an older snapshot lists them.

    Raises:
        RaypipeError: spec and newest snapshot disagree, or something cannot be read now.
    """
    whole: set[File] = set()
    while True:
        before = newest(storage, spec.fingerprint)
        files = {part.file for part in before.parts}
        damaged = _differing(storage, dict.fromkeys(files - whole, spec.fingerprint))
        whole |= {file for file in files if file.path not in damaged}
        if not damaged:
            return Repair(before, before, {})
        sizes = {file.path: file.bytes for file in files if file.path in damaged}
        # Before the snapshot: without the note, a run could take the files up in between.
        note = json.dumps({"time": time.time(), "files": sizes}).encode()
        storage.put(f"{NOTES}/{uuid.uuid4().hex}.json", note)
        kept = tuple(part for part in before.parts if part.file.path not in damaged)
        if after := succeed(storage, before, kept):
            return Repair(before, after, damaged)


def _differing(storage: Storage, files: dict[File, str]) -> dict[str, str]:
    """Return what is wrong with listed files, whose fingerprints are given."""
    ordered = sorted(files, key=lambda file: file.path)
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(partial(_problem, storage), ordered, map(files.__getitem__, ordered))
        return {file.path: what for file, what in zip(ordered, found, strict=True) if what}


def _problem(storage: Storage, file: File, fingerprint: str) -> str:
    """Return what is wrong with a listed file, or nothing; rejects say nothing of themselves.

    Raises:
        RaypipeError: it cannot be read now, which says nothing of it.
    """
    rejects = Metadata(fingerprint, file.unit, "")

    def read(source: FileInput) -> Iterator[Metadata | None]:
        is_data = file.path.startswith(f"{DATA}/")
        yield metadata_of(storage, file.path, source) if is_data else rejects

    try:
        (metadata,) = verified(storage, file, read)
    except DamagedFileError as error:
        return error.what
    if metadata is None:
        return "is no partition"
    if metadata.fingerprint != fingerprint:
        return "holds features of another spec"
    return ""
