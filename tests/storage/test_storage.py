"""Files appear whole or not at all, and exactly one creator wins."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raypipe.errors import UsageError
from raypipe.storage import FolderStorage, check_not_within, local_path


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


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        *[("file:///a%20b/c", "/a b/c"), ("FILE://localhost/a", "/a"), ("file:/a//b", "/a/b")],
        *[("file:///a#1/b?c", "/a#1/b?c"), ("file:///a%231", "/a#1"), ("file:///a\nb", "/a\nb")],
        *[("//a/[x", "//a/[x"), ("//\u2100/x", "//\u2100/x")],  # which no URI of a host may be
    ],
)
def test_paths_and_uris_of_files(uri: str, path: str) -> None:
    assert str(local_path(uri, "--out")) == path


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://bucket/x", "expected a path or file:// URI; got 's3://bucket/x'"),
        ("http://[x", "expected a path or file:// URI; got 'http://\\[x'"),
        ("file://photos", "expected file:///PATH, of this machine; got 'file://photos'"),
        ("file://host/x", "expected file:///PATH, of this machine"),
        ("file://[x/y", "expected file:///PATH, of this machine"),
        ("file:///a%00", "expected file:///PATH, of this machine"),
        ("a\0b", "expected a path in UTF-8, without zero bytes"),
        (os.fsdecode(b"caf\xe9"), "expected a path in UTF-8, .*a link to it"),
        ("file:///caf%E9", "expected a path in UTF-8"),
    ],
)
def test_what_is_no_path_of_this_machine(uri: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--out: {why}"):
        local_path(uri, "--out")


@pytest.mark.parametrize("target", ["gone", "link"])
def test_a_link_that_leads_nowhere(target: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(target)
    for place in (tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(UsageError, match="--out: .*/link' is a link that leads nowhere; make"):
            check_not_within(str(place))
