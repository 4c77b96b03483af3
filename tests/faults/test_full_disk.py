"""Commands on a drive that is full, or cannot be written to: one line, and all is as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raypipe
from tests.conftest import draw_folder, flags, options
from tests.support.sources import files_in

pytestmark = pytest.mark.ci

#: In a place of its own for mounts: copies a store and a model to a small drive, runs commands.
SCRIPT = """
import json, pathlib, shutil, subprocess, sys
disk, mode, commands = sys.argv[1], sys.argv[2], json.load(sys.stdin)
def mount(*words): subprocess.run(["mount", *words, disk], check=True)
mount("-t", "tmpfs", "-o", "size=4m", "none")
for name in ("store", "model"):
    shutil.copytree(f"{disk}/../{name}", f"{disk}/{name}")
for name in sys.argv[3:]:
    pathlib.Path(disk, name).write_text("old")
if mode == "full":
    try:
        pathlib.Path(disk, "rest").open("wb").write(bytes(2**23))
    except OSError:
        pass
else:
    mount("-o", "remount,ro")
for command in commands:
    words = [sys.executable, "-m", "raypipe", *command]
    done = subprocess.run(words, capture_output=True, text=True)
    print(json.dumps([done.returncode, done.stderr]), flush=True)
shutil.copytree(disk, f"{disk}/../after", ignore=shutil.ignore_patterns("rest"))
"""
#: Files there that commands are to replace.
OLD = ("r.html", "x.npy", "x.ids.npy", "x.hdf5", "p.csv", "d.csv")
SAYS = {"full": "No space left on device", "ro": "Read-only file system"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: str) -> Path:
    root = tmp_path_factory.mktemp("made")
    for kind, count in (("photos", 20), ("more", 24)):
        draw_folder(root / kind, count)
        raypipe.extract(str(root / kind), out=str(root / "store"), moved=True, **options())
    raypipe.train(str(root / "store"), out=str(root / "model"), grid="C=1", cv=2)
    (root / "disk").mkdir()
    return root


@pytest.mark.parametrize("mode", ["full", "ro"])
def test_one_line_and_nothing_is_changed(mode: str, made: Path, tmp_path: Path) -> None:
    shutil.rmtree(made / "after", ignore_errors=True)
    disk = made / "disk"
    store, model = str(disk / "store"), str(disk / "model")
    reading = [
        ["inspect", store],
        ["verify", store],
        ["report", store, "--out", str(tmp_path / "r.html")],
        ["export", store, "--to", "csv", "--out", str(tmp_path / "x.csv")],
        ["similar", store, "--image", "circle/0000.png"],
        ["predict", model, store, "--out", str(tmp_path / "p.csv")],
    ]
    draw_folder(tmp_path / "new", 30)
    writing = [
        ["extract", str(tmp_path / "new"), "--out", store, "--moved", *flags()],
        ["extract", str(tmp_path / "new"), "--out", str(disk / "other"), *flags()],
        ["expire", store, "--keep", "1"],
        ["pin", store, "p", "--snapshot", "1"],
        ["compact", store],
        ["report", store, "--out", str(disk / "r.html")],
        *(["export", store, "--to", to, "--out", str(disk / f"x.{to}")] for to in ("npy", "hdf5")),
        ["predict", model, store, "--out", str(disk / "p.csv")],
        ["train", store, "--out", model, "--grid", "C=2", "--cv", "2", "--replace"],
        ["cluster", store, "--out", str(disk / "groups"), "--k", "2"],
        ["dedupe", store, "--out", str(disk / "d.csv")],
    ]
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", SCRIPT, str(disk), mode, *OLD],
        input=json.dumps([*reading, *writing]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip("needs the right to mount")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(reading) + len(writing)
    for words, (status, said) in zip(reading, found, strict=False):
        assert (words[0], status) == (words[0], 0), said
    for words, (status, said) in zip(writing, found[len(reading) :], strict=True):
        assert "Traceback" not in said
        last = said.splitlines()[-1]
        assert status in (1, 2), (words, said)
        assert last.startswith(f"raypipe {words[0]}: "), last
        assert SAYS[mode] in last or "can be written to" in last, last
        assert str(disk) in last, last
    before = {
        f"{kind}/{name}": data
        for kind in ("store", "model")
        for name, data in files_in(made / kind).items()
    }
    assert files_in(made / "after") == before | dict.fromkeys(OLD, b"old")
