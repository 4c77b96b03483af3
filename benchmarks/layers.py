"""What it costs to cut at one layer, at an earlier one, or at both in one pass.

    python benchmarks/layers.py --images PHOTOS --backbone net.py:build --weights net.safetensors

Runs the forward pass and the whole command in interleaved rounds and prints ratios to the deeper
cut alone.
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

Seconds = dict[str, list[float]]


def cuts(early: str, late: str) -> dict[str, tuple[str, ...]]:
    return {late: (late,), early: (early,), f"{early} + {late}": (early, late)}


def forward(backbone: str, weights: str, layers: tuple[str, ...], images: int) -> float:
    """Seconds that a replica takes for images in memory."""
    from raypipe.actors.embedder import Embedder
    from raypipe.backbone.loading import load
    from raypipe.spec import Preprocess, Spec

    loaded = load(backbone, weights, layers)
    spec = Spec(
        backbone="",
        weights_sha256="",
        outputs=loaded.outputs,
        preprocess=loaded.trained or Preprocess(std=(255.0, 255.0, 255.0)),
    )
    embedder = Embedder(loaded, spec, threads=1)
    pixels = np.random.default_rng(0).integers(
        0, 256, (images, *spec.preprocess.shape, 3), np.uint8
    )
    embedder(pixels[:32])
    started = time.monotonic()
    embedder(pixels)
    return time.monotonic() - started


def command(source: str, backbone: str, weights: str, layers: tuple[str, ...]) -> float:
    """Seconds of `raypipe extract`, start-up included."""
    with tempfile.TemporaryDirectory() as out:
        call = [sys.executable, "-m", "raypipe.cli", "extract", source, "--out", out, "--json"]
        call += ["--backbone", backbone, "--weights", weights, "--precision", "fp32"]
        for layer in layers:
            call += ["--layer", layer]
        started = time.monotonic()
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        json.loads(done.stdout)
        return time.monotonic() - started


def show(what: str, seconds: Seconds, base: str) -> None:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(what)
    for name, value in median.items():
        print(f"  {name:<20} {value:7.2f} s  {value / median[base]:5.2f}×")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--early", default="pw6")
    parser.add_argument("--late", default="pw12")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forward-rounds", type=int, default=5)
    parser.add_argument("--forward-images", type=int, default=256)
    given = parser.parse_args()
    wanted = cuts(given.early, given.late)
    passes: Seconds = {name: [] for name in wanted}
    commands: Seconds = {name: [] for name in wanted}
    source = str(Path(given.images).resolve())
    for _ in range(given.forward_rounds):
        for name, layers in wanted.items():
            passes[name].append(
                forward(given.backbone, given.weights, layers, given.forward_images)
            )
    show(f"forward pass of {given.forward_images} images, one thread, fp32", passes, given.late)
    for _ in range(given.rounds):
        for name, layers in wanted.items():
            commands[name].append(command(source, given.backbone, given.weights, layers))
    if given.rounds:
        show("raypipe extract, start-up included, fp32", commands, given.late)


if __name__ == "__main__":
    main()
