"""cluster.yaml, as Ray's cluster launcher reads it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    """What Ray makes of the file, with its own defaults."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    found = prepare_config(config)
    validate_config(found)
    return dict(found)


def test_ray_accepts_it_and_refuses_what_is_wrong(prepared: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    wrong = copy.deepcopy(prepared)
    wrong["available_node_types"]["head"]["resources"]["CPU"] = "four"
    with pytest.raises(Exception, match="four"):
        validate_config(wrong)


def test_the_head_takes_no_work(prepared: dict[str, Any]) -> None:
    kinds = prepared["available_node_types"]
    head = kinds.pop(prepared["head_node_type"])
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert {bool(kind["resources"].get("GPU")) for kind in kinds.values()} == {True, False}
    spot = [kind for kind in kinds.values() if "InstanceMarketOptions" in kind["node_config"]]
    assert len(spot) == 2
    for kind in kinds.values():
        others = [k["priority"] for k in kinds.values() if k["resources"] == kind["resources"]]
        assert kind["priority"] == (max if kind in spot else min)(others)


def test_nobody_without_the_token_gets_in(prepared: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in prepared["docker"]["run_options"]
    assert prepared["file_mounts"]["/home/ray/.ray/auth_token"].endswith("/.ray/auth_token")
    start = " ".join(prepared["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start


def test_versions_are_those_that_are_tested() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    image = yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["image"]
    assert image.startswith(f"rayproject/ray:{pins['ray']}-py311")
