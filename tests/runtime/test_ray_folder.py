"""Ray is not started where it has no room: it would wait for itself for many minutes."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from raypipe.errors import UsageError
from raypipe.runtime import connection, ray_folder

_Usage = namedtuple("_Usage", "total used free")


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    asked = []

    def usage(path: Path) -> _Usage:
        asked.append(path)
        return _Usage(100, 100, 4096)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    started = time.monotonic()
    with pytest.raises(UsageError, match="RAY_TMPDIR: .*4 KiB are free of the 64 MiB") as found:
        connection._connect("local")
    assert time.monotonic() - started < 5
    assert asked == [tmp_path / "ray"]
    assert "set RAY_TMPDIR to a folder on another disk" in str(found.value)


def test_a_folder_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UsageError, match="Ray cannot keep its logs in .*File exists"):
        ray_folder.check_ray_folder()


def test_where_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ray_folder.check_ray_folder()
    assert (tmp_path / "ray").is_dir()
