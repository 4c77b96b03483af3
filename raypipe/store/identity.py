"""Identity of a store: its spec, where that came from, and how partitions are stored."""

from __future__ import annotations

import contextlib
import json
from typing import Any, get_args

from pydantic import ValidationError

from raypipe.errors import RaypipeError, UsageError
from raypipe.spec import Spec, difference
from raypipe.storage import Storage, instead, open_storage
from raypipe.store.partition import Format
from raypipe.store.snapshot import newest

SPEC_FILE = "spec.json"
_SOURCE_FILE = "source.json"
_FORMAT = 2
_PARTITIONS = get_args(Format)
_RESULTS = {"model.json": "a model", "centers.npy": "clusters"}


def is_store(uri: str, option: str = "STORE") -> bool:
    """Whether there is a store in this folder."""
    return open_storage(uri, option).exists(SPEC_FILE)


def existing_spec(storage: Storage) -> Spec | None:
    """Return the spec of the store in this folder, or None if there is no store."""
    if not storage.exists(SPEC_FILE):
        return None
    return Spec.model_validate(read_identity(storage, "--out")["spec"])


def check_no_result(storage: Storage) -> None:
    """Make sure that another command's result is not where a store is to be.

    Raises:
        UsageError: there is one.
    """
    for file, result in _RESULTS.items():
        if storage.exists(file):
            raise UsageError(f"--out: {storage.uri} holds {result}; give another folder")


def create_store(
    storage: Storage, spec: Spec, provenance: dict[str, Any], form: Format = "parquet"
) -> None:
    """Write the store's spec, or check it against the one that is there.

    Args:
        storage: the store's folder.
        spec: what the features are.
        provenance: where backbone and weights came from, and with which versions; for people and
            for `predict`, not part of the fingerprint.
        form: file format of the partitions.

    Raises:
        UsageError: the store has another spec, of which the message holds the difference, or the
            folder has another command's result.
        RaypipeError: its spec was lost, and its snapshots are of another one.
    """
    check_no_result(storage)
    content = {
        "format": _FORMAT,
        "partitions": form,
        "fingerprint": spec.fingerprint,
        "spec": spec.model_dump(mode="json"),
        "provenance": provenance,
    }
    if not storage.exists(SPEC_FILE):
        newest(storage, spec.fingerprint)  # if it was lost, what is there must be of this spec
        storage.create(SPEC_FILE, json.dumps(content, indent=1).encode())
    found = read_identity(storage, "--out")
    there = Spec.model_validate(found["spec"])
    if there != spec:
        changes = "; ".join(difference(there, spec))
        what = "predictions" if there.head else "features"
        raise UsageError(
            f"--out: {storage.uri} holds {what} of another spec ({changes}); "
            "give another folder, or the options it was made with"
        )
    if found["partitions"] != form:
        raise UsageError(
            f"--format: the partitions of {storage.uri} are {found['partitions']}; got {form}; "
            "`raypipe export` writes other formats"
        )


def read_identity(storage: Storage, option: str) -> dict[str, Any]:
    """Return the store's spec file: `spec`, `provenance`, and how its `partitions` are stored.

    The `source` of its provenance is the present one, where that has moved.

    Raises:
        UsageError: there is no store.
        RaypipeError: the file is damaged. `option` is named in the messages.
    """
    try:
        content: dict[str, Any] = json.loads(storage.read(SPEC_FILE))
        if content["format"] != _FORMAT:
            raise UsageError(
                f"{option}: {storage.uri} has store format {content['format']}; "
                f"this version reads format {_FORMAT}"
            )
        Spec.model_validate(content["spec"])
        if content["partitions"] not in _PARTITIONS or not isinstance(content["provenance"], dict):
            raise ValueError("no kind of partitions, or no provenance")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{option}: no store at {storage.uri!r}{instead(storage.uri)}; "
            "`raypipe extract … --out` makes one"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        if isinstance(error, UsageError):
            raise
        raise RaypipeError(f"{option}: {storage.uri}/{SPEC_FILE} is damaged") from None
    with contextlib.suppress(FileNotFoundError):
        content["provenance"]["source"] = _moved_to(storage, option)
    return content


def record_source(storage: Storage, source: str) -> None:
    """Write down where a store's source is now; its spec stays as it was written."""
    storage.put(_SOURCE_FILE, json.dumps({"source": source}, indent=1).encode())


def _moved_to(storage: Storage, option: str) -> str:
    try:
        return str(json.loads(storage.read(_SOURCE_FILE))["source"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RaypipeError(
            f"{option}: {storage.uri}/{_SOURCE_FILE} is damaged; remove it, and give --moved "
            "once more"
        ) from None
