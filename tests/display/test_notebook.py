"""In a notebook: a bar that is replaced, a line for a mistake, pictures; through a real kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, draw_folder
from tests.docs.blocks import ROOT

pytest.importorskip("ipykernel")
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

CELLS = (
    "import raypipe",
    f"store = raypipe.extract('photos', out='store', backbone={TINY!r}, weights='random', "
    "layer='block2', size=32, precision='fp32', batch_size=8)\nstore",
    "model = raypipe.train(store, out='model', grid='C=0.1')\nmodel",
    "raypipe.cluster(store, out='groups', k=3)",
    "raypipe.train(store)",
    "raypipe.extract('nowhere', out='x')",
    f"raypipe.load_model('model', backbone={TINY!r}).predict('nothing.png')",
    "1 / 0",
)


@pytest.mark.ci
def test_a_notebook_shows_what_one_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_folder(tmp_path / "photos", 4)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(
        book, timeout=120, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [cell.outputs for cell in book.cells]
    bars = [text for text in texts(outputs[1]) if "12/12 images, in" in text]
    assert len(bars) == 1
    assert bars[0].startswith("█" * 30)
    assert not any("12/12" in one.get("text", "") for one in outputs[1])  # and no line of a log
    assert "<img" in html(outputs[1])
    assert "Model of 3 classes" in html(outputs[2])
    assert texts(outputs[2])[-1].startswith("<ImageClassifier '")
    assert html(outputs[3]).count("<img") == 3
    for number, word in ((4, "train() needs 'out'"), (5, "nowhere"), (6, "nothing.png")):
        (error,) = [one for one in outputs[number] if one.output_type == "error"]
        assert len(error.traceback) == 1
        assert word in error.traceback[0]
        assert "\n" not in error.traceback[0]
    (error,) = [one for one in outputs[7] if one.output_type == "error"]
    assert any("1 / 0" in line or "ZeroDivision" in line for line in error.traceback)


def texts(outputs: list[Any]) -> list[str]:
    return [one.data["text/plain"] for one in outputs if "text/plain" in one.get("data", {})]


def html(outputs: list[Any]) -> str:
    return "".join(one.data.get("text/html", "") for one in outputs if "data" in one)
