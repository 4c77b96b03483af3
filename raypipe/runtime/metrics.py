"""Metrics of what is done, at Ray's endpoint for Prometheus."""

from __future__ import annotations

import json
import os

import ray
from ray.util.metrics import Counter, Gauge

from raypipe.cost import Cost

#: Set by Ray for the driver of a submitted job.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_JOB = "job"
_REASON = "reason"
_STEP = "step"


class Meters:
    """Counts what has been done, in the driver: as units come in, each of them once.

    Counted where the summary is counted, they add up to it, whatever becomes of the processes that
    do the work. Ray adds `ray_` in front of the names; see docs/cluster.md.

    Args:
        units: how many there are to do.
    """

    def __init__(self, units: int) -> None:
        self._tags = {_JOB: job_name()}
        self._pending = units
        self.images = Counter("raypipe_images", "Images that became rows", (_JOB,))
        self.rejects = Counter("raypipe_rejects", "Images that did not", (_JOB, _REASON))
        self.units = Counter("raypipe_units", "Units of images that are finished", (_JOB,))
        self.read = Counter("raypipe_read_bytes", "Bytes of images read", (_JOB,))
        self.written = Counter("raypipe_written_bytes", "Bytes of partitions written", (_JOB,))
        self.seconds = Counter("raypipe_work_seconds", "Seconds of work", (_JOB, _STEP))
        self.pending = Gauge("raypipe_pending_units", "Units that are not finished", (_JOB,))
        self.memory = Gauge("raypipe_gpu_memory_bytes", "Most GPU memory of a replica", (_JOB,))
        self.pending.set(units, self._tags)

    def add(self, cost: Cost) -> None:
        """Count one unit."""
        self._pending -= 1
        self.pending.set(self._pending, self._tags)
        for counter, value in (
            (self.units, 1),
            (self.images, cost.images),
            (self.read, cost.bytes_read),
            (self.written, cost.bytes_written),
        ):
            if value:
                counter.inc(value, self._tags)
        for reason, count in cost.rejects.items():
            self.rejects.inc(count, self._tags | {_REASON: reason})
        for step, seconds in cost.seconds.items():
            if seconds:
                self.seconds.inc(seconds, self._tags | {_STEP: step})
        if cost.device_bytes:
            self.memory.set(cost.device_bytes, self._tags)


def job_name() -> str:
    """Return the submission id of a submitted job, else the job's number."""
    about = json.loads(os.environ.get(_JOB_VARIABLE) or "{}")
    submitted = (about.get("metadata") or {}).get("job_submission_id")
    return str(submitted or ray.get_runtime_context().get_job_id())
