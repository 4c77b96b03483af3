"""The examples in docstrings of the public Python API."""

from __future__ import annotations

import doctest
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest

import raypipe

#: What has examples, at least; those of others run as well.
_WITH = (
    *("extract", "train", "cluster", "predict", "open", "similar", "dedupe", "export", "pack"),
    *("inspect", "layers", "Store", "ImageClassifier", "ImageClusters"),
)


def examples() -> dict[str, doctest.DocTest]:
    """Return the examples by the name of what they are of."""
    parser = doctest.DocTestParser()
    objects: dict[str, Any] = {"raypipe": raypipe}
    objects |= {name: getattr(raypipe, name) for name in raypipe.__all__}
    for owner in (raypipe.Store, raypipe.ImageClassifier, raypipe.ImageClusters):
        objects[owner.__name__] = owner
        members = inspect.getmembers(owner)
        objects |= {f"{owner.__name__}.{n}": m for n, m in members if not n.startswith("_")}
    found = {
        name: parser.get_doctest(inspect.getdoc(one) or "", {}, name, name, 0)
        for name, one in objects.items()
    }
    return {name: test for name, test in found.items() if test.examples}


EXAMPLES = examples()


def test_what_should_have_examples_has() -> None:
    assert set(_WITH) <= set(EXAMPLES)
    text = [example for test in EXAMPLES.values() for example in test.examples]
    assert not any(doctest.SKIP in example.options for example in text)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.usefixtures("small_python")
def test_examples(name: str, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for part in ("photos", "features", "model"):
        shutil.copytree(shelf / part, tmp_path / part)
    test = EXAMPLES[name]
    test.globs = {
        "raypipe": raypipe,
        "store": raypipe.open("features"),
        "model": raypipe.load_model("model"),
    }
    if name == "train":  # the one there is of another store, which is not replaced unasked
        shutil.rmtree("model")
    failures: list[str] = []
    doctest.DocTestRunner().run(test, out=failures.append, clear_globs=False)
    assert not failures, "".join(failures)
