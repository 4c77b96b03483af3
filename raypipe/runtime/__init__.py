"""The only place that touches `ray.init` and `DataContext`; resources and what runs where."""

from __future__ import annotations

from raypipe.runtime.cluster_nodes import alive_nodes, check_reach, check_seen, wait_for
from raypipe.runtime.connection import joblib_backend, session
from raypipe.runtime.metrics import Meters
from raypipe.runtime.replicas import (
    Replicas,
    best_precision,
    check_room,
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
    "Replicas",
    "alive_nodes",
    "best_precision",
    "check_reach",
    "check_room",
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
