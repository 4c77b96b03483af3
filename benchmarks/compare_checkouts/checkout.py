"""A checkout of the project, and its processes: one runs commands, others are killed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import IO, Any, cast

import psutil

from benchmarks.compare_checkouts.commands import Killed
from benchmarks.compare_checkouts.material import settle

__all__ = ["Checkout"]

_WORKER = Path(__file__).with_name("worker.py")
_DEADLINE = 180.0


class Checkout:
    """The code in a folder, in a process of its own with a Ray of its own.

    Both run with the packages of this process. Where a version is asked of a distribution's
    metadata, that is made here: only one of the two can be installed.

    Args:
        name: what it is called in what is printed.
        code: its folder, in which `raypipe/` lies.
        work: folder for metadata and the log.
    """

    def __init__(self, name: str, code: Path, work: Path) -> None:
        self.name = name
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RAYPIPE_")},
            "PYTHONPATH": f"{code}{os.pathsep}{_metadata(code, work / f'{name}-metadata')}",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }
        self._environment.pop("RAY_ADDRESS", None)
        self.log = work / f"{name}.log"
        self._code = code
        self._process: subprocess.Popen[str] | None = None

    def run(self, command: str, folder: Path) -> dict[str, Any]:
        """Run a command and return its `code`, the `json` it printed, and what it `said`."""
        answer = self._ask({"command": shlex.split(command), "folder": str(folder)})
        if command.startswith("pack "):
            settle(folder / "shards")
        return answer

    def open(self, store: str, folder: Path) -> dict[str, Any]:
        """Return digests of what the Python API reads of a store, in the same form."""
        return self._ask({"open": store, "folder": str(folder)})

    def kill(self, name: str, killed: Killed, folder: Path) -> bool:
        """Start a command and kill it once it has begun; return whether that came in time.

        It has a Ray of its own, whose processes are killed as well.
        """
        words = [*shlex.split(killed.command), "--out", name]
        with self.log.open("a") as log:
            process = psutil.Popen(
                [sys.executable, "-m", "raypipe", *words],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=folder,
            )
        end = time.monotonic() + _DEADLINE
        while process.poll() is None and time.monotonic() < end:
            if any(path.is_file() for path in (folder / name).glob(killed.sign)):
                break
            time.sleep(0.005)
        in_time = process.poll() is None
        _kill(_family(process))
        return in_time

    def close(self) -> None:
        """Let the process end, with its Ray."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        family = _family(psutil.Process(process.pid))
        cast(IO[str], process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        _kill(family)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = self._start()
        questions, answers = self._process.stdin, self._process.stdout
        try:
            print(json.dumps(question), file=questions, flush=True)
            return dict(json.loads(cast(IO[str], answers).readline()))
        except (BrokenPipeError, json.JSONDecodeError):
            sys.exit(f"{self.name}: the process ended; its log is {self.log}")

    def _start(self) -> subprocess.Popen[str]:
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, str(_WORKER), str(self._code)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                cwd=self.log.parent,
            )


def _metadata(code: Path, folder: Path) -> Path:
    """Write what an installation of the checkout would leave, and return where."""
    project = tomllib.loads((code / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"].replace("-", "_"), project.get("version", "0.1.0")
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True, exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def _family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and everything it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return [process]


def _kill(family: list[psutil.Process]) -> None:
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, timeout=30)
