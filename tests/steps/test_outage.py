"""An outage ends a run; single faults do not."""

from __future__ import annotations

import errno
import os
import pickle
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raypipe import schema
from raypipe.errors import RaypipeError
from raypipe.rows.unit import Unit, pack_items
from raypipe.sources import buckets, faults, remote
from raypipe.sources.content import _forget
from raypipe.sources.servers import forget_failures
from raypipe.steps import outage
from raypipe.steps.batch import ITEMS, UNIT, Batch, ReadOptions
from raypipe.steps.read import one_server, read_and_decode
from raypipe.storage.objects import Patience
from tests.sources.test_faults import plant
from tests.storage.test_bucket_faults import faulty
from tests.support.sources import csv_of, listed, zip_of
from tests.support.stores import items_of, make_spec

OPTIONS = ReadOptions(make_spec(), 10**6)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(faults, "WAITS", (0.0,))
    monkeypatch.setattr(faults, "_failures", 0)
    monkeypatch.setattr(outage, "_run", "of another test")
    yield
    _forget()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "drive" / "photos"
    folder.mkdir(parents=True)
    for i in range(16):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / f"{i:02}.png")
    return folder


def read(items: pa.Table, options: ReadOptions = OPTIONS) -> list[str]:
    """Read a unit; return why each item is a reject."""
    unit = np.array([pack_items(items), None], object)[:1]
    batch: Batch = {UNIT: np.array(["u"], object), ITEMS: unit}
    found: list[str] = read_and_decode(batch, options=options)[schema.REASON].tolist()
    return found


def test_a_drive_that_is_gone_ends_the_run(photos: Path, tmp_path: Path) -> None:
    items = listed(photos)
    assert read(items.slice(0, 8)) == [""] * 8
    (tmp_path / "drive").rename(tmp_path / "elsewhere")
    with pytest.raises(RaypipeError, match=r"SOURCE: none of 8 images is what was listed: not the"):
        read(items.slice(8))


def test_some_that_are_gone_do_not(photos: Path) -> None:
    items = listed(photos)
    for name in ("03.png", "05.png"):
        (photos / name).unlink()
    assert sorted(set(read(items))) == ["", "changed"]
    assert read(items.slice(3, 1)) == ["changed"]  # a unit of few may be unlucky alone


def test_a_drive_with_faults_ends_the_run_at_the_second_unit(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = listed(photos)
    with monkeypatch.context() as planted:
        for path in sorted(photos.iterdir()):
            plant(planted, path, errno.EIO)
        assert read(items.slice(0, 8)) == ["unavailable"] * 8
        with pytest.raises(RaypipeError, match=f"could be read: {os.strerror(errno.EIO)}: /"):
            read(items.slice(8))
    assert read(items) == [""] * 16


def test_one_stretch_of_a_drive_does_not(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = listed(photos)
    for path in sorted(photos.iterdir())[:8]:
        plant(monkeypatch, path, errno.EIO)
    for _ in range(3):
        assert read(items.slice(0, 8)) == ["unavailable"] * 8
        assert read(items.slice(8)) == [""] * 8


def test_units_of_two_runs_in_one_process_are_not_counted_together(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = listed(photos)
    for path in sorted(photos.iterdir()):
        plant(monkeypatch, path, errno.EIO)
    for _ in range(3):
        options = ReadOptions(make_spec(), 10**6)
        sent = pickle.loads(pickle.dumps(options))  # to another process, and back
        assert read(items.slice(0, 8), options) == ["unavailable"] * 8
    with pytest.raises(RaypipeError, match="none of 8 images could be read"):
        read(items.slice(8), sent)


@pytest.mark.parametrize("kind", ["bytes.parquet", "a.tar.gz", "a.zip", "one"])
def test_a_bucket_that_is_down_ends_the_run(
    kind: str, s3: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE", Patience(connect=1, answer=1, tries=2, total=2))
    forget_failures()
    with faulty(kind, s3, client, tmp_path) as server:
        items = listed(server.source).slice(0, 8)
        server.fail(503)
        with pytest.raises(RaypipeError, match=r"none of 8 images could be read: no answer \(503"):
            read(items, replace(OPTIONS, one_server=True))
        server.fail(None)
        forget_failures()
        assert "unavailable" not in read(items, replace(OPTIONS, one_server=True))


def test_a_zip_that_is_packed_anew_ends_the_run(photos: Path, tmp_path: Path) -> None:
    images = {path.name: path.read_bytes() for path in sorted(photos.iterdir())}
    archive = zip_of(tmp_path / "z.zip", images)
    items = listed(archive)
    assert read(items.slice(0, 8)) == [""] * 8
    zip_of(archive, {"00": b"first"} | dict(reversed(images.items())))
    with pytest.raises(RaypipeError, match="none of 8 images is what was listed: has changed"):
        read(items.slice(8))


def test_a_zip_that_is_damaged_does_not(photos: Path, tmp_path: Path) -> None:
    """Or its run would never come to an end: it will be damaged the next time, too."""
    images = {path.name: path.read_bytes() for path in sorted(photos.iterdir())}
    archive = zip_of(tmp_path / "z.zip", images)
    items = listed(archive)
    data = archive.read_bytes()
    stamp = archive.stat()
    cut = int(items["uri"][8].as_py().partition("at=")[2].partition("&")[0])
    end = data.index(b"PK\x01\x02")
    archive.write_bytes(data[:cut] + bytes(end - cut) + data[end:])
    os.utime(archive, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert read(items.slice(8)) == ["damaged"] * 8


def test_a_server_that_is_down_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, if it is the only one; of several, others may answer."""
    monkeypatch.setattr(remote, "RETRIES", 0)
    forget_failures()
    with socket.socket() as bound:  # it is nobody's while nothing listens
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        rows = [{"uri": f"http://127.0.0.1:{port}/{i}.jpg"} for i in range(8)]
        items = listed(csv_of(tmp_path / "t.csv", rows))
        assert read(items) == ["unavailable"] * 8
        with pytest.raises(RaypipeError, match="none of 8 images could be read: no answer"):
            read(items, replace(OPTIONS, one_server=True))


@pytest.mark.parametrize("kind", ["zip", "tar", "parquet"])
def test_containers_in_one_bucket_are_on_one_server(kind: str) -> None:
    uris = [f"{kind}:s3%3A//bucket/{n}!/a?row={n}" for n in range(3)]
    same, others = (unit_of(some) for some in (uris, [*uris, f"{kind}:s3%3A//other/1!/a?row=1"]))
    assert (one_server([same]), one_server([others])) == (True, False)
    assert not one_server([unit_of(["/a.jpg", "/b.jpg"])])


def unit_of(uris: list[str]) -> Unit:
    return Unit("u", len(uris), pack_items(items_of(uris, uri=uris)))
