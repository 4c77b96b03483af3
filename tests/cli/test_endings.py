"""What a command that cannot do its work ends with: one line, and a status that says why."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pytest
from cyclopts import App

from raypipe.cli.command import Given, add_command, execute, new_app
from raypipe.config import InspectConfig
from tests.support.signals import usual_signals

#: A program with a command of its own in place of `inspect`.
PROGRAM = """
import sys, time
from raypipe import cli
import raypipe.jobs.inspect as job
from raypipe.cli.command import Outcome
from raypipe.display import say
def run(config):
    say("begins")
    {body}
    return Outcome({{}}, "x" * 100_000)
job.run = run
cli.main()
"""


def app_that(call: Callable[[Given], int]) -> App:
    app = new_app()
    add_command(app, "inspect", InspectConfig, call)
    return app


def failing(error: BaseException) -> App:
    def call(_: Given) -> NoReturn:
        raise error

    return app_that(call)


class RayLikeError(Exception):
    """Carries what has happened in another process, as Ray's errors do."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("ray::_call() (pid=1)\n  Traceback …\nlast")
        self.cause = cause


RayLikeError.__module__ = "ray.exceptions"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            "'/x/y': No space .*; free some",
        ),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "Read-only .*; give another place"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            "denied; give another place, or",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "cannot use: Too many .*ulimit"),
        (OSError(errno.EIO, "Input/output error", "/x"), "see whether the drive is damaged"),
        (OSError(errno.ESTALE, "Stale file handle", "/x"), "network drive is still there"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), "cannot use '/x': No such file"),
        (ConnectionResetError(errno.ECONNRESET, "reset by peer"), "connection: reset by peer"),
        (MemoryError(), "memory does not suffice; .* --batch-size or --actors"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            r"memory does not suffice \(.*you tried\); .* smaller --size",
        ),
        (pa.ArrowInvalid("bad magic\nmore"), "a file cannot be read: bad magic; `--debug`"),
        (zipfile.BadZipFile("no zip"), "a file cannot be read: no zip"),
        (json.JSONDecodeError("bad", "{", 0), "a file cannot be read: bad"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "start"), "a file cannot be read: 'utf-8'"),
        (EOFError(), "a file cannot be read: EOFError"),
        (KeyError("x"), "unexpected KeyError: 'x'; `--debug` shows where"),
        (RayLikeError(OSError(errno.ENOSPC, "No space left on device")), "No space left"),
        (
            RayLikeError(RayLikeError(RuntimeError("no NVIDIA driver"))),
            "RuntimeError: no NVIDIA driver",
        ),
    ],
)
def test_one_line_for_whatever_happens(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    monkeypatch.delenv("RAYPIPE_TRACEBACK", raising=False)
    assert execute(failing(error), ["inspect", "store"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("raypipe inspect: ")
    assert re.search(said, lines[0])


def test_debug_shows_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_TRACEBACK", "")  # put back as it was
    with pytest.raises(KeyError):
        execute(failing(KeyError("x")), ["inspect", "store", "--debug"])


def run(body: str, **options: object) -> subprocess.Popen[str]:
    program = PROGRAM.format(body=body)
    arguments = [sys.executable, "-c", program, "inspect", "store"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["preexec_fn"] = usual_signals
    return subprocess.Popen(arguments, **pipes | options)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_are_told_by_the_status(number: int, status: int) -> None:
    with run("time.sleep(60)") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begins\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert "interrupted; what is stored is kept" in errors
    assert "Traceback" not in errors


#: A module that takes whatever happens for a failure of its own.
SWALLOWS = "import time\ntry:\n    time.sleep(1)\nexcept BaseException:\n    pass\n"
#: What is done while the signal comes, in which its exception would be lost; or made another.
LOSING = {
    "import": "import swallows",
    "destructor": "type('Slow', (), {'__del__': lambda _: time.sleep(1)})()",
    "library": "try: time.sleep(60)\n    except BaseException: raise ValueError('C') from None",
    "Ray": "try: time.sleep(60)\n    except KeyboardInterrupt: raise KeyboardInterrupt from None",
}


@pytest.mark.ci
@pytest.mark.parametrize(
    ("while_", "number"),
    [
        ("import", signal.SIGINT),
        ("import", signal.SIGTERM),
        ("destructor", signal.SIGINT),
        ("destructor", signal.SIGHUP),
        ("Ray", signal.SIGTERM),
        ("library", signal.SIGHUP),
    ],
)
def test_no_signal_is_lost(while_: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with run(
        f"{LOSING[while_]}\n    time.sleep(60)", env=os.environ | {"PYTHONPATH": path}
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begins\n"
        time.sleep(0.3)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors.startswith("raypipe inspect: interrupted; what is stored is kept")
    assert errors.count("\n") == 1


#: Signals in destructors before and within what is done at the exit of Python.
ENDING = """
import atexit, os, signal
class Asked:
    def __del__(self, raise_signal=signal.raise_signal, number=signal.SIGTERM):
        raise_signal(number)
class Last:
    def __del__(self, getitimer=signal.getitimer, real=signal.ITIMER_REAL, write=os.write):
        write(1, repr(getitimer(real)).encode())
atexit.register(Asked().__del__)  # comes after those registered below
from raypipe.cli import signals
signals.listen()
last = Last()
Asked()
"""


def test_no_alarm_goes_off_as_python_ends() -> None:
    """It would kill a program that has no answer to it any more."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=usual_signals,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(0.0, 0.0)", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_modules_are_imported(number: int) -> None:
    """Also where one of them makes another exception of it, as pydantic's core does."""
    slow = "import sys, importlib.abc, time\n"
    slow += "class Slow(importlib.abc.MetaPathFinder):\n"
    slow += "    def find_spec(self, name, *_):\n"
    slow += "        if name == 'raypipe.cli.app':\n"
    slow += "            try: print('importing', flush=True); time.sleep(60)\n"
    slow += "            except BaseException: raise ValueError('invalid schema')\n"
    slow += "sys.meta_path.insert(0, Slow())\nfrom raypipe.cli import main\nmain()\n"
    with subprocess.Popen(
        [sys.executable, "-c", slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=usual_signals,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (128 + number, "raypipe: interrupted\n")


def test_whoever_reads_the_output_may_go() -> None:
    reading, writing = os.pipe()
    with run("time.sleep(0.5)", stdout=writing) as process:
        os.close(writing)
        os.close(reading)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "begins\n")


def test_whoever_reads_the_messages_may_go() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with run("", stderr=writing) as process:
        os.close(writing)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.strip() == "x" * 100_000


def test_messages_to_a_full_device() -> None:
    with open("/dev/full", "w") as full, run("", stderr=full) as process:  # noqa: PTH123
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.strip() == "x" * 100_000


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_output_to_a_full_device(words: list[str]) -> None:
    command = [sys.executable, "-m", "raypipe", *words]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "No space left on device" in done.stderr


@pytest.mark.ci
def test_standard_streams_that_are_closed(tmp_path: Path, shape_store: str) -> None:
    """Files take the numbers of what is closed: nothing that is said may get into them."""
    found = []
    for number, closed in enumerate(("", "2>&-", "<&- >&- 2>&-")):
        model = tmp_path / str(number)
        words = [sys.executable, "-m", "raypipe", "train", shape_store, "--out", str(model)]
        command = f"{shlex.join([*words, '--grid', 'C=1', '--cv', '2'])} {closed}"
        subprocess.run(command, shell=True, check=True, capture_output=True)
        found.append((model / "holdout.csv").read_bytes())
    assert found == [found[0]] * 3
