"""Recipes end to end, on generated images and seeded weights; see also test_*_tutorial.py."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import raypipe
from raypipe.config import RunConfig
from raypipe.errors import UsageError
from raypipe.jobs import run
from tests.conftest import draw, draw_folder

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
# Short batches are padded to their full size, which VGG16 takes its time for.
RANDOM = (
    "extract.weights=random",
    "extract.actors=1",
    "extract.precision=fp32",
    "extract.batch_size=3",
)


SHORT = ("train.epochs=2",)


def check_dense(out: Path, steps: dict[str, dict], hidden: list[int]) -> None:
    """The head has the layers of the notebook, and its best epoch is kept."""
    found = raypipe.load_model(out / "model").head
    assert [len(bias) for bias in found.scorer.biases] == [*hidden, len(found.classes)]
    rows = list(csv.DictReader((out / "model" / "curves.csv").open()))
    losses = [float(row["validation_loss"]) for row in rows]
    assert len(losses) == 2
    assert steps["train"]["best_epoch"] == 1 + int(np.argmin(losses))
    assert (out / "model" / "curves.png").stat().st_size > 10_000


def run_recipe(name: str, source: Path, out: Path, *changes: str) -> dict[str, dict]:
    config = RunConfig(
        recipe=str(RECIPES / name), source=str(source), out=str(out), set=(*RANDOM, *changes)
    )
    return {step["job"]: step for step in run.run(config).summary["steps"]}


def test_flower_photos_augmented(tmp_path: Path, ray_session: None) -> None:
    source = draw_folder(tmp_path / "photos", 5)
    out = tmp_path / "out"
    steps = run_recipe(
        "flower-photos-augmented.yaml",
        source,
        out,
        "extract.augment=2",
        "export.split_sizes=[0.6, 0.2, 0.2]",
        "train.test_size=0.2",
        "train.validation_size=0.25",
        *SHORT,
    )
    assert steps["extract"]["features"] == {"features": [4, 4, 512]}
    assert (steps["extract"]["rows"], steps["extract"]["items"]) == (45, 15)
    seen: dict[str, set[str]] = {}
    for part, images in (("train", 9), ("validation", 3), ("test", 3)):
        features = np.load(out / f"features.{part}.npy", mmap_mode="r")
        assert features.shape == (3 * images, 4, 4, 512)
        seen[part] = set(np.load(out / f"features.{part}.ids.npy").tolist())
        assert len(seen[part]) == images
        assert len(np.load(out / f"features.{part}.labels.npy")) == 3 * images
    assert not seen["train"] & (seen["validation"] | seen["test"])
    assert not seen["validation"] & seen["test"]
    assert (steps["train"]["train_rows"], steps["train"]["test_rows"]) == (36, 3)
    assert steps["train"]["validation_rows"] == 3  # no views
    check_dense(out, steps, hidden=[256])


def zip_of(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for seed, name in enumerate(names):
            kind = "circle" if "cat" in name else "stripes"
            with archive.open(name, "w") as member:
                draw(kind, seed).save(member, "JPEG")
    return path


def test_dogs_vs_cats(tmp_path: Path, ray_session: None) -> None:
    names = [f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(8)]
    train = zip_of(tmp_path / "train.zip", names)
    test = zip_of(tmp_path / "test1.zip", [f"test1/{number}.jpg" for number in range(1, 12)])
    out = tmp_path / "out"
    steps = run_recipe(
        "dogs-vs-cats.yaml",
        train,
        out,
        "extract.label_limit=6",
        "train.validation_size=0.25",
        *SHORT,
        f"predict.source={test}",
        "predict.actors=1",
        "predict.batch_size=3",
    )
    assert steps["extract"]["features"] == {"features": [4, 4, 512]}
    ids = raypipe.open(out / "features").to_numpy().ids.tolist()
    assert sorted(ids) == sorted(
        f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(6)
    )
    check_dense(out, steps, hidden=[256])
    rows = list(csv.DictReader((out / "submission.csv").open()))
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 12)]
    assert set(rows[0]) == {"id", "label"}
    assert all(0 <= float(row["label"]) <= 1 for row in rows)


def test_dog_breeds(tmp_path: Path, ray_session: None) -> None:
    for part, count in (("train", 3), ("valid", 1), ("test", 1)):
        draw_folder(tmp_path / "dogImages" / part, count)
    out = tmp_path / "out"
    steps = run_recipe("dog-breeds.yaml", tmp_path / "dogImages", out, *SHORT)
    assert steps["extract"]["features"] == {"features": [2048], "imagenet_class": []}
    assert steps["train"]["split"] == "store"
    assert (steps["train"]["train_rows"], steps["train"]["test_rows"]) == (12, 3)
    assert steps["train"]["validation_rows"] == 3
    check_dense(out, steps, hidden=[])
    table = raypipe.open(out / "features").to_arrow(["id", "split", "imagenet_class"])
    assert set(table["split"].to_pylist()) == {"train", "validation", "test"}
    parts = [pq.read_table(path) for path in sorted((out / "features" / "data").glob("*.parquet"))]
    numbers = np.concatenate([part["imagenet_class"].to_numpy() for part in parts])
    assert numbers.dtype == np.int32
    assert ((numbers >= 0) & (numbers < 1000)).all()


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
        ("steps: [extract: {size: 64}]", "step 1 .extract.: --source is required"),
        ("steps: [cluster: {k: 5, join: none.csv}]", "step 1 .cluster.: --join: no file"),
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


def test_an_improved_recipe_has_the_same_steps_and_network(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", 1)
    usual, improved = (
        raypipe.run(RECIPES / name, source=photos, out=tmp_path / "out", dry_run=True)["steps"]
        for name in ("flowers17-vgg16.yaml", "flowers17-vgg16-improved.yaml")
    )
    assert [step["job"] for step in improved] == [step["job"] for step in usual]
    same = ("backbone", "weights", "layer", "pool")
    assert [improved[0].get(key) for key in same] == [usual[0].get(key) for key in same]
    assert improved != usual
