"""The demo: everything once, on bundled data, without network."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from raypipe.backbone.weights import WeightsUnavailableError
from raypipe.config import DemoConfig
from raypipe.jobs import demo


def test_demo_without_network(
    tmp_path: Path,
    ray_session: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_arguments: str) -> None:
        raise WeightsUnavailableError("no network")

    monkeypatch.setattr(demo, "load", refuse)
    outcome = demo.run(DemoConfig(out=str(tmp_path)))
    loud = [line for line in capsys.readouterr().err.splitlines() if "RANDOM weights" in line]
    assert len(loud) == 1
    assert "--weights FILE.pth" in loud[0]
    assert outcome.summary["extract"]["rows"] == 1797
    assert outcome.summary["train"]["accuracy"] > 0.9
    assert outcome.summary["predict"]["rows"] == 20
    assert all(word in outcome.text for word in ("extract", "train", "cluster", "predict"))
    page = (tmp_path / "report.html").read_text()
    assert all(title in page for title in ("raypipe demo", "Features", "Classifier", "Clusters"))
    for picture in ("model/confusion.png", "clusters/clusters.png"):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 300
