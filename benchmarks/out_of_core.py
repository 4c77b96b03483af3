"""Fits on features that are larger than the memory they may take, with that limit enforced.

    python -m benchmarks.out_of_core --gib 4 --cap-gib 1

Writes a store, runs `raypipe train --engine ray` and `raypipe cluster --engine ray` on it, and
watches every process they start: an actor that takes more than the cap is killed. Prints the
largest resident memory of each kind of process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scale.watch import family
from benchmarks.stores import blob_store

_ACTOR = "ray::ShardsActor"


def limited(command: list[str], cap: int) -> dict[str, Any]:
    """Run a command, and kill actors above the cap; return its times, result and peak memory."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peaks: dict[str, int] = {}
    killed = 0
    for some in family(process, 0.1):
        for name, pid in some:
            with contextlib.suppress(OSError, IndexError):  # it has ended
                peak = _peak(pid)
                peaks[name] = max(peaks.get(name, 0), peak)
                if name.startswith(_ACTOR) and peak > cap:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
    output = process.stdout.read() if process.stdout else ""
    return {
        "seconds": time.monotonic() - started,
        "exit": process.returncode,
        "killed": killed,
        "peaks": dict(sorted(peaks.items(), key=lambda item: -item[1])),
        "result": json.loads(output) if process.returncode == 0 else None,
    }


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def show(what: str, found: dict[str, Any]) -> None:
    result = found["result"] or {}
    print(
        f"{what}: exit {found['exit']}, {found['seconds']:.0f} s, actors killed {found['killed']}"
    )
    kept = ("accuracy", "iterations", "converged", "loss", "gradient_norm", "inertia", "ari")
    print("  " + ", ".join(f"{name} {result[name]}" for name in kept if name in result))
    for name, peak in list(found["peaks"].items())[:6]:
        print(f"  {name:<24} {peak / 2**20:7.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--cap-gib", type=float, default=1)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--folder", help="where the store goes, and what does not fit in memory")
    given = parser.parse_args()
    rows, cap = int(given.gib * 2**30 / (4 * given.width)), int(given.cap_gib * 2**30)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        store = blob_store(Path(folder) / "store", rows, given.width, 17)
        size = sum(path.stat().st_size for path in (Path(folder) / "store/data").iterdir())
        print(f"{rows} rows of {given.width} values: {rows * given.width * 4 / 2**30:.1f} GiB, "
              f"{size / 2**30:.1f} GiB on disk")  # fmt: skip
        base = [sys.executable, "-m", "raypipe.cli"]
        common = ["--engine", "ray", "--actor-memory", str(cap), "--json"]
        train = ["train", store.uri, "--out", f"{folder}/model", "--grid", "C=0.01"]
        train += ["--cv", "2"]
        show(
            "logistic regression, 2 folds and the final fit", limited([*base, *train, *common], cap)
        )
        cluster = [
            "cluster",
            store.uri,
            "--out",
            f"{folder}/clusters",
            "--k",
            "50",
            "--scale",
            "none",
        ]
        show("k-means, k=50", limited([*base, *cluster, "--max-iter", "30", *common], cap))


if __name__ == "__main__":
    main()
