"""Checkpoints as people have them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from raypipe.backbone.loading import load
from raypipe.backbone.registry import build, find
from raypipe.errors import UsageError
from tests.backbone.comparing import features, images
from tests.conftest import TINY

State = dict[str, Tensor]


def state(seed: int = 5) -> State:
    torch.manual_seed(seed)
    return build(find(TINY)).state_dict()


def under(prefix: str, tensors: State) -> State:
    return {f"{prefix}{name}": value.clone() for name, value in tensors.items()}


FORMS: dict[str, tuple[str, Callable[[State], Any]]] = {
    "plain": ("w.pth", lambda s: s),
    "compiled": ("w.pt", lambda s: under("_orig_mod.", s)),
    "parallel": ("w.ckpt", lambda s: {"state_dict": under("module.", s), "epoch": 1}),
    "parallel and compiled": ("w.pth.tar", lambda s: {"model": under("module._orig_mod.", s)}),
    "backbone": ("w.bin", lambda s: under("backbone.", s)),
    "contrastive": ("w.PTH", lambda s: {"state_dict": under("module.encoder_q.", s)}),
    "net": ("w.PT", lambda s: {"net": s, "acc": np.float64(93.1), "args": argparse.Namespace(a=1)}),
    "teacher": ("w.BIN", lambda s: {"student": {}, "teacher": under("backbone.", s)}),
    "average": ("w.Pth.Tar", lambda s: {"state_dict_ema": s, "optimizer": {"state": {}}}),
    "same twice": ("w.pth", lambda s: {"model": s, "model_ema": dict(s)}),
    "other things": (
        "w.ckpt",
        lambda s: {"state_dict": under("net.", s) | {"loss.w": s["fc.bias"]}},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_loads(tmp_path: Path, form: str) -> None:
    name, wrapped = FORMS[form]
    tensors = state()
    torch.save(wrapped(tensors), tmp_path / name)
    loaded = load(TINY, str(tmp_path / name))
    for key, value in loaded.state.items():
        np.testing.assert_array_equal(value, tensors[key])


@pytest.mark.parametrize("name", ["w.safetensors", "w.SafeTensors"])
@pytest.mark.parametrize("prefix", ["", "encoder.net.", "anything.at.all."])
def test_safetensors_with_a_prefix(tmp_path: Path, prefix: str, name: str) -> None:
    tensors = state()
    save_file(under(prefix, tensors), tmp_path / name)
    loaded = load(TINY, str(tmp_path / name))
    np.testing.assert_array_equal(loaded.state["block1.0.weight"], tensors["block1.0.weight"])


def test_two_networks_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"student": under("backbone.", state(1)), "teacher": state(2)}, path)
    with pytest.raises(UsageError, match=r"2 times, under (student\.backbone\.|teacher\.), ") as e:
        load(TINY, str(path))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("prefix", ["ema.", "backbone."])
def test_another_network_within_a_network_is_refused(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "w.pth"
    torch.save(state(1) | under(prefix, state(2)), path)
    with pytest.raises(UsageError, match=rf"2 times, under no prefix, {prefix}"):
        load(TINY, str(path))


def test_a_part_that_looks_like_the_network_is_none(tmp_path: Path) -> None:
    """Of its first layer's names and shapes is another one further back."""
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    model.layer1[0].conv1 = nn.Conv2d(3, 64, 7, bias=False)
    path = tmp_path / "w.pth"
    torch.save(model.state_dict(), path)
    loaded = load("resnet18", str(path), ("conv1",), size=64)
    np.testing.assert_array_equal(loaded.state["conv1.weight"], model.conv1.weight.detach())


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda v: (v * 100).to(torch.int8), r"as torch\.int8"),
        (lambda v: v > 0, r"as torch\.bool"),
        (lambda v: v.to(torch.complex64), r"as torch\.complex64"),
        (lambda v: v.to(torch.float8_e4m3fn), r"as torch\.float8_e4m3fn"),
        (lambda v: v.to_sparse(), r"sparse_coo"),
        (lambda v: v.to("meta"), "without values"),
    ],
)
def test_numbers_of_another_kind_are_refused(
    tmp_path: Path, made: Callable[[Tensor], Tensor], words: str
) -> None:
    path = tmp_path / "w.pth"
    torch.save({n: made(v) if n == "block1.0.weight" else v for n, v in state().items()}, path)
    with pytest.raises(
        UsageError, match=rf"has block1\.0\.weight .*{words}.*torch\.float32, of at"
    ):
        load(TINY, str(path))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_another_width_are_taken(tmp_path: Path, kind: torch.dtype) -> None:
    path = tmp_path / "w.pth"
    saved = {n: v.to(kind) if v.is_floating_point() else v for n, v in state().items()}
    torch.save(saved, path)
    found = load(TINY, str(path)).state
    for name, value in found.items():
        np.testing.assert_array_equal(
            value, saved[name].float() if value.dtype.kind == "f" else saved[name]
        )


def test_tensors_of_another_network_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": {"conv9.weight": torch.zeros(3)}}, path)
    with pytest.raises(UsageError, match=r"lacks 12 of 12 tensors.*; it has model\.conv9\.weight"):
        load(TINY, str(path))
    tensors = under("net.", state())
    del tensors["net.block2.0.weight"]
    torch.save(tensors, path)
    with pytest.raises(UsageError, match=r"lacks 1 of 12 tensors under net: block2\.0\.weight"):
        load(TINY, str(path))


@pytest.mark.parametrize("name", ["weights.model", "folder/weights", "w.pth.zip"])
def test_a_file_is_not_taken_for_a_published_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save(state(), path)
    for backbone in (TINY, "resnet18"):
        with pytest.raises(UsageError, match=r"a file's name ends in \.safetensors, \.pth"):
            load(backbone, name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, value: float) -> None:
    tensors = state()
    tensors["block2.0.weight"][0, 0, 0, 0] = value
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"NaN or infinite, in block2\.0\.weight"):
        load(TINY, str(tmp_path / "w.safetensors"))
    assert load(TINY, str(tmp_path / "w.safetensors"), ("block1",)).layers == ("block1",)


def test_a_classifier_of_another_number_of_classes(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(num_classes=7).eval()
    save_file(under("model.", model.state_dict()), tmp_path / "w.safetensors")
    loaded = load("squeezenet1_1", str(tmp_path / "w.safetensors"), ("logits",), size=64)
    assert dict(loaded.source.arguments) == {"num_classes": 7}
    x = images(64)
    with torch.inference_mode():
        torch.testing.assert_close(features(loaded, x)["features"], model(x))
