"""Differences between what two checkouts printed, and between the files they left."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["IGNORED", "of_files", "of_trees", "of_values"]

#: Keys of JSON, and columns, that tell of time or speed; all others are compared.
IGNORED = frozenset(
    {
        "seconds",
        "work_seconds",
        "first_feature_seconds",
        "images_per_second",
        "steady_images_per_second",
        "created",
        "finished",
    }
)
#: Files that are only to be there: pictures and pages are drawn, and pages tell the time.
_DRAWN = {".png", ".html"}

Diff = Iterator[str]


def of_values(old: Any, new: Any, place: str = "") -> Diff:
    """Yield where two values of JSON differ, but for keys in `IGNORED`; floats are exact."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if key in IGNORED or (key == "bytes" and "parts" in old):  # of a page, with its date
                continue
            if key not in old or key not in new:
                yield f"{place}.{key}: only in the {'new' if key in new else 'old'}"
            else:
                yield from of_values(old[key], new[key], f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from of_values(*pair, f"{place}[{number}]")
    elif old != new and not (old != old and new != new):  # NaN equals NaN here
        yield f"{place}: {_short(old)} → {_short(new)}"


def of_trees(old: Path, new: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each file of two folders, and how it differs."""
    names = sorted({*_names(old), *_names(new)})
    for name in names:
        pair = old / name, new / name
        missing = [path for path in pair if not path.is_file()]
        if missing:
            yield name, [f"only in the {'new' if missing[0] == pair[0] else 'old'}"]
        else:
            yield name, list(of_files(*pair))


def of_files(old: Path, new: Path) -> Diff:
    """Yield how two files of the same kind differ."""
    if old.suffix in _DRAWN:
        return
    compare = _KINDS.get(old.suffix, _bytes)
    yield from compare(old, new)


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and "checkpoint" not in path.parts:
            yield str(path.relative_to(folder))


def _bytes(old: Path, new: Path) -> Diff:
    if old.read_bytes() != new.read_bytes():
        yield "other bytes"


def _json(old: Path, new: Path) -> Diff:
    yield from of_values(*(json.loads(path.read_text(encoding="utf-8")) for path in (old, new)))


def _csv(old: Path, new: Path) -> Diff:
    rows = []
    for path in (old, new):
        with path.open(newline="", encoding="utf-8") as file:
            rows.append(list(csv.DictReader(file)))
    yield from of_values(rows[0], rows[1])


def _parquet(old: Path, new: Path) -> Diff:
    ours, theirs = (pq.read_table(path) for path in (old, new))
    if ours.schema.names != theirs.schema.names or len(ours) != len(theirs):
        yield f"{ours.schema.names} × {len(ours)} → {theirs.schema.names} × {len(theirs)}"
        return
    for name in ours.schema.names:
        if name not in IGNORED:
            yield from _column(name, ours[name].combine_chunks(), theirs[name].combine_chunks())


def _column(name: str, old: pa.Array, new: pa.Array) -> Diff:
    if old.type != new.type:
        yield f"{name}: {old.type} → {new.type}"
    elif isinstance(old.type, pa.FixedShapeTensorType):
        yield from _arrays(name, old.to_numpy_ndarray(), new.to_numpy_ndarray())
    elif pa.types.is_primitive(old.type):
        yield from _arrays(name, *(a.to_numpy(zero_copy_only=False) for a in (old, new)))
    else:
        yield from of_values(old.to_pylist(), new.to_pylist(), name)


def _arrays(name: str, old: npt.NDArray[Any], new: npt.NDArray[Any]) -> Diff:
    """Yield how two arrays differ, to the bit."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        yield f"{name}: {old.dtype} {old.shape} → {new.dtype} {new.shape}"
    elif old.dtype == object:
        yield from of_values(old.tolist(), new.tolist(), name)
    elif old.tobytes() != new.tobytes():
        other = np.ascontiguousarray(old != new)
        yield f"{name}: {int(other.sum())} of {other.size} values differ"


def _hdf5(old: Path, new: Path) -> Diff:
    with h5py.File(old) as ours, h5py.File(new) as theirs:
        found: list[dict[str, Any]] = [{}, {}]
        for values, file in zip(found, (ours, theirs), strict=True):
            values.update({f"@{key}": value for key, value in file.attrs.items()})
            file.visititems(_collector(values))
        yield from of_values(dict.fromkeys(found[0]), dict.fromkeys(found[1]))
        for name in found[0].keys() & found[1].keys() - IGNORED:
            yield from _arrays(name, *(np.asarray(values[name]) for values in found))


def _collector(found: dict[str, Any]) -> Callable[[str, Any], None]:
    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not item.is_virtual:
            found[name] = item[()]

    return collect


def _numpy(old: Path, new: Path) -> Diff:
    ours, theirs = np.load(old, allow_pickle=True), np.load(new, allow_pickle=True)
    if isinstance(ours, np.ndarray):
        yield from _arrays("array", ours, theirs)
        return
    for name in sorted({*ours.files, *theirs.files}):
        if name not in ours.files or name not in theirs.files:
            yield f"{name}: only in one"
        else:
            yield from _arrays(name, ours[name], theirs[name])


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


_KINDS: dict[str, Callable[[Path, Path], Diff]] = {
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".npy": _numpy,
    ".npz": _numpy,
}
