"""Ctrl-C in the middle of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import NETWORKS, draw_folder, flags
from tests.support.signals import usual_signals

CLI = [sys.executable, "-m", "raypipe.cli"]


def test_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "photos", 1200)  # a busy machine may be slow to interrupt
    arguments = ["extract", str(source), "--out", str(tmp_path / "store")]
    arguments += flags(backbone=f"{NETWORKS}:slow")
    process = subprocess.Popen(
        [*CLI, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=usual_signals,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store").glob("data/part-*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what is stored is kept" in errors
    assert "Traceback" not in errors
