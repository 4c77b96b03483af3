"""What each command refuses to put its results onto, and what a full disk and damage do."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import raypipe
from raypipe.errors import RaypipeError, UsageError
from raypipe.storage import FolderStorage
from raypipe.store.identity import create_store
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
