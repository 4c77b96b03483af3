"""Faults that last and faults that pass, planted below the readers of every kind."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypipe.errors import MAY_PASS, RejectedItem, RejectReason
from raypipe.sources import content, faults, local, read_item
from raypipe.sources.local import file_etag
from tests.sources.test_versions import KINDS
from tests.support.sources import CAP, listed

#: What drives, networks and busy machines come up with.
PASSING = [
    *["EIO", "ESTALE", "EMFILE", "ENFILE", "ETIMEDOUT", "ENOMEM", "EAGAIN", "ENOTCONN"],
    *["EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ECONNRESET", "ECONNREFUSED"],
    *["ECONNABORTED", "EREMOTEIO", "EBUSY", "ENODEV", "ENOBUFS", "EKEYEXPIRED"],
]
LASTING = ["ENOENT", "ENOTDIR", "EACCES", "EPERM", "EISDIR", "ELOOP", "ENAMETOOLONG", "EINVAL"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "WAITS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(faults, "_failures", 0)
    content._forget()


def plant(
    monkeypatch: pytest.MonkeyPatch, path: Path, number: int, times: int = 10**6
) -> list[int]:
    """Have a file fail as often as `times` when it is looked at or opened; return the count."""
    count = [0]

    def faulty(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(name: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(name, str | Path) and str(name) == str(path) and count[0] < times:
                count[0] += 1
                raise OSError(number, os.strerror(number), str(path))
            return real(name, *arguments, **options)

        return call

    for module, name in ((os, "stat"), (os, "open"), (io, "open")):
        monkeypatch.setattr(module, name, faulty(getattr(module, name)))
    return count


def rejected(uri: str, etag: str | None = None) -> RejectedItem:
    with pytest.raises(RejectedItem) as found:
        read_item(uri, CAP, etag=etag)
    return found.value


def one_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_no_reject_for_good(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, number = one_file(tmp_path), getattr(errno, name)
    plant(monkeypatch, path, number)
    reject = rejected(str(path))
    assert reject.reason is RejectReason.UNAVAILABLE
    assert reject.reason in MAY_PASS
    assert reject.message == f"{os.strerror(number)}: {path}"


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = one_file(tmp_path)
    count = plant(monkeypatch, path, getattr(errno, name))
    reject = rejected(str(path))
    assert reject.reason is RejectReason.UNREADABLE
    assert count == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_is_no_reject(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any kind of source: it is tried again."""
    path = tmp_path / kind
    KINDS[kind](path, list(range(12)))
    items = listed(path)
    uri, etag = items["uri"][0].as_py(), items["etag"][0].as_py()
    expected = read_item(uri, CAP, etag=etag)
    content._forget()
    file = path / items["id"][0].as_py() if path.is_dir() else path
    count = plant(monkeypatch, file, errno.EIO, times=2)
    assert read_item(uri, CAP, etag=etag) == expected
    assert count == [2]


@pytest.mark.parametrize("kind", KINDS)
def test_many_faults_may_pass_by_the_next_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / kind
    KINDS[kind](path, list(range(12)))
    items = listed(path)
    file = path / items["id"][0].as_py() if path.is_dir() else path
    plant(monkeypatch, file, errno.ESTALE)
    reject = rejected(items["uri"][0].as_py(), items["etag"][0].as_py())
    assert reject.reason is RejectReason.UNAVAILABLE, reject


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "photos"])
def test_a_container_that_could_be_listed_is_not_unreadable_for_good(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its etag would be the same once it may be read again."""
    path = tmp_path / kind
    KINDS[kind](path, list(range(12)))
    items = listed(path)
    plant(monkeypatch, path, errno.EACCES)
    reject = rejected(items["uri"][0].as_py(), items["etag"][0].as_py())
    assert reject.reason is RejectReason.UNAVAILABLE, reject


@pytest.mark.parametrize("kind", ["s.tar", "s.zip"])
def test_a_file_that_has_gone_stale_is_opened_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS: what was opened before its server started again gives ESTALE for ever."""
    KINDS[kind](tmp_path / kind, list(range(12)))
    items = listed(tmp_path / kind)
    first, second = (
        (row["uri"], row["etag"]) for row in items.slice(0, 2).select(["uri", "etag"]).to_pylist()
    )
    read_item(first[0], CAP, etag=first[1])
    stale, real = [local._opened(str(tmp_path / kind), file_etag(str(tmp_path / kind)))], os.pread
    number = stale[0]._descriptor

    def pread(descriptor: int, *arguments: Any) -> bytes:
        if stale and descriptor == number:
            stale.clear()
            raise OSError(errno.ESTALE, "stale")
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, "pread", pread)
    assert read_item(second[0], CAP, etag=second[1]) == bytes([1]) * 3000
    assert local._opened.cache_info().hits == 0  # it was forgotten


def test_a_drive_that_is_down_is_not_waited_for_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_file(tmp_path)
    count = plant(monkeypatch, path, errno.EIO)
    for _ in range(20):
        rejected(str(path))
    assert count == [8 * 4 + 12]
    monkeypatch.undo()
    assert read_item(str(path), CAP) == b"x"


def test_waits_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = one_file(tmp_path)
    monkeypatch.setattr(faults, "WAITS", (0.1, 0.4, 1.6))
    waited: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", waited.append)
    plant(monkeypatch, path, errno.EMFILE)
    rejected(str(path))
    assert waited == [0.1, 0.4, 1.6]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Can't read data (file read failed: time = …, errno = 5, error message = "
            "'Input/output error')",
            RejectReason.UNAVAILABLE,
        ),
        ("Couldn't deserialize thrift: TProtocolException", RejectReason.CORRUPT),
    ],
)
def test_faults_that_libraries_put_into_words(text: str, reason: RejectReason) -> None:
    """HDF5 has the number in its text only; PyArrow calls damage an OSError without a number."""
    assert faults.rejected("f", OSError(text), "1-1").reason is reason
