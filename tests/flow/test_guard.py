"""An image that ends its process is found by the note that process leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from raypipe.errors import RejectedItem, RejectReason
from raypipe.steps.guard import TIMES, Guard, Limits, forget, notes_folder

#: A process that decodes `good`, then `bad`, in the way that is put in.
_PROCESS = """
import os, signal, sys, time
from raypipe.steps.guard import Guard, Limits

def bad():
    {how}

guard = Guard(Limits(sys.argv[1], {seconds}))
guard.look()
assert guard("good", lambda: 1) == 1
print(guard("bad", bad))
"""
_DIES = "os.kill(os.getpid(), 9)"
_HANGS = "time.sleep(60)"
_HOLDS_THE_LOCK = "import re; re.match('(a+)+$', 'a' * 60 + 'b')"
_GROWS = "held = []\n    while True: held.append(bytearray(b'x') * 2**24)"


@pytest.fixture
def run() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    forget(name)


def died(run: str, how: str, seconds: float = 0.4) -> int:
    code = _PROCESS.format(how=how, seconds=seconds)
    done = subprocess.run(
        [sys.executable, "-c", code, run], capture_output=True, text=True, check=False
    )
    assert done.returncode <= 0, done.stderr
    return done.returncode


def blamed(run: str) -> RejectedItem | None:
    guard = Guard(Limits(run, 0.4))
    guard.look()
    assert guard.blame("good") is None
    found = guard("bad", lambda: None)
    guard.clock.stop()
    return found


def test_three_deaths_and_not_fewer(run: str) -> None:
    for _ in range(TIMES):
        assert blamed(run) is None
        assert died(run, _DIES) == -signal.SIGKILL
    reject = blamed(run)
    assert reject is not None
    assert reject.reason is RejectReason.CRASHED
    assert "its process died 3 times decoding bad" in reject.message
    assert died(run, _DIES) == 0  # it is not tried again


def test_too_slow_at_once(run: str) -> None:
    assert died(run, _HANGS) == -signal.SIGKILL
    reject = blamed(run)
    assert reject is not None
    assert reject.reason is RejectReason.TOO_SLOW
    assert "more than 0.4 seconds" in reject.message


def test_a_decoder_that_lets_nothing_else_run_is_ended(run: str) -> None:
    assert died(run, _HOLDS_THE_LOCK) == -signal.SIGALRM


def test_too_much_memory_at_once(run: str) -> None:
    assert died(run, _GROWS, 60) == -signal.SIGKILL
    reject = blamed(run)
    assert reject is not None
    assert reject.reason is RejectReason.TOO_LARGE
    assert "of memory" in reject.message


def test_processes_that_end_as_usual_leave_nothing_to_blame(run: str) -> None:
    for _ in range(TIMES + 1):
        assert died(run, "return 2") == 0
    assert blamed(run) is None


def test_waiting_for_other_processes_does_not_count(run: str) -> None:
    waits = "from raypipe.images.clock import waiting\n    with waiting(): time.sleep(1)"
    assert died(run, waits) == 0


def test_notes_go_with_the_run(run: str) -> None:
    guard = Guard(Limits(run, 10))
    assert os.listdir(notes_folder(run))  # noqa: PTH208
    forget(run)
    assert not notes_folder(run).exists()
    assert guard("good", lambda: 1) == 1
