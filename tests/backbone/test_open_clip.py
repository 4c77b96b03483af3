"""Image towers of open_clip, through the same loading as a user's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip import pretrained
from torch import Tensor

from raypipe.backbone.layers import list_layers
from raypipe.backbone.loading import load
from raypipe.backbone.registry import find
from raypipe.errors import UsageError
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.spec import Preprocess
from tests.backbone.comparing import as_seen, cosine, embedded, features, images
from tests.backbone.test_descriptions import SIZES, configured, network_input
from tests.images.test_preprocess_parity import photograph

#: The smallest of each kind: transformers, ResNets, CoCa, and towers of timm.
ARCHITECTURES = (
    "ViT-S-32", "ViT-B-32-quickgelu", "RN50", "coca_base", "convnext_tiny", "ViT-B-16-SigLIP",
    "ViT-B-32-SigLIP2-256", "MobileCLIP-S1", "EVA02-B-16", "ViTamin-S", "PE-Core-T-16-384",
    "vit_relpos_medium_patch16_cls_224",
)  # fmt: skip
FAST = {"ViT-S-32"}


def network(name: str) -> Any:
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    model = open_clip.create_model(name, pretrained_image=False).eval()
    logging.disable(logging.NOTSET)
    return model


@torch.inference_mode()
def expected(model: Any, x: Tensor) -> Tensor:
    return model.encode_image(x)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n in ARCHITECTURES]
)
def test_an_architecture_gives_what_encode_image_gives(tmp_path: Path, name: str) -> None:
    model = network(name)
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    loaded = load(f"open_clip/{name}", str(path))
    assert loaded.trained is not None
    x = as_seen(images(loaded.trained.size))
    right = expected(model, x)
    found = features(loaded, x)["features"]
    assert found.shape == right.shape
    assert cosine(found, right) >= 0.9999
    assert cosine(embedded(loaded, x, "fp32"), right) >= 0.9999
    assert cosine(embedded(loaded, x, "bf16"), right) >= 0.99
    said = tagged(name)
    transform = open_clip.image_transform(loaded.trained.size, is_train=False, **said)
    assert_prepared_as(transform, loaded.trained)


def tagged(name: str) -> dict[str, Any]:
    tags = open_clip.list_pretrained_tags_by_model(name)
    said = open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}
    return {k: v for k, v in said.items() if k in ("mean", "std", "interpolation", "resize_mode")}


def assert_prepared_as(transform: Any, preprocess: Preprocess) -> None:
    assert resolve_preprocess(configured(), preprocess) == preprocess
    for size in SIZES:
        if max(size) > 16 * min(size) and preprocess.resize == "shorter":
            continue  # cut around its centre before it is scaled
        image = photograph(size)
        right = transform(image).permute(1, 2, 0).numpy()
        difference = np.abs(network_input(image, preprocess) - right) * preprocess.std
        assert difference.max() <= 1.001, size  # of 255


def test_a_published_set_is_loaded_by_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where open_clip would have downloaded it to."""
    model = network("ViT-S-32")
    path = tmp_path / "set.pt"
    torch.save(model.state_dict(), path)
    said = {"url": "", "mean": (0.1, 0.2, 0.3), "resize_mode": "squash"}
    monkeypatch.setitem(pretrained._PRETRAINED, "ViT-S-32", {"mine": said})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_a, **_m: str(path))
    loaded = load("open_clip/ViT-S-32", "DEFAULT")
    assert loaded.trained is not None
    assert loaded.trained.resize == "squash"
    np.testing.assert_allclose(loaded.trained.mean, (25.5, 51, 76.5))
    x = images(224)
    assert cosine(features(loaded, x)["features"], expected(model, x)) >= 0.9999
    with pytest.raises(UsageError, match="open_clip/ViT-S-32 has mine, random, or give a file"):
        load("open_clip/ViT-S-32", "laion2b")


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("ViT-B-23", "random", "no architecture 'ViT-B-23'; did you mean ViT-B-32"),
        ("ViT-B-32", "openai", "another activation .*; give --backbone open_clip/ViT-B-32-quickg"),
        ("ViT-H-14-quickgelu", "DEFAULT", "ViT-H-14-quickgelu has metaclip_fullcc, .*'DEFAULT'"),
        ("RN50", "yfcc15m", "another activation|has "),
    ],
)
def test_names_that_do_not_do(name: str, weights: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(f"open_clip/{name}", weights)


def test_layers_and_tokens() -> None:
    listed = list_layers("open_clip/ViT-S-32")
    assert listed.embedding == listed.nodes[-1].name == "matmul"
    shapes = {node.name: node.shape for node in listed.nodes}
    assert shapes["transformer.resblocks.11.add_1"] == (50, 384)
    layers = ("mean=transformer:patches", "all=transformer:tokens")
    loaded = load("open_clip/ViT-S-32", "random", layers)
    assert loaded.outputs[0].prefix == 1
    found = features(loaded, images(224))
    torch.testing.assert_close(found["mean"], found["all"][:, 1:].mean(1))


def test_files_of_openai_are_known_by_their_checksum() -> None:
    from raypipe.backbone.libraries import library_of

    source = find("open_clip/ViT-B-32-quickgelu")
    said = list(library_of(source).descriptions(source))
    known = [one.sha256_prefix for one in said if one.sha256_prefix]
    assert known == ["40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"]
