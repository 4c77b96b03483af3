"""One definition per job, and one clear line for every wrong option."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from raypipe import config
from raypipe.cli.options import resolve
from raypipe.config import ClusterConfig, ExtractConfig, TrainConfig
from raypipe.config.allowed import plain
from raypipe.errors import UsageError

NOTHING: dict[str, str] = {}


def extract(**given: object) -> ExtractConfig:
    return resolve(ExtractConfig, {"source": "s", "out": "o", **given}, environment=NOTHING)


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("source: file\nout: file\nsize: 96\nresize-to: 128\nlayer: [a, b]\n")
    environment = {"RAYPIPE_OUT": "env", "RAYPIPE_SIZE": "64", "RAYPIPE_PRUNE": "true"}
    found = resolve(ExtractConfig, {"size": 32}, str(job), environment)
    assert (found.size, found.out, found.source, found.pool) == (32, "env", "file", "avg")
    assert (found.resize_to, found.layer, found.prune) == (128, ("a", "b"), True)


def test_layers_can_be_numbers_or_one_text() -> None:
    assert extract(layer=3).layer == ("3",)
    assert extract(layer=None).layer == ()
    assert extract(layer="a, b").layer == ("a", "b")


def test_grid_forms(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("store: s\nout: o\ngrid: {C: [0.1, 1]}\n")
    assert resolve(TrainConfig, {}, str(job), NOTHING).grid == ("C=0.1,1",)
    job.write_text("store: s\nout: o\ngrid: {C: 0.1}\nlayer:\n")
    assert resolve(TrainConfig, {}, str(job), NOTHING).grid == ("C=0.1",)
    job.write_text("store: s\nout: o\ngrid: {C: '0.1,1'}\n")
    assert resolve(TrainConfig, {}, str(job), NOTHING).grid == ("C=0.1,1",)
    given = {"store": "s", "out": "o", "grid": "C=1,2"}
    assert resolve(TrainConfig, given, None, NOTHING).grid == ("C=1,2",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"pool": "mean"},
            "--pool must be avg, max, .*, hwc, argmax, .*; got 'mean'; did you mean max",
        ),
        ({"size": 0}, "--size must be a side of 8 to 65535 pixels, or HEIGHTxWIDTH.*; got 0"),
        ({"size": "big"}, "--size must be .*HEIGHTxWIDTH.*; got 'big'"),
        (
            {"batch_size": "lots"},
            "--batch-size must be auto or a whole .* ≤ 65536; got 'lots'",
        ),
        ({"actors": "many"}, "--actors must be auto, N or MIN:MAX"),
        ({"actors": "4:2"}, "--actors must be auto, N or MIN:MAX"),
        ({"interpolation": "cubic"}, "--interpolation must be nearest, bilinear"),
        ({"since": "caf\udce9"}, "--since must be an id, or .* in UTF-8; got "),
        ({"nonsense": 1}, "unknown option --nonsense"),
        ({"seed": 2**32}, "--seed must be a whole number ≥ 0 and ≤ 4294967295"),
        ({"size": [1]}, "--size must be .*HEIGHTxWIDTH"),
    ],
)
def test_wrong_values_get_one_line(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as found:
        extract(**given)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "name", ["size", "resize_to", "crop", "batch_size", "max_seconds_per_image"]
)
def test_what_no_image_or_machine_has(name: str) -> None:
    """Numbers on which libraries fail, or a timer never rings."""
    for number in (10**12, 10**30, "inf", "nan"):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must be .*; got "):
            extract(**{name: number})


@pytest.mark.parametrize("name", config.JOBS)
def test_numbers_are_finite(name: str) -> None:
    model = config.JOBS[name]
    for option, info in model.model_fields.items():
        if float in plain(info.annotation):
            for given in ("inf", "nan", "1e999"):
                with pytest.raises(ValidationError) as found:
                    model.model_validate({option: given})
                assert option in [error["loc"][0] for error in found.value.errors()]


def test_missing_option_says_where_it_can_come_from() -> None:
    with pytest.raises(UsageError, match=r"--k is required .*--config.*RAYPIPE_K"):
        resolve(ClusterConfig, {"store": "s", "out": "o"}, environment=NOTHING)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sise: 3", "unknown option 'sise'; did you mean size"),
        ("- a\n- b", "must hold `option: value` lines"),
        ("a: [", "cannot read .* as YAML"),
        (
            "size: 64\nbatch_size: 8\nsize: 32",
            "as YAML: line 3, column 1: 'size' stands there twice",
        ),
        ("seed: " + "[" * 5000, "as YAML: maximum recursion depth"),
        ("seed: " + "1" * 5000, "as YAML: Exceeds the limit"),
        ("source: 2026-02-30", "as YAML: day is out of range"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        resolve(ExtractConfig, {}, str(tmp_path / "job.yaml"), NOTHING)
    with pytest.raises(UsageError, match="cannot read"):
        resolve(ExtractConfig, {}, str(tmp_path / "none.yaml"), NOTHING)


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        extract().size = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", [n for n in config.__all__ if n.endswith("Config")])
def test_every_option_has_a_help_text_and_a_heading(name: str) -> None:
    model: type[BaseModel] = getattr(config, name)
    for option, info in model.model_fields.items():
        assert info.description, option
        assert isinstance(info.json_schema_extra, dict), option
        assert set(info.json_schema_extra) == {"group", "position", "instead", "usual"}
