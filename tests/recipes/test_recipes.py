"""Recipes end to end, on generated images and seeded weights; see also test_*_tutorial.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import raypipe
from raypipe.config import RunConfig
from raypipe.errors import UsageError
from raypipe.jobs import run
from tests.conftest import draw_folder

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "must have `steps:`"),
        ("steps: []\nname: x", "unknown key 'name'"),
        (
            "steps: [extrac: {}]",
            "step 1 of .* must be one of .*; got 'extrac'; did you mean extract",
        ),
        ("steps: [extract: {source: x, sise: 3}]", "step 1 .extract. has no option 'sise'.*size"),
        ("steps: [extract: {source: x, size: big}]", "step 1 .extract.: --size must be"),
        ("steps: [extract: {size: 64}]", "step 1 .extract.: SOURCE is required"),
        ("steps: [cluster: {k: 5, join: none.csv}]", "step 1 .cluster.: --join: no file"),
        ("steps: [train: {exclude: none.csv}]", "step 1 .train.: --exclude: no file"),
        ("steps: [predict: {source: none.zip}]", "step 1 .predict.: --source: no file"),
        ("steps: [\n", "cannot read .* as YAML"),
        ("steps: [extract: photos]", "step 1 .*: expected `option: value` lines; got 'photos'"),
        ("steps: []\n1: x", "unknown key 1"),
        ("steps: [train: {grid: {gamma: [1]}}]", "step 1 .train.: --grid: expected NAME=VALUE"),
        ("steps: [export: {to: npy, out: f.h5}]", "step 1 .export.: --out: a file ending in .npy"),
        ("steps: [predict: {source: .., out: x.txt}]", "step 1 .predict.: --out must end in .csv"),
    ],
)
def test_wrong_recipes_get_one_line_before_any_work(tmp_path: Path, text: str, words: str) -> None:
    path = recipe(tmp_path, text)
    with pytest.raises(UsageError, match=words):
        run.run(RunConfig(recipe=str(path), out=str(tmp_path / "out")))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("size=3", "--set must be STEP.OPTION=VALUE; got 'size=3'"),
        ("train.seed=3", "the recipe has no such step"),
        ("extract.sizes=3", "no option 'sizes'"),
        ("extract.glob=*.jpg", "--source: no file or folder"),  # no YAML alias
    ],
)
def test_wrong_changes(tmp_path: Path, change: str, words: str) -> None:
    path = recipe(tmp_path, "steps: [extract: {source: x}]")
    with pytest.raises(UsageError, match=words):
        raypipe.run(path, out=tmp_path / "out", set=change)


def test_every_recipe_says_what_it_does_and_how_it_is_run() -> None:
    recipes = sorted(RECIPES.glob("*.yaml"))
    assert len(recipes) >= 5
    for path in recipes:
        head = path.read_text().split("description:")[0]
        assert f"raypipe run recipes/{path.name} --source" in head


def test_a_dry_run_shows_the_plan(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", 1)
    recipe = RECIPES / "flowers17-vgg16.yaml"
    out = tmp_path / "out"
    plan = raypipe.run(recipe, source=photos, out=out, dry_run=True)
    assert not out.exists()
    assert [step["job"] for step in plan["steps"]] == [
        "extract",
        "export",
        "train",
        "report",
    ]
    assert plan["steps"][0]["source"] == str(photos)
    assert plan["steps"][2]["store"] == str(out / "features")
    with pytest.raises(UsageError, match="--source|no file or folder"):
        raypipe.run(recipe, source=tmp_path / "none", out=out, dry_run=True)


@pytest.mark.parametrize("improved", sorted(path.name for path in RECIPES.glob("*-improved.yaml")))
def test_an_improved_recipe_has_the_same_steps_and_network(
    improved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw_folder(tmp_path / "photos", 1)
    monkeypatch.chdir(tmp_path)
    Path("images.csv").write_text("ImageID,label\n")  # the clusters' recipe asks for it
    usual, better = (
        raypipe.run(RECIPES / name, source=photos, out=tmp_path / "out", dry_run=True)["steps"]
        for name in (improved.replace("-improved", ""), improved)
    )
    assert [step["job"] for step in better] == [step["job"] for step in usual]
    same = ("backbone", "weights", "layer", "pool")
    assert [better[0].get(key) for key in same] == [usual[0].get(key) for key in same]
    assert better != usual
