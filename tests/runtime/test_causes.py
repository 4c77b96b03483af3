"""What is told of an error that happened in another process: the line that matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ray
import ray.data

from raypipe import runtime
from raypipe.errors import RaypipeError
from raypipe.runtime import replicas

NO_DRIVER = "RuntimeError: Found no NVIDIA driver on your system. Please check that"


def no_driver() -> None:
    raise RuntimeError("Found no NVIDIA driver on your system. Please check\nthat there is one")


def chained() -> None:
    try:
        no_driver()
    except RuntimeError as error:
        raise ValueError("the replica cannot be set up") from error


def while_handled() -> None:
    try:
        no_driver()
    except RuntimeError:
        raise ValueError("the replica cannot be set up")  # noqa: B904 - what libraries do


def nested() -> None:
    ray.get(ray.remote(no_driver).remote())


def own() -> None:
    try:
        no_driver()
    except RuntimeError as error:
        raise RaypipeError("--device: no driver; install one") from error


def without_a_message() -> None:
    raise AssertionError


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"odd {one} {other}")


def odd() -> None:
    raise OddError(1, 2)


class Replica:
    def __init__(self, function: Callable[[], None]) -> None:
        function()

    def __call__(self, block: Any) -> Any:
        return block


def in_a_task(function: Callable[[], None]) -> None:
    ray.get(ray.remote(num_cpus=0)(function).remote())


def in_a_constructor(function: Callable[[], None]) -> None:
    ray.get(ray.remote(num_cpus=0)(Replica).remote(function).__call__.remote(1))


@pytest.mark.parametrize("where", [in_a_task, in_a_constructor])
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_driver, NO_DRIVER),
        (chained, NO_DRIVER),
        (while_handled, NO_DRIVER),
        (nested, NO_DRIVER),
        (own, "--device: no driver; install one"),
        (without_a_message, "AssertionError"),
        (odd, "OddError: odd 1 2"),
    ],
)
def test_the_cause_is_told(
    where: Callable[..., None], function: Callable[[], None], said: str, ray_session: str
) -> None:
    with pytest.raises(ray.exceptions.RayError) as found:
        where(function)
    told = runtime.first_cause(found.value)
    assert said in told
    assert "ray::" not in told
    assert "\n" not in told


def test_the_cause_within_a_flow(ray_session: str) -> None:
    flow = ray.data.from_items([{"a": 1}]).map_batches(
        Replica,
        fn_constructor_args=(chained,),
        compute=ray.data.ActorPoolStrategy(size=1),
        batch_size=None,
    )
    with pytest.raises(RaypipeError, match=f"the flow failed: {NO_DRIVER} there is one; finished"):
        list(runtime.stream(flow))


@pytest.mark.parametrize("call", [runtime.on_replica_hardware, replicas.on_all_hardware])
def test_the_cause_on_another_node(
    call: Callable[..., Any], ray_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [node | {"NodeID": node["NodeID"]} for node in ray.nodes()] * 2
    monkeypatch.setattr(replicas, "alive_nodes", lambda: nodes)
    with pytest.raises(RaypipeError, match=NO_DRIVER):
        call(no_driver)


def test_an_error_of_ray_itself() -> None:
    error = ray.exceptions.OutOfMemoryError("Task was killed: memory.\n\nMemory on the node")
    assert runtime.first_cause(error) == "Task was killed: memory."
