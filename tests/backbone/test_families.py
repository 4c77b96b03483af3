"""Every family: what a user gets by naming a network is what its library calls the embedding.

Random weights go through a file, as downloaded ones would; the library's own call on the same
weights is what features are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from raypipe.backbone.loading import load
from tests.backbone.comparing import as_seen, cosine, embedded, entering, features, images

#: The smallest of each family of torchvision, with the module whose input is its embedding.
TORCHVISION = {
    "alexnet": "classifier.6",
    "convnext_tiny": "classifier.2",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier.1",
    "efficientnet_v2_s": "classifier.1",
    "googlenet": "fc",
    "inception_v3": "fc",
    "maxvit_t": "classifier.5",
    "mnasnet0_5": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "regnet_x_400mf": "fc",
    "regnet_y_400mf": "fc",
    "resnet18": "fc",
    "resnext50_32x4d": "fc",
    "shufflenet_v2_x0_5": "fc",
    "squeezenet1_1": "classifier.1",
    "swin_t": "head",
    "swin_v2_t": "head",
    "vgg11": "classifier.6",
    "vit_b_32": "heads.head",
    "wide_resnet50_2": "fc",
}
TIMM = (
    "resnet10t", "mobilenetv3_small_050", "mobilenetv4_conv_small", "ghostnet_050",
    "tf_efficientnetv2_b0", "tf_efficientnet_lite0", "tf_mobilenetv3_small_minimal_100", "vgg11",
    "resnetv2_50x1_bit", "hiera_tiny_224", "tiny_vit_5m_224", "twins_svt_small", "mobilevit_xxs",
    "maxvit_tiny_tf_224", "convit_tiny", "crossvit_tiny_240", "deit_tiny_distilled_patch16_224",
    "pit_ti_distilled_224", "repvit_m0_9", "vit_tiny_patch16_224", "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "convnext_tiny.dinov3_lvd1689m",
    "convnext_atto", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256",
    "beit_base_patch16_224", "eva02_tiny_patch14_224", "levit_128s", "mixer_s32_224",
    "poolformer_s12", "xception41", "regnetx_002", "densenet121", "efficientformer_l1",
)  # fmt: skip
FAST = {"resnet18", "mnasnet0_5", "squeezenet1_1", "mobilenet_v3_small", "timm/resnet10t",
        "timm/deit_tiny_distilled_patch16_224", "timm/mobilenetv4_conv_small"}  # fmt: skip
#: Where bfloat16 is refused by name, since features are too far from those of float32.
COARSE = {"mnasnet0_5"}

NAMES = [*TORCHVISION, *(f"timm/{name}" for name in TIMM)]


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name.startswith("timm/"):
        return timm.create_model(name.removeprefix("timm/"), pretrained=False).eval()
    more: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        more = {"transform_input": True, "init_weights": False}
    model = torchvision.models.get_model(name, weights=None, **more).eval()
    return calibrated(model)


@torch.inference_mode()
def calibrated(model: nn.Module) -> nn.Module:
    """Give batch norm the statistics of some images: else deep networks compute zeros."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = None
        module.train()
    if norms:
        model(images(224 if isinstance(model, torchvision.models.MaxVit) else 128, 4))
    return model.eval()


@torch.inference_mode()
def expected(name: str, model: nn.Module, x: Tensor) -> Tensor:
    if name.startswith("timm/"):
        return model.forward_head(model.forward_features(x), pre_logits=True)
    found = entering(model, TORCHVISION[name], x)
    return found.mean((2, 3)) if found.ndim == 4 else found


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.long) for n in NAMES]
)
def test_a_named_network_gives_its_librarys_embedding(
    tmp_path: Path, name: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """With `--junit-xml FILE`, the cosines of docs/networks.md are in that file."""
    model = network(name)
    path = tmp_path / "weights.safetensors"
    save_file({n: v.contiguous().clone() for n, v in model.state_dict().items()}, path)
    loaded = load(name, str(path))
    assert loaded.trained is not None
    x = as_seen(images(loaded.trained.size))
    right = expected(name, model, x)
    found = features(loaded, x)["features"]
    assert found.shape == right.shape
    assert cosine(found, right) >= 0.9999
    fp32 = embedded(loaded, x, "fp32")
    assert cosine(fp32, right) >= 0.9999
    bf16 = cosine(embedded(loaded, x, "bf16"), right)
    record_testsuite_property(name, f"{bf16:.4f}")
    assert bf16 >= 0.99 or name in COARSE
