"""History of the runs that published snapshots: for people, and no part of what a store is."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from raypipe.errors import RaypipeError
from raypipe.storage import Storage

_FOLDER = "runs"
_NUMBERS = ("images", "seconds", "images_per_second")
_COUNTS = ("work_seconds", "rejects", "left_aside", "labels_not_found")


def record_run(storage: Storage, snapshot: int, run: dict[str, Any]) -> None:
    """Write down what the run that published a snapshot has done.

    A run that cannot write this down is a good run all the same.
    """
    with contextlib.suppress(OSError, RaypipeError):
        storage.put(f"{_FOLDER}/{snapshot:08d}.json", json.dumps(run, indent=1).encode())


def read_runs(storage: Storage, newest: int) -> list[dict[str, Any]]:
    """Return the records of the runs up to a snapshot, oldest first, each with its `snapshot`."""
    runs = []
    for name in storage.list(_FOLDER):
        number = name.removeprefix(f"{_FOLDER}/").removesuffix(".json")
        if not number.isdecimal() or int(number) > newest:
            continue
        with contextlib.suppress(OSError, ValueError, RecursionError):
            run = json.loads(storage.read(name))
            if _is_record(run):
                runs.append({**run, "snapshot": int(number)})
    return runs


def last_listing(storage: Storage, newest: int) -> dict[str, dict[str, int]]:
    """Return what of the source was left aside, and which labels were not found, by reason.

    It is of the source as it was listed by the run that published a snapshot, or the one before.
    """
    runs = read_runs(storage, newest)
    last = runs[-1] if runs else {}
    return {name: last.get(name, {}) for name in ("left_aside", "labels_not_found")}


def _is_record(run: Any) -> bool:
    """Whether a record can be shown: it is no part of what is verified, and may be damaged."""
    if not isinstance(run, dict) or not isinstance(run.get("finished"), str):
        return False
    if not all(isinstance(run.get(name), int | float) for name in _NUMBERS):
        return False
    maps = [run.get(name) or {} for name in _COUNTS]
    return all(
        isinstance(each, dict) and all(isinstance(v, int | float) for v in each.values())
        for each in maps
    )
