"""An image that kills the process that decodes it costs itself, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_one_reject_and_not_the_run(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", 30)
    # The first one, which is also in the sample that the network is tried out on before the flow.
    (photos / "circle" / "0000.png").write_bytes(b"\x89PNG\r\n\x1a\nPOISON")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_DECODER)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    store = str(tmp_path / "store")
    command = ["extract", str(photos), "--out", store, *flags()]
    done = subprocess.run(
        [sys.executable, "-m", "raypipe.cli", *command, "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["rejects_by_reason"]) == (89, {"crashed": 1})
    rejects = raypipe.open(store).rejects()
    assert rejects["id"].to_pylist() == ["circle/0000.png"]
    assert "its process died 3 times decoding" in rejects["message"][0].as_py()


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
