"""A submitted job on three nodes, of which one is killed; how long it takes is a benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import killed_node

pytestmark = pytest.mark.ci


def test_the_rest_does_the_work_of_a_node_that_is_killed(tmp_path: Path) -> None:
    killed_node.prepare(tmp_path, 480, 0.02)
    with killed_node.cluster(3) as cluster:
        summary, done, _ = killed_node.with_a_kill(cluster, tmp_path, "store", 64)
    assert 0 < done < 480  # in mid-run
    assert summary["rejects"] == 0
    killed_node.check(tmp_path / "store", summary, 480)
