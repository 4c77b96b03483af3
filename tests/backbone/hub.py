"""Small networks of transformers, saved as people have them on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

SIDE = 64
SQUARE = {"height": SIDE, "width": SIDE}
TINY_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "image_size": SIDE, "patch_size": 16,
}  # fmt: skip
_DINO = {name: value for name, value in TINY_VIT.items() if name != "intermediate_size"}
_TEXT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def _both(kind: Any, config: Any, **more: Any) -> Any:
    return kind(config(vision_config=TINY_VIT, text_config=_TEXT, **more))


def _cropping(kind: Any, resize_to: int = 73) -> Any:
    return kind(size={"shortest_edge": resize_to}, crop_size=SQUARE, do_center_crop=True)


#: Makes of each family a network and its image processor.
FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "clip": lambda: (
        _both(hf.CLIPModel, hf.CLIPConfig, projection_dim=24),
        _cropping(hf.CLIPImageProcessor, SIDE),
    ),
    "clip-vision": lambda: (
        hf.CLIPVisionModel(hf.CLIPVisionConfig(**TINY_VIT)),
        _cropping(hf.CLIPImageProcessor),
    ),
    "clip-projected": lambda: (
        hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**TINY_VIT, projection_dim=20)),
        _cropping(hf.CLIPImageProcessor),
    ),
    "siglip": lambda: (
        _both(hf.SiglipModel, hf.SiglipConfig),
        hf.SiglipImageProcessor(size=SQUARE),
    ),
    "dinov2": lambda: (
        hf.Dinov2Model(hf.Dinov2Config(**_DINO)),
        _cropping(hf.BitImageProcessor),
    ),
    "dinov2-registers": lambda: (
        hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**_DINO)),
        _cropping(hf.BitImageProcessor),
    ),
    "dinov2-classifier": lambda: (
        hf.Dinov2ForImageClassification(hf.Dinov2Config(**_DINO)),
        _cropping(hf.BitImageProcessor),
    ),
    "dinov3": lambda: (
        hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**TINY_VIT, num_register_tokens=4)),
        hf.DINOv3ViTImageProcessor(size=SQUARE),
    ),
    "dinov3-convnext": lambda: (
        hf.DINOv3ConvNextModel(
            hf.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
        ),
        hf.DINOv3ViTImageProcessor(size=SQUARE),
    ),
    "vit": lambda: (hf.ViTModel(hf.ViTConfig(**TINY_VIT)), hf.ViTImageProcessor(size=SQUARE)),
    "vit-classifier": lambda: (
        hf.ViTForImageClassification(hf.ViTConfig(**TINY_VIT, num_labels=5)),
        hf.ViTImageProcessor(size=SQUARE),
    ),
    "deit": lambda: (hf.DeiTModel(hf.DeiTConfig(**TINY_VIT)), _cropping(hf.DeiTImageProcessor)),
    "beit": lambda: (hf.BeitModel(hf.BeitConfig(**TINY_VIT)), _cropping(hf.BeitImageProcessor)),
    "swin": lambda: (
        hf.SwinForImageClassification(
            hf.SwinConfig(
                image_size=SIDE, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
            )
        ),
        hf.ViTImageProcessor(size=SQUARE),
    ),
    "convnext": lambda: (
        hf.ConvNextForImageClassification(
            hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
        ),
        hf.ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
    "resnet": lambda: (
        hf.ResNetForImageClassification(
            hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        ),
        hf.ConvNextImageProcessor(size={"shortest_edge": SIDE}),
    ),
}


def saved(folder: Path, family: str) -> tuple[Any, Any]:
    """Save a network with random weights and its processor; return both."""
    torch.manual_seed(0)
    model, processor = FAMILIES[family]()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor
