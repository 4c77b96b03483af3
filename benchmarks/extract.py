"""Images per second of the main job against a plain PyTorch loop, on the same images.

    python benchmarks/extract.py [--images FOLDER] [--backbone resnet18] [--rounds 3]

Each round runs every contestant once, one after the other, so that a noisy machine is noisy for
all of them; ratios are of medians. Start-up is included and also reported apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def generate(folder: Path, count: int) -> None:
    """Write JPEGs of about 500×375 pixels and 110 kB, the size of ImageNet's."""
    noise = np.random.default_rng(0)
    for i in range(count):
        coarse = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC))
        grain = smooth + noise.normal(0, 14, smooth.shape)
        path = folder / f"class{i % 4}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def plain_loop(images: Path, backbone: str) -> float:
    """Seconds of the loop that tutorials write: torchvision, DataLoader, fp32."""
    code = f"""
import time; started = time.monotonic()
import torch, torchvision
from torchvision.models.feature_extraction import create_feature_extractor
weights = torchvision.models.get_model_weights({backbone!r}).DEFAULT
data = torchvision.datasets.ImageFolder({str(images)!r}, weights.transforms())
loader = torch.utils.data.DataLoader(data, batch_size=32, num_workers=2)
model = torchvision.models.get_model({backbone!r}).eval()
model = create_feature_extractor(model, ["flatten"])
with torch.inference_mode():
    features = torch.cat([model(x)["flatten"] for x, _ in loader])
print(time.monotonic() - started)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def raypipe(images: Path, backbone: str, precision: str) -> float:
    """Seconds of `raypipe extract`, measured from outside."""
    with tempfile.TemporaryDirectory() as out:
        started = time.monotonic()
        command = [sys.executable, "-m", "raypipe.cli", "extract", str(images), "--out", out]
        command += ["--backbone", backbone, "--weights", "random", "--layer", "flatten"]
        command += ["--precision", precision, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        summary = json.loads(done.stdout)
        if summary["rows"] != sum(1 for p in images.rglob("*.jpg")):
            raise RuntimeError(f"not every image became a row: {summary}")
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=1000, help="images to generate")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = arguments.images or Path(folder)
        if not arguments.images:
            generate(images, arguments.count)
        count = sum(1 for p in images.rglob("*.jpg"))
        seconds: dict[str, list[float]] = {"plain fp32": [], "raypipe fp32": [], "raypipe auto": []}
        for number in range(arguments.rounds):
            seconds["plain fp32"].append(plain_loop(images, arguments.backbone))
            seconds["raypipe fp32"].append(raypipe(images, arguments.backbone, "fp32"))
            seconds["raypipe auto"].append(raypipe(images, arguments.backbone, "auto"))
            print(f"round {number + 1}: { {k: round(v[-1], 1) for k, v in seconds.items()} }")
    base = statistics.median(seconds["plain fp32"])
    print(f"{arguments.backbone}, {count} images, medians of {arguments.rounds}, with start-up")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<14} {count / median:7.1f} images/s  {base / median:5.2f}× plain")


if __name__ == "__main__":
    main()
