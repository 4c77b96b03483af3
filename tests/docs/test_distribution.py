"""The distribution is called raypipe-features: PyPI has another project under raypipe."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import raypipe
from raypipe.config.version import versions
from tests.docs.blocks import ROOT

_NAME = "raypipe-features"
_SKIPPED = {"build", "dist", "_build", "node_modules", "demo-output"}
_INSTALLS = re.compile(
    r"\b(?:pip3?|pipx|uv|conda|poetry)\s+(?:pip\s+)?(?:install|add|download|wheel)\b([^#`&;|]*)"
)
_OTHER = re.compile(r"raypipe(?:\[[^\]]*\])?(?:[=<>~!@;].*)?")
#: Extras, lines of requirements, wheels and metadata that name the other project.
_NAMED = re.compile(
    r"\braypipe\[[a-z0-9, ]+\]|\braypipe\s*(?:[=~<>!]=|@ )\s*[\w*]|\braypipe-[\d*][^ ]*\.whl"
    r"|\b(?:version|distribution|metadata|requires|files)\([\"']raypipe[\"']\)"
)
_LINE = re.compile(r"\s*(?:- )?[\"']?raypipe[\"']?,?\s*")


def files() -> Iterator[Path]:
    """Yield the files of the project."""
    for folder, names, found in os.walk(ROOT):
        names[:] = [n for n in names if n == ".ci" or not (n[0] == "." or n in _SKIPPED)]
        names[:] = [n for n in names if not n.endswith((".egg-info", "__pycache__"))]
        yield from (Path(folder, name) for name in found)


def others(text: str, *, requirements: bool = False) -> list[str]:
    """Return the lines of a text that would install, or ask for, the other project."""
    found = []
    joined = re.sub(r"\\\n\s*", " ", text).replace("\\n", "\n")  # as JSON of notebooks has it
    for line in joined.splitlines():
        words = re.findall(r"[^\s'\"`,)]+", " ".join(_INSTALLS.findall(line)))
        if (
            any(map(_OTHER.fullmatch, words))
            or _NAMED.search(line)
            or (requirements and _LINE.fullmatch(line))
        ):
            found.append(line.strip())
    return found


def test_nothing_installs_the_other_project() -> None:
    found = {}
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path != Path(__file__) and (lines := others(text, requirements=path.suffix == ".txt")):
            found[str(path.relative_to(ROOT))] = lines
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "pip install 'raypipe[timm]'",
        "`pip install raypipe`",
        "python -m pip install --quiet raypipe==1.0.0",
        "uv pip install \\\n  raypipe",
        r'"!pip install raypipe\n",',
        "(pip\n    'raypipe[umap]').",
        '    "raypipe>=1.0",',
        "raypipe[s3, timm]",
        "/home/ray/dist/raypipe-*.whl",
        'version("raypipe")',
    ],
)
def test_lines_that_would_are_found(line: str) -> None:
    assert others(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install 'raypipe-features[faces]'",
        "pip install /home/ray/dist/raypipe_features-*.whl",
        "git clone <this repository> raypipe && cd raypipe",
        "pip install .  # then: raypipe --help",
        "docker build -t raypipe:0.1.0 .",
    ],
)
def test_other_lines_are_not(line: str) -> None:
    assert not others(line)


def test_the_version_is_that_of_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == _NAME
    attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "raypipe.config.version.__version__"
    assert versions()["raypipe"] == raypipe.__version__


def test_cluster_file_installs_the_wheel_that_is_built() -> None:
    wheel = f"dist/{_NAME.replace('-', '_')}-*.whl"
    assert wheel in (ROOT / "cluster.yaml").read_text(encoding="utf-8")
