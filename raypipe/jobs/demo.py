"""Run everything once on bundled data: extract, train, cluster, predict, inspect, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from raypipe import runtime
from raypipe.backbone.loading import load
from raypipe.backbone.weights import WeightsUnavailableError
from raypipe.cli.command import Outcome, run_job
from raypipe.config import (
    ClusterConfig,
    DemoConfig,
    ExtractConfig,
    InspectConfig,
    PredictConfig,
    ReportConfig,
    TrainConfig,
)
from raypipe.display import say
from raypipe.jobs import cluster, extract, inspect, predict, report, train
from raypipe.runtime.keeping import kept
from raypipe.storage import output_folder
from raypipe.training.model_files import headline

_SIZE = 64
#: Digits are strokes, which layers in the middle see better than the embedding does: of the
#: default backbone, 0.976 of the held-out ones are right with this one, 0.927 with the embedding.
_LAYERS = {"pypi/efficientnet_lite0": ("blocks.4",), "resnet18": ("layer2",)}
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_PREDICTED = 20


def run(config: DemoConfig) -> Outcome:
    """Run the demo; see `DemoConfig` for the options."""
    started = time.monotonic()
    out = output_folder(config.out)
    images = _write_digits(out / "images")
    weights = config.weights or _weights(config.backbone)
    with runtime.session(config.address) if config.address else kept():
        steps = _run_steps(config, out, images, weights)
    return Outcome(
        {"out": str(out), "weights": weights, "seconds": round(time.monotonic() - started, 1)}
        | {name: outcome.summary for name, outcome in steps.items()},
        _text(out, steps, time.monotonic() - started),
    )


def _run_steps(config: DemoConfig, out: Path, images: Path, weights: str) -> dict[str, Outcome]:
    store, model = str(out / "store"), str(out / "model")
    steps = {}
    say("── extract: images → features")
    steps["extract"] = extract.run(
        ExtractConfig(
            source=str(images),
            out=store,
            backbone=config.backbone,
            weights=weights,
            layer=_LAYERS.get(config.backbone, ()),
            size=_SIZE,
            resize="squash",
            prune=True,
        )
    )
    say("── train: features → classifier")
    steps["train"] = train.run(TrainConfig(store=store, out=model, grid=("C=0.001,0.01,0.1",)))
    say("── cluster: features → groups")
    steps["cluster"] = cluster.run(ClusterConfig(store=store, out=str(out / "clusters"), k=10))
    say("── predict: new images → labels")
    steps["predict"] = predict.run(
        PredictConfig(
            model=model,
            source=str(_write_new_images(out / "new")),
            out=str(out / "predictions.csv"),
            top_k=3,
        )
    )
    say("── inspect: what is in the store")
    steps["inspect"] = inspect.run(InspectConfig(store=store))
    say("── report: all of it as a page")
    page = ReportConfig(run=str(out), out=str(out / "report.html"), title="raypipe demo")
    steps["report"] = report.run(page)
    return steps


def _write_digits(folder: Path) -> Path:
    """Write scikit-learn's 1,797 handwritten digits as PNG files in class folders.

    They stay as they are on a second run, so that it has nothing to extract.
    """
    digits = load_digits()
    for number, (pixels, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / _NAMES[target] / f"digit_{number:04d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _picture(pixels).save(path)
    return folder


def _write_new_images(folder: Path) -> Path:
    """Write digits as no file has them: with noise on their pixels."""
    digits, noise = load_digits(), np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in noise.choice(len(digits.images), _PREDICTED, replace=False):
        pixels = digits.images[number] + noise.normal(0, 1.5, (8, 8))
        name = _NAMES[digits.target[number]]
        _picture(pixels).save(folder / f"{name}_{number:04d}.png")
    return folder


def _picture(pixels: np.ndarray[Any, Any]) -> Image.Image:
    """Return 8×8 values of 0..16 as a 64×64 grey image."""
    grey = Image.fromarray((pixels.clip(0, 16) * 255 / 16).astype(np.uint8))
    return grey.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC)


def _weights(backbone: str) -> str:
    try:
        load(backbone, "DEFAULT")
    except WeightsUnavailableError:
        say(
            f"!! NO NETWORK: the published ImageNet weights of {backbone} cannot be downloaded. "
            "Running on RANDOM weights (seed 0); pass --weights FILE.pth for real ones, or leave "
            "--backbone out."
        )
        return "random"
    return "DEFAULT"


def _text(out: Path, steps: dict[str, Outcome], seconds: float) -> str:
    extracted, trained = steps["extract"].summary, steps["train"].summary
    clustered, predicted = steps["cluster"].summary, steps["predict"].value
    right = sum(row["id"].split("_")[0] == row["label"] for row in predicted.to_pylist())
    features = ", ".join(f"{n} {tuple(s)}" for n, s in extracted["features"].items())
    speed = f"{extracted['decoded']} decoded, {extracted['images_per_second']:.0f} images/s"
    best = ", ".join(f"{name}={value:g}" for name, value in trained["best_params"].items())
    rows = [
        ("extract", f"{extracted['rows']} rows of {features}; {speed}"),
        ("train", f"held-out accuracy {headline(trained, 3)}, best {best}"),
        ("cluster", f"k={clustered['k']}, adjusted Rand index {clustered['ari']:.3f}"),
        ("predict", f"{right} of {len(predicted)} noisy digits right"),
        ("inspect", f"snapshot {steps['inspect'].summary['snapshot']}, {out / 'store'}"),
    ]
    lines = ["", f"{'step':<8} result", f"{'─' * 8} {'─' * 60}"]
    lines += [f"{name:<8} {text}" for name, text in rows]
    lines += ["", f"done in {seconds:.0f} s; to look at, in a browser:", f"  {out}/report.html"]
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("demo", DemoConfig)


if __name__ == "__main__":
    main()
