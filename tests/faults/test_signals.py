"""A command that is stopped at any moment: its status, what it leaves, and that it can go on."""

from __future__ import annotations

import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import raypipe
from tests.conftest import NETWORKS, TINY, draw_folder, flags
from tests.support.signals import usual_signals
from tests.support.stopping import SIGNALS, Command, Ended

#: While modules are imported, which is most of what a small command does.
IMPORTS = 2.5
_DONE = 0


@dataclass(frozen=True)
class Place:
    """Images, a store of them and a model."""

    photos: Path
    store: Path
    model: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("signals")
    made = Place(draw_folder(root / "photos", 90), root / "store", root / "model")
    for words in (
        ["extract", str(made.photos), "--out", str(made.store), *flags()],
        ["train", str(made.store), "--out", str(made.model), "--cv", "2"],
    ):
        assert Command(*words).end().status == _DONE
    return made


def extract(place: Place, out: Path) -> list[str]:
    slow = flags(backbone=f"{NETWORKS}:slow", actors="auto")
    return ["extract", str(place.photos), "--out", str(out), *slow]


def train(place: Place, out: Path) -> list[str]:
    return ["train", str(place.store), "--out", str(out)]


def predict(place: Place, out: Path) -> list[str]:
    code = ["--backbone", TINY]
    return ["predict", str(place.model), str(place.photos), "--out", str(out / "p.csv"), *code]


def made(out: Path) -> object:
    """Return what a command has made, as far as it is to be the same each time."""
    if (out / "p.csv").exists():
        return (out / "p.csv").read_bytes()
    if (out / "holdout.csv").exists():
        return (out / "holdout.csv").read_bytes()
    return raypipe.open(str(out)).to_numpy().features


#: How many moments, by seed: before a release, twenty of each command.
MOMENTS = [(3, 0), pytest.param(20, 1, marks=pytest.mark.long)]
ON_RAY = ["--address", "local"]


@pytest.mark.parametrize(("moments", "seed"), MOMENTS)
@pytest.mark.parametrize(
    ("command", "more"),
    [
        (extract, []),
        (extract, ON_RAY),
        (train, []),
        pytest.param(train, ["--engine", "ray", *ON_RAY], marks=pytest.mark.long),
        (predict, []),
        pytest.param(predict, ON_RAY, marks=pytest.mark.long),
    ],
)
def test_stopped_at_any_moment(
    command: Callable[[Place, Path], list[str]],
    more: list[str],
    moments: int,
    seed: int,
    place: Place,
    tmp_path: Path,
) -> None:
    chance = random.Random(seed)
    out = tmp_path / "out"
    out.mkdir()
    words = [*command(place, out), *more]
    began = time.monotonic()
    undisturbed = Command(*words).end()
    whole = time.monotonic() - began
    assert undisturbed.status == _DONE, undisturbed.said
    expected = made(out)
    _empty(out)
    for number in range(moments):
        signum = list(SIGNALS)[number % len(SIGNALS)]
        after = chance.uniform(0.5, IMPORTS if number % 3 == 0 else whole)
        ended = Command(*words).stop(signum, after, all_of_it=chance.random() < 0.5)
        check(ended, signum, after)
        if ended.status == _DONE:  # it was faster than that
            _empty(out)
    again = Command(*words).end()
    assert again.status == _DONE, again.said
    np.testing.assert_equal(made(out), expected)


def check(ended: Ended, signum: int, after: float) -> None:
    about = f"{signal.Signals(signum).name} after {after:.2f} s: {ended.said[-2000:]}"
    # Python's own end answers nothing.
    whole = not ended.in_time or " done in " in ended.said
    assert ended.status in (SIGNALS[signum], *([_DONE] if whole else [])), about
    assert not ended.left, f"{about}\n{ended.left}"
    # Before raypipe begins, it is Python that answers: see `test_from_the_first_line_on`.
    own = str(Path(raypipe.__file__).parent)
    assert "Traceback" not in ended.said or own not in ended.said, about


def _empty(out: Path) -> None:
    shutil.rmtree(out)
    out.mkdir()


@pytest.mark.parametrize("moments", [6, pytest.param(60, marks=pytest.mark.long)])
def test_from_the_first_line_on(moments: int, place: Place) -> None:
    """One line at each moment from `main` to the end of Python, or no word at all."""
    code = "from raypipe.cli import main; print('begins', flush=True); main()"
    words = [sys.executable, "-c", code, "verify", str(place.store)]
    began = time.monotonic()
    assert subprocess.run(words, capture_output=True, check=False).returncode == _DONE
    whole = time.monotonic() - began
    for number in range(moments):
        signum = list(SIGNALS)[number % len(SIGNALS)]
        with subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=usual_signals,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            time.sleep(whole * number / moments)
            process.send_signal(signum)
            said = process.communicate(timeout=60)[1]
        about = f"{signal.Signals(signum).name} at {number} of {moments}: {said}"
        assert process.returncode in (SIGNALS[signum], _DONE, -signum), about
        assert "Traceback" not in said, about
        assert "rror" not in said, about


@pytest.mark.parametrize(("signum", "all_of_it"), [(signal.SIGTERM, True), (signal.SIGTERM, False)])
def test_stopped_while_ray_starts(
    signum: int, all_of_it: bool, place: Place, tmp_path: Path
) -> None:
    command = Command(*extract(place, tmp_path / "out"), *ON_RAY)
    assert command.process.stderr is not None
    assert next(command.process.stderr) == "starting Ray (local)\n"
    ended = command.stop(signum, 1.0, all_of_it=all_of_it)
    check(ended, signum, 1.0)


#: A signal at the moment when Ray's C++ side has taken its place, given to another thread, as the
#: system may do.
AT_ONCE = """
import signal, threading, time
from ray._private import worker
connect = worker.connect
def connected(*arguments, **named):
    found = connect(*arguments, **named)
    signal.pthread_kill(other.ident, signal.{name})
    return found
worker.connect = connected
other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
other.start()
from raypipe.cli import main
main()
"""


@pytest.mark.parametrize("signum", SIGNALS)
def test_stopped_once_ray_has_its_own_answer(
    signum: signal.Signals, place: Place, tmp_path: Path
) -> None:
    """Its C++ side answers SIGTERM with its own end, and leaves its workers."""
    words = extract(place, tmp_path / "out")
    ended = Command(*words, *ON_RAY, program=AT_ONCE.format(name=signum.name)).end()
    check(ended, signum, 0)
    assert ended.said.splitlines()[-1].startswith("raypipe extract: interrupted"), ended.said


#: The program's own answer to SIGTERM, after each of two Rays.
AFTERWARDS = """
import os, signal
from raypipe import runtime
signal.signal(signal.SIGTERM, lambda *_: print("answered"))
for _ in range(2):
    with runtime.session("local"):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_what_the_program_answers_while_and_after_ray_runs() -> None:
    words = [sys.executable, "-c", AFTERWARDS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (_DONE, "answered\n" * 4), done.stderr


def decoding(place: Place, out: Path, *more: str) -> Command:
    """Start an extraction; return it as soon as there is a partition, and work that goes on."""
    command = Command(*extract(place, out), *more)
    until = time.monotonic() + 120
    while not list(out.glob("data/part-*")):
        assert time.monotonic() < until
        assert command.process.poll() is None
        time.sleep(0.05)
    return command


@pytest.mark.parametrize("more", [[], ON_RAY])
def test_a_killed_command_takes_its_processes_with_it(
    more: list[str], place: Place, tmp_path: Path
) -> None:
    command = decoding(place, tmp_path / "out", *more)
    assert len(command.family()) > 1
    command.process.kill()
    ended = command.end()
    assert ended.status == 128 + signal.SIGKILL
    assert not ended.left


def test_a_closed_terminal(place: Place, tmp_path: Path) -> None:
    """Whose end is told by the system, to the processes of the session."""
    terminal, line = pty.openpty()
    command = Command(*extract(place, tmp_path / "out"), terminal=line)
    os.close(line)
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob("data/part-*")):
        assert time.monotonic() < until
        os.read(terminal, 4096)
    os.close(terminal)
    ended = command.end()
    assert (ended.status, ended.left) == (SIGNALS[signal.SIGHUP], [])
