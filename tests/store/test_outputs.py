"""What each command refuses to put its results onto, and what a full disk and damage do."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import raypipe
from raypipe.errors import RaypipeError, UsageError
from raypipe.storage import FolderStorage
from raypipe.store.identity import create_store
from raypipe.training import deliver
from tests.support.stores import items_of, make_spec, make_store

NAMES = sorted(f"{label}/{i}" for label in ("a", "mmmm") for i in range(40))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a model and clusters of it."""
    root = tmp_path_factory.mktemp("made")
    make_store(root / "store", [items_of(NAMES)], make_spec())
    raypipe.train(root / "store", out=root / "model", grid="C=1", cv=2)
    raypipe.cluster(root / "store", out=root / "clusters", k=2)
    return root


def test_results_of_other_commands_are_refused(made: Path) -> None:
    with pytest.raises(UsageError, match="holds clusters; give another folder, or --replace"):
        raypipe.train(made / "store", out=made / "clusters", grid="C=1", cv=2)
    with pytest.raises(UsageError, match="holds a store; give another folder"):
        raypipe.cluster(made / "store", out=made / "store", k=2, replace=True)
    for name, words in (("model", "a model"), ("clusters", "clusters")):
        with pytest.raises(UsageError, match=f"holds {words}; give another folder"):
            create_store(FolderStorage(made / name), make_spec(), {})  # extract and predict
        assert not (made / name / "spec.json").exists()


def test_arrays_of_another_model_are_not_read(made: Path, tmp_path: Path) -> None:
    raypipe.train(made / "store", out=tmp_path / "m", grid="C=0.001", cv=2)
    other = (made / "model" / "arrays.safetensors").read_bytes()
    (tmp_path / "m" / "arrays.safetensors").write_bytes(other)
    with pytest.raises(RaypipeError, match="is not what model.json was written with"):
        raypipe.load_model(tmp_path / "m")


@pytest.mark.parametrize(("to", "name"), [("npy", "x.npy"), ("hdf5", "x.h5")])
def test_a_full_disk_leaves_the_older_export(
    made: Path, tmp_path: Path, to: str, name: str
) -> None:
    raypipe.export(made / "store", out=tmp_path / name, to=to)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    command = [sys.executable, "-m", "raypipe.cli", "export", str(made / "store"), "--to", to]
    command += ["--out", str(tmp_path / name), "--order", "shuffle"]

    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))

    done = subprocess.run(command, preexec_fn=little_space, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{name} is not written: File too large" in done.stderr.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_first_of_two_results_stays(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command, with other options, has put its result there while this one worked."""
    real = deliver._with_report

    def meanwhile(*arguments: Any) -> Any:
        shutil.copytree(made / "model", tmp_path / "m")
        return real(*arguments)

    monkeypatch.setattr(deliver, "_with_report", meanwhile)
    with pytest.raises(UsageError, match="holds a model made with another grid.*--replace"):
        raypipe.train(made / "store", out=tmp_path / "m", grid="C=2", cv=2)
    for name in ("model.json", "arrays.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (made / "model" / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_everybody_may_read_what_the_umask_allows(made: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        raypipe.train(made / "store", out=tmp_path / "m", grid="C=1", cv=2)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "m").iterdir()} == {0o644}
