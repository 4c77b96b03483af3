"""What a folder is, for messages on one that is not what an option asks for."""

from __future__ import annotations

from pathlib import Path

from raypipe.storage.objects import is_object

#: By the files that only such a folder has.
_KNOWN = {
    ("spec.json", "snapshots"): "a store of features or predictions",
    ("model.json", "arrays.safetensors"): "a model, written by `train`",
    ("clusters.parquet", "centers.npy"): "clusters, written by `cluster`",
}


def result_at(place: str) -> str:
    """Return which result of a command a local folder is, in words; an empty text for others."""
    folder = Path(place).expanduser()
    found = (what for names, what in _KNOWN.items() if all((folder / n).exists() for n in names))
    return "" if is_object(place) else next(found, "")


def instead(place: str) -> str:
    """Return what there is at a place, to be put behind a message that misses something there."""
    if is_object(place):
        return ""
    path = Path(place).expanduser()
    what = result_at(place) or ("a file" if path.is_file() else "")
    what = what or ("a folder of other files" if path.is_dir() else "")
    return f" (it is {what})" if what else ""
