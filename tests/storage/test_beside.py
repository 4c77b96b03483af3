"""Files beside each other: all old or all new, and what killed processes leave goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.storage import beside as engine
from raypipe.storage import new_file, new_files, new_folder
from tests.storage.test_results import KilledError, content

NAMES = ("x.npy", "x.ids.npy", "x.labels.npy")


def write(path: Path, text: str, *names: str, stale: tuple[str, ...] = ()) -> None:
    with new_files(path, stale) as folder:
        for name in names:
            (folder / name).write_text(text)


def visible(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if not p.name.startswith(".")}


def test_a_kill_at_any_step_mixes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = dict.fromkeys(NAMES, "old"), dict.fromkeys(NAMES[:2], "new")
    step, finished, seen = 0, False, set()
    while not finished:
        folder = tmp_path / str(step)
        folder.mkdir()
        write(folder / "x.npy", "old", *NAMES)
        left = step

        def counted(call, *arguments, **named):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return call(*arguments, **named)

        with monkeypatch.context() as patched:
            for owner, name in (
                *((os, "fsync"), (engine.shutil, "rmtree")),
                *((Path, "rename"), (Path, "replace"), (Path, "unlink")),
            ):
                call = getattr(owner, name)
                patched.setattr(owner, name, lambda *a, _call=call, **n: counted(_call, *a, **n))
            try:
                write(folder / "x.npy", "new", *NAMES[:2], stale=NAMES)
                finished = True
            except KilledError:
                pass
        there = visible(folder)
        assert there.items() <= old.items() or there.items() <= new.items()
        assert len(there) > 1 or "x.npy" not in there  # never the array without its ids
        engine.finish_files(folder / "x.npy")
        assert visible(folder) in (old, new)
        seen.add(visible(folder)["x.npy"])
        write(folder / "x.npy", "next", "x.npy")
        assert not [p.name for p in folder.iterdir() if p.name.startswith((".new", ".tmp"))]
        step += 1
    assert seen == {"old", "new"}
    assert step > 10


def test_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    write(tmp_path / "x.npy", "old", *NAMES)
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "x.npy", "new", "x.npy", "no/folder")
    assert content(tmp_path) == dict.fromkeys(NAMES, "old")


LEAVES = """
import os, sys
from pathlib import Path
from raypipe.storage import new_files
with new_files(Path(sys.argv[1])) as folder:
    (folder / "x.npy").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVES, str(tmp_path / "x.npy")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        write(tmp_path / "x.npy", "new", "x.npy")
        assert len(list(tmp_path.glob(".tmp-*"))) == 1
        process.kill()
    with new_file(tmp_path / "y.npy") as file:  # another place
        file.write_text("")
    assert len(list(tmp_path.glob(".tmp-*"))) == 1
    write(tmp_path / "x.npy", "new", "x.npy")
    assert content(tmp_path) == {"x.npy": "new", "y.npy": ""}


def test_files_and_folders_have_the_modes_that_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "x.npy", "new", *NAMES)
        with new_folder(tmp_path / "m", "model", {}) as folder:
            (folder / "a").write_text("")
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (*NAMES, "m/a")} == {0o640}
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o750
