"""Networks of Keras with random weights, and what its layers give."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import re
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor

from raypipe.backbone.keras_networks.networks import network as built
from raypipe.backbone.libraries import library_of
from raypipe.backbone.registry import find
from tests.backbone.comparing import images

MAKERS: dict[str, Any] = {
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "resnet50": keras.applications.ResNet50,
    "mobilenet": keras.applications.MobileNet,
    "xception": keras.applications.Xception,
    "inception_v3": keras.applications.InceptionV3,
}
ENDINGS = (".weights.h5", ".keras", ".h5")


def made(which: str, size: int | None = None, seed: int = 0, **settings: Any) -> Any:
    """Make a network whose batch norms all do something; with a top if it has classes."""
    settings = {"include_top": "classes" in settings, "input_shape": (size, size, 3), **settings}
    keras.utils.set_random_seed(seed)
    model = MAKERS[which](weights=None, **settings)
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([_drawn(draw, value) for value in layer.weights])
    return model


def _drawn(draw: np.random.Generator, value: Any) -> np.ndarray:
    if value.name in ("gamma", "moving_variance"):
        return draw.uniform(0.5, 1.5, value.shape)
    return draw.normal(0, 0.2, value.shape)


def saved(model: Any, path: Path) -> str:
    """Save as the name of the file says; return its path."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return str(path)


def layers(model: Any) -> dict[str, Any]:
    """Return layers by name; what Keras has numbered, as if nothing had been made before."""
    found: dict[str, Any] = {}
    numbered: dict[str, list[tuple[int, Any]]] = {}
    for layer in model.layers[1:]:
        kind = keras.src.utils.naming.to_snake_case(type(layer).__name__)
        made_up = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
        if made_up and kind != "reshape":  # it has a name of this form
            numbered.setdefault(kind, []).append((int(made_up[1] or 0), layer))
        else:
            found[layer.name] = layer
    for kind, several in numbered.items():
        for i, (_, layer) in enumerate(sorted(several, key=lambda one: one[0])):
            found[f"{kind}_{i}" if i else kind] = layer
    return found


@torch.inference_mode()
def given(model: Any, wanted: list[Any], x: Tensor) -> list[Tensor]:
    """Return what layers of Keras give for (N, 3, H, W), with channels first."""
    several = keras.Model(model.input, [layer.output for layer in wanted])
    outputs = several(x.permute(0, 2, 3, 1))
    found = [value.cpu() for value in (outputs if len(wanted) > 1 else [outputs])]
    return [value.permute(0, 3, 1, 2) if value.ndim == 4 else value for value in found]


@torch.inference_mode()
def assert_same_layers(name: str, weights: str, model: Any, size: int) -> None:
    """Compare all layers of a network with those of a file, in one run of the whole of it."""
    named = layers(model)
    state = state_of(name, Path(weights))
    top = state.get("predictions.linear.weight", state.get("conv_preds.weight"))
    with torch.device("meta"):
        network = built(name, None if top is None else len(top)).eval()
    network.load_state_dict(state, strict=False, assign=True)
    seen: dict[str, Tensor] = {}
    for layer in named:
        hook = partial(lambda known, _part, _x, y: seen.__setitem__(known, y), layer)
        network.get_submodule(layer).register_forward_hook(hook)
    x = images(size)
    network(x)
    for layer, right in zip(named, given(model, list(named.values()), x), strict=True):
        assert_close(seen[layer], right, layer)


def assert_close(found: Tensor, right: Tensor, what: str = "") -> None:
    assert found.shape == right.shape, what
    assert float(right.abs().max()) > 0, what
    torch.testing.assert_close(
        found, right, rtol=0, atol=1e-4 * float(right.abs().max()), msg=lambda m: f"{what}: {m}"
    )


def state_of(name: str, path: Path) -> dict[str, Tensor]:
    """Return a file's tensors by the network's names."""
    source = find(f"keras/{name}")
    return library_of(source).tensors(source, path, path.read_bytes())
