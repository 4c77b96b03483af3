"""Cases of a fuzzer in a process apart, which may hang or die without ending the tests."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

#: What no case may take; the cases of a process come one by one.
HANG_SECONDS = 60.0


def run_cases(module: str, folder: Path, cases: Iterable[int], errors: Path) -> dict[int, Any]:
    """Return what each case has led to; `hangs` or `died` where it did not get to its end.

    Args:
        module: whose `main` is `serve(outcome)`.
        folder: where it may write.
        cases: their numbers.
        errors: file for what the process says.
    """
    left, found = list(cases), {}
    while left:
        arguments = [sys.executable, "-m", module, str(folder), *map(str, left)]
        with errors.open("ab") as said:
            process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
            )
        try:
            left = _follow(process, left, found)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return found


def _follow(process: subprocess.Popen[str], left: list[int], found: dict[int, Any]) -> list[int]:
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
    for at, case in enumerate(left):
        try:
            line = lines.get(timeout=HANG_SECONDS)
        except queue.Empty:
            found[case] = {"state": "hangs"}
            return left[at + 1 :]
        if not line:
            found[case] = {"state": f"died with {process.wait()}"}
            return left[at + 1 :]
        found[case] = json.loads(line)
    return []


def _pass_on(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def serve(outcome: Callable[[Path, int], dict[str, Any]]) -> None:
    """Go through the cases that the command line names, and say what each has led to."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed
    folder = Path(sys.argv[1])
    for case in map(int, sys.argv[2:]):
        try:
            found = outcome(folder, case)
        except MemoryError as error:
            found = {"state": "trace", "detail": repr(error)}
        print(json.dumps(found), file=output, flush=True)
