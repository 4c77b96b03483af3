"""The comparison of two checkouts: what counts as a difference, and what does not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.compare_checkouts.commands import make_plan
from benchmarks.compare_checkouts.differences import of_files, of_trees, of_values
from raypipe.config import JOBS


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": 1, "seconds": 2.0}, {"a": 1, "seconds": 3.0}, []),
        ({"a": [1, {"b": 0.1}]}, {"a": [1, {"b": math.nextafter(0.1, 1)}]}, [".a[1].b: 0.1 → "]),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": 1}, {}, [".a: only in the old"]),
        ({}, {"a": None}, [".a: only in the new"]),
        ({"a": [1]}, {"a": [1, 2]}, [".a: [1] → [1, 2]"]),
        ({"a": 1}, {"a": "1"}, ['.a: 1 → "1"']),
        (None, {"a": 1}, [": null → "]),
    ],
)
def test_values(old: Any, new: Any, lines: list[str]) -> None:
    found = list(of_values(old, new))
    assert len(found) == len(lines)
    assert all(line.startswith(start) for line, start in zip(found, lines, strict=True))


def write(path: Path, features: np.ndarray, seconds: float) -> None:
    """Write the same numbers in the form that the name says."""
    if path.suffix == ".json":
        path.write_text(json.dumps({"features": features.tolist(), "seconds": seconds}))
    elif path.suffix == ".csv":
        path.write_text("id,features,seconds\n" + f"a,{features[0, 0]!r},{seconds}\n")
    elif path.suffix == ".parquet":
        kind = pa.fixed_shape_tensor(pa.float32(), [features.shape[1]])
        flat = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
        tensor = pa.ExtensionArray.from_storage(kind, flat)
        pq.write_table(pa.table({"id": ["a", "b"], "features": tensor}), path)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["group/features"] = features
    elif path.suffix == ".npz":
        np.savez(path, features=features)
    elif path.suffix == ".npy":
        np.save(path, features)
    else:
        path.write_bytes(features.tobytes())


@pytest.mark.parametrize(
    "name", ["x.json", "x.csv", "x.parquet", "x.h5", "x.npz", "x.npy", "x.bin"]
)
def test_a_single_bit_is_found_in_files(name: str, tmp_path: Path) -> None:
    features = np.arange(6, dtype=np.float32).reshape(2, 3) + np.float32(0.1)
    other = features.copy()
    other[0, 0] = np.nextafter(other[0, 0], np.float32(1))
    for folder, values, seconds in (("old", features, 1), ("same", features, 2), ("new", other, 1)):
        (tmp_path / folder / "store").mkdir(parents=True)
        write(tmp_path / folder / "store" / name, values, seconds)
    old, same, new = (tmp_path / folder for folder in ("old", "same", "new"))
    assert list(of_files(old / "store" / name, same / "store" / name)) == []
    ((path, lines),) = of_trees(old, new)
    assert path == f"store/{name}"
    assert len(lines) == 1


def test_a_file_that_is_missing_is_found(tmp_path: Path) -> None:
    for folder, names in (("old", "ab"), ("new", "bc")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    assert dict(of_trees(tmp_path / "old", tmp_path / "new")) == {
        "a": ["only in the old"],
        "b": [],
        "c": ["only in the new"],
    }


def test_all_commands_are_compared_but_those_that_measure_or_need_more() -> None:
    plan = make_plan(quick=False)
    commands = [*plan.first, *plan.again, *plan.after, *(k.command for k in plan.killed.values())]
    assert {line.split()[0] for line in commands} == set(JOBS) - {
        *("doctor", "demo", "submit", "verify", "repair")
    }
    heads = {line.partition("--head ")[2].split(" ")[0] for line in commands}
    assert heads - {""} == {"logistic", "svm", "forest", "knn", "mlp"}
    assert len(make_plan(quick=True).first) < len(plan.first) / 2
