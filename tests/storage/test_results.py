"""Results: the old one whole or the new one whole, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

import raypipe
from raypipe.errors import RaypipeError, UsageError
from raypipe.storage import check_not_within, check_result, new_file, new_folder, results
from tests.support.stores import items_of, make_spec, make_store

ORIGIN = {"head": "logistic", "store": "/s"}


class KilledError(BaseException):
    """Stands for the end of the process."""


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.name != results.MARKER}


def make(folder: Path, text: str, *names: str) -> None:
    with new_folder(folder, "model", ORIGIN) as new:
        for name in names:
            (new / name).write_text(text)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_kill_at_any_step_leaves_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    old, new = {"a": "old", "b": "old"}, {"a": "new", "c": "new"}
    if not exchanges:
        monkeypatch.setattr(results, "_exchanged", lambda *_: False)
    step, finished = 0, False
    while not finished:
        folder = tmp_path / str(step) / "model"
        make(folder, "old", "a", "b")
        left = step

        def counted(call, *arguments):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return call(*arguments)

        with monkeypatch.context() as patched:
            for owner, name in ((os, "fsync"), (Path, "rename"), (results, "_exchanged")):
                call = getattr(owner, name)
                patched.setattr(owner, name, lambda *a, _call=call: counted(_call, *a))
            try:
                make(folder, "new", "a", "c")
                finished = True
            except KilledError:
                pass
        results.restore_result(folder)
        assert content(folder) in (old, new)
        step += 1
    assert content(folder) == new
    assert step > 4
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RaypipeError, match="cannot write .*p.csv.*No space"), new_file(path) as new:
        new.write_text("ne")
    assert content(tmp_path) == {"p.csv": "old"}


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "m", "old", "a")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(RaypipeError, match="cannot write .*No space"):
        make(tmp_path / "m", "new", "a")
    assert content(tmp_path / "m") == {"a": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_own_files_stay_and_old_ones_go(tmp_path: Path) -> None:
    make(tmp_path / "m", "old", "a", "b")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    make(tmp_path / "m", "new", "a")
    assert content(tmp_path / "m") == {"a": "new", "notes.txt": "mine"}


def test_another_result_is_replaced_only_if_that_is_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "old", "model.json")
    check_result(tmp_path, "model", ORIGIN, replace=False)
    other = {**ORIGIN, "head": "knn"}
    with pytest.raises(UsageError, match="model made with another head; .* --replace"):
        check_result(tmp_path, "model", other, replace=False)
    with pytest.raises(UsageError, match="holds a model; give another folder, or --replace"):
        check_result(tmp_path, "clusters", ORIGIN, replace=False)
    check_result(tmp_path, "clusters", other, replace=True)


@pytest.mark.parametrize(("name", "words"), [("spec.json", "a store"), ("a.jpg", "other files")])
def test_a_store_and_foreign_folders_are_never_replaced(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=f"holds {words}; give another folder"):
        check_result(tmp_path, "model", ORIGIN, replace=True)
    assert content(tmp_path) == {name: ""}


def test_a_model_from_before_there_was_a_marker(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}")
    (tmp_path / "m" / "curves.csv").write_text("old")
    (tmp_path / "m" / "metrics.json").write_text('{"head": "knn"}')
    with pytest.raises(UsageError, match="another head"):
        check_result(tmp_path / "m", "model", ORIGIN, replace=False)
    check_result(tmp_path / "m", "model", {"head": "knn"}, replace=False)
    make(tmp_path / "m", "new", "model.json")
    assert content(tmp_path / "m") == {"model.json": "new"}


def test_a_result_may_lie_beside_another_and_above_one(tmp_path: Path) -> None:
    make_store(tmp_path / "all" / "features", [items_of(["a"])], make_spec())
    for name in ("all", "all/model", "all/features", "other/features/data"):
        check_not_within(str(tmp_path / name))
    (tmp_path / "spec.json").write_text('{"openapi": "3"}')  # of somebody else
    check_not_within(str(tmp_path / "all" / "model"))
    (tmp_path / "link").symlink_to(tmp_path / "all" / "features" / "data")
    with pytest.raises(UsageError, match="lies inside .*features, which is a store"):
        check_not_within(str(tmp_path / "link" / "model"))


def test_no_result_in_shards(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    raypipe.pack(str(tmp_path / "1.png"), out=str(tmp_path / "shards"))
    with pytest.raises(UsageError, match="lies inside .*shards, which is shards of `pack`"):
        raypipe.pack(str(tmp_path / "1.png"), out=str(tmp_path / "shards" / "more"))
