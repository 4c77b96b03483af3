"""Joining a Ray cluster or starting one, and the settings the flow stands on."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator
from typing import Any, Literal

import psutil
import ray
import ray.data

from raypipe.display import say, say_as_json, says_json
from raypipe.errors import RaypipeError, UsageError
from raypipe.runtime.cluster_nodes import wait_for
from raypipe.runtime.keeping import KEEPING
from raypipe.runtime.messages import in_one_line
from raypipe.runtime.metrics import job_name
from raypipe.runtime.ray_folder import check_ray_folder
from raypipe.runtime.starting import ray_starts

_ADDRESS_VARIABLE = "RAY_ADDRESS"
_SECONDS = 10.0
_TOO_LATE = "node timed out during startup"
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")


@contextlib.contextmanager
def session(
    address: str | None, *, quiet: bool = False, wait: Literal["none", "cpu", "gpu"] = "none"
) -> Iterator[None]:
    """Use Ray for the length of a block: the one that runs, a cluster, or one started here.

    Args:
        address: `local`, `auto`, an address, or None for RAY_ADDRESS or else local.
        quiet: whether not to say so: it may turn out that it was for nothing.
        wait: the kind of node that a cluster has to have, or to start.

    Raises:
        UsageError: there is no cluster at the address, or it cannot be joined.
        RaypipeError: the node it has to start does not come.
    """
    wanted = address or os.environ.get(_ADDRESS_VARIABLE) or "local"
    if KEEPING.address not in (None, wanted):
        end()
    if ray.is_initialized():
        with in_one_line(), _data_context():
            wait_for(wait)
            yield
        return
    address = wanted
    if not quiet:
        say(f"starting Ray ({address})" if address == "local" else f"joining Ray at {address}")
    try:
        _connect(address)
        KEEPING.here = address == "local"
        with in_one_line(), _data_context():
            wait_for(wait)
            yield
    finally:
        KEEPING.address = address if ray.is_initialized() else None
        if not KEEPING.wanted:
            end()


def end() -> None:
    """Leave the Ray that a session has started or joined."""
    if KEEPING.address is not None:
        KEEPING.address, KEEPING.here = None, False
        with _workers_ended():
            ray.shutdown()


@contextlib.contextmanager
def _workers_ended() -> Iterator[None]:
    """See that a Ray that was started here takes its workers with it: some outlive it, at work.

    They are not waited for: what they would still write appears whole or not at all.
    """
    nodes = [child for child in psutil.Process().children() if child.name() == "raylet"]
    workers = [worker for node in nodes for worker in node.children(recursive=True)]
    try:
        yield
    finally:
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


def _connect(address: str) -> None:
    if "://" in address:
        raise UsageError(
            f"--address: got {address!r}, but the job has to run on the cluster itself; "
            "`raypipe submit --address http://HOST:8265 -- …` sends it there"
        )
    _check_answers(address)
    if address == "local":
        check_ray_folder()
    _quieten()
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if says_json():  # Ray adds the ids of job, node, worker and actor
        options["logging_config"] = ray.LoggingConfig(encoding="JSON", log_level="INFO")
    try:
        with ray_starts():
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--address: {_why_not(address, str(error))}") from None
    except Exception as error:  # of no class of its own
        if _TOO_LATE not in str(error):
            raise
        raise RaypipeError(
            "Ray has not started within its half minute, as on a machine that is busy; run the "
            "same command again, or give --address of a Ray that runs"
        ) from None
    if says_json():
        say_as_json(job=job_name())


def _why_not(address: str, error: str) -> str:
    """Return why a cluster could not be joined, and what to do."""
    versions = _VERSIONS.findall(error)
    if "Version mismatch" in error and len(versions) == 2:
        (ray_there, python_there), (ray_here, python_here) = versions
        return (
            f"the cluster at {address!r} runs Ray {ray_there} on Python {python_there}, this is "
            f"Ray {ray_here} on Python {python_here}; use the same here, or `raypipe submit`"
        )
    if "token" in error.lower() or "unauthenticated" in error.lower():
        return (
            f"the cluster at {address!r} wants its token: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        )
    detail = " ".join(error.split())[:200]
    remedy = "give --address local to start one here"
    if os.environ.get("RAY_AUTH_MODE") != "token":
        remedy += ", or set RAY_AUTH_MODE=token if the cluster asks for a token"
    return f"no Ray cluster at {address!r} ({detail}); {remedy}"


def _check_answers(address: str) -> None:
    """Stop where nothing answers: Ray itself would try for more than ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:  # the last of a host like `a..b`
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--address: no Ray cluster answers at {address!r} ({reason}); "
            "give --address local to start one here"
        ) from None


def _quieten() -> None:
    """Keep Ray's notes on itself away from people's terminals; errors still arrive."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name in ("ray._private.authentication", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _data_context() -> Iterator[None]:
    """Set what the flow stands on, and leave the caller's settings as they were."""
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    before = (
        context.target_max_block_size,
        context.enable_progress_bars,
        context.max_errored_blocks,
        logger.level,
    )
    # A unit's block must not be split: one unit, one block, one call, one partition.
    context.target_max_block_size = None
    context.enable_progress_bars = False
    context.max_errored_blocks = 0  # it would drop whole blocks in silence
    logger.setLevel(logging.CRITICAL)  # what fails is raised, and told in one line
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before[:2]
        context.max_errored_blocks = before[2]
        logger.setLevel(before[3])


@contextlib.contextmanager
def joblib_backend() -> Iterator[None]:
    """Run scikit-learn's parallel loops on Ray."""
    import joblib
    from ray.util.joblib import register_ray

    register_ray()
    logging.getLogger("ray.util.multiprocessing.pool").setLevel(logging.ERROR)
    with joblib.parallel_config(backend="ray", n_jobs=-1):
        yield
