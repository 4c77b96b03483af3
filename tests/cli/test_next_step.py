"""The last line of a run, and the command in it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from raypipe import config
from raypipe.cli.command import Given, add_command, execute, new_app
from raypipe.cli.next_step import _FOLLOWING
from tests.conftest import Here

#: Jobs that show something, or whose steps are jobs themselves.
SHOW = {"run", "submit", "inspect", "layers", "doctor", "demo", "similar", "pin"}


def test_every_job_has_its_line_or_needs_none() -> None:
    assert set(_FOLLOWING) | SHOW == set(config.JOBS)
    assert not set(_FOLLOWING) & SHOW


def pasted(line: str) -> Given:
    """Return what the command line makes of the command at the end of a line."""
    taken: list[Given] = []

    def take(given: Given) -> int:
        taken.append(given)
        return 0

    app = new_app()
    for name, model in config.JOBS.items():
        add_command(app, name, model, take, {})
    words = shlex.split(line.partition("; next: ")[2])
    assert words[0] == "raypipe"
    assert execute(app, words[1:]) == 0
    return taken[0]


def test_what_is_pasted_goes_on(
    stored: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = "my photos' $(store)"
    shutil.move(stored, store)
    asked = {
        ("train", store, "--out", "the model", "--cv", "2"): ("predict", "model", "the model"),
        ("cluster", store, "--k", "3", "--out", "c"): ("report", "run", "c"),
        ("compact", store): ("expire", "store", store),
        ("repair", store): ("verify", "store", store),
    }
    for words, (name, option, value) in asked.items():
        done = here(*words)
        assert done.returncode == 0, done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"{words[0]} done in ")
        given = pasted(last)
        assert (given.name, getattr(given.config, option)) == (name, value)
    assert "done in" not in here("inspect", store).stderr
    assert here("verify", store).stderr.splitlines()[-1].endswith(" s")
    (part,) = Path(store).glob("data/part-*")
    part.write_bytes(part.read_bytes()[:-1])
    assert pasted(here("verify", store).stderr.splitlines()[-1]).name == "repair"
    assert "done in" not in here("compact", store, "--json").stderr
