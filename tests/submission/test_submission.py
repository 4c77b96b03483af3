"""Commands that are sent to a cluster, as far as no cluster is needed."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import raypipe
from raypipe.config import SubmitConfig
from raypipe.errors import UsageError
from raypipe.jobs import submit
from raypipe.submission import Cluster, Log, parse, runtime_env, upload
from raypipe.submission.client import _url
from raypipe.submission.follow import follow

FAR = ("extract", "s3://b/photos", "--out", "s3://b/features")


def test_a_log_goes_on_where_it_was_left(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.feed("one\ntw", 0)
    log.feed("o\nthr", 6)
    log.feed("one\ntwo\nthree\n", 0)  # another connection starts at the beginning
    log.feed('{"näme":1}\nfour\n{"rows": 2}', 14)
    log.close()
    assert capsys.readouterr().err == 'one\ntwo\nthree\n{"näme":1}\nfour\n'
    assert log.result == {"rows": 2}


def test_what_a_job_waits_for_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its log begins with it: a runtime environment may take many minutes before that."""
    from ray.job_submission import JobStatus

    monkeypatch.setitem(follow.__globals__, "_TELL_SECONDS", 0.05)
    told, status = threading.Event(), [JobStatus.PENDING]

    def job(_: str) -> Any:
        if threading.current_thread() is not threading.main_thread():
            threading.Timer(0.1, told.set).start()
        message = "It may be waiting for\nthe runtime environment."
        return SimpleNamespace(status=status[0], message=message)

    class Client:
        async def tail_job_logs(self, _: str) -> Any:
            assert await asyncio.to_thread(told.wait, 20)
            status[0] = JobStatus.SUCCEEDED
            yield "begun\n"

        def get_job_logs(self, _: str) -> str:
            return "begun\n"

    cluster: Any = SimpleNamespace(client=Client(), job=job)
    assert follow(cluster, "nightly", Log()).status == JobStatus.SUCCEEDED
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"job nightly has not begun, \d+ s so far: It may be waiting for the runtime environment.",
        lines[0],
    )
    assert lines[-1] == "begun"


def test_progress_stays_on_one_line_of_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log = Log()
    log.feed("start\n1/4 images (25 %), x\n2/4 images (50 %), y\nend\n3/4 images (75 %), z\n", 0)
    log.close()
    clear = "\r\x1b[2K"
    shown = (
        f"start\n1/4 images (25 %), x{clear}2/4 images (50 %), y{clear}end\n3/4 images (75 %), z\n"
    )
    assert capsys.readouterr().err == shown


def test_a_command_goes_with_its_files_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, folder = tmp_path / "here", tmp_path / "sent"
    (here / "sub").mkdir(parents=True)
    folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("RAYPIPE_SIZE", "64")
    monkeypatch.setenv("RAYPIPE_ADDRESS", "http://127.0.0.1:8265")  # of submit itself
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    (here / "sub" / "net.py").write_text("")
    (here / "job.yaml").write_text("backbone: sub/net.py:build\nweights: w.pth\n")
    (here / "w.pth").write_text("w")
    (here / "photo.jpg").write_text("not named")
    command = parse((*FAR, "--config", "job.yaml"))
    assert command.entrypoint.startswith("python -m raypipe extract s3://b/photos --out")
    (tmp_path / "env.yaml").write_text("env_vars: {A: b}\npip: [timm]\npy_modules: [mine]\n")
    env = runtime_env(command, None, str(tmp_path / "env.yaml"), folder)
    sent = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert sent == ["job.yaml", "sub/net.py", "w.pth"]
    assert env["working_dir"] == str(folder)
    assert env["env_vars"] == {"RAYPIPE_SIZE": "64", "A": "b"}
    assert env["pip"] == ["timm"]
    assert env["py_modules"] == [str(Path(raypipe.__file__).parent), "mine"]
    assert "hush" not in json.dumps(env)


@pytest.mark.parametrize("written", [["--config", "{}"], ["--config={}"]])
def test_a_config_with_an_absolute_path_goes_along(
    written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine that runs the job has no /etc/raypipe/extract.yaml."""
    folder, etc = tmp_path / "sent", tmp_path / "etc"
    folder.mkdir()
    etc.mkdir()
    (etc / "extract.yaml").write_text("backbone: resnet50\nlabel-file: labels.csv\n")
    (tmp_path / "labels.csv").write_text("id,label\n")
    monkeypatch.chdir(tmp_path)
    command = parse((*FAR, *(word.format(etc / "extract.yaml") for word in written)))
    env = runtime_env(command, None, None, folder)
    assert env["working_dir"] == str(folder)
    monkeypatch.chdir(folder)  # as the job is started, on a machine without the original
    (etc / "extract.yaml").unlink()
    there = parse(tuple(shlex.split(command.entrypoint)[2:]))
    assert there.given.config == command.given.config
    assert (folder / "labels.csv").exists()
    with pytest.raises(UsageError, match="--config: beside --working-dir, must be a file of that"):
        runtime_env(command, str(tmp_path), None, folder)


def test_a_list_of_what_is_left_out_goes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sent").mkdir()
    (tmp_path / "same.csv").write_text("id\na.jpg\n")
    words = ("train", "s3://b/features", "--out", "s3://b/model", "--exclude", "same.csv")
    runtime_env(parse(words), None, None, tmp_path / "sent")
    assert (tmp_path / "sent" / "same.csv").exists()


def test_a_command_without_files_sends_none(tmp_path: Path) -> None:
    assert "working_dir" not in runtime_env(parse(FAR), None, None, tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("../net.py:build", "outside the folder that is sent"), ("net.py:build", None)],
)
def test_files_beside_the_folder_that_is_sent(
    name: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "net.py").write_text("")
    (tmp_path / "code" / "net.py").write_text("")
    monkeypatch.chdir(tmp_path)
    command = parse((*FAR, "--backbone", name))

    def sent() -> dict[str, Any]:
        return runtime_env(command, "code", None, tmp_path)

    if expected is None:
        assert sent()["working_dir"] == "code"
    else:
        with pytest.raises(UsageError, match=expected):
            sent()


def test_what_is_counted_is_what_ray_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.runtime_env import packaging

    folder = tmp_path / "code"
    for name in (
        "a.py",
        "b.log",
        "big.bin",
        "sub/c.py",
        "sub/d.tmp",
        ".git/x",
        "sub/__pycache__/y",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / ".rayignore").write_text("big.bin\n")
    (folder / "sub" / ".rayignore").write_text("*.tmp\n")
    counted = {str(path.relative_to(folder)) for path in upload._paths(folder)}
    excluded = [*upload._NEVER_SENT, *upload._EXCLUDED]
    packaging.create_package(str(folder), tmp_path / "p.zip", True, excludes=excluded)
    with zipfile.ZipFile(tmp_path / "p.zip") as packed:
        assert counted == {name for name in packed.namelist() if not name.endswith("/")}
    assert {"a.py", "sub/c.py"} <= counted
    monkeypatch.setattr(packaging, "GCS_STORAGE_MAX_SIZE", 10)
    with pytest.raises(ValueError, match="exceeds"):  # the limit is Ray's, and in bytes
        packaging._store_package_in_gcs("gcs://x.zip", b"0" * 10)
    with pytest.raises(UsageError, match="more than 0 MiB, which is all that Ray sends"):
        upload._check_size([folder / ".gitignore"] * 2, "it has", "less")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:8265", "http://127.0.0.1:8265"),
        ("https://ray.example.org/", "https://ray.example.org"),
        (None, "http://127.0.0.1:8265"),
    ],
)
def test_addresses(given: str | None, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # to join, not to send jobs to
    assert _url(given) == url
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    assert _url(None) == "http://10.0.0.1:8265"


@pytest.mark.parametrize(
    "given", ["ray://127.0.0.1:10001", "http://", "http://[::1", "http://h:99999", "http://h:x"]
)
def test_wrong_addresses(given: str) -> None:
    with pytest.raises(UsageError, match="--address: must be that of a dashboard"):
        _url(given)


@pytest.mark.parametrize(
    "option",
    ["label: 'file:labels.csv'", "label: 'file:labels.csv:who,kind'", "label-file: labels.csv"],
)
def test_a_recipe_names_files_of_its_steps(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("id,label\n")
    (tmp_path / "r.yaml").write_text(
        f"steps:\n- extract: {{source: s3://b/p, {option}}}\n- train: {{head: svm}}\n"
    )
    folder = tmp_path / "sent"
    folder.mkdir()
    command = parse(("run", "r.yaml", "--out", "/shared/run"))
    runtime_env(command, None, None, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["labels.csv", "r.yaml"]
    command = parse(("run", "r.yaml", "--out", "/shared/run", "--set", "extract.source=photos"))
    with pytest.raises(UsageError, match="SOURCE: 'photos' is a place of this machine only"):
        runtime_env(command, None, None, folder)


def test_one_job_of_a_series_runs_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job goes on when the machine that sent it restarts: the next night follows it."""
    from ray.job_submission import JobStatus

    monkeypatch.chdir(tmp_path)
    jobs = {
        "nightly-20261121-020003-0a1b": JobStatus.SUCCEEDED,
        "nightly-20261122-020003-0a1b": JobStatus.RUNNING,
        "nightly-eu-20261122-020003-0a1b": JobStatus.PENDING,
    }
    client = SimpleNamespace(
        list_jobs=lambda: [SimpleNamespace(submission_id=n, status=s) for n, s in jobs.items()],
        submit_job=lambda submission_id, **_: jobs.update({submission_id: JobStatus.PENDING}),
    )
    cluster = object.__new__(Cluster)
    cluster.address, cluster.client = "http://127.0.0.1:8265", client
    monkeypatch.setattr("raypipe.submission.Cluster", lambda _: cluster)

    def sent(**options: Any) -> Any:
        return submit.run(SubmitConfig(command=FAR, detach=True, **options)).summary

    running = "nightly-20261122-020003-0a1b"
    assert sent(series="nightly") == {"submission_id": running, "status": "RUNNING"}
    assert f"--series nightly: job {running} is not done" in capsys.readouterr().err
    assert len(jobs) == 3
    jobs[running] = JobStatus.FAILED
    new = sent(series="nightly")
    assert new["status"] == "SUBMITTED"
    assert cluster.running("nightly") == new["submission_id"] in jobs
    with pytest.raises(UsageError, match="--series: names its jobs itself"):
        sent(series="nightly", submission_id="other")


def test_a_line_of_a_log_that_is_too_deep_for_json_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    deep = '{"a":' * 20_000
    log = Log()
    log.feed(f"{deep}\n", 0)
    log.close()
    assert log.result is None
    assert deep[:100] in capsys.readouterr().err
