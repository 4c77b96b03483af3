"""Ctrl-C while a source is listed beside Ray's start."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from raypipe import schema
from raypipe.config import ExtractConfig
from raypipe.jobs import extract
from raypipe.storage import FolderStorage


def test_nobody_waits_for_a_thread_that_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Lock()  # stands for that of logging, which an interrupt has left locked
    held.acquire()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extract, "Listing", lambda *_: held.acquire())
    monkeypatch.setattr(extract, "load_extractor", lambda *_: None)
    monkeypatch.setattr(extract, "choose", interrupted)
    monkeypatch.setattr(extract.Known, "images", lambda _: 1)
    monkeypatch.setattr(extract, "_GIVE_UP_SECONDS", 0.2)
    row = pa.RecordBatch.from_pylist([{"id": "a"}], schema=schema.ITEMS)
    source = SimpleNamespace(list=lambda: iter([row]), uri="x", aside={})
    started = time.monotonic()
    config = ExtractConfig(source="x", out=str(tmp_path), backbone="b")
    with pytest.raises(KeyboardInterrupt), contextlib.ExitStack() as stack:
        extract._start(config, FolderStorage(tmp_path), source, stack)
    assert time.monotonic() - started < 5
    stuck = [thread for thread in threading.enumerate() if not thread.daemon]
    assert stuck == [threading.main_thread()] or all("pool" not in one.name for one in stuck)
    held.release()
