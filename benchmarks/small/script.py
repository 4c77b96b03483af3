"""The script one would write: Pillow, torch and nothing else; features of a few images, or a class.

    python script.py --network net.py:build --weights w.safetensors --layer pw12 --size 224 \
        --normalize tf [--head head.npz] --out features.npy IMAGE…

It uses nothing of raypipe. With `--head` it prints the class of each image.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

_BATCH = 32
_MEAN_STD = {
    "torch": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "tf": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def build(name: str) -> nn.Module:
    file, _, function = name.rpartition(":")
    if not file:
        network: nn.Module = importlib.import_module("torchvision.models").get_model(name)
        return network
    found = importlib.util.spec_from_file_location("network", file)
    if found is None or found.loader is None:
        raise SystemExit(f"--network: cannot import {file}")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    own: nn.Module = getattr(module, function)()
    return own


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("network", "weights", "layer", "normalize"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--head", help="coefficients, intercepts and classes of a linear model")
    parser.add_argument("--out", help="file for the features")
    parser.add_argument("images", nargs="+")
    given = parser.parse_args()
    network = build(given.network).eval()
    network.load_state_dict(load_file(given.weights), strict=False)
    kept: list[Tensor] = []
    network.get_submodule(given.layer).register_forward_hook(lambda *a: kept.append(a[2]))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in _MEAN_STD[given.normalize])
    features: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(given.images), _BATCH):
            some = given.images[start : start + _BATCH]
            network(torch.stack([(pixels(path, given.size) - mean) / std for path in some]))
            found = kept.pop()
            features.append(found.mean((2, 3)) if found.ndim == 4 else found)
    rows = torch.cat(features).numpy()
    if given.out:
        np.save(given.out, rows)
    if given.head:
        head = np.load(given.head)
        chosen = (rows @ head["coefficients"].T + head["intercepts"]).argmax(1)
        for path, number in zip(given.images, chosen, strict=True):
            print(path, head["classes"][number])


def pixels(path: str, size: int) -> Tensor:
    image = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


if __name__ == "__main__":
    main()
