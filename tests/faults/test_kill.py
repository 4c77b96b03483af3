"""SIGKILL to everything at any moment: nothing is lost, nothing is computed twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import raypipe
from tests.conftest import NETWORKS, draw_folder, flags

PER_CLASS = 320  # 960 images in 15 units of 64


def command(source: Path, out: Path) -> list[str]:
    slow = flags(backbone=f"{NETWORKS}:slow", actors="auto")
    start = [sys.executable, "-m", "raypipe.cli", "extract", str(source), "--out", str(out)]
    return [*start, "--json", *slow]


def finish(source: Path, out: Path) -> dict[str, int]:
    done = subprocess.run(command(source, out), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def partitions(out: Path) -> list[Path]:
    return list(out.glob("data/part-*.parquet"))


def kill_once_there_are(count: int, source: Path, out: Path, delay: float) -> None:
    """Start a run, wait for partitions, then kill the driver and all of its Ray processes."""
    process = subprocess.Popen(
        command(source, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(partitions(out)) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(delay)
    driver = psutil.Process(process.pid)
    everything = [driver, *driver.children(recursive=True)]
    for victim in everything:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    _, alive = psutil.wait_procs(everything, timeout=30)
    assert not alive


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Images, one of them broken, and the store of a run that nothing happened to."""
    root = tmp_path_factory.mktemp("undisturbed")
    source = draw_folder(root / "photos", PER_CLASS)
    (source / "circle" / "broken.png").write_text("no image")
    assert finish(source, root / "store")["decoded"] == 3 * PER_CLASS + 1
    return source, root / "store"


#: How many, and at which moments: before a release, a hundred.
KILLS = [(3, 0), *(pytest.param(5, seed, marks=pytest.mark.long) for seed in range(1, 21))]


@pytest.mark.parametrize(("kills", "seed"), KILLS)
def test_kills(kills: int, seed: int, tmp_path: Path, undisturbed: tuple[Path, Path]) -> None:
    chance = random.Random(seed)
    source, reference = undisturbed
    total = 3 * PER_CLASS + 1
    out = tmp_path / "killed"
    seen: set[Path] = set()
    for _ in range(kills):
        before = len(partitions(out))
        kill_once_there_are(before + chance.randint(0, 2), source, out, chance.random())
        now = set(partitions(out))
        assert seen <= now
        seen = now
    assert not (out / "snapshots").exists()
    written = {path: path.stat().st_mtime_ns for path in seen}
    assert 1 <= len(written) < 16  # some work was kept, some was left

    summary = finish(source, out)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    kept = summary["reused"]
    assert kept >= 64 * (len(written) - 1)
    assert summary["decoded"] == total - kept
    assert (summary["rows"], summary["rejects"]) == (3 * PER_CLASS, 1)

    left, right = (raypipe.open(str(store)).to_numpy() for store in (reference, out))
    assert len(set(right.ids)) == len(right) == 3 * PER_CLASS
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.features, right.features)  # bit by bit

    again = finish(source, out)
    assert (again["decoded"], again["snapshot"]) == (0, summary["snapshot"])


def test_partitions_appear_while_the_run_goes_on(undisturbed: tuple[Path, Path]) -> None:
    times = sorted(path.stat().st_mtime for path in partitions(undisturbed[1]))
    assert len(times) == 16
    assert times[-1] - times[0] > 5  # about 12 s of computing on two replicas
    assert times[len(times) // 2] < times[-1] - 2


def test_killed_replica_is_replaced(tmp_path: Path) -> None:
    source, out = draw_folder(tmp_path / "photos", PER_CLASS), tmp_path / "store"
    process = subprocess.Popen(
        command(source, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(partitions(out)) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    replicas = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "EmbedderReplica" in " ".join(child.cmdline())
    ]
    assert replicas
    replicas[0].kill()
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    summary = json.loads(output)
    assert (summary["rows"], summary["rejects"]) == (3 * PER_CLASS, 0)
    ids = raypipe.open(str(out)).to_numpy().ids
    assert len(set(ids)) == 3 * PER_CLASS
