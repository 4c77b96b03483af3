"""The only place that touches `ray.init` and `DataContext`; resources and what runs where.

Names are imported when they are used: a store is opened without Ray, which takes a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raypipe.runtime.cluster_nodes import alive_nodes, check_reach, check_seen, wait_for
    from raypipe.runtime.connection import joblib_backend, session
    from raypipe.runtime.metrics import Meters
    from raypipe.runtime.replicas import (
        best_precision,
        cores,
        device,
        on_replica_hardware,
        plan_replicas,
        slots,
    )
    from raypipe.runtime.streams import ProcessDiedError, first_cause, retry_limits, stream

__all__ = [
    "Meters",
    "ProcessDiedError",
    "alive_nodes",
    "best_precision",
    "check_reach",
    "check_seen",
    "cores",
    "device",
    "first_cause",
    "joblib_backend",
    "on_replica_hardware",
    "plan_replicas",
    "retry_limits",
    "session",
    "slots",
    "stream",
    "wait_for",
]

_MODULES = (
    "cluster_nodes",
    "connection",
    "metrics",
    "replicas",
    "streams",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = vars(import_module(f"raypipe.runtime.{module}"))
            if getattr(found.get(name), "__module__", "") == f"raypipe.runtime.{module}":
                return found[name]
    raise AttributeError(f"module 'raypipe.runtime' has no attribute {name!r}")
