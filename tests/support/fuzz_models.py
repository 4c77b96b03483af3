"""Damaged models under every command that reads one: the same predictions, or a line that refuses.

`python -m tests.support.fuzz_models FOLDER CASE…` tells one line of JSON per case.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.case_runner import serve
from tests.support.damage import damaged
from tests.support.fuzz_stores import Result, command, judged, make, told

_HEADS = {
    "logistic": "C=1",
    "svm": "C=1",
    "forest": "n_estimators=5",
    "knn": "n_neighbors=3",
    "mlp": "hidden=8",
}


def _predicted(model: Path) -> Result:
    store, at = model.parent.parent / "features", model.parent
    words = ("predict", str(model), str(store), "--out", str(at / "p.csv"), "--top-k", "3")
    return told(at / "x", *words, files=("p.csv",))


def _reported(model: Path) -> Result:
    """A page for people: what is compared is that there is one."""
    status, _, said = command("report", str(model), "--out", str(model.with_name("r.html")))
    return status, None, said


@lru_cache(maxsize=1)
def originals(folder: Path) -> dict[str, tuple[Result, Result]]:
    """Make the models; return what is said of the whole ones."""
    make(folder / "features", "parquet")
    found = {}
    for head, grid in _HEADS.items():
        model = folder / head / "model"
        model.parent.mkdir()
        words = ["train", str(folder / "features"), "--out", str(model), "--head", head]
        words += ["--grid", grid, *(["--epochs", "2"] if head == "mlp" else ["--cv", "2"])]
        status, _, said = command(*words)
        assert status == 0, said
        found[head] = _predicted(model), _reported(model)
    return found


def _damage(model: Path, case: int) -> str:
    rng = np.random.default_rng([case, 2])
    vital = ("model.json", "arrays.safetensors", "trained_on.npy")
    path = model / vital[int(rng.integers(3))]
    if rng.random() < 0.3:
        files = sorted(file for file in model.rglob("*") if file.is_file())
        path = files[int(rng.integers(len(files)))]
    what = str(rng.choice(["bytes"] * 8 + ["missing", "another"]))
    if what == "bytes":
        what, data = damaged(path.read_bytes(), case)
        path.write_bytes(data)
    elif what == "missing":
        path.unlink()
    else:
        other = sorted(_HEADS)[int(rng.integers(len(_HEADS)))]
        content = model.parent.parent / other / "model" / path.name
        path.write_bytes(content.read_bytes() if content.is_file() else b"")
    return f"{path.name} {what}"


def outcome(folder: Path, case: int) -> dict[str, Any]:
    """Return what has become of a case."""
    head = list(_HEADS)[case % len(_HEADS)]
    wholes = originals(folder)[head]
    model = folder / f"case-{case}-{head}" / "model"
    shutil.copytree(folder / head / "model", model)
    about = {"kind": head, "damage": _damage(model, case)}
    states = []
    for name, run, whole in zip(
        ("predict", "report"), (_predicted, _reported), wholes, strict=True
    ):
        result = run(model)
        state = judged(name, result, whole)
        if state not in ("same", "refused"):
            return about | {"state": state, "detail": f"{name}: {result} instead of {whole}"[:3000]}
        states.append(state)
    shutil.rmtree(model.parent)
    return about | {"state": min(states)}


if __name__ == "__main__":
    serve(outcome)
