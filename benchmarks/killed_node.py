"""A job on a cluster of three nodes, one of which is killed in mid-run: what that costs.

    python -m benchmarks.killed_node     # on the loopback interface, with a token; some minutes

Each node has one core, and an image costs a pause, so the machine's own cores hardly count. The
time from the kill to the end is compared with what two nodes need at least for the images left.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import raypipe
from benchmarks import fake_backbone
from raypipe.storage import FolderStorage
from raypipe.store.partition import count_rows
from tests.cluster.conftest import (
    TRUSTED,
    await_answer,
    await_node,
    free_port,
    kill_all,
    raypipe_command,
    short_folder,
    start_node,
)

IMAGES, SECONDS_PER_IMAGE = 3200, 0.1
#: How much longer the rest may take than on two nodes.
MOST = 1.3


@dataclass
class Cluster:
    """A head that takes no work, its dashboard, and nodes of one core each."""

    dashboard: str
    nodes: list[subprocess.Popen[Any]]

    def submit(self, folder: Path, name: str) -> subprocess.Popen[str]:
        """Submit the extraction of `folder/photos` to the store `folder/name`."""
        words = ["extract", str(folder / "photos"), "--out", str(folder / name), "--json"]
        words += ["--backbone", "net.py:slow", "--weights", "random", "--layer", "features"]
        words += ["--size", str(fake_backbone.SIZE), "--resize", "squash", "--normalize", "unit"]
        sent = raypipe_command("submit", "--address", self.dashboard, "--json", "--", *words)
        pipe = subprocess.PIPE
        return subprocess.Popen(
            sent, env=TRUSTED, cwd=folder / "code", stdout=pipe, stderr=pipe, text=True
        )


@contextlib.contextmanager
def cluster(count: int) -> Iterator[Cluster]:
    """Have a cluster for the length of a block, which asks for a token."""
    port, dashboard = free_port(), free_port()
    found = Cluster(f"http://127.0.0.1:{dashboard}", [])
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[Any]:
            # A folder of its own: Ray unpacks a job's code on each node, in the place of what is
            # there, which is where the job's driver runs.
            folder = f"--temp-dir={stack.enter_context(short_folder())}"
            node = start_node(*words, folder)
            stack.callback(_end, node)
            return node

        start(
            *("--head", "--num-cpus=0", "--dashboard-host=127.0.0.1"),
            *(f"--port={port}", f"--dashboard-port={dashboard}"),
        )
        await_answer(f"{found.dashboard}/api/version")
        for _ in range(count):  # side by side, they would wait for each other for ever
            found.nodes.append(start(f"--address=127.0.0.1:{port}", "--num-cpus=1"))
            await_node(found.nodes[-1])
        yield found


def _end(node: subprocess.Popen[Any]) -> None:
    if node.poll() is None:
        kill_all(node)


def prepare(folder: Path, images: int, seconds: float) -> None:
    """Draw small images, and write the network that takes so many seconds for each."""
    (folder / "photos").mkdir()
    (folder / "code").mkdir()
    chance = np.random.default_rng(0)
    for number in range(images):
        pixels = chance.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number:05}.png")
    code = Path(fake_backbone.__file__).read_text()
    code += f"\n\ndef slow() -> nn.Module:\n    return Fake({seconds})\n"
    (folder / "code" / "net.py").write_text(code)


def finished(store: Path) -> int:
    """Return how many images have been written, in partitions of whatever size."""
    storage = FolderStorage(store)
    return sum(count_rows(storage, name) for name in storage.list("data"))


def with_a_kill(
    on: Cluster, folder: Path, name: str, least: int
) -> tuple[dict[str, Any], int, float]:
    """Run the job; kill a node once so many images are written.

    Returns:
        What the job says, how many images were written when the node was killed, and the seconds
        from then to the end.
    """
    job = on.submit(folder, name)
    until = time.monotonic() + 300
    while (done := finished(folder / name)) < least:
        if job.poll() is not None or time.monotonic() > until:
            raise RuntimeError(job.communicate()[1])
        time.sleep(0.05)
    kill_all(on.nodes[0])
    killed = time.monotonic()
    # The store, not the job: its end is told only when the cluster is asked again.
    while not list((folder / name / "snapshots").glob("[0-9]*")) and job.poll() is None:
        time.sleep(0.05)
    seconds = time.monotonic() - killed
    told, said = job.communicate(timeout=300)
    if job.returncode:
        raise RuntimeError(said)
    return dict(json.loads(told)["result"]), done, seconds


def check(store: Path, summary: dict[str, Any], images: int) -> None:
    """Make sure that each image was done once."""
    ids = raypipe.open(str(store)).to_numpy().ids
    if not summary["rows"] + summary["rejects"] == len(set(ids)) == len(ids) == images:
        raise RuntimeError(f"{len(set(ids))} of {images} images, {len(ids)} rows: {summary}")


def main() -> None:
    with tempfile.TemporaryDirectory() as root, cluster(3) as three:
        folder = Path(root)
        prepare(folder, IMAGES, SECONDS_PER_IMAGE)
        summary, done, seconds = with_a_kill(three, folder, "store", IMAGES // 3)
        check(folder / "store", summary, IMAGES)
    needed = (IMAGES - done) * SECONDS_PER_IMAGE / 2
    print(
        f"{IMAGES} images of {SECONDS_PER_IMAGE} s; one of three nodes killed when {done} were "
        f"written: the rest took {seconds:.1f} s; two nodes cannot take less than {needed:.1f} s. "
        f"{seconds / needed:.2f} times that, at most {MOST}"
    )
    sys.exit(seconds > MOST * needed)


if __name__ == "__main__":
    main()
