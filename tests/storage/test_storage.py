"""Files appear whole or not at all, and exactly one creator wins."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raypipe.errors import UsageError
from raypipe.storage import FolderStorage, local_path


def test_create_succeeds_for_exactly_one(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda i: storage.create("s/1.json", b"%d" % i), range(64)))
    assert sum(won) == 1
    assert storage.read("s/1.json") == b"%d" % won.index(True)
    assert storage.list("s") == ["s/1.json"]


def test_nothing_half_written_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FolderStorage(tmp_path)

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        storage.put("d/x", b"data")
    assert storage.list("d") == []
    assert list((tmp_path / "d").iterdir()) == []


def test_leftovers_of_killed_writers_go_after_a_day(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    storage.put("d/x", b"data")
    fresh, stale = tmp_path / "d" / ".tmp-1", tmp_path / "d" / ".tmp-2"
    fresh.touch()
    stale.touch()
    os.utime(stale, (0, time.time() - 2 * 24 * 3600))
    storage.remove_stale_temporaries("d")
    assert fresh.exists()
    assert not stale.exists()
    assert storage.list("d") == ["d/x"]


def test_uris() -> None:
    assert local_path("file:///a%20b/c", "--out") == Path("/a b/c")
    with pytest.raises(UsageError, match="--out.*s3://bucket"):
        local_path("s3://bucket/x", "--out")
