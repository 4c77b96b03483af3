"""A process that decodes, and may die of it."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.images import decoding_process
from raypipe.images.decoders import load_decoder
from raypipe.images.decoding_process import DecodingProcess

_SECONDS = 1.0


@pytest.fixture(scope="module")
def apart() -> Iterator[DecodingProcess]:
    with DecodingProcess(_SECONDS) as process:
        yield process


def test_what_is_returned_and_raised_comes_back(apart: DecodingProcess) -> None:
    there = apart(os.getpid)
    assert there != os.getpid()
    assert apart(np.full, (2, 3), 7).tolist() == [[7] * 3] * 2
    with pytest.raises(UsageError, match="must be module:function"):
        apart(load_decoder, "no")
    reject = RejectedItem(RejectReason.CORRUPT, "no picture")
    with pytest.raises(RejectedItem, match="no picture") as found:
        apart(pickle.loads, pickle.dumps(_Raises(reject)))
    assert found.value.reason is RejectReason.CORRUPT
    assert apart(os.getpid) == there


class _Raises:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Exception]]:
        return _raised, (self.error,)


def _raised(error: Exception) -> None:
    raise error


def grow() -> None:
    """Take memory as a decoder might: for pixels that never end."""
    held = []
    while True:
        held.append(np.ones(2**26, np.uint8))


@pytest.mark.parametrize(
    ("function", "arguments", "reason", "message"),
    [
        (os.abort, (), "crashed", "SIGABRT"),
        (os._exit, (3,), "crashed", "status 3"),
        (time.sleep, (30,), "too_slow", "more than 1 seconds"),
    ],
)
def test_its_death_is_a_reject(
    apart: DecodingProcess, function: Callable, arguments: tuple, reason: str, message: str
) -> None:
    with pytest.raises(RejectedItem, match=message) as found:
        apart(function, *arguments)
    assert found.value.reason == reason
    assert apart(os.getpid) != os.getpid()  # another one


def test_memory_that_never_ends_is_a_reject() -> None:
    with (
        DecodingProcess(60) as process,
        pytest.raises(RejectedItem, match="more than 1 GiB of memory") as found,
    ):
        process(grow)
    assert found.value.reason is RejectReason.TOO_LARGE


def test_it_takes_no_torch(apart: DecodingProcess, tmp_path: Path) -> None:
    maps = apart(Path.read_text, Path("/proc/self/maps"))
    assert "libjpeg" in maps or "_imaging" in maps
    assert "libtorch" not in maps


def test_one_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_process, "_START", "raise SystemExit(9)")
    with DecodingProcess(1) as process, pytest.raises(RaypipeError, match=r"start here: status 9"):
        process(os.getpid)
