"""An image that kills the process that decodes it costs itself, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import raypipe
from raypipe import runtime
from raypipe.errors import RaypipeError
from tests.conftest import draw_folder, flags

#: Loaded by every Python process: a decoder that dies of certain files.
_DECODER = """
import os
import PIL.Image

_open = PIL.Image.open

def _opened(file, *arguments, **options):
    start = file.read(64) if hasattr(file, "read") else b""
    if b"POISON" in start:
        os.kill(os.getpid(), 9)
    if hasattr(file, "seek"):
        file.seek(0)
    return _open(file, *arguments, **options)

PIL.Image.open = _opened
"""


#: As if each of Ray's ran on a node of its own: none sees the notes that another one has left.
_APART = """
import os
import tempfile

_gettempdir = tempfile.gettempdir

def _own():
    with open("/proc/self/cmdline", "rb") as file:
        if not file.read().startswith(b"ray::"):
            return _gettempdir()
    path = os.path.join(_gettempdir(), f"of-{os.getpid()}")
    os.makedirs(path, exist_ok=True)
    return path

tempfile.gettempdir = _own
"""

#: Two tries instead of thirteen, in the driver, which loads decoders too.
_HASTY = """
import sys

if streams := sys.modules.get("raypipe.runtime.streams"):
    streams._RETRIES, streams._RESTARTS = 1, 2
"""

_NO_DECODER = """
def decode(data, max_pixels):
    return None
"""

#: A decoder that reads nothing, and ends its replica between two images if another one decodes,
#: as where memory suffices for one only. No image is to blame, and none does it alone.
_ALONE = """
import fcntl
import os
import threading
import time

from raypipe.images.clock import RUNNING

_folder, _own = os.environ["IN_FLIGHT"], []

def decode(data, max_pixels):
    time.sleep(0.02)  # a unit takes longer than two need to see each other
    with open("/proc/self/cmdline", "rb") as file:
        if _own or b"MapWorker" not in file.read():
            return None
    _own.append(_opened(str(os.getpid())))
    fcntl.flock(_own[0], fcntl.LOCK_EX)
    deadline = time.monotonic() + 20  # seconds in which another one begins, if there is one
    while time.monotonic() < deadline:
        if any(map(_is_held, os.listdir(_folder))):
            threading.Thread(target=_end, daemon=True).start()
            break
        time.sleep(0.05)
    return None

def _opened(name):
    return os.open(os.path.join(_folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

def _is_held(name):
    if name == str(os.getpid()):
        return False
    file = _opened(name)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(file)

def _end():
    time.sleep(0.5)  # for the other one to see this one
    while RUNNING[0]._deadline is not None:
        time.sleep(0.0001)
    os.kill(os.getpid(), 9)
"""


def extract(
    tmp_path: Path, photos: Path, modules: dict[str, str], *more: str, **environment: str
) -> tuple[dict[str, Any], pa.Table, str]:
    """Extract with some modules to import; return the summary, the rejects, and what was said."""
    (tmp_path / "site").mkdir()
    for name, text in modules.items():
        (tmp_path / "site" / f"{name}.py").write_text(text)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    store = str(tmp_path / "store")
    # With an address there is a Ray, however few the images.
    command = ["extract", str(photos), "--out", store, "--address", "local", *more]
    done = subprocess.run(
        [sys.executable, "-m", "raypipe.cli", *command, "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), raypipe.open(store).rejects(), done.stderr


def poisoned(folder: Path) -> Path:
    photos = draw_folder(folder, 2)
    # The first one, which is also in the sample that the network is tried out on before the flow.
    (photos / "circle" / "0000.png").write_bytes(b"\x89PNG\r\n\x1a\nPOISON")
    return photos


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "on-other-nodes"])
def test_one_reject_and_not_the_run(elsewhere: bool, tmp_path: Path) -> None:
    modules = {
        "sitecustomize": _DECODER + _APART * elsewhere,
        "none": _HASTY * elsewhere + _NO_DECODER,
    }
    given = [*flags(), *("--decoder", "none:decode")]
    summary, rejects, said = extract(tmp_path, poisoned(tmp_path / "photos"), modules, *given)
    assert (summary["rows"], summary["rejects_by_reason"]) == (5, {"crashed": 1})
    assert rejects["id"].to_pylist() == ["circle/0000.png"]
    assert "its process died 3 times decoding" in rejects["message"][0].as_py()
    assert ("kills its process; it becomes a reject" in said) == elsewhere


def test_where_no_image_is_to_blame_fewer_are_in_flight(tmp_path: Path) -> None:
    (tmp_path / "in-flight").mkdir()
    summary, _, said = extract(
        tmp_path,
        draw_folder(tmp_path / "photos", 128),  # six units: a replica takes two at a time
        {"alone": _HASTY + _ALONE},
        *flags(actors="2"),
        *("--decoder", "alone:decode"),
        IN_FLIGHT=str(tmp_path / "in-flight"),
    )
    assert (summary["rows"], summary["rejects"]) == (384, 0)
    assert "no image does it by itself; going on with fewer at a time" in said


class _NeverBegins:
    def __init__(self) -> None:
        raise RaypipeError("no compiler here")

    def __call__(self, batch: dict[str, object]) -> dict[str, object]:
        return batch


def test_a_replica_that_cannot_begin_is_no_image_s_fault(ray_session: None) -> None:
    import ray

    flow = ray.data.from_items([{"a": 1}]).map_batches(
        _NeverBegins, compute=ray.data.ActorPoolStrategy(size=1), **runtime.retry_limits(hasty=True)
    )
    with pytest.raises(RaypipeError, match="no compiler here") as found:
        list(runtime.stream(flow))
    assert not isinstance(found.value, runtime.ProcessDiedError)
