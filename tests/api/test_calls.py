"""Objects as arguments, and what is said of calls that are wrong."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raypipe
from raypipe.api.arguments import as_options
from raypipe.store.coverage import publish
from tests.api.conftest import Made
from tests.conftest import draw_folder
from tests.support.stores import items_of, make_spec, make_store, write

ANY: Any = raypipe


@pytest.mark.ci
def test_a_users_script_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_ray: None,
) -> None:
    draw_folder(tmp_path / "photos", 6)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).with_name("users_script.py")))
    said = capsys.readouterr().out
    assert "18 images of circle, square, stripes, 512 values each" in said
    assert all((tmp_path / f"report-{number}.html").is_file() for number in range(3))


def two_snapshots(folder: Path) -> str:
    spec = make_spec()
    storage, _ = make_store(folder, [items_of(["a/1", "b/1"])], spec)
    publish(
        storage, spec.fingerprint, tuple(write(storage, spec, "u9", items_of(["c/1"]), "parquet"))
    )
    return str(folder)


def test_the_snapshot_a_store_was_opened_at_is_taken(tmp_path: Path) -> None:
    uri = two_snapshots(tmp_path / "store")
    first, newest = (raypipe.open(uri, number) for number in (1, 2))
    for job in ("train", "cluster", "similar", "export", "dedupe", "verify", "inspect"):
        assert as_options(job, {"store": first}) == {"store": uri, "snapshot": 1}
    assert raypipe.inspect(first)["rows"] != raypipe.inspect(newest)["rows"]
    assert as_options("report", {"run": newest}) == {"run": uri}
    for job in ("compact", "repair"):  # on the store as a whole
        assert as_options(job, {"store": first}) == {"store": uri}
    for job, name in (("report", "run"), ("predict", "source")):
        with pytest.raises(raypipe.UsageError, match=r"at snapshot 1 of .* newest is 2"):
            as_options(job, {name: first})
    with pytest.raises(raypipe.UsageError, match="opened at snapshot 1; got snapshot=2"):
        as_options("train", {"store": first, "snapshot": 2})


def test_paths_are_taken_as_objects_of_pathlib(tmp_path: Path) -> None:
    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            return "there"

    assert as_options("train", {"store": Place(), "out": tmp_path}) == {
        "store": "there",
        "out": str(tmp_path),
    }


@pytest.mark.usefixtures("no_ray")
def test_a_model_that_was_written_again_is_not_taken_for_the_old_one(
    made: Made, tmp_path: Path
) -> None:
    model = raypipe.train(made.store, out=tmp_path / "model", grid="C=0.1")
    assert Path(raypipe.report(model, out=tmp_path / "report.html")).is_file()
    raypipe.train(made.store, out=tmp_path / "model", grid="C=1", replace=True)
    with pytest.raises(raypipe.UsageError, match="has been written again"):
        raypipe.report(model, out=tmp_path / "report.html")
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    with pytest.raises(raypipe.UsageError, match="is gone"):
        raypipe.predict(model, made.folder / "photos")


WRONG: dict[str, tuple[Callable[[Made], Any], str]] = {
    "nothing": (lambda made: ANY.predict(), "predict() needs 'model': Folder"),
    "out": (lambda made: ANY.train(made.store), "train() needs 'out': Folder"),
    "k": (lambda made: ANY.cluster(made.store, out="x"), "cluster() needs 'k': Number of clusters"),
    "unknown": (
        lambda _: ANY.extract("x", bakbone=3),
        "no option 'bakbone'; did you mean backbone",
    ),
    "places": (lambda _: ANY.extract("x", "y"), "extract(): too many positional arguments"),
    "twice": (lambda _: ANY.extract("x", source="y"), "multiple values for argument 'source'"),
    "kind": (
        lambda made: ANY.train(made.model, out="x"),
        "store takes a path or an object (Store)",
    ),
    "no object": (
        lambda made: ANY.extract(made.store, out="x"),
        "extract(): source takes a path; got <Store",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_words_of_python(name: str, made: Made) -> None:
    call, expected = WRONG[name]
    with pytest.raises(raypipe.UsageError) as raised:
        call(made)
    text = str(raised.value)
    assert expected in text
    assert "\n" not in text
    assert "--" not in text
    assert "RAYPIPE" not in text
    # What IPython shows in place of a traceback.
    assert raised.value._render_traceback_() == [f"{type(raised.value).__name__}: {text}"]


@pytest.mark.parametrize("name", ["nothing", "out", "unknown", "places", "twice"])
def test_a_call_that_is_none_is_a_type_error(name: str, made: Made) -> None:
    with pytest.raises(TypeError):
        WRONG[name][0](made)


def test_layers_and_inspect_are_functions(made: Made) -> None:
    found = raypipe.layers("resnet18", size=64)
    assert found[0]["name"] == "x"
    assert next(one for one in found if one["name"] == "layer4.1.relu_1")["shape"] == [512, 2, 2]
    assert raypipe.inspect(made.store)["labels"] == {"circle": 8, "square": 8, "stripes": 8}
