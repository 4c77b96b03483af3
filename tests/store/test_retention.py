"""Old snapshots go, and nothing that anyone still needs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from raypipe.config import ExpireConfig, PinConfig
from raypipe.errors import UsageError
from raypipe.jobs import expire as expire_job
from raypipe.jobs import pin as pin_job
from raypipe.storage import FolderStorage
from raypipe.store.retention import expire, pin
from tests.store import test_store
from tests.store.test_store import content, run

storage = test_store.storage


def files(storage: FolderStorage) -> set[str]:
    return {*storage.list("data"), *storage.list("rejects")}


@pytest.fixture
def history(storage: FolderStorage) -> FolderStorage:
    """Five snapshots: each replaces the rows of the one before, and adds one."""
    for n in range(1, 6):
        run(storage, {f"a{i}": str(n) for i in range(n)} | {"fixed": "1"})
    return storage


def test_files_go_a_day_after_their_snapshots(
    history: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, newest, fourth = files(history), content(history), content(history, 4)
    done = expire(history, keep=2)
    assert (done.snapshots, done.kept, done.removed) == ((1, 2, 3), (4, 5), ())
    assert files(history) == before
    assert history.list("snapshots") == ["snapshots/00000004.json", "snapshots/00000005.json"]
    again = expire(history, keep=2)
    assert (again.snapshots, again.noted, again.removed) == ((), (), ())
    later = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    last = expire(history, keep=2)
    assert last.removed == done.noted
    assert files(history) == before - set(done.noted)
    assert last.bytes > 0
    assert history.list("expired") == []
    assert (content(history), content(history, 4)) == (newest, fourth)


def test_pinned_snapshots_stay(history: FolderStorage) -> None:
    pin(history, "model-7", 2)
    second = content(history, 2)
    assert expire(history, keep=1, grace=0).kept == (2, 5)
    expire(history, keep=1, grace=0)
    assert content(history, 2) == second


def test_only_old_ones(history: FolderStorage) -> None:
    assert expire(history, keep=1, older_than=3600).snapshots == ()
    assert expire(history, keep=100).snapshots == ()


def test_a_dry_run_changes_nothing(history: FolderStorage) -> None:
    before = files(history), history.list("snapshots")
    done = expire(history, keep=1, grace=0, dry_run=True)
    assert done.snapshots == (1, 2, 3, 4)
    assert done.noted
    assert (files(history), history.list("snapshots")) == before
    assert history.list("expired") == []


def test_a_run_takes_nothing_that_is_about_to_go(
    history: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image goes back to what it was in an expired snapshot: its file is there, but noted."""
    old = {"a0": "1", "fixed": "1"}
    noted = expire(history, keep=1).noted
    run(history, old)
    later = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert set(expire(history, keep=1).removed) >= set(noted)
    assert content(history)["a0"][0] == "1"


def test_what_a_running_job_has_planned_with_is_kept(
    history: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had adopted a file before the file was noted, and publishes it after that."""
    noted: list[str] = []

    def late(*_: Any) -> set[str]:
        noted.extend(expire(history, keep=1).noted)
        return set()  # as it was when the run looked

    monkeypatch.setattr("raypipe.store.adoption.expired_files", late)
    run(history, {"a0": "1", "fixed": "1"})
    monkeypatch.undo()
    expire(history, keep=1, grace=0)
    assert noted
    assert content(history)["a0"][0] == "1"


def test_commands(history: FolderStorage) -> None:
    store = history.uri
    with pytest.raises(UsageError, match="NAME: expected letters"):
        pin_job.run(PinConfig(store=store, name="../x"))
    with pytest.raises(UsageError, match="--snapshot: no snapshot 9"):
        pin_job.run(PinConfig(store=store, name="a", snapshot=9))
    with pytest.raises(UsageError, match="--remove: no pin 'a'; there are: none"):
        pin_job.run(PinConfig(store=store, name="a", remove=True))
    assert pin_job.run(PinConfig(store=store, name="a")).summary["pins"] == {"a": 5}
    assert "a → snapshot 3" in pin_job.run(PinConfig(store=store, name="a", snapshot=3)).text
    done = expire_job.run(ExpireConfig(store=store, keep=1))
    assert done.summary["expired"] == [1, 2, 4]
    assert "files are listed by no snapshot any more" in done.text
    json.dumps(done.summary)
    assert pin_job.run(PinConfig(store=store, name="a", remove=True)).summary["pins"] == {}
    with pytest.raises(UsageError, match="no store"):
        expire_job.run(ExpireConfig(store=str(Path(store) / "none"), keep=1))
