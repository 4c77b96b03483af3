"""The command line as its users meet it: exit status, standard output, one-line errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.cli.command import Given, add_command, execute, new_app
from raypipe.config import JOB_HEADINGS, JOBS
from raypipe.config.examples import EXAMPLES
from raypipe.config.types import is_usual, position, replaced_by
from tests.conftest import NETWORKS, TINY, Here, draw_folder, flags

CLI = [sys.executable, "-m", "raypipe.cli"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=180,
        check=False,
    )


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error for wrong use."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "starting Ray" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("raypipe")
    return lines[0]


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no Ray yet, and it would be wrong to start one."""

    def wrong(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", wrong)


def test_help(here: Here) -> None:
    done = run("--help")
    assert done.returncode == 0
    commands = ("extract", "train", "cluster", "predict", "inspect", "layers", "demo")
    assert all(command in done.stdout for command in commands)
    assert here("--help").stdout == done.stdout
    extract = here("extract", "--help-all").stdout
    assert all(word in extract for word in ("--backbone", "Preprocessing", "--json", "[required]"))


@pytest.mark.parametrize("name", JOBS)
def test_short_help_is_what_most_people_need(
    name: str, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples, then what is required, then what is usual; a screen at most."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = here(name, "--help").stdout
    lines = shown.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= max(80, *(len(example) + 2 for example in EXAMPLES[name]))
    fields = JOBS[name].model_fields
    for one, info in fields.items():
        label = one.upper() if position(info) else "--" + one.replace("_", "-")
        assert (f"\n  {label} " in shown.replace("\n", " \n")) == is_usual(info), one
    headings = [line for line in lines if line in ("Examples:", "Required:", "Often used:")]
    assert headings == sorted(headings, key=["Examples:", "Required:", "Often used:"].index)
    assert lines[-1] == f"All options: raypipe {name} --help-all"
    assert here(name, "-h").stdout == shown


@pytest.mark.parametrize("name", JOBS)
def test_full_help_has_every_option(name: str, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = here(name, "--help-all").stdout
    for one, info in JOBS[name].model_fields.items():
        flag = "--" + one.replace("_", "-")
        assert bool(re.search(rf"{flag}\b(?!-)", shown)) != bool(replaced_by(info)), one


def test_help_is_of_the_command_and_not_of_the_one_it_sends(here: Here) -> None:
    shown = here("submit", "--help", "--", "extract").stdout
    assert shown.startswith("Usage: raypipe submit")
    found: list[Given] = []
    app = new_app()
    add_command(app, "submit", JOBS["submit"], lambda given: len(found.append(given) or ""))
    assert execute(app, ["submit", "--", "extract", "--help"]) == 0
    assert found[0].config.model_dump()["command"] == ("extract", "--help")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extrct"], r'Did you mean "extract".*\(see raypipe --help\)'),
        (["extract", "--bakbone", "x"], "Did you mean --backbone"),
        (
            ["extract", "a", "--out", "b", "--pool", "mean"],
            "--pool must be avg, max, .*; got 'mean'; did you mean max",
        ),
        (["extract", "a"], "--out is required"),
        (["extract", "--out", "b"], "SOURCE is required"),
        (["extract", "a", "b"], "unexpected 'b': extract takes SOURCE.*give --out b$"),
        (["extract", "a", "--out", "b", "--dry-run", "yes"], "'yes'.*--dry-run takes no value$"),
        (["extract", "a", "b", "--out", "c"], "'b'.*several images a folder or --glob$"),
        (
            ["extract", "a", "--out", "b", "--batch-size", "-4"],
            "auto or a whole number ≥ 1 and ≤ 65536; got",
        ),
        (["train", "a", "--out", "b", "--seed", "1.5"], "--seed must be a whole number.*'1.5'$"),
        (["cluster", "a", "--out", "b", "--k", "0"], "--k must be a number from 1, or a range"),
        (["extract", "/nowhere", "--out", "b"], "no file or folder at '/nowhere'"),
        (
            ["extract", "a", "--out", "ftp://b/c"],
            "--out: expected a path, or file://, s3:// or gs://",
        ),
        (["inspect", "/nowhere"], "no store at '/nowhere'"),
        (["layers", "resnet5O"], "did you mean resnet50"),
        (["train", "/nowhere", "--out", "x"], "no store at"),
    ],
)
@pytest.mark.usefixtures("no_ray")
def test_wrong_use_is_one_line_and_exit_2(
    arguments: list[str], words: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(words, line_of(here(*arguments)))


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("cluster a --out b --minibatch 100", "--minibatch"),
        ("cluster a --out b --k 2:9 --choose elbow", "--choose"),
        ("cluster a --out b --map umap", "--map"),
        ("report a --map umap", "--map"),
    ],
)
@pytest.mark.usefixtures("no_ray")
def test_options_that_were_removed_are_refused_by_name(
    command: str, option: str, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *arguments = command.split()
    line = line_of(here(name, *arguments))
    assert line.startswith(f"raypipe {name}: Unknown option: {option}.")
    assert line.endswith(f"(see raypipe {name} --help)")
    (tmp_path / "job.yaml").write_text(f"{option.removeprefix('--')}: 1\n")
    del arguments[arguments.index(option) :]
    line = line_of(here(name, *arguments, "--config", "job.yaml"))
    assert f"'job.yaml' has unknown option {option.removeprefix('--')!r}" in line


@pytest.mark.usefixtures("no_ray")
def test_mini_batches_are_for_perceptrons(here: Here) -> None:
    """The option of this name that there still is."""
    line = line_of(here("train", "a", "--out", "b", "--minibatch", "5"))
    assert line == "raypipe train: --minibatch goes with --head mlp; got --head logistic"


def test_wrong_use_of_a_program(tmp_path: Path) -> None:
    assert "no file or folder at" in line_of(run("extract", "/nowhere", "--out", str(tmp_path)))


@pytest.mark.usefixtures("ray_session")
def test_wrong_layer_is_found_before_anything_is_written(here: Here, tmp_path: Path) -> None:
    source = draw_folder(tmp_path / "photos", 1)
    command = ["extract", str(source), "--out", str(tmp_path / "s"), *flags(layer=("blck2",))]
    line = line_of(here(*command))
    assert "no node 'blck2'" in line
    assert not (tmp_path / "s").exists()


def test_whole_run_with_json(
    photos: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_session)
    noisy = tmp_path / "noisy.py"
    noisy.write_text("print('a backbone that prints')\n" + NETWORKS.read_text())
    (tmp_path / "job.yaml").write_text(f"source: {photos}\nlabel: folder\nresize: shorter\n")
    done = run(
        "extract",
        "--config",
        str(tmp_path / "job.yaml"),
        "--json",
        *flags(backbone=f"{noisy}:tiny"),
        RAYPIPE_OUT=str(tmp_path / "store"),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {"rows", "rejects", "decoded", "seconds", "images_per_second", "snapshot"} <= set(
        summary
    )
    assert (summary["rows"], summary["decoded"], summary["snapshot"]) == (24, 24, 1)
    assert "24/24 images (100 %)" in done.stderr
    assert "Traceback" not in done.stderr
    shown = here("inspect", str(tmp_path / "store"), "--json")
    content = json.loads(shown.stdout)
    assert (content["rows"], content["labels"]["circle"]) == (24, 8)
    assert content["features"] == {"features": [16]}
    text = here("inspect", str(tmp_path / "store")).stdout
    assert all(word in text for word in ("rows", "rejects", "stripes", "noisy.py"))
    cluster = [sys.executable, "-m", "raypipe.jobs.cluster", str(tmp_path / "store")]
    module = subprocess.run(
        [*cluster, "--out", str(tmp_path / "k"), "--k", "3", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"k", "inertia", "sizes"} <= set(json.loads(module.stdout))


def test_layers_lists_nodes_and_shapes(here: Here) -> None:
    done = here("layers", TINY, "--size", "32")
    assert done.returncode == 0
    assert "block2.2" in done.stdout
    assert "16c × 8 × 8" in done.stdout
    assert "← embedding: the default" in done.stdout


def test_importing_the_package_is_light() -> None:
    heavy = "sorted({'torch', 'ray', 'sklearn'} & set(sys.modules))"
    code = f"import sys, raypipe; print({heavy}); import raypipe.cli; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize("name", JOBS)
def test_examples_are_commands(name: str) -> None:
    """Each job has some, under one heading of the help, and the parser takes them."""
    assert [name in jobs for jobs in JOB_HEADINGS.values()].count(True) == 1
    assert EXAMPLES[name]
    for example in EXAMPLES[name]:
        program, *arguments = shlex.split(example)
        assert (program, arguments[0]) == ("raypipe", name)
        found: list[Given] = []
        app = new_app()
        add_command(
            app, name, JOBS[name], lambda given, found=found: len(found.append(given) or "")
        )
        assert execute(app, arguments) == 0, example
        assert found[0].name == name


def test_help_of_a_job_ends_with_examples(here: Here) -> None:
    shown = here("train", "--help-all").stdout
    assert "raypipe train features --out model --grid" in shown.split("Examples:")[1]


def test_completion(here: Here) -> None:
    done = here("--install-completion", "--help")
    assert done.returncode == 0
    assert "--shell" in done.stdout
    script = new_app()
    add_command(script, "extract", JOBS["extract"])
    completion = script.generate_completion(shell="bash")
    assert all(word in completion for word in ("--backbone", "--max-pixels", "--help-all"))


def test_colour_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = new_app()
    add_command(app, "inspect", JOBS["inspect"])
    assert execute(app, ["inspect", "/nowhere"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert execute(app, ["inspect", "/nowhere"]) == 2
    assert capsys.readouterr().err.startswith("\x1b[1;31mraypipe inspect\x1b[0m: STORE")
    monkeypatch.setenv("NO_COLOR", "1")
    assert execute(app, ["inspect", "/nowhere"]) == 2
    assert "\x1b" not in capsys.readouterr().err
