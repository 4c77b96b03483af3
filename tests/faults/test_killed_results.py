"""SIGKILL at random moments to commands that replace results: the old one whole, or the new."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raypipe
from tests.support.stores import items_of, make_spec, make_store, value_of

NAMES = sorted(f"{label}/{i}" for label in ("a", "mmmm") for i in range(40))
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["raypipe.jobs.train", "raypipe.jobs.cluster", __name__])

#: Of each command what is replaced, with which options, and by which.
COMMANDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "train": ("m", {"grid": "C=1", "cv": 2}, {"grid": "C=0.1", "cv": 2, "replace": True}),
    "cluster": ("k", {"k": 2}, {"k": 3, "replace": True}),
    "export": ("x.npy", {"to": "npy"}, {"to": "npy", "order": "shuffle"}),
    "predict": ("p.csv", {}, {"top_k": 2}),
}


def command(name: str, root: str, given: dict[str, Any]) -> None:
    model = (f"{root}/model",) if name == "predict" else ()
    getattr(raypipe, name)(*model, f"{root}/store", out=f"{root}/{COMMANDS[name][0]}", **given)


def found(name: str, root: Path) -> object:
    """What is there, having made sure that its files belong together."""
    out = root / COMMANDS[name][0]
    if name == "train":
        return raypipe.load_model(out).metrics["best_params"]["C"]
    if name == "cluster":
        sizes = json.loads((out / "metrics.json").read_text())["sizes"]
        assert len(np.load(out / "centers.npy")) == len(sizes)
        return len(sizes)
    if name == "export":
        ids = np.load(out.with_suffix(".ids.npy")).tolist()
        assert np.load(out)[:, 0].tolist() == [value_of(item) for item in ids]
        return ids
    lines = out.read_text().splitlines()
    assert len(lines) == 1 + len(NAMES)
    return lines[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_results_are_old_or_new(name: str, tmp_path: Path) -> None:
    make_store(tmp_path / "store", [items_of(NAMES)], make_spec())
    if name == "predict":
        raypipe.train(tmp_path / "store", out=tmp_path / "model", grid="C=1", cv=2)
    place, old, new = COMMANDS[name]
    command(name, str(tmp_path), old)
    before = found(name, tmp_path)
    chance = random.Random(name)
    seconds = 0.5
    for _ in range(3):
        child = PROCESSES.Process(target=command, args=(name, str(tmp_path), new))
        begun = time.monotonic()
        child.start()
        child.join(chance.uniform(0, seconds))
        child.kill()
        child.join()
        seconds = max(seconds, time.monotonic() - begun)
        left = tmp_path / f".new-{place}"
        if not left.exists():
            found(name, tmp_path)
    command(name, str(tmp_path), new)
    after = found(name, tmp_path)
    assert after != before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".tmp", ".new"))]
