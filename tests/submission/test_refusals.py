"""What `submit` refuses or is told to end by, as far as no cluster is needed."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raypipe.cli import signals
from raypipe.config import SubmitConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.jobs import submit
from raypipe.submission import Cluster, Log, parse, runtime_env
from raypipe.submission.follow import follow
from tests.conftest import Here

FAR = ("extract", "s3://b/photos", "--out", "s3://b/features")


NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def usual_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the program answer signals as the command line does."""
    monkeypatch.setattr(signals, "_requests", signals._Requests())
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    signals.listen()
    yield
    for number, answer in before.items():
        signal.signal(number, answer)


@pytest.mark.usefixtures("usual_answers")
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_signal_is_not_lost_where_a_library_swallows_it(
    number: signal.Signals, seconds: float
) -> None:
    """As asyncio passes Ctrl-C on, it is a cancellation, which may be taken for a timeout's."""

    main = threading.main_thread().ident

    class Client:
        async def tail_job_logs(self, _: str) -> Any:
            with contextlib.suppress(BaseException):
                if not seconds:
                    signal.raise_signal(number)
                threading.Timer(seconds, signal.pthread_kill, [main, number]).start()
                await asyncio.sleep(5)
            yield "still here\n"

    ended = SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: True))
    cluster: Any = SimpleNamespace(client=Client(), job=lambda _: ended)
    before = signal.getsignal(number)
    with pytest.raises(signals.Stopped):
        follow(cluster, "job", Log())
    assert signal.getsignal(number) is before
    assert signals.status() == 128 + number


@pytest.mark.usefixtures("usual_answers")
@pytest.mark.parametrize("number", NUMBERS)
def test_who_detaches_is_told_by_the_status(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("raypipe.submission.follow", stopped)
    cluster: Any = SimpleNamespace(address="http://127.0.0.1:8265")
    outcome = submit._follow(cluster, "nightly")
    assert (outcome.summary["status"], outcome.exit_code) == ("DETACHED", 128 + number)
    assert "detached; the job goes on" in capsys.readouterr().err


@pytest.mark.usefixtures("usual_answers")
def test_a_signal_while_a_job_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cluster may have it, and only its name leads back to it."""

    def stopped(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    cluster = SimpleNamespace(address="http://127.0.0.1:8265", submit=stopped)
    monkeypatch.setattr("raypipe.submission.Cluster", lambda _: cluster)
    with pytest.raises(signals.Stopped):
        submit.run(SubmitConfig(command=FAR, submission_id="nightly"))
    said = capsys.readouterr().err
    assert said.startswith("the job may have been sent. Follow it: raypipe submit --address")
    assert "--attach nightly" in said


def test_a_job_that_was_killed_is_told_from_one_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray.job_submission import JobStatus

    job = SimpleNamespace(status=JobStatus.FAILED, message="", driver_exit_code=-9)
    monkeypatch.setattr("raypipe.submission.follow", lambda *_: job)
    cluster: Any = SimpleNamespace(address="http://127.0.0.1:8265")
    assert submit._follow(cluster, "nightly").exit_code == 1
    assert capsys.readouterr().err == "job nightly: FAILED (exit code -9)\n"


@pytest.mark.parametrize("option", ["--submission-id", "--series"])
@pytest.mark.parametrize("name", ["a/b", "x?y", "x#y", "a%2fb", "..", "a b", ""])
def test_names_that_no_url_can_hold(option: str, name: str, here: Here) -> None:
    """The cluster would run such a job, and nobody could ask for it."""
    done = here("submit", option, name, "--", *FAR)
    assert done.returncode == 2
    assert f"{option} must be letters, digits, `.`, `_` and `-`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("body", ["{}", "[]", "<html>", '{"ray_version": "new"}'])
def test_another_server_is_no_dashboard(body: str) -> None:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}"
        with pytest.raises(UsageError, match=f"no Ray dashboard answers at http://{place}"):
            Cluster(f"http://me:hush@{place}")  # nor is a password shown
        server.shutdown()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("py_modules: mine", "py_modules must be a list; got 'mine'"),
        ("py_modules:", "py_modules must be a list; got None"),
        ("env_vars: hello", "env_vars must be lines of `NAME: value`; got 'hello'"),
        ("env_vars:", "env_vars must be lines of `NAME: value`; got None"),
        ("env_var: {A: b}", "Ray has no field 'env_var'; it has .*env_vars, "),
        ("{1: a, pips: [b]}", "Ray has no field '1', 'pips'; "),
    ],
)
def test_runtime_environments_of_a_wrong_form(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "env.yaml").write_text(text)
    with pytest.raises(UsageError, match=f"--runtime-env: {expected}"):
        runtime_env(parse(FAR), None, str(tmp_path / "env.yaml"), tmp_path)


def cluster_that_raises(error: Exception) -> Cluster:
    def submit_job(**_: Any) -> None:
        raise error

    cluster = object.__new__(Cluster)
    cluster.client = SimpleNamespace(submit_job=submit_job)
    return cluster


def test_what_ray_says_of_a_runtime_environment() -> None:
    error = TypeError("runtime_env['env_vars'] must be of type Dict[str, str]")
    with pytest.raises(UsageError, match=r"--runtime-env: runtime_env\['env_vars'\] must be"):
        cluster_that_raises(error).submit("true", "job", {})


def test_an_error_that_names_a_job_with_404_is_not_that_there_is_none() -> None:
    """Following goes on after the one and ends with the other."""

    def get_job_info(_: str) -> None:
        raise RuntimeError("Request failed with status code 500: nightly-404a: try again.")

    cluster = object.__new__(Cluster)
    cluster.address = "http://127.0.0.1:8265"
    cluster.client = SimpleNamespace(get_job_info=get_job_info)
    with pytest.raises(ConnectionError, match="status code 500"):
        cluster.job("nightly-404a")


TRACE = """Traceback (most recent call last):
  File "conda.py", line 1, in run
    find()
FileNotFoundError: conda

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "agent.py", line 2, in create
    ^^^^^^
ValueError: there is no conda.
"""


def test_a_stack_trace_of_the_cluster_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray.job_submission import JobStatus

    with pytest.raises(RaypipeError) as found:
        cluster_that_raises(RuntimeError(f"status 500: {TRACE}.")).submit("true", "job", {})
    expected = "status 500: ValueError: there is no conda. ."
    assert str(found.value) == f"the cluster does not take the job: {expected}"
    message = f"runtime_env setup failed.\n[Node 1] {TRACE}"
    job = SimpleNamespace(status=JobStatus.FAILED, message=message, driver_exit_code=None)
    monkeypatch.setattr("raypipe.submission.follow", lambda *_: job)
    cluster: Any = SimpleNamespace(address="http://127.0.0.1:8265")
    assert submit._follow(cluster, "nightly").exit_code == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "runtime_env setup failed. [Node 1] ValueError: there is no conda.",
        "job nightly: FAILED",
    ]


def test_a_result_of_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    command = parse(("report", "model", "--out", "/shared/report.html"))
    with pytest.raises(UsageError, match="RUN: 'model' is a place of this machine only"):
        runtime_env(command, None, None, tmp_path)
