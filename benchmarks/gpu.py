"""How near a GPU comes to its best with images that have to be decoded; without Ray.

    python -m benchmarks.gpu [--device cpu] [--network resnet50 --network vit_b_16]

For each network, with random weights, in rounds:

- the network alone, on inputs that lie on the device;
- `Embedder` alone, on a unit of uint8 pixels in memory, as the flow hands it over;
- decoding alone, by a pool of processes that fill units in shared memory;
- both: the pool decodes, `Embedder` takes units as they are finished;
- `--gpu-decode`: the device decodes JPEGs that are in memory, and `Embedder` takes its pixels.

The one before the last should be near the smaller of the two before it. Prints JSON; --put adds a
section to results.json under the key `gpu`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import report, results
from benchmarks.extraction import images
from benchmarks.extraction.trace import Piece, steady_rate
from benchmarks.feed import Decoders
from benchmarks.machine import cores, describe
from raypipe.actors.embedder import Embedder
from raypipe.actors.jpegs import JpegDecoder
from raypipe.backbone import Backbone
from raypipe.backbone.hardware.footprint import cpu_batch_size
from raypipe.backbone.loading import load
from raypipe.config import BackboneConfig
from raypipe.flow.trial import try_out
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.images.transforms import normalize
from raypipe.memory import keep_freed
from raypipe.spec import Spec

_WARM_UP = 3
_MAX_PIXELS = 178_956_970


def embedder(backbone: Backbone, options: argparse.Namespace) -> Embedder:
    """Return the class that replicas hold, on the device."""
    settings = BackboneConfig(size=options.size, resize="squash", normalize="torch")
    spec = Spec(
        backbone=backbone.source.name,
        weights_sha256=backbone.weights_sha256,
        outputs=backbone.outputs,
        preprocess=resolve_preprocess(settings, None),
        precision=options.precision,
    )
    return Embedder(
        backbone,
        spec,
        device=options.device,
        batch_size=options.batch_size or _batch_size(backbone, spec, options.device),
        compiled=options.compile,
    )


def network_alone(model: Embedder, unit: npt.NDArray[np.uint8], seconds: float) -> float:
    """Return images per second of the network on inputs that lie on the device."""
    pixels = torch.from_numpy(unit[: model.batch_size].copy()).to(model.device)
    inputs = normalize(pixels, model.spec.preprocess, model.dtype)

    def step() -> int:
        with torch.inference_mode():
            model.model(inputs)
        return len(inputs)

    return timed(step, seconds, model.device)


def timed(step: Callable[[], int], seconds: float, device: torch.device) -> float:
    """Return images per second of a step that is repeated."""
    for _ in range(_WARM_UP):
        step()
    _wait(device)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += step()
        if time.perf_counter() - began >= seconds:
            _wait(device)  # what has been asked for is not done yet
    return count / (time.perf_counter() - began)


def fed(
    decoders: Decoders, paths: Sequence[Path], use: Callable[[npt.NDArray[np.uint8]], object]
) -> float:
    """Return images per second in the steady state of units that are decoded and used."""
    began, pieces = time.perf_counter(), []
    for unit in decoders.units(paths):
        use(unit)
        pieces.append(Piece(time.perf_counter() - began, len(unit)))
    # Units come in bursts where the processes are in step.
    return steady_rate(pieces, decoders.workers) or len(paths) / pieces[-1].seconds


def decoded_there(model: Embedder, paths: Sequence[Path], seconds: float) -> float:
    """Return images per second of JPEGs that the device decodes, as `--gpu-decode` has it."""
    decoder = JpegDecoder(model.spec.preprocess, str(model.device), _MAX_PIXELS)
    jpegs = np.empty(len(paths), object)
    jpegs[:] = [path.read_bytes() for path in paths]

    def step() -> int:
        pixels, rejected = decoder(jpegs, np.ones(len(jpegs), bool))
        model(pixels)
        return len(jpegs) - len(rejected)

    return timed(step, seconds, model.device)


def measure(name: str, options: argparse.Namespace, paths: list[Path]) -> dict[str, Any]:
    """Measure one network; return its figures, with a rate per round in each list."""
    model = embedder(load(name, "random", ()), options)
    found: dict[str, Any] = {"network": name, "batch": model.batch_size}
    steps = ("network", "embedder", "decode", "both", "decoded there")
    rates: dict[str, list[float]] = {step: [] for step in steps}
    with Decoders(options.workers, options.unit, model.spec.preprocess) as decoders:
        unit = next(decoders.units(paths[: options.unit])).copy()

        def step() -> int:
            model(unit)
            return len(unit)

        for _ in range(options.rounds):
            rates["network"].append(network_alone(model, unit, options.seconds))
            rates["embedder"].append(timed(step, options.seconds, model.device))
            rates["decode"].append(fed(decoders, paths, lambda _: None))
            rates["both"].append(fed(decoders, paths, model))
            some = paths[: options.unit]
            rates["decoded there"].append(decoded_there(model, some, options.seconds))
    return found | {"rates": rates}


def section(found: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures as a section of RESULTS.md."""
    machine = describe()
    where = machine.get("GPU", machine["processor"]) if options.device != "cpu" else "CPU"
    head = ("network", "batch", "network alone", "`Embedder` alone", "decode alone", "both")
    rows: list[tuple[object, ...]] = [(*head, "`--gpu-decode`", "both / lesser")]
    for one in found:
        rate = {name: median(values) for name, values in one["rates"].items()}
        lesser = min(rate["embedder"], rate["decode"])
        figures = (f"{value:.0f}" for value in rate.values())
        rows.append((one["network"], one["batch"], *figures, f"{rate['both'] / lesser:.2f}"))
    return {
        "title": f"One {where}: images per second with decoding",
        "text": f"{options.precision}{', compiled' * options.compile}, random weights, "
        f"units of {options.unit} images, "
        f"{options.workers} decoding processes, {options.rounds} rounds, medians "
        f"of the steady state.\n\n{report.listed(machine)}",
        "table": rows,
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--network", action="append", help="repeatable; default: resnet50, vgg16, vit_b_16")
    add("--device", default="cuda")
    add("--precision", default="", help="default: bf16, or fp32 on a CPU without it")
    add("--batch-size", type=int, help="default: what raypipe would take")
    add("--compile", action="store_true", help="compile the networks")
    add("--size", type=int, default=224)
    add("--images", type=Path, help="folder of JPEGs; default: generated ones")
    add("--count", type=int, default=2048, help="images to generate")
    add("--total", type=int, default=32768, help="images of one measurement, over and over")
    add("--unit", type=int, default=256, help="images of a unit")
    add("--workers", type=int, default=cores(), help="decoding processes")
    add("--seconds", type=float, default=3.0)
    add("--rounds", type=int, default=3)
    add("--put", action="store_true", help="add the section to results.json, render RESULTS.md")
    found = parser.parse_args(arguments)
    found.network = found.network or ["resnet50", "vgg16", "vit_b_16"]
    found.precision = found.precision or _precision(found.device)
    return found


def main() -> None:
    """Run from the command line."""
    options = parse()
    keep_freed()  # as replicas do
    known = list(images.jpegs(options.images or images.generated(options.count)))
    images.read_all(known)
    paths = [known[i % len(known)] for i in range(options.total)]
    found = [measure(name, options, paths) for name in options.network]
    made = section(found, options)
    if options.put:
        results.put("gpu", [made])
        report.write()
    print(report.section(made))
    print(json.dumps({"gpu": [made], "raw": found}))


def _batch_size(backbone: Backbone, spec: Spec, device: str) -> int:
    """Return the batch size that `raypipe extract` takes by default."""
    if device == "cpu":
        return cpu_batch_size(backbone, spec)
    blank = np.zeros((1, *spec.preprocess.shape, 3), np.uint8)
    return try_out(backbone, spec, blank, device=device, find_batch_size=True).batch_size or 32


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _precision(device: str) -> str:
    if device != "cpu":
        return "bf16"
    flags = Path("/proc/cpuinfo")
    return "bf16" if flags.exists() and "avx512_bf16" in flags.read_text() else "fp32"


if __name__ == "__main__":
    main()
