"""A Ray cluster as seen from outside: its jobs API."""

from __future__ import annotations

import logging
import os
import re
from itertools import dropwhile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from packaging.version import parse as version

from raypipe.cli.command import one_line
from raypipe.errors import RaypipeError, UsageError
from raypipe.sources.servers import public

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

#: As `ray job submit` has them; the second one may name a cluster to join instead.
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_SECONDS = 10.0
_TRACE = "Traceback (most recent call last):\n"
_OLDEST_RAY = "2.60"


class Cluster:
    """A Ray cluster that takes jobs.

    Args:
        address: of its dashboard; None for where it is by default.

    Raises:
        UsageError: nothing answers there, it wants a token, or it is too old.
    """

    def __init__(self, address: str | None) -> None:
        url = _url(address)
        self.address = public(url)  # in messages: a proxy's password may be in it
        from ray.exceptions import (
            AuthenticationError,
        )  # takes a second, which a wrong command has not
        from ray.job_submission import JobSubmissionClient

        for name in ("dashboard_sdk", "job.sdk"):  # they tell of each step of theirs
            logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
        logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
        try:
            # The client itself would wait for minutes.
            answer = requests.get(f"{url}/api/version", timeout=_SECONDS)
            self.client = JobSubmissionClient(url)
            ray = version(str(answer.json()["ray_version"]) if answer.ok else _OLDEST_RAY)
        except AuthenticationError as error:
            reason = one_line(error).partition(". ")[0]
            raise UsageError(
                f"--address: the cluster at {self.address} wants its token: set "
                f"RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH ({reason})"
            ) from None
        except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
            # It may be another server, or a token that no header can hold.
            raise UsageError(
                f"--address: no Ray dashboard answers at {self.address} "
                f"({_reason(error)}); `ray dashboard cluster.yaml` brings that of a cluster to "
                f"{_DEFAULT_ADDRESS}"
            ) from None
        if ray < version(_OLDEST_RAY):
            raise UsageError(
                f"--address: the cluster at {self.address} runs Ray {ray}; "
                f"raypipe needs {_OLDEST_RAY} or newer there"
            )

    def submit(self, entrypoint: str, submission_id: str, runtime_env: dict[str, Any]) -> None:
        """Send a job.

        Raises:
            UsageError: the cluster has a job of that name, or what is sent is too large.
            RaypipeError: it does not take the job for another reason.
        """
        try:
            self.client.submit_job(
                entrypoint=entrypoint, submission_id=submission_id, runtime_env=runtime_env
            )
        except (TypeError, ValueError) as error:
            raise UsageError(f"--working-dir or --runtime-env: {one_line(error)}") from None
        except (RuntimeError, OSError) as error:
            text = one_line(error)
            if "already exists" in text:
                raise UsageError(
                    f"--submission-id: the cluster has had a job {submission_id!r}; "
                    f"give another, or --attach {submission_id}"
                ) from None
            reason = without_trace(str(error))[:500]
            raise RaypipeError(f"the cluster does not take the job: {reason}") from None

    def job(self, submission_id: str) -> JobDetails:
        """Return what the cluster knows of a job.

        Raises:
            UsageError: there is none of that name.
            ConnectionError: it does not answer.
        """
        try:
            return self.client.get_job_info(submission_id)
        except RuntimeError as error:
            if "status code 404" in str(error):
                raise UsageError(
                    f"--attach: the cluster at {self.address} has no job {submission_id!r}; "
                    f"`ray job list --address {self.address}` lists its jobs"
                ) from None
            raise ConnectionError(one_line(error)) from None
        except requests.exceptions.RequestException as error:
            raise ConnectionError(one_line(error)) from None

    def running(self, series: str) -> str | None:
        """Return the submission id of a job of a series that is not done; None for none.

        Raises:
            RaypipeError: the cluster does not tell its jobs.
        """
        name = re.compile(re.escape(series) + r"-\d{8}-\d{6}-[0-9a-f]{4}")
        try:
            jobs = self.client.list_jobs()
        except (RuntimeError, OSError) as error:
            text = one_line(error)[:500]
            raise RaypipeError(f"the cluster does not tell its jobs: {text}") from None
        found = [job for job in jobs if name.fullmatch(job.submission_id or "")]
        return next((str(job.submission_id) for job in found if not job.status.is_terminal()), None)


def without_trace(text: str) -> str:
    """Return as one line what the cluster says, without the stack traces of its own in it."""
    before, trace, _ = text.partition(_TRACE)
    lines = text.rpartition(_TRACE)[2].splitlines() if trace else []
    return " ".join(" ".join([before, *dropwhile(_is_frame, lines)]).split())


def _is_frame(line: str) -> bool:
    return line.startswith("  ")


def _url(address: str | None) -> str:
    set_there = [os.environ.get(name, "") for name in _ADDRESS_VARIABLES]
    of_dashboard = next((found for found in set_there if found.startswith("http")), None)
    found = address or of_dashboard or _DEFAULT_ADDRESS
    url = found if "://" in found else f"http://{found}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number
        good = False
    if not good:
        raise UsageError(
            f"--address: must be that of a dashboard, as {_DEFAULT_ADDRESS}; got {found!r}"
        )
    return url.rstrip("/")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer in {_SECONDS:.0f} s"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return one_line(error)[:200]
