"""The pages that are made when the site is built."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import raypipe
from raypipe.config import JOBS
from raypipe.config.types import replaced_by
from tests.docs.blocks import ROOT


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import command_pages
    import outside_pages

    yield SimpleNamespace(commands=command_pages, outside=outside_pages)
    for name in ("command_pages", "outside_pages"):
        del sys.modules[name]


def test_every_option_is_in_its_command_s_page(extensions: Any, tmp_path: Path) -> None:
    folder = tmp_path / extensions.commands.FOLDER
    folder.mkdir(parents=True)
    (folder / "gone.md").touch()
    extensions.commands.write_pages(SimpleNamespace(srcdir=tmp_path))
    assert {path.stem for path in folder.iterdir()} == {*JOBS, "index"}
    for name, model in JOBS.items():
        page = (folder / f"{name}.md").read_text()
        for option, info in model.model_fields.items():
            if replaced_by(info):
                continue
            assert f"`--{option.replace('_', '-')}`" in page
            assert f"variable `RAYPIPE_{option.upper()}`" in page
        assert "`--json`" in page
    extract = (folder / "extract.md").read_text()
    assert "raypipe extract SOURCE [OPTIONS]" in extract
    assert "`parquet` `hdf5` · default `parquet`" in extract
    assert "`auto` or whole number ≥ 1 and ≤ 65536 · default `auto`" in extract
    assert "`--antialias`, `--no-antialias`" in extract
    assert "number ≥ 0 and < 1 · default `0.0`" in extract


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("fit", "[a](../benchmarks/README.md#growth)", "[a](project/benchmarks.md#growth)"),
        ("howto/x", "[a](../../README.md)", "[a](../index.md)"),
        ("howto/x", "[a](../fit.md#heads)", "[a](../fit.md#heads)"),
        ("fit", "[a](../cluster.yaml)", "[a](../cluster.yaml)"),
        ("cluster", "see [some\nfiles](../deploy/kuberay) there", "see some\nfiles there"),
        ("project/results", "![a](fit-growth.png)", "![a](../../benchmarks/fit-growth.png)"),
        ("project/contributing", "[a](docs/fit.md)", "[a](../fit.md)"),
        ("fit", "[a](https://example.org/x) [b](#heads)", "[a](https://example.org/x) [b](#heads)"),
        ("fit", "```sh\n[a](../README.md)\n```\n", "```sh\n[a](../README.md)\n```\n"),
    ],
)
def test_links_are_turned(extensions: Any, page: str, text: str, expected: str) -> None:
    source = [text]
    extensions.outside.turn_links(None, page, source)
    assert source == [expected]


def test_every_public_function_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    assert {name for name in raypipe.__all__ if f":: raypipe.{name}\n" not in page} == set()
