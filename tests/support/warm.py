"""Ray workers that are forks of a process which has imported torch.

A worker of Ray is a Python process that imports Ray, and torch for most of what tests do: some
seconds of a core for each replica of each extraction. Here Ray starts `warm_worker.py` instead of
its own first script; that asks the process of `warm_workers` for a fork and waits for its end.
Torch is not in the forks' `sys.modules` before they import it, as in any other worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

#: Where the process listens, for `warm_worker.py`.
SOCKET = "RAYPIPE_TESTS_WARM"
#: What every worker imports, and what some do, later. Ray itself is not among it: as it is
#: imported, it reads what it was started with from the environment, once.
EVERY = (
    *("numpy", "pyarrow.parquet", "pyarrow.dataset", "pandas", "PIL.Image", "pydantic", "yaml"),
    *("psutil", "google.protobuf.message", "grpc.aio", "fsspec", "jsonschema", "requests"),
)
SOME = ("torch", "torch.fx", "torch.ao.nn.quantized.modules")
_PR_SET_PDEATHSIG = 1
_FIRST_SCRIPT = Path(__file__).with_name("warm_worker.py")


@contextlib.contextmanager
def warm_workers() -> Iterator[None]:
    """Have Ray, where it is started meanwhile, fork its workers."""
    from ray._private.parameter import RayParams

    plain = RayParams.update_if_absent

    def update_if_absent(self: RayParams, **given: Any) -> None:
        if "setup_worker_path" in given:
            given["setup_worker_path"] = str(_FIRST_SCRIPT)
            given["include_log_monitor"] = False  # nobody is shown what workers print
        plain(self, **given)

    with tempfile.TemporaryDirectory(prefix="warm-") as folder, _patched() as patch:
        address = f"{folder}/socket"
        server = subprocess.Popen(
            [sys.executable, __file__, address], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n", "see the error above"
            patch.setenv(SOCKET, address)
            patch.setattr(RayParams, "update_if_absent", update_if_absent)
            yield
        finally:
            server.kill()
            server.wait()


def _patched() -> contextlib.AbstractContextManager[Any]:
    import pytest

    return pytest.MonkeyPatch.context()


class _Put(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that have been imported and are not in `sys.modules` until they are asked for."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self.modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self.modules:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        top = spec.name.partition(".")[0]
        found = self.modules[spec.name]
        self._specs = found.__spec__, found.__loader__
        chosen = [n for n in self.modules if top == "torch" or n.partition(".")[0] == top]
        sys.modules.update({name: self.modules.pop(name) for name in chosen})
        return found

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__, module.__loader__ = self._specs


def serve(address: str) -> None:
    """Fork for everyone who asks, for ever."""
    _die_with_parent()
    for name in EVERY:
        importlib.import_module(name)
    before = set(sys.modules)
    for name in SOME:
        importlib.import_module(name)
    later = {name: sys.modules.pop(name) for name in set(sys.modules) - before}
    sys.meta_path.insert(0, _Put(later))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks here
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(64)
        print("ready", flush=True)
        while True:
            asking, _ = server.accept()
            length, files, _, _ = socket.recv_fds(asking, 8, 3)
            with asking.makefile("rb") as sent:
                asked = json.loads(sent.read(int.from_bytes(length)))
            if os.fork() == 0:
                server.close()
                _become(asked, files)  # `asking` is open until it ends
            for file in files:
                os.close(file)
            asking.close()


def _become(asked: dict[str, Any], files: list[int]) -> None:
    """Be the worker that was asked for."""
    _die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    import numpy as np

    np.random.seed()
    runpy.run_path(sys.argv[0], run_name="__main__")
    os._exit(0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    del sys.path[0]
    sys.path.insert(0, "")
    serve(sys.argv[1])
