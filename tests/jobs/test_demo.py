"""The demo: everything once, on bundled data, without network."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from raypipe.backbone.weights import WeightsUnavailableError
from raypipe.config import DemoConfig
from raypipe.jobs import demo


@pytest.mark.ci
def test_demo_has_real_weights_without_network(
    tmp_path: Path,
    ray_session: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def note(host: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(host))
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    outcome = demo.run(DemoConfig(out=str(tmp_path)))
    assert [host for host in asked if any(letter.isalpha() for letter in host)] == []
    assert "random weights" not in capsys.readouterr().err.lower()
    assert outcome.summary["weights"] == "DEFAULT"
    assert outcome.summary["extract"]["rows"] == 1797
    assert outcome.summary["train"]["accuracy"] > 0.95
    assert outcome.summary["predict"]["rows"] == 20
    assert all(word in outcome.text for word in ("extract", "train", "cluster", "predict"))
    page = (tmp_path / "report.html").read_text()
    assert all(title in page for title in ("raypipe demo", "Features", "Classifier", "Clusters"))
    for picture in ("model/confusion.png", "clusters/clusters.png"):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 300


def test_random_weights_are_told_before_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: str) -> None:
        raise WeightsUnavailableError("no network")

    def stop(*_arguments: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "load", refuse)
    monkeypatch.setattr(demo, "kept", stop)
    with pytest.raises(KeyboardInterrupt):
        demo.run(DemoConfig(out=str(tmp_path), backbone="resnet18"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "RANDOM weights" in line
    assert "--weights FILE.pth" in line
