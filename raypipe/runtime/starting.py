"""What Ray's start does to this process and starts beside it, kept within bounds.

Ray has no settings for these: its private functions are replaced while it starts, and only then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any

from ray import _raylet
from ray._private import services, utils
from ray._private.node import Node

#: What asks a program to end.
_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: `ray::RayLog::is_failure_signal_handler_installed_` of Ray's C++ side.
_ANSWERED = "_ZN3ray6RayLog36is_failure_signal_handler_installed_E"


@contextlib.contextmanager
def ray_starts() -> Iterator[None]:
    """Start or join Ray in the block: quietly, never by half, without what is not used."""
    with _silent_stderr(), _requests_held(), _in_other_groups(), _without_services():
        yield


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ side writes its greeting straight to file descriptor 2; failures are raised."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


@contextlib.contextmanager
def _requests_held() -> Iterator[None]:
    """Hold requests to end back until Ray has started: half started, it aborts the program.

    A second one is not held. Ray's own answers to SIGTERM do not take the place of the program's,
    if that has one: Python's leaves no word and status 15, C++'s a stack trace and workers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    held: list[int] = []
    own: dict[int, Any] = {
        number: answer for number in _REQUESTS if callable(answer := signal.getsignal(number))
    }

    def hold(number: int, frame: FrameType | None) -> None:
        if held:
            own[number](number, frame)
        held.append(number)

    rays = utils.set_sigterm_handler
    if signal.SIGTERM in own:
        utils.set_sigterm_handler = lambda _: None
    for number in own:
        signal.signal(number, hold)
    try:
        with _answered_already() if signal.SIGTERM in own else contextlib.nullcontext():
            yield
    finally:
        utils.set_sigterm_handler = rays
        for number, answer in own.items():
            signal.signal(number, answer)
        if held:
            signal.raise_signal(held[0])


@contextlib.contextmanager
def _answered_already() -> Iterator[None]:
    """Have Ray's C++ side believe that it answers signals already, and later that it does not.

    So it sets no answers at its start and takes none away at its end. Blocking SIGTERM meanwhile
    would not do: the system gives it to any thread, and those that there are cannot be told.
    """
    try:
        answered = ctypes.c_bool.in_dll(ctypes.CDLL(_raylet.__file__), _ANSWERED)
    except ValueError:  # a Ray that has it elsewhere
        yield
        return
    before, answered.value = answered.value, True
    try:
        yield
    finally:
        answered.value = before


@contextlib.contextmanager
def _in_other_groups() -> Iterator[None]:
    """Have what Ray starts not be sent what a terminal, or who stops a command, sends to all of it.

    Without its processes, Ray's C++ side aborts this one, at its start and at its end.
    """
    before = services.ConsolePopen
    services.ConsolePopen = partial(before, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = before


@contextlib.contextmanager
def _without_services() -> Iterator[None]:
    """Have a Ray that is started here leave out what serves clusters: each takes Python's start.

    That is the server of dashboard and jobs, the autoscaler's monitor, and what brings workers'
    logs to the driver. A cluster that is joined has its own.
    """
    names = ("start_api_server", "start_monitor", "start_log_monitor")
    before = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, start in before.items():
            setattr(Node, name, start)
