"""A flow whose processes and nodes die: what is run again, how, and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from raypipe.flow import recovery
from raypipe.runtime import ProcessDiedError


@dataclass
class Cluster:
    """Nodes, and a flow that does one unit in each run before something dies."""

    nodes: list[str]
    deaths: list[str]  # what dies in each run: "process", or a node
    runs: list[tuple[list[int], bool]] = field(default_factory=list)
    asked: int = 0

    def alive(self) -> list[dict[str, str]]:
        self.asked += 1
        return [{"NodeID": node} for node in self.nodes]

    def run(self, units: list[int], ledger: Any, _halved: int) -> Iterator[int]:
        self.runs.append((list(units), ledger is not None))
        if not self.deaths:
            yield from units
            return
        yield units[0]
        dead = self.deaths.pop(0)
        if dead != "process":
            self.nodes.remove(dead)
        raise ProcessDiedError(with_node=False)  # what Ray knows at that moment


def survive(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    ledger = SimpleNamespace(unfinished=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr(recovery, "alive_nodes", cluster.alive)
    monkeypatch.setattr(recovery, "_new_ledger", lambda: ledger)
    monkeypatch.setattr(recovery, "_without_poison", lambda *_: {})
    monkeypatch.setattr(recovery.ray, "get", lambda _: [])
    monkeypatch.setattr(recovery, "_KNOWN_SECONDS", 0.05)
    monkeypatch.setattr(recovery, "_POLL_SECONDS", 0.01)
    same: dict[str, Any] = {"of_result": lambda unit: unit, "of_unit": lambda unit: unit}
    units: list[Any] = [1, 2, 3, 4]
    options: Any = SimpleNamespace(limits=None)
    return list(recovery.survive(units, cluster.run, options, **same))


def test_no_image_is_looked_for_where_a_node_has_died(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(["a", "b", "c"], ["b"])
    assert survive(cluster, monkeypatch) == [1, 2, 3, 4]
    said = capsys.readouterr().err
    assert "a node has died; going on with the others" in said
    assert "looking for an image" not in said
    assert cluster.runs == [([1, 2, 3, 4], False), ([2, 3, 4], False)]


def test_the_flow_goes_back_to_its_usual_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has died, and then a node: Ray repeats units again, as it did before."""
    cluster = Cluster(["a", "b"], ["process", "b"])
    assert survive(cluster, monkeypatch) == [1, 2, 3, 4]
    assert [with_ledger for _, with_ledger in cluster.runs] == [False, True, False]


def test_a_single_node_is_not_asked_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(["a"], ["process"])
    assert survive(cluster, monkeypatch) == [1, 2, 3, 4]
    assert cluster.asked == 2  # once before each run
