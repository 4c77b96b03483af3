"""The commands that are measured, and what measures them."""

from __future__ import annotations

import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from io import StringIO
from pathlib import Path

import numpy as np
import psutil

from benchmarks.extraction import images
from benchmarks.extraction.field import Settings, fast_loop
from benchmarks.extraction.networks import Network
from benchmarks.extraction.recipe import SCALING, Job
from benchmarks.machine import cores

__all__ = ["Bench", "profile"]

_RAYPIPE = [sys.executable, "-m", "raypipe"]
_MARK = "RAYPIPE_BENCHMARK_MARK"
_AGAIN = """
import sys, time, raypipe
for _ in range(2):
    started = time.perf_counter()
    raypipe.predict(sys.argv[1], sys.argv[2], **dict(zip(["backbone"], sys.argv[3:])))
print(time.perf_counter() - started)
raypipe.shutdown()
"""


class Bench:
    """Commands on one set of images, each in two forms.

    Args:
        folder: for what is written.
        network: prepared.
        source: a folder of JPEGs.
        few: images of the run on Ray.
        some: images of the small run.
        many: images of the larger one; repeated where there are not as many.
    """

    def __init__(
        self, folder: Path, network: Network, source: Path, *, few: int, some: int, many: int
    ) -> None:
        self.folder, self.network, self.cores = folder, network, cores()
        self.some, self.many = some, many
        found = images.jpegs(source)
        for name, count in (("few", few), ("some", some), ("many", many)):
            for number in range(count):
                place = number * len(found) // count if count < len(found) else number
                original = found[place % len(found)]
                path = folder / name / f"class{number % 4}" / f"{number:05}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, path)
        self.one = str(images.jpegs(folder / "some")[0])
        self._check(self._extract("some", "features"))
        self._check([*_RAYPIPE, "train", str(folder / "features"), "--out", self.model])
        self._make_head()

    @property
    def model(self) -> str:
        """Folder of the trained model."""
        return str(self.folder / "model")

    def predict(self) -> list[str]:
        """One image to a class."""
        own = ["--backbone", self.network.name] if self._is_code else []
        return [*_RAYPIPE, "predict", self.model, self.one, *own]

    def script_predict(self) -> list[str]:
        """The same by the script, with coefficients of the same shape."""
        return [*self._script(), "--head", str(self.folder / "head.npz"), self.one]

    def extract_some(self) -> list[str]:
        """Features of some images."""
        return self._extract("some", f"out-{uuid.uuid4().hex}")

    def script_extract(self) -> list[str]:
        """The same by the script."""
        some = [str(path) for path in images.jpegs(self.folder / "some")]
        return [*self._script(), "--out", str(self.folder / "script.npy"), *some]

    def extract_many(self) -> list[str]:
        """Features of many images."""
        return self._extract("many", f"out-{uuid.uuid4().hex}")

    def loop(self) -> list[str]:
        """The same by the best loop, whose processes are as many as cores, of a thread each."""
        out = self.folder / f"loop-{uuid.uuid4().hex}"
        out.mkdir()
        job = Job(
            images=str(self.folder / "many"),
            out=str(out),
            trace=str(out / "trace"),
            network=self.network.name,
            weights=self.network.weights,
            layer=self.network.layer,
            normalize=self.network.normalize,
            size=self.network.size,
            cores=self.cores,
        )
        best: Settings = {"batch": 32, "workers": 0, "threads": 1, "processes": self.cores}
        return fast_loop(best).start(job)

    def extract_few_on_ray(self) -> list[str]:
        """Features of a few images, by a Ray that is started for them."""
        return [*self._extract("few", f"out-{uuid.uuid4().hex}"), "--address", "local"]

    def seconds(self, command: list[str]) -> float:
        """Run a command; return the seconds it took."""
        started = time.monotonic()
        self._check(command)
        return time.monotonic() - started

    def second_predict(self) -> float:
        """Return the seconds of the second of two calls in one process."""
        own = [self.network.name] if self._is_code else []
        command = [sys.executable, "-c", _AGAIN, self.model, self.one, *own]
        return float(self._check(command).splitlines()[-1])

    def cpu_seconds(self, command: list[str]) -> float:
        """Run a command; return the CPU-seconds of it and of all that carry its environment."""
        mark = uuid.uuid4().hex
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command, env=os.environ | {_MARK: mark}, stdout=log, stderr=log
            )
            taken: dict[tuple[int, float], float] = {}
            others = set[int]()
            while process.poll() is None:
                _sample(mark, taken, others)
                time.sleep(0.05)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed")
        return sum(taken.values())

    @property
    def _is_code(self) -> bool:
        """Whether the network is code of one's own, which has to be named to be run."""
        return ".py:" in self.network.name

    def _extract(self, source: str, out: str) -> list[str]:
        network = self.network
        scaling = [f"--{name}={value}" for name, value in SCALING.items()]
        return [
            *(*_RAYPIPE, "extract", str(self.folder / source), "--out", str(self.folder / out)),
            *("--backbone", network.name, "--weights", network.weights, "--layer", network.layer),
            *("--normalize", network.normalize, "--size", str(network.size), *scaling),
        ]

    def _script(self) -> list[str]:
        script, network = Path(__file__).with_name("script.py"), self.network
        return [
            *(sys.executable, str(script), "--network", network.name, "--weights", network.weights),
            *("--layer", network.layer, "--normalize", network.normalize),
            *("--size", str(network.size)),
        ]

    def _make_head(self) -> None:
        """Write coefficients of the shape that the model's have: only their cost matters."""
        self._check(self.script_extract())
        width = np.load(self.folder / "script.npy").shape[1]
        np.savez(
            self.folder / "head.npz",
            coefficients=np.zeros((4, width), np.float32),
            intercepts=np.zeros(4, np.float32),
            classes=np.array(["a", "b", "c", "d"]),
        )

    def _check(self, command: list[str]) -> str:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr[-2000:]}")
        return found.stdout


def _sample(mark: str, taken: dict[tuple[int, float], float], others: set[int]) -> None:
    """Note the CPU-seconds so far of all processes with a mark in their environment."""
    for process in psutil.process_iter():
        if process.pid in others:
            continue
        with suppress(psutil.Error):
            if process.environ().get(_MARK) != mark:
                if time.time() - process.create_time() > 1:  # its environment is its own by now
                    others.add(process.pid)
                continue
            times = process.cpu_times()
            taken[process.pid, process.create_time()] = times.user + times.system


def profile(command: list[str]) -> str:
    """Run a raypipe command under cProfile; return what its seconds go to, the callers first."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/profile"
        own = [sys.executable, "-m", "cProfile", "-o", file, *command[1:]]
        subprocess.run(own, check=True, capture_output=True)
        told = StringIO()
        pstats.Stats(file, stream=told).sort_stats("cumulative").print_stats(
            r"raypipe|__init__", 40
        )
    return told.getvalue()
