"""Results in buckets: old or new as a whole."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

import raypipe
from raypipe.errors import RaypipeError, UsageError
from raypipe.storage import BucketStorage, check_uploaded, local_copy, transfer, upload
from tests.support.stores import items_of, make_spec, make_store

ORIGIN = {"head": "logistic"}
OLD = {"arrays": "old", "model.json": "old", "notes": "old"}
NEW = {"arrays": "new", "model.json": "new"}


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_RETRY_SECONDS", 0)


@pytest.fixture
def place(s3: str, client: Any) -> str:
    return f"s3://photos/result?endpoint_override={s3}&scheme=http"


def put(place: str, folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    upload(folder, BucketStorage(place), "model", ORIGIN)


def read(place: str) -> dict[str, str]:
    with local_copy(place, ["arrays", "model.json"], "MODEL") as folder:
        return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("marked", [True, False])
def test_a_kill_between_two_puts_leaves_the_old_or_the_new_one(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    old, read_whole, left = {name: OLD[name] for name in NEW}, [], -1

    def mortal(call: Any) -> Any:
        def run(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return call(*arguments)

        return run

    while left < 0:
        put(place, tmp_path / "old", OLD)
        if not marked:  # as it was written before there was a marker
            BucketStorage(place).delete(transfer.MARKER)
        left = len(read_whole)
        with monkeypatch.context() as patched, contextlib.suppress(KilledError):
            for name in ("put", "delete"):
                patched.setattr(BucketStorage, name, mortal(getattr(BucketStorage, name)))
            put(place, tmp_path / "new", NEW)
        read_whole.append(read(place))
        check_uploaded(BucketStorage(place), "model", ORIGIN, replace=False)
    news = [found == NEW for found in read_whole]
    assert all(found in (old, NEW) for found in read_whole)
    assert (news, len(news) > 6) == (sorted(news), True)  # once it is the new one, it stays that
    storage = BucketStorage(place)
    assert storage.exists("notes") is not marked
    assert storage.list(transfer._BESIDE) == []
    assert storage.read("arrays") == b"new"


def test_files_of_several_results_are_refused(place: str, tmp_path: Path) -> None:
    put(place, tmp_path / "old", OLD)
    BucketStorage(place).put("arrays", b"another")
    with pytest.raises(RaypipeError, match="holds files of several results.*run one of them again"):
        read(place)


def test_who_reads_while_it_is_replaced_reads_again(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, tmp_path / "old", OLD)
    get = BucketStorage.read

    def replaced_before_the_last(self: BucketStorage, name: str) -> bytes:
        if name == "model.json":
            monkeypatch.setattr(BucketStorage, "read", get)
            put(place, tmp_path / "new", NEW)
        return get(self, name)

    monkeypatch.setattr(BucketStorage, "read", replaced_before_the_last)
    assert read(place) == NEW


def test_another_result_is_refused(place: str, tmp_path: Path) -> None:
    put(place, tmp_path / "old", OLD)
    storage = BucketStorage(place)
    check_uploaded(storage, "model", ORIGIN, replace=False)
    with pytest.raises(UsageError, match="s3:.*holds a model made with another head.*--replace"):
        check_uploaded(storage, "model", {"head": "knn"}, replace=False)
    with pytest.raises(UsageError, match="holds a model; give another folder, or --replace"):
        check_uploaded(storage, "clusters", ORIGIN, replace=False)
    check_uploaded(storage, "clusters", ORIGIN, replace=True)
    storage.delete(transfer.MARKER)
    storage.delete("model.json")
    storage.put("spec.json", b"{}")
    with pytest.raises(UsageError, match="holds a store; give another folder"):
        check_uploaded(storage, "clusters", ORIGIN, replace=True)


def test_commands_replace_results_in_buckets_as_in_folders(place: str, tmp_path: Path) -> None:
    make_store(
        tmp_path / "s", [items_of([f"{c}/{i}" for c in "ab" for i in range(20)])], make_spec()
    )
    raypipe.train(tmp_path / "s", out=place, grid="C=1", cv=2, report=True)
    with pytest.raises(UsageError, match="holds a model; .*--replace"):
        raypipe.cluster(tmp_path / "s", out=place, k=2)
    raypipe.train(tmp_path / "s", out=place, grid="C=1", cv=2)
    assert not BucketStorage(place).exists("report.html")
    assert raypipe.load_model(place).classes == ("a", "b")
