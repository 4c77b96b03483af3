"""Stores that were begun with another layer than the embedding."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe.backbone.loading import load
from raypipe.cli import options
from raypipe.config import ExtractConfig
from raypipe.flow.prepare import load_extractor
from raypipe.spec import Output, Preprocess, Spec
from raypipe.storage import Storage, open_storage
from raypipe.store.identity import create_store, existing_spec
from tests.conftest import TINY


def begun(folder: Path, layer: str, backbone: str = TINY) -> tuple[Storage, Spec]:
    """A store without rows whose features come from a layer."""
    loaded = load(backbone, "random", (layer,))
    spec = Spec(
        backbone=loaded.source.name,
        weights_sha256=loaded.weights_sha256,
        outputs=loaded.outputs,
        preprocess=Preprocess(size=32),
    )
    storage = open_storage(str(folder))
    create_store(storage, spec, {})
    return storage, spec


def config(**given: object) -> ExtractConfig:
    usual = {"source": "x", "out": "y", "backbone": TINY, "weights": "random", "size": 32}
    return options.resolve(ExtractConfig, usual | given, environment={})


def test_a_store_goes_on_with_its_own_layer_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, spec = begun(tmp_path, "block1")
    capsys.readouterr()
    found = load_extractor(config(), existing_spec(storage))
    said = capsys.readouterr().err
    assert found.backbone.outputs == spec.outputs
    assert found.shapes == {"features": ((8,), "float32")}
    assert said.count("goes on with block1, as it was begun; the embedding of") == 1
    assert "networks.py:tiny is flat" in said
    asked = load_extractor(config(layer=("block2",)), existing_spec(storage))
    assert asked.backbone.layers == ("block2",)


def test_a_store_of_the_embedding_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, spec = begun(tmp_path, "embedding")
    assert spec.layers == ("flat",)
    capsys.readouterr()
    assert load_extractor(config(), existing_spec(storage)).backbone.outputs == spec.outputs
    assert "goes on with" not in capsys.readouterr().err


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
