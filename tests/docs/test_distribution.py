"""The distribution is called raypipe-features: PyPI has another project under raypipe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

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


def test_what_the_index_says_of_it() -> None:
    """Classifiers are in order, the licence is an SPDX expression, and no address is made up."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "urls" not in project  # the project has no place of its own yet
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert not any(line.startswith("License ::") for line in project["classifiers"])  # PEP 639
    assert project["classifiers"] == sorted(project["classifiers"])
    assert len(project["description"]) <= 512  # PyPI's limit
    assert project["keywords"] == sorted(set(project["keywords"]))


def test_the_readme_has_a_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (place,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert text.index(place) < text.index("## Try it")
    assert (ROOT / place).stat().st_size <= 150_000
    with Image.open(ROOT / place) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 600


@pytest.mark.ci
def test_the_wheel(tmp_path: Path) -> None:
    """It has the code, the pages' templates, signatures and their mark, and nothing else."""
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "raypipe", tmp_path / "raypipe", ignore=left_out)
    command = [
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "dist",
        ".",
    ]
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name == f"raypipe_features-{raypipe.__version__}-py3-none-any.whl"
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        said = archive.read(metadata).decode()
    package = (tmp_path / "raypipe").rglob("*")
    assert held == {str(path.relative_to(tmp_path)) for path in package if path.is_file()}
    assert {"raypipe/py.typed", "raypipe/__init__.pyi"} <= held
    assert any(name.startswith("raypipe/reports/templates/") for name in held)
    assert "Classifier: Typing :: Typed" in said
    assert "License-Expression: Apache-2.0" in said
