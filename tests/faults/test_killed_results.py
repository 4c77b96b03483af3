"""SIGKILL at random moments to commands that replace results: the old one whole, or the new."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raypipe
from raypipe.config import CompactConfig, ExpireConfig
from raypipe.jobs import compact, expire
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


#: How many of each command, and the seed of their moments: before a release, fifteen more.
KILLS = [(3, 0), pytest.param(15, 1, marks=pytest.mark.long)]


def kill_at_some_moment(
    chance: random.Random, seconds: float, target: Callable[..., object], *given: object
) -> float:
    """Run a function in a process that is killed within some seconds; return its own time."""
    child = PROCESSES.Process(target=target, args=given)
    begun = time.monotonic()
    child.start()
    child.join(chance.uniform(0, seconds))
    child.kill()
    child.join()
    return time.monotonic() - begun


@pytest.mark.parametrize(("kills", "seed"), KILLS)
@pytest.mark.parametrize("name", COMMANDS)
def test_results_are_old_or_new(name: str, kills: int, seed: int, tmp_path: Path) -> None:
    make_store(tmp_path / "store", [items_of(NAMES)], make_spec())
    if name == "predict":
        raypipe.train(tmp_path / "store", out=tmp_path / "model", grid="C=1", cv=2)
    place, *options = COMMANDS[name]
    command(name, str(tmp_path), options[0])
    before = found(name, tmp_path)
    chance = random.Random(f"{name} {seed}")
    seconds = 0.5
    for number in range(kills):
        given = options[(number + 1) % 2]
        took = kill_at_some_moment(chance, seconds, command, name, str(tmp_path), given)
        seconds = max(seconds, took)
        left = tmp_path / f".new-{place}"
        if not left.exists():
            found(name, tmp_path)
    command(name, str(tmp_path), options[1])
    after = found(name, tmp_path)
    assert after != before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".tmp", ".new"))]


def change(name: str, store: str) -> None:
    if name == "compact":
        compact.run(CompactConfig(store=store, target_mb=1))
    else:
        expire.run(ExpireConfig(store=store, keep=1, grace=0))


def rows(store: Path) -> tuple[list[str], np.ndarray]:
    """Ids and features in the order of the ids, having compared each file with its checksum."""
    assert raypipe.verify(store, every=True) == {}
    made = raypipe.open(store).to_numpy()
    order = np.argsort(made.ids)
    return made.ids[order].tolist(), made.features[order]


@pytest.mark.parametrize(("kills", "seed"), KILLS)
@pytest.mark.parametrize("name", ["compact", "expire"])
def test_a_store_stays_whole(name: str, kills: int, seed: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    units = [items_of([f"{label}/{i}", f"{label}/{i}!"]) for label in "ab" for i in range(30)]
    make_store(whole, units, make_spec())
    if name == "expire":
        raypipe.compact(whole, target_mb=1)
    expected = rows(whole)
    chance = random.Random(f"{name} {seed}")
    seconds = 0.2
    for number in range(kills):
        store = tmp_path / str(number)
        shutil.copytree(whole, store)
        seconds = max(seconds, kill_at_some_moment(chance, seconds, change, name, str(store)))
        np.testing.assert_equal(rows(store), expected)
        change(name, str(store))
        np.testing.assert_equal(rows(store), expected)
        named = {part.file.path for part in raypipe.open(store).snapshot.parts}
        assert len(named) == 2
        there = {str(path.relative_to(store)) for path in store.rglob("part-*.parquet")}
        assert name == "compact" or there == named
