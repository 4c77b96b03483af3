"""How long planning takes per item, and how much memory the driver needs.

    python benchmarks/planning.py

Makes CSV manifests of 10⁵ and 10⁶ rows and measures, each in a process of its own:

- planning alone: listing, the check for repeated ids, and cutting into units; of an empty store and
  of one that covers everything;
- with --run, a whole `raypipe extract` of the larger one. Its files do not exist, so each becomes a
  reject: all that the driver does for so many items, without the time to compute them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PLAN = """
import resource, sys, time
import ray, torch, torchvision  # as the job has them loaded
from raypipe.config import ExtractConfig
from raypipe.jobs import extract
from raypipe.plan import Listing, make_plan
from raypipe.sources import open_source
from raypipe.spec import Output, Spec
from raypipe import schema
import pyarrow as pa, json

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

spec = Spec(backbone="b", weights_sha256="w", outputs=(Output(column="features", layer="l"),))
source = open_source(ExtractConfig(source=sys.argv[1], out="unused"))
before, started = peak(), time.monotonic()
with Listing(source.list()) as listing:
    listed = time.monotonic()
    plan = make_plan(listing, None, spec)
    planned = time.monotonic()
    result = {"items": plan.items, "units": len(plan.units), "before": before, "peak": peak()}
    result |= {"list": listed - started, "plan": planned - listed}
    columns, plan = list(schema.VERSION_COLUMNS), None
    rows = pa.Table.from_batches([batch.select(columns) for batch in listing.batches()])
    started = time.monotonic()
    again = make_plan(listing, rows, spec)
    if again.pending: raise RuntimeError("covered items are pending")
    result |= {"replan": time.monotonic() - started, "peak_covered": peak()}
print(json.dumps(result))
"""

RUN = """
import resource, sys
from raypipe.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""

NETWORK = """
import torch
def tiny():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 4), torch.nn.Flatten())
"""


def manifest(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.csv"
    with path.open("w") as file:
        file.write("uri,label\n")
        for row in range(rows):
            name = f"class{row % 100:03d}/image_{row:09d}.jpg"
            file.write(f"photographs/{name},class{row % 100:03d}\n")
    return path


def plan(path: Path) -> dict[str, float]:
    call = [sys.executable, "-c", PLAN, str(path)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(path: Path, folder: Path, what: str) -> None:
    (folder / "net.py").write_text(NETWORK)
    call = [sys.executable, "-c", RUN, "extract", str(path), "--out", str(folder / "store")]
    call += ["--backbone", f"{folder}/net.py:tiny", "--weights", "random", "--layer", "0"]
    call += ["--precision", "fp32", "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    print(
        f"{what}: {summary['rejects']} rejects, {summary['seconds']:.0f} s, "
        f"peak memory of the driver {float(done.stderr.splitlines()[-1]):.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", action="store_true", help="run extract on the last one, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [manifest(folder, rows) for rows in given.rows]
        for _ in range(given.rounds):
            for path in paths:
                found = plan(path)
                each = {k: 1e6 * found[k] / found["items"] for k in ("list", "plan", "replan")}
                print(
                    f"{found['items']:>9.0f} rows: list {each['list']:.1f}, plan "
                    f"{each['plan']:.1f}, plan again {each['replan']:.1f} µs per item; driver "
                    f"{found['before']:.0f} MiB before, {found['peak']:.0f} MiB at most, "
                    f"{found['peak_covered']:.0f} MiB with all items covered"
                )
        if given.run:
            run(paths[-1], folder, f"extract of {paths[-1].name}")
            run(paths[-1], folder, "the same again, nothing to do")


if __name__ == "__main__":
    main()
