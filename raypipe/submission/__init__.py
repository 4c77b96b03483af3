"""Sending a command to a Ray cluster as a job, and following it."""

from __future__ import annotations

from raypipe.submission.client import Cluster, without_trace
from raypipe.submission.entrypoint import Command, parse
from raypipe.submission.follow import Log, follow
from raypipe.submission.upload import runtime_env

__all__ = ["Cluster", "Command", "Log", "follow", "parse", "runtime_env", "without_trace"]
