"""Run a command as a job of a Ray cluster: check it, send it, follow it."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.cli import signals
from raypipe.cli.command import Outcome, run_job
from raypipe.config import SubmitConfig
from raypipe.display import say
from raypipe.errors import UsageError

if TYPE_CHECKING:
    from raypipe.submission import Cluster

_FAILED = 1
_WRONG_USE = 2


def run(config: SubmitConfig) -> Outcome:
    """Submit a job; see `SubmitConfig` for the options.

    Raises:
        UsageError: before anything is sent, if the command or the cluster cannot work.
        RaypipeError: the cluster does not take the job, or stops answering.
    """
    from raypipe.submission import Cluster, parse, runtime_env  # takes Ray: a second

    if config.attach:
        _check_attach(config)
        cluster = Cluster(config.address)
        cluster.job(config.attach)
        return _follow(cluster, config.attach)
    command = parse(config.command)
    if config.series and config.submission_id:
        raise UsageError("--series: names its jobs itself; leave out --submission-id")
    series = config.series or f"raypipe-{command.given.name}"
    submission_id = config.submission_id or _new_id(series)
    with tempfile.TemporaryDirectory() as folder:
        environment = runtime_env(command, config.working_dir, config.runtime_env, Path(folder))
        cluster = Cluster(config.address)
        if config.series and (running := cluster.running(config.series)):
            return _leave_to(cluster, running, config)
        try:
            cluster.submit(command.entrypoint, submission_id, environment)
        except KeyboardInterrupt:  # nobody can tell whether the cluster has it
            say(f"the job may have been sent. {_how_to_go_on(cluster, submission_id)}")
            raise
    say(f"job {submission_id} is with {cluster.address}: {command.entrypoint}")
    if config.detach:
        summary = {"submission_id": submission_id, "status": "SUBMITTED"}
        return Outcome(summary, _how_to_go_on(cluster, submission_id))
    return _follow(cluster, submission_id)


def _check_attach(config: SubmitConfig) -> None:
    """Refuse what only a job that is sent can have."""
    if config.command:
        raise UsageError("--attach: follows a job that runs; it takes no command")
    of_a_new_job = ("submission_id", "series", "working_dir", "runtime_env", "detach")
    if given := [name for name in of_a_new_job if getattr(config, name)]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"--attach: follows a job that was sent before; leave out {names}")


def _new_id(series: str) -> str:
    return f"{series}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _leave_to(cluster: Cluster, running: str, config: SubmitConfig) -> Outcome:
    """Send nothing: a job of the series is at work, as where the one who sent it was killed."""
    say(f"--series {config.series}: job {running} is not done; it is followed, and no other sent")
    if config.detach:
        summary = {"submission_id": running, "status": "RUNNING"}
        return Outcome(summary, _how_to_go_on(cluster, running))
    return _follow(cluster, running)


def _follow(cluster: Cluster, submission_id: str) -> Outcome:
    from ray.job_submission import JobStatus

    from raypipe.submission import Log, follow, without_trace

    started, log = time.monotonic(), Log()
    try:
        job = follow(cluster, submission_id, log)
    except KeyboardInterrupt:
        log.close()
        say(f"detached; the job goes on. {_how_to_go_on(cluster, submission_id)}")
        detached = {"submission_id": submission_id, "status": "DETACHED"}
        return Outcome(detached, "", None, signals.status())
    good = job.status == JobStatus.SUCCEEDED
    code = 0 if good else _WRONG_USE if job.driver_exit_code == _WRONG_USE else _FAILED
    if not good and job.message and job.driver_exit_code is None:
        say(without_trace(job.message))  # the job has not begun: there is no log that says why
    summary = {
        "submission_id": submission_id,
        "status": job.status.value,
        "exit_code": code,
        "seconds": round(time.monotonic() - started, 3),
        "result": log.result,
    }
    of_raypipe = (None, 0, _FAILED, _WRONG_USE)
    how = "" if job.driver_exit_code in of_raypipe else f" (exit code {job.driver_exit_code})"
    say(f"job {submission_id}: {job.status.value}{how}")
    return Outcome(summary, json.dumps(log.result) if log.result else "", None, code)


def _how_to_go_on(cluster: Cluster, submission_id: str) -> str:
    return (
        f"Follow it: raypipe submit --address {cluster.address} --attach {submission_id}. "
        f"Stop it: ray job stop {submission_id} --address {cluster.address}"
    )


def main() -> None:
    """Run from the command line."""
    run_job("submit", SubmitConfig)


if __name__ == "__main__":
    main()
