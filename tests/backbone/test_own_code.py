"""Code that a model or store names: run only if the user names it, and only if it is the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from raypipe.backbone.loading import load_again
from raypipe.errors import UsageError
from tests.support.stores import make_spec

CODE = """
from pathlib import Path
Path({mark!r}).write_text("run")
from torch import nn
def build(): return nn.Sequential(nn.Conv2d(3, 4, 3))
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(CODE.format(mark=str(tmp_path / "mark")))
    return path


def again(name: str, sha256: str, backbone: str | None = None) -> None:
    spec = make_spec(("0",)).model_copy(update={"source_sha256": sha256})
    made = {"backbone": name, "weights": "random", "seed": 0}
    load_again(spec, made, spec.outputs, backbone=backbone)


@pytest.mark.parametrize("name", ["{folder}/net.py:build", "net:build", "os:abort"])
def test_code_that_is_not_named_is_not_run(name: str, network: Path) -> None:
    name = name.format(folder=network.parent)
    sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
    with pytest.raises(UsageError, match=r"--backbone: .* made with code, .* give --backbone .*:"):
        again(name, sha256)
    with pytest.raises(UsageError, match="give --backbone"):
        again(name, sha256, "")
    assert not (network.parent / "mark").exists()


def test_other_code_than_the_features_were_made_with_is_not_run(network: Path) -> None:
    with pytest.raises(UsageError, match="--backbone: not what the features were made with"):
        again(f"{network}:build", "0" * 64, f"{network}:build")
    assert not (network.parent / "mark").exists()
    sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
    with pytest.raises(UsageError, match="--weights: not what the features were made with"):
        again(f"{network}:build", sha256, f"{network}:build")
    assert (network.parent / "mark").exists()
