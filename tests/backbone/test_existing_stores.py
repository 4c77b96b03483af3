"""Stores that were begun with another layer than the embedding."""

from __future__ import annotations

from pathlib import Path

import pytest

import raypipe
from raypipe.spec import Output, Preprocess, Spec
from tests.conftest import draw, options


def test_a_store_goes_on_with_its_own_layer_and_says_so_once(
    tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    draw("circle", 0).save(folder / "0.png")
    out = str(tmp_path / "store")
    first = raypipe.extract(str(folder), out=out, **options(layer=("block1",)))
    capsys.readouterr()
    draw("square", 1).save(folder / "1.png")
    again = raypipe.extract(str(folder), out=out, **options(layer=()))
    said = capsys.readouterr().err
    assert again.spec == first.spec
    assert len(again.to_numpy().ids) == 2
    assert said.count("goes on with block1, as it was begun; the embedding of") == 1
    assert "is flat" in said


def test_fingerprints_are_as_they_were() -> None:
    """Of a spec as it was written before there were channels, prefixes and arguments."""
    spec = Spec(
        backbone="torchvision/resnet18",
        weights_sha256="0" * 64,
        outputs=(Output(column="features", layer="flatten"),),
        preprocess=Preprocess(mean=(1.0, 2.0, 3.0)),
    )
    dumped = spec.model_dump(mode="json")
    assert dumped["outputs"] == [{"column": "features", "layer": "flatten", "pool": "avg"}]
    assert "arguments" not in dumped
    assert spec.fingerprint == FINGERPRINT
    changed = spec.model_copy(update={"arguments": {"transform_input": True}})
    assert changed.fingerprint != FINGERPRINT
    assert Spec.model_validate(changed.model_dump(mode="json")) == changed
    shaped = spec.model_copy(update={"arguments": {"input_size": (384, 384)}})
    assert Spec.model_validate_json(shaped.model_dump_json()) == shaped


#: Computed by the version before.
FINGERPRINT = "67428bfa9af87170a0b404aa041da703e8e15c31a1d845e38e2b5b9dc35c5563"
