"""Clusters on which a job cannot work as it is: one line says so, before any work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import (
    await_node,
    free_port,
    kill_all,
    raypipe_command,
    run,
    short_folder,
    start_node,
)
from tests.conftest import draw_folder, flags

#: Runs a command where a folder is empty, whatever others see there.
BLIND = 'mount -t tmpfs none "$0" && exec "$@"'


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster whose only node takes no work."""
    port = free_port()
    with short_folder() as folder:
        node = start_node(
            *("--head", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}"),
            "--include-dashboard=false",
        )
        await_node(node)
        yield f"127.0.0.1:{port}"
        kill_all(node)


def test_a_node_that_does_not_see_the_store(head: str, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    if run("unshare", "-m", "sh", "-c", BLIND, str(hidden), "true").returncode:
        pytest.skip("needs the right to mount")
    photos = draw_folder(tmp_path / "photos", 2)
    command = ["extract", str(photos), "--out", str(hidden / "store"), *flags()]
    command += ["--address", head]

    done = run(*raypipe_command(*command))
    assert done.returncode == 2
    assert "no node of the Ray cluster has room for a replica" in done.stderr
    assert "the largest has 0 CPU cores and 0 GPUs" in done.stderr

    blind = start_node(
        *(f"--address={head}", "--num-cpus=1"),
        within=("unshare", "-m", "sh", "-c", BLIND, str(hidden)),
    )
    await_node(blind)
    done = run(*raypipe_command(*command))
    assert done.returncode == 2, done.stderr
    assert "--out: node " in done.stderr
    assert f"does not see {str(hidden / 'store')!r}; give a bucket" in done.stderr

    shutil.rmtree(hidden / "store")
    moved = photos.rename(hidden / "photos")
    command[1], command[3] = str(moved), str(tmp_path / "store")
    done = run(*raypipe_command(*command))
    assert done.returncode == 2, done.stderr
    assert f"does not see {str(moved)!r}; give a bucket" in done.stderr
    kill_all(blind)


def test_a_cluster_that_starts_nodes_when_they_are_asked_for(tmp_path: Path) -> None:
    """Ray's own imitation of a cloud, in which nodes are processes."""
    photos = draw_folder(tmp_path / "photos", 70)
    store = str(tmp_path / "store")
    command = ["extract", str(photos), "--out", store, *flags(), "--json", "--address", "auto"]
    command += ["--wait-for", "cpu", "--actors", "1:2"]
    script = tmp_path / "grow.py"
    script.write_text(
        "import subprocess, sys\n"
        "from ray.cluster_utils import AutoscalingCluster\n"
        "kind = {'resources': {'CPU': 1}, 'node_config': {}, 'min_workers': 0, 'max_workers': 2}\n"
        "cluster = AutoscalingCluster({'CPU': 0}, {'worker': kind})\n"
        "cluster.start()\n"
        "try:\n"
        "    sys.exit(subprocess.run(sys.argv[1:]).returncode)\n"
        "finally:\n"
        "    cluster.shutdown()\n"
    )
    python = raypipe_command()[0]
    done = run(python, str(script), *raypipe_command(*command), timeout=300)
    assert done.returncode == 0, done.stderr
    assert "waiting for a node with a CPU" in done.stderr
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    assert summary["rows"] == 210
