"""The last line of a run, and the command in it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from raypipe import config
from raypipe.cli.command import Given, Outcome, add_command, execute, new_app
from raypipe.cli.next_step import _FOLLOWING, last_line
from raypipe.store.reader import StoreReader
from tests.conftest import Here
from tests.support.stores import items_of, make_spec, make_store

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


def test_extract_is_followed_by_what_its_labels_allow(stored: Path) -> None:
    given = config.ExtractConfig(source="photos", out="my store", backbone="resnet18")
    outcome = Outcome({}, "", StoreReader(str(stored)))
    line = last_line("extract", given, outcome, 1.26)
    assert line == "extract done in 1.3 s; next: raypipe train 'my store' --out model"
    assert pasted(line).name == "train"
    dry = given.model_copy(update={"dry_run": True})
    assert last_line("extract", dry, outcome, 1.26) == ""


@pytest.mark.parametrize(
    ("backbone", "named"), [("resnet18", None), ("/here/net.py:build", "/here/net.py:build")]
)
def test_code_of_ones_own_is_named_again(backbone: str, named: str | None) -> None:
    """`predict` runs it only then."""

    class Model:
        provenance: ClassVar = {"backbone": backbone}

    given = config.TrainConfig(store="s", out="model")
    follows = pasted(last_line("train", given, Outcome({}, "", Model()), 1.0))
    assert (follows.name, follows.config.model_dump()["backbone"]) == ("predict", named)


def test_copies_are_followed_by_what_leaves_them_out() -> None:
    summary: dict[str, Any] = {"groups": [["a", "b"]], "labels": 1, "images": 12}
    for out, name, option in (("c.csv", "cluster", "exclude"), ("c.png", "dedupe", "out")):
        given = config.DedupeConfig(store="s", out=out)
        follows = pasted(last_line("dedupe", given, Outcome(summary, ""), 1.0))
        expected = "c.csv" if option == "exclude" else "duplicates.csv"
        assert (follows.name, follows.config.model_dump()[option]) == (name, expected)
    given = config.DedupeConfig(store="s", out="c.csv")
    assert last_line("dedupe", given, Outcome({"groups": []}, ""), 1.0) == "dedupe done in 1.0 s"


@pytest.mark.parametrize(
    ("names", "follows"),
    [
        (["a/1", "a/2", "b/1", "b/2"], "train s --out model"),
        ([f"a/{n}" for n in range(20)], "cluster s --k 2:10 --out clusters"),  # one class
        ([*"abcdefghijkl"], "cluster s --k 2:10 --out clusters"),  # no label
        ([*"abcde", "a/1"], "cluster s --k 2:5 --out clusters"),
        ([*"abc"], ""),
    ],
)
def test_without_two_labels_there_are_clusters(
    names: list[str], follows: str, tmp_path: Path
) -> None:
    make_store(tmp_path / "s", [items_of(names)], make_spec())
    given = config.ExtractConfig(source="photos", out="s", backbone="resnet18")
    line = last_line("extract", given, Outcome({}, "", StoreReader(str(tmp_path / "s"))), 1.0)
    assert line.partition("; next: raypipe ")[2] == follows


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
    assert pasted(here("repair", store).stderr.splitlines()[-1]).name == "verify"
    assert here("repair", store).stderr.splitlines()[-1].endswith(" s")  # nothing was damaged
    assert "done in" not in here("compact", store, "--json").stderr
