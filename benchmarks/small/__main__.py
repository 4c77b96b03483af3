"""Small work and start-up: seconds of whole commands beside scripts that do the same.

    python -m benchmarks.small                                  # generated images, resnet18
    python -m benchmarks.small --images photos --network net.py:build --weights net.safetensors \
        --layer pw12 --normalize tf
    python -m benchmarks.small --profile      # what `predict` spends its time on

- `predict MODEL one.jpg` and `extract` of 200 images beside `script.py`, which a user would write.
- `extract` of 3,000 images beside the best `DataLoader` loop of `benchmarks.extraction`, with as
  many processes as there are cores, start-up included in both.
- The second `raypipe.predict` of one Python process.
- CPU-seconds of an `extract` of 48 images on a Ray that it starts, of all processes.

All take turns. `--quick` is a smoke run on a few images, which leaves RESULTS.md as it is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import report, results
from benchmarks.extraction import images
from benchmarks.extraction.networks import Network, prepare
from benchmarks.small.commands import Bench, profile

_FEW = 48


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", help="folder of JPEGs; generated ones unless given")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--layer", default="avgpool", help="a module of the network")
    parser.add_argument("--normalize", default="torch", choices=("torch", "tf", "unit"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few images, to see that it runs")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    network = Network(given.network, given.weights, given.layer, given.normalize, given.size)
    some, many, rounds = (24, 48, 1) if given.quick else (200, 3000, given.rounds)
    with tempfile.TemporaryDirectory(prefix="raypipe-benchmark-") as name:
        folder = Path(name)
        source = Path(given.images) if given.images else images.generated(many)
        bench = Bench(folder, prepare(network, folder), source, few=_FEW, some=some, many=many)
        if given.profile:
            print(profile(bench.predict()))
            return
        found = measure(bench, rounds)
    print(found["text"])
    for line in found["table"]:
        print(" | ".join(line))
    if not given.quick:
        results.put("small", [found])
        report.write()


def measure(bench: Bench, rounds: int) -> dict[str, Any]:
    """Return a section with the medians of all."""
    cores = bench.cores
    lines = [
        ("`predict` of one image, s", bench.predict, bench.script_predict),
        (f"`extract` of {bench.some} images, s", bench.extract_some, bench.script_extract),
        (f"`extract` of {bench.many} images, s", bench.extract_many, bench.loop),
    ]
    beside = ["`script.py`", "`script.py`", f"best loop, {cores} processes"]
    table = [["", "raypipe", "beside it", "", "ratio"]]
    for (what, own, other), name in zip(lines, beside, strict=True):
        a, b = in_turns(bench, own, other, rounds)
        table.append([what, f"{a:.2f}", f"{b:.2f}", name, f"{a / b:.2f}"])
    again = median(bench.second_predict() for _ in range(rounds))
    cpu = median(bench.cpu_seconds(bench.extract_few_on_ray()) for _ in range(rounds))
    table.append(["second `raypipe.predict` in one process, s", f"{again:.2f}", "", "", ""])
    table.append([f"`extract` of {_FEW} on Ray, CPU-seconds", f"{cpu:.1f}", "", "", ""])
    text = (
        f"{bench.network.label}; whole commands, start-up included, files in the page cache. "
        f"Medians of {rounds} rounds, in which both take turns. Ratios of seconds: below 1 raypipe "
        "is the quicker one."
    )
    return {"title": "Small work", "text": text, "table": table}


def in_turns(
    bench: Bench, own: Callable[[], list[str]], other: Callable[[], list[str]], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of both commands."""
    taken = [(bench.seconds(own()), bench.seconds(other())) for _ in range(rounds)]
    return median(a for a, _ in taken), median(b for _, b in taken)


if __name__ == "__main__":
    main()
