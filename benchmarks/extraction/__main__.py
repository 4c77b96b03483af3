"""Measure, and write benchmarks/RESULTS.md.

    python -m benchmarks.extraction [--quick]
    python -m benchmarks.extraction --network resnet18 \\
        --network net.py:build --weights net.safetensors --layer pw12 --normalize tf

--weights, --layer, --normalize and --size belong to the --network in front of them.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report, results
from benchmarks.extraction import images
from benchmarks.extraction.measure import FailedRunError
from benchmarks.extraction.networks import Network
from benchmarks.extraction.recipe import MEAN_STD
from benchmarks.extraction.run import Effort, benchmark

_COUNT, _QUICK_COUNT = 4096, 512


class _Network(argparse.Action):
    """Begins a network with --network, and adds to the last one with the others."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        known: list[dict[str, Any]] = list(namespace.networks or [])
        if self.dest == "network":
            known.append({"name": values})
        elif not known:
            parser.error(f"{option_string} belongs to the --network in front of it; there is none")
        else:
            known[-1] = known[-1] | {self.dest: values}
        namespace.networks = known


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; `networks` is a list of `Network`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(networks=None)
    add = parser.add_argument
    add("--network", action=_Network, help="torchvision model or file.py:callable; repeatable")
    add("--weights", action=_Network, help="random (default), DEFAULT, or a file")
    add("--layer", action=_Network, help="default: input of the last fully connected layer")
    add("--normalize", action=_Network, choices=list(MEAN_STD), help="default: torch")
    add("--size", action=_Network, type=int, help="default: 224")
    add("--images", type=Path, help="folder of JPEGs; default: generated ones")
    add("--count", type=int, help=f"how many; default: {_COUNT}, or all in --images")
    add("--rounds", type=int, help="default: 3")
    add("--only", action="append", default=[], help="take only this contestant; repeatable")
    add("--no-tool", action="store_true", help="leave out the public tool, which is downloaded")
    add("--quick", action="store_true", help="few images, one round: to see that all works")
    add("--out", type=Path, help="folder for results.json and RESULTS.md; default: benchmarks")
    found = parser.parse_args(arguments)
    found.networks = [Network(**one) for one in found.networks or [{"name": "resnet18"}]]
    return found


def effort(options: argparse.Namespace) -> Effort:
    """Return how much to do."""
    quick = options.quick
    return Effort(
        rounds=options.rounds or (1 if quick else 3),
        tuning_images=256 if quick else 1024,
        ideal_seconds=1.0 if quick else 6.0,
        quick=quick,
        tool=not options.no_tool,
        only=tuple(options.only),
    )


def command(arguments: Sequence[str]) -> str:
    """Return the command line as it may be published: files without their folders, no --out."""
    after_out = {place + 1 for place, part in enumerate(arguments) if part == "--out"}
    kept = [
        part
        for place, part in enumerate(arguments)
        if place not in after_out and not re.match(r"--out(=|$)", part)
    ]
    shown = [re.sub(r"(^|=)/\S*/", r"\1", part) for part in kept]
    return shlex.join(["python", "-m", "benchmarks.extraction", *shown])


def main() -> None:
    """Run from the command line."""
    options = parse()
    # A smoke run does not replace figures.
    quick_folder = Path(tempfile.gettempdir()) / "raypipe-benchmark-quick"
    folder = options.out or (quick_folder if options.quick else results.FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    count = options.count or (_QUICK_COUNT if options.quick else None)
    source = options.images or images.generated(count or _COUNT)
    for network in options.networks:
        try:
            found = benchmark(network, source, count, effort(options))
        except FailedRunError as error:
            raise SystemExit(f"{network.name}: {error}") from None
        found["command"] = command(sys.argv[1:])
        found["generated"] = options.images is None
        known = results.load(folder).get("extraction", {})
        results.put("extraction", known | {found["label"]: found}, folder)
        report.write(folder)
    print(folder / report.NAME)


if __name__ == "__main__":
    main()
