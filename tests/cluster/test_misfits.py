"""Clusters on which a job cannot work as it is: one line says so, before any work."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import TRUSTED, free_port, node, raypipe_command, run, short_folder
from tests.conftest import draw_folder, flags
from tests.support.sources import files_in, folder_server

#: Runs a command where a folder is empty, whatever others see there.
BLIND = 'mount -t tmpfs none "$0" && exec "$@"'


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster whose only node takes no work."""
    port = free_port()
    with short_folder() as folder:
        started = node(
            *("--head", "--num-cpus=0", f"--port={port}", f"--temp-dir={folder}"),
            "--include-dashboard=false",
        )
        with started:
            yield f"127.0.0.1:{port}"


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

    blind = node(
        *(f"--address={head}", "--num-cpus=1"),
        within=("unshare", "-m", "sh", "-c", BLIND, str(hidden)),
    )
    with blind:
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

        # A table of images on a server is read by the driver alone.
        with folder_server(moved) as address:
            rows = "".join(f"{address}/{name}\n" for name in files_in(moved))
            (hidden / "list.csv").write_text(f"uri\n{rows}")
            command[1] = str(hidden / "list.csv")
            done = run(*raypipe_command(*command, "--json"))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"] == 6


def test_a_cluster_that_starts_nodes_when_they_are_asked_for(head: str, tmp_path: Path) -> None:
    """Here it is the test that starts one, once there is a demand."""
    photos = draw_folder(tmp_path / "photos", 70)
    command = ["extract", str(photos), "--out", str(tmp_path / "store"), "--json"]
    command += flags(actors="1:2", wait_for="cpu", address=head)
    process = subprocess.Popen(
        raypipe_command(*command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=TRUSTED,
    )
    assert process.stderr is not None
    assert any("waiting for a node with a CPU" in line for line in process.stderr)
    with node(f"--address={head}", "--num-cpus=1"):
        told, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert json.loads(told)["rows"] == 210
