"""Values of options that are written as a text: read once, shown as they were written."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import raypipe
from raypipe.cli.command import Given, add_command, execute, new_app
from raypipe.cli.options import parameters, resolve
from raypipe.config import JOBS
from raypipe.config.values import (
    Actors,
    Change,
    Colour,
    Filter,
    HiddenLayers,
    KRange,
    Shares,
    Size,
    as_written,
)
from raypipe.errors import UsageError
from raypipe.spec import HeadSpec, Output, Spec

#: By job and option: a text, and what it means.
GIVEN: dict[tuple[str, str], tuple[str, Any]] = {
    ("extract", "split_sizes"): ("0.80,0.20", (0.8, 0.2)),
    ("extract", "mean"): ("0.5, .4,0.30", (0.5, 0.4, 0.3)),
    ("extract", "actors"): ("1:04", (1, 4)),
    ("train", "actor_memory"): ("1.5 gib", 3 * 2**29),
    ("train", "hidden"): ("512x128", (512, 128)),
    ("cluster", "k"): ("5:50:10", range(5, 51, 10)),
    ("predict", "where"): ("n = -2.5 : 1e3", ("n", -2.5, 1000.0)),
    ("run", "set"): ("train.test-size=0.5", ("train", "test_size", 0.5)),
}
REST: dict[str, dict[str, str]] = {
    "extract": {"source": "s", "out": "o"},
    "train": {"store": "s", "out": "o"},
    "cluster": {"store": "s", "out": "o", "k": "3"},
    "predict": {"model": "m", "source": "s", "out": "o"},
    "run": {"recipe": "r"},
}
CASES = [(job, option, *wanted) for (job, option), wanted in GIVEN.items()]


def only(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


@pytest.mark.parametrize(("job", "option", "text", "meant"), CASES)
def test_a_text_is_read_once_and_comes_back_as_it_was(
    tmp_path: Path, job: str, option: str, text: str, meant: Any
) -> None:
    rest = {name: value for name, value in REST[job].items() if name != option}
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({option: text}))
    seen: list[Given] = []
    app = new_app()
    add_command(app, job, JOBS[job], lambda given: seen.append(given) or 0, {})
    typed = [
        f"--{name.replace('_', '-')}={value}" for name, value in {**rest, option: text}.items()
    ]
    assert execute(app, [job, *typed]) == 0
    found = [
        seen[0].config,
        resolve(JOBS[job], {**rest, option: text}, environment={}),
        resolve(JOBS[job], rest, str(file), {}),
        resolve(JOBS[job], rest, None, {f"RAYPIPE_{option.upper()}": text}),
    ]
    assert found == [found[0]] * 4
    value = only(getattr(found[0], option))
    fields = tuple(v for name, v in vars(value).items() if name != "text")
    assert fields == (meant if job in ("predict", "run") else (meant,))
    for dumped in (found[0].model_dump(), json.loads(found[0].model_dump_json())):
        assert only(tuple(dumped[option]) if option in ("where", "set") else dumped[option]) == text
        assert resolve(JOBS[job], dumped, environment={}) == found[0]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (Shares, ("", "1", "0.5,0.6", "a,b", "0.9,0.1,0", "0.25,0.25,0.25,0.25", "nan,nan", None)),
        (Colour, ("", "0.5,0.5", "0,0,1.1", "-0.1,0,0", "a,b,c", "0,0,0,0", "nan,0,0", None)),
        (KRange, ("0", "1:5", "5:2", "2:5:0", "2:5:1:1", "", "-3", "2.0", [5], True)),
        (Actors, ("0", "2:1", "1:2:3", "many", "", "0:1", "-1", "auto:2", [2], None)),
        (HiddenLayers, ("0", "256x", "x", "", "none,1", "256,128", "-1", 2.5)),
        (Size, ("", "0", "4KB", "4IB", "GiB", "-1", "nan", "inf", "9e99T", "4XiB")),
        (Change, ("size=3", "train.size", ".size=3", "train.=3", 3, {"a.b": "="})),
        (Filter, ("n", "n=", "=1:2", "n=:", "n=2:1", "n=a:b", "n=1:2:3", "n=nan", "n=inf:")),
    ],
)
def test_what_is_not_allowed(kind: Any, texts: tuple[Any, ...]) -> None:
    for text in texts:
        with pytest.raises(ValueError) as error:
            kind.parse(text)
        assert str(error.value) == kind.allowed


@pytest.mark.parametrize(("job", "option"), [("extract", "size"), ("extract", "resize_to")])
@pytest.mark.parametrize(
    ("given", "meant"),
    [("64", 64), ("64x48", (64, 48)), ("64x64", 64), ([64, 48], (64, 48)), (64, 64)],
)
def test_sides_of_an_image(
    tmp_path: Path, job: str, option: str, given: Any, meant: int | tuple[int, int]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({option: given}))
    found = [
        resolve(JOBS[job], {**REST[job], option: given}, environment={}),
        resolve(JOBS[job], REST[job], str(file), {}),
    ]
    if isinstance(given, str):
        seen: list[Given] = []
        app = new_app()
        add_command(app, job, JOBS[job], lambda given: seen.append(given) or 0, {})
        rest = [f"--{name}={value}" for name, value in REST[job].items()]
        assert execute(app, [job, *rest, f"--{option.replace('_', '-')}", given]) == 0
        found += [seen[0].config]
        found += [resolve(JOBS[job], REST[job], None, {f"RAYPIPE_{option.upper()}": given})]
    assert [getattr(one, option) for one in found] == [meant] * len(found)
    dumped = json.loads(found[0].model_dump_json())
    assert resolve(JOBS[job], dumped, environment={}) == found[0]
    assert as_written(JOBS[job].model_fields[option].annotation) == int | str | None


def test_other_forms() -> None:
    assert Shares.parse([0.6, 0.2, 0.2]).text == "0.6,0.2,0.2"
    assert Colour.parse((0.5, 0, 1)).parts == (0.5, 0, 1)
    assert Actors.parse("auto").bounds is None
    assert Actors.parse(2).bounds == (2, 2)
    assert HiddenLayers.parse("none").units == ()
    assert KRange.parse(7).numbers == range(7, 8)
    sizes = {"1": 1, "2B": 2, "3K": 3072, "3KiB": 3072, "4M": 2**22, "4GiB": 2**32, "1T": 2**40}
    assert {text: Size.parse(text).bytes for text in sizes} == sizes
    assert Change.parse("a.glob=*.jpg").value == "*.jpg"  # no YAML alias


def test_wrong_values_of_a_list_are_told_once() -> None:
    given = {**REST["predict"], "where": ["n", "m"]}
    with pytest.raises(UsageError, match=r"^--where must be COLUMN=[^;]*VALUE; got 'n'$"):
        resolve(JOBS["predict"], given, environment={})


def test_stored_filters_are_what_they_were() -> None:
    """The fingerprint as computed when filters were kept as texts."""
    head = HeadSpec(
        sha256="h",
        classes_sha256="c",
        column="features",
        threshold=0.5,
        where=("kind=-2.5:", "kind=:7"),
    )
    outputs = (
        Output(column="features", layer="l"),
        Output(column="kind", layer="k", pool="argmax"),
    )
    spec = Spec(backbone="b", weights_sha256="w", outputs=outputs, head=head)
    known = "9349e97f156cd9c4dc84d33a6b13f567058e5ed7d3a434c2d897e08750f38209"
    assert spec.fingerprint == known
    assert spec.model_dump(mode="json")["head"]["where"] == ["kind=-2.5:", "kind=:7"]
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("job", ["extract", "train", "cluster", "predict", "export", "doctor"])
def test_python_and_command_line_have_one_signature(job: str) -> None:
    """Types and defaults are those of what is given: a text."""
    signature = inspect.signature(getattr(raypipe, job))
    assert list(signature.parameters.values()) == parameters(JOBS[job])
    for name, one in signature.parameters.items():
        assert "values." not in str(one.annotation)
        if (job, name) in GIVEN and one.default not in (None, (), one.empty):
            assert isinstance(one.default, str)
