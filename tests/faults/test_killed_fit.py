"""SIGKILL to a fit on shards: it goes on from its last evaluation."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import raypipe
from raypipe.errors import UsageError
from raypipe.store.reader import StoreReader
from tests.fit.test_multinomial import blobs
from tests.support.sharded import store_of


def slow_store(folder: Path) -> StoreReader:
    x, y = blobs(1500, 20, 6, seed=9)
    mixed = x @ np.random.default_rng(1).normal(size=(20, 20)).astype(np.float32)
    return store_of(folder, mixed, [f"{c:02d}" for c in y])


def test_a_killed_fit_goes_on_from_its_last_evaluation(tmp_path: Path, ray_session: str) -> None:
    store = slow_store(tmp_path / "store")
    out = tmp_path / "killed"
    given = {"scale": "none", "tol": 1e-5, "grid": "C=1"}
    whole = raypipe.train(store.uri, out=tmp_path / "whole", engine="ray", **given)
    command = [sys.executable, "-m", "raypipe.cli", "train", store.uri, "--out", str(out)]
    command += ["--engine", "ray", "--scale", "none", "--tol", "1e-5", "--grid", "C=1"]
    command += ["--address", ray_session, "--actors", "1"]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = out / "checkpoint" / "log.bin"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (log.exists() and log.stat().st_size > 100_000):
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    recorded = log.stat().st_size
    assert not (out / "model.json").exists()
    with pytest.raises(UsageError, match="--resume: .* another one .scale: none → standard"):
        raypipe.train(
            store.uri, out=out, engine="ray", resume=True, **{**given, "scale": "standard"}
        )
    resumed = raypipe.train(store.uri, out=out, engine="ray", resume=True, **given)
    assert recorded > 100_000
    np.testing.assert_array_equal(resumed.head.scorer.coef, whole.head.scorer.coef)
    assert resumed.metrics["iterations"] == whole.metrics["iterations"]
    assert not (out / "checkpoint").exists()
