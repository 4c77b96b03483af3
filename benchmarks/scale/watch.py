"""A process of one's own for each measurement, and how much memory it and its children take."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Memory", "family", "run", "watched"]

_SECONDS = 0.5
_MIB = 1024  # /proc counts in KiB
_KINDS = {
    "driver": "driver",
    "ray::MapWorker": "replica",
    "raylet": "raylet",
    "gcs_server": "gcs_server",
}


@dataclass
class Memory:
    """MiB of a kind of process over time: of the largest one of that kind.

    Pages of Ray's object store are left out: they are one memory for all, of a fixed size.
    """

    times: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    def at(self, moment: float) -> float:
        """Return what it was at a time of `time.monotonic`, or soon after."""
        later = [m for t, m in zip(self.times, self.mib, strict=True) if t >= moment]
        return (later or self.mib or [0.0])[0]

    def most(self, since: float) -> float:
        """Return the most it was from a time on."""
        return max([self.at(since), *self._since(since)])

    def _since(self, moment: float) -> Iterator[float]:
        return (m for t, m in zip(self.times, self.mib, strict=True) if t >= moment)


def run(module: str, **options: Any) -> dict[str, Any]:
    """Run a module of this package with options; return what it printed last, as JSON."""
    return watched(module, **options)[0]


def watched(module: str, **options: Any) -> tuple[dict[str, Any], dict[str, Memory]]:
    """Do that, and return the memory by kind of process: `driver`, `replica`, `raylet`, …"""
    command = [sys.executable, "-m", f"benchmarks.scale.{module}", json.dumps(options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found: dict[str, Memory] = {}
    for some in family(process, _SECONDS):
        _sample(some, found)
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{errors[-4000:]}")
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result, found


def family(process: subprocess.Popen[str], seconds: float) -> Iterator[list[tuple[str, int]]]:
    """Yield kind and number of a command and of all it has started, every few seconds, to its end.

    The kind is `driver`, `ray::` with the name of the class or function, or the program's name.
    """
    root = psutil.Process(process.pid)
    while process.poll() is None:
        some: list[tuple[str, int]] = []
        with contextlib.suppress(psutil.Error):
            some.append(("driver", root.pid))
            for child in root.children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError):  # it has ended
                    some.append((_kind(child), child.pid))
        yield some
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _sample(some: list[tuple[str, int]], found: dict[str, Memory]) -> None:
    now, most = time.monotonic(), dict[str, float]()
    for kind, pid in some:
        if name := _KINDS.get(kind):
            with contextlib.suppress(OSError):  # it has ended
                most[name] = max(most.get(name, 0.0), own_mib(pid))
    for kind, mib in most.items():
        memory = found.setdefault(kind, Memory())
        memory.times.append(now)
        memory.mib.append(mib)


def _kind(process: psutil.Process) -> str:
    title = " ".join(process.cmdline())
    return re.sub(r"[.(].*", "", title)[:24] if title.startswith("ray::") else str(process.name())


def own_mib(pid: int | str = "self") -> float:
    """Return the resident memory of a process without shared memory, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return (int(sizes.get("RssAnon", 0)) + int(sizes.get("RssFile", 0))) / _MIB
