"""Objects as arguments: what one function has returned is what another one takes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from raypipe.config import JOBS
from raypipe.errors import UsageError
from raypipe.storage import is_object, local_copy, local_path


@dataclass(frozen=True)
class Origin:
    """Where a result is, and which.

    Attributes:
        place: its folder, or bucket and prefix.
        file: whose content tells it from others.
        sha256: of that file.
    """

    place: str
    file: str
    sha256: str

    @classmethod
    def of(cls, place: str, file: str) -> Origin:
        """Return the origin of a result that is there."""
        whole = place if is_object(place) else str(local_path(place, "folder"))
        return cls(whole, file, _sha256(whole, file))

    def unchanged(self) -> str:
        """Return where the result is.

        Raises:
            UsageError: what is there now is another one: not what the object is.
        """
        try:
            found = _sha256(self.place, self.file)
        except OSError:
            found = ""
        if found != self.sha256:
            state = "has been written again" if found else "is gone"
            raise UsageError(
                f"what this object was read from {state}: {self.place}; make or load it again"
            )
        return self.place


def _sha256(place: str, file: str) -> str:
    with local_copy(place, (file,), "folder") as folder:
        return hashlib.sha256(Path(folder, file).read_bytes()).hexdigest()


@runtime_checkable
class Result(Protocol):
    """What `train` and `cluster` return."""

    @property
    def origin(self) -> Origin:
        """Where it has been written."""


#: What an argument takes beside paths, by the name it has: names of classes.
_TAKES = {
    "store": ("Store",),
    "model": ("ImageClassifier",),
    "run": ("ImageClassifier", "ImageClusters", "Store"),
    "predict.source": ("Store",),
}


def objects(job: str, argument: str) -> tuple[str, ...]:
    """Return the classes whose objects an argument of a function takes."""
    return _TAKES.get(f"{job}.{argument}", _TAKES.get(argument, ()))


def as_options(job: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's arguments as the options of the job: paths for objects.

    Of a store, the snapshot that it was opened at is taken.

    Raises:
        UsageError: an argument takes no such object, or what the object was read from is another
            one now.
    """
    options = dict(given)
    for name, value in given.items():
        if isinstance(value, os.PathLike):
            options[name] = os.fspath(value)
        elif hasattr(value, "to_numpy") and hasattr(value, "snapshot"):
            _check_taken(job, name, value, "Store")
            options |= _of_store(job, name, value, given)
        elif isinstance(value, Result):
            _check_taken(job, name, value, type(value).__name__)
            options[name] = value.origin.unchanged()
    return options


def _check_taken(job: str, argument: str, value: object, kind: str) -> None:
    if kind not in (taken := objects(job, argument)):
        known = f" or an object ({', '.join(taken)})" if taken else ""
        raise UsageError(f"{job}(): {argument} takes a path{known}; got {value!r}")


def _of_store(job: str, argument: str, store: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for a store: its place and snapshot."""
    uri, number = store.uri, store.snapshot.number
    if argument == "store" and "snapshot" not in JOBS[job].model_fields:
        return {argument: uri}  # a job on the store as a whole
    newest = type(store)(uri).snapshot.number
    if argument == "store" and number:
        if given.get("snapshot") not in (None, number):
            raise UsageError(
                f"{job}(): the store is opened at snapshot {number}; got snapshot="
                f"{given['snapshot']}; leave it out, or give the store's path"
            )
        return {argument: uri, "snapshot": number}
    if number != newest:
        raise UsageError(
            f"{job}(): {argument} is opened at snapshot {number} of {uri}, and the newest is "
            f"{newest}, which {job} takes; open it again"
        )
    return {argument: uri}
