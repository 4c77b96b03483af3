"""Editors and type checkers see the functions as they are."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raypipe
from raypipe.config import JOBS
from tests.docs.blocks import ROOT

STUB = ROOT / "raypipe" / "__init__.pyi"
SCRIPT = Path(__file__).with_name("users_script.py")
#: By line: what a checker is to say of it.
WRONG = {
    'raypipe.extract("photos", out="features", bakbone=3)': "extract",
    'raypipe.extract("photos")': "extract",
    'raypipe.train("features", out="model", head="tree")': "head",
    'raypipe.train(raypipe.train("features", out="model"), out="model")': "ImageClassifier",
    'raypipe.cluster("features", out="groups", k=[3])': "list[int]",
    'raypipe.load_model("model").predict(3)': "predict",
    'raypipe.predict("model", "photos").column': "column",
}


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import signatures

    yield signatures
    del sys.modules["signatures"]


def test_the_stub_is_up_to_date(signatures: Any) -> None:
    """Made by `python docs/_ext/signatures.py`."""
    assert STUB.read_text(encoding="utf-8") == signatures.stub()


def test_the_stub_has_every_option_and_its_description() -> None:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {
        "ImageClassifier",
        "ImageClusters",
        "RaypipeError",
        "Store",
        "PredictionTable",
        "UsageError",
    }
    assert set(functions) | classes == set(raypipe.__all__)
    for name in set(functions) & set(JOBS):
        given = functions[name].args
        arguments = {one.arg for one in [*given.args, *given.kwonlyargs]}
        assert arguments == set(JOBS[name].model_fields)
        text = ast.get_docstring(functions[name]) or ""
        assert all(f"    {argument}: " in text for argument in arguments)
        assert max(map(len, text.splitlines())) <= 100


def test_dir_has_public_names_only() -> None:
    assert set(dir(raypipe)) == {*raypipe.__all__, "__version__"}
    assert all(getattr(raypipe, name) for name in dir(raypipe))
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        raypipe.extrct  # type: ignore[attr-defined] # noqa: B018


def checked(folder: Path, command: list[str]) -> list[str]:
    """Return what a checker says of the script, and of each wrong line, by place."""
    (folder / "right.py").write_text(SCRIPT.read_text())
    (folder / "wrong.py").write_text("\n".join(["import raypipe", *WRONG]) + "\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    return done.stdout.splitlines()


def check_wrong(lines: dict[int, str], unseen: str = "nothing") -> None:
    expected = {n: word for n, word in enumerate(WRONG.values(), 2) if word != unseen}
    assert sorted(lines) == sorted(expected)
    for number, word in expected.items():
        assert word in lines[number]


def test_pyright_checks_a_users_script(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    said = json.loads("\n".join(checked(tmp_path, command)))["generalDiagnostics"]
    assert [one for one in said if one["file"].endswith("right.py")] == []
    lines: dict[int, str] = {}
    for one in said:
        number = one["range"]["start"]["line"] + 1
        lines[number] = lines.get(number, "") + one["message"]
    check_wrong(lines)


@pytest.mark.ci
def test_mypy_checks_a_users_script(tmp_path: Path) -> None:
    command = ["--strict", "--follow-imports", "silent", "--no-pretty", "right.py", "wrong.py"]
    lines: dict[int, str] = {}
    for line in checked(tmp_path, [sys.executable, "-m", "mypy", *command]):
        place, _, message = line.partition(": ")
        file, _, number = place.partition(":")
        assert file != "right.py", line
        if file == "wrong.py" and message.startswith("error"):
            lines[int(number)] = lines.get(int(number), "") + message
    # It takes an object whose base has no types, as scikit-learn's, for anything.
    check_wrong(lines, unseen="ImageClassifier")


def test_an_editable_install_is_a_path() -> None:
    """A finder of setuptools is code, which type checkers do not run."""
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["package-dir"] == {"": "."}
    assert "*.pyi" in settings["package-data"]["raypipe"]
