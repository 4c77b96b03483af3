"""`--wait-for`: a node is asked for once there is something to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe.config import ExtractConfig
from raypipe.errors import RaypipeError
from raypipe.jobs.extract import run
from raypipe.runtime import cluster_nodes
from raypipe.store.identity import is_store
from tests.conftest import draw, draw_folder, options


@pytest.mark.ci
@pytest.mark.usefixtures("ray_session")
def test_no_node_is_waited_for_where_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a night without a new image starts a GPU, or fails where the cloud has none."""
    photos, store = draw_folder(tmp_path / "photos", 1), str(tmp_path / "store")
    run(ExtractConfig(source=str(photos), out=store, **options()))
    monkeypatch.setattr(cluster_nodes, "_PATIENCE", 0.5)
    config = ExtractConfig(source=str(photos), out=store, **options(wait_for="gpu", prune=True))
    summary = run(config).summary
    assert (summary["snapshot"], summary["decoded"], summary["rows"]) == (1, 0, 3)
    draw("circle", 7).save(photos / "circle" / "new.png")
    with pytest.raises(RaypipeError, match="--wait-for gpu: the cluster has started no node"):
        run(config)
    with pytest.raises(RaypipeError, match="--wait-for gpu: the cluster has started no node"):
        run(config.model_copy(update={"out": str(tmp_path / "new")}))
    assert not is_store(str(tmp_path / "new"))
