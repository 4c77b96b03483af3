"""Recipes of dense heads against the tutorials' own steps, with OpenCV, Keras, scikit-learn."""

from __future__ import annotations

import csv
import re
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import raypipe
from raypipe.images.augment import draw
from raypipe.images.decode import decode
from raypipe.images.transforms import to_pixels
from raypipe.spec import Augment
from tests.backbone.keras_networks import keras
from tests.images.test_augment import keras_view
from tests.support.tutorials import (
    SEEDS,
    assert_same_features,
    assert_within_spread,
    curves,
    fitted,
    network,
    outputs,
    photograph,
    run_recipe,
    write,
)

pytestmark = [pytest.mark.ci, pytest.mark.usefixtures("ray_session")]

#: Photographs whose features Keras computes, too; with these, both go on with the recipe's.
SOME = slice(None, None, 3)

Dense, Dropout = keras.layers.Dense, keras.layers.Dropout


def rmsprop(rate: float) -> Any:
    """Keras 2's optimiser: √v + 1e-7; today's is √(v + ε), which comes to that with ε = 1e-14."""
    return partial(keras.optimizers.RMSprop, rate, epsilon=1e-14)


def load_img(path: Path, side: int) -> np.ndarray:
    """(side, side, 3) float32, 0..255."""
    return keras.utils.img_to_array(keras.utils.load_img(path, target_size=(side, side)))


def seeds(*arguments: Any, **fit: Any) -> list[np.ndarray]:
    return [fitted(*arguments[:2], seed, arguments[2], **fit)[1] for seed in SEEDS]


# ── dogs and cats


def zipped(path: Path, names: list[str]) -> dict[str, bytes]:
    made = {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            made[name] = write(photograph("dog" in name, number), turned=number % 5 == 0)
            archive.writestr(name, made[name])
    return made


def cubic(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.resize(image, (150, 150), interpolation=cv2.INTER_CUBIC) / 255


def natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def pixels_of(store: Path, data: bytes) -> np.ndarray:
    """The recipe's own pixels, divided by 255; OpenCV's, but for what lies between two values.

    Its 8-bit results are not the same everywhere: those of Intel's library, which its builds for
    x86 have, and those of its own code differ by 1 of 255 in 4 % of values. Its floating-point
    arithmetic is the same, and says that values which we round otherwise are halves.
    """
    plan = raypipe.open(store).spec.preprocess
    ours = to_pixels(decode(data, 10**9, orientation=plan.orientation), plan)[..., ::-1] / 255
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(np.float64)
    exact = cv2.resize(image, (150, 150), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    assert np.abs(255 * ours - exact).max() < 0.5 + 1e-3
    off = np.abs(ours - cubic(data)) > 1e-3
    if cv2.ipp.useIPP():
        assert np.abs(exact[off] % 1 - 0.5).max(initial=0) < 1e-3
    return ours


def test_dogs_vs_cats(tmp_path: Path) -> None:
    names = [f"train/{kind}.{n}.jpg" for n in range(23) for kind in ("dog", "cat")]
    images = zipped(tmp_path / "train.zip", names)
    asked = zipped(tmp_path / "test.zip", [f"test/{n}.jpg" for n in range(1, 13)])
    vgg = network("vgg16", 150, tmp_path / "vgg.h5")
    steps = run_recipe(
        "dogs-vs-cats.yaml",
        tmp_path / "train.zip",
        tmp_path / "out",
        f"extract.weights={tmp_path / 'vgg.h5'}",
        "extract.label_limit=20",
        f"predict.source={tmp_path / 'test.zip'}",
        "predict.actors=1",
        "predict.batch_size=4",
    )
    cats = sorted((name for name in names if "cat" in name), key=natural)[:20]
    dogs = sorted((name for name in names if "dog" in name), key=natural)[:20]
    taken = cats + dogs
    y = np.array([int("dog" in name) for name in taken])
    store = raypipe.open(tmp_path / "out" / "features").to_numpy()
    place = {name: row for row, name in enumerate(store.ids)}
    assert sorted(place) == sorted(taken)
    x = store.features[[place[name] for name in taken]]
    pixels = [pixels_of(tmp_path / "out" / "features", images[name]) for name in taken]
    # With AVX2 and no more, both differ by 2e-6 of the largest value of all.
    assert_same_features(x[SOME], outputs(vgg, pixels[SOME]).reshape(-1, 8192), alive=1 / 30)

    split = train_test_split(x, y, np.array(taken), test_size=0.333334, random_state=1)
    held = list(csv.DictReader((tmp_path / "out" / "model" / "holdout.csv").open()))
    assert [row["id"] for row in held] == split[5].tolist()
    assert steps["train"]["train_rows"] == len(split[0])
    assert steps["train"]["validation_rows"] == len(split[1])
    layers = [partial(Dense, 256, "relu"), partial(Dropout, 0.5), partial(Dense, 1, "sigmoid")]
    how = {"optimizer": rmsprop(2e-5), "loss": "binary_crossentropy"}
    data = split[0], split[2], split[1], split[3]
    found = curves(tmp_path / "out" / "model")
    assert steps["train"]["best_epoch"] == len(found) == 30
    assert_within_spread(found, seeds(layers, how, data, epochs=30, batch_size=16))

    rows = list(csv.DictReader((tmp_path / "out" / "submission.csv").open()))
    assert list(rows[0]) == ["id", "label"]
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 13)]
    scorer = raypipe.load_model(tmp_path / "out" / "model").head.scorer
    head = keras.Sequential([keras.Input((8192,)), Dense(256, "relu"), Dense(1, "sigmoid")])
    last, bias = np.diff(scorer.weights[1], axis=0), np.diff(scorer.biases[1])
    head.set_weights([scorer.weights[0].T, scorer.biases[0], last.T, bias])
    last_pixels = [cubic(asked[name]) for name in sorted(asked, key=natural)]
    right = outputs(head, outputs(vgg, last_pixels).reshape(12, -1))
    np.testing.assert_allclose([float(row["label"]) for row in rows], right[:, 0], atol=1e-4)


# ── flower photographs


def flowers(folder: Path) -> dict[str, Path]:
    """Sixty photographs in five folders; some lie on their side, which Keras leaves as it is."""
    found = {}
    for kind, name in enumerate(("daisy", "dandelion", "roses", "sunflowers", "tulips")):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            path = folder / name / f"{number}.jpg"
            path.write_bytes(write(photograph(kind, number), turned=number % 4 == 0))
            found[f"{name}/{number}.jpg"] = path
    return found


def test_flower_photos(tmp_path: Path) -> None:
    images = flowers(tmp_path / "flowers")
    vgg = network("vgg16", 150, tmp_path / "vgg.h5")
    steps = run_recipe(
        "flower-photos-augmented.yaml",
        tmp_path / "flowers",
        tmp_path / "out",
        f"extract.weights={tmp_path / 'vgg.h5'}",
    )
    names = np.array(sorted(images))
    labels = [name.split("/")[0] for name in names]
    y = np.eye(5)[np.unique(labels, return_inverse=True)[1]]
    drawn = Augment(views=1, rotate=40, shift=0.2, shear=0.2, zoom=0.2, seed=0)
    x = np.empty((60, 4, 4, 512), np.float32)
    rest, test = train_test_split(np.arange(60), test_size=6, stratify=labels, random_state=42)
    rest = np.sort(rest)
    train, valid = train_test_split(
        rest, test_size=6, stratify=np.array(labels)[rest], random_state=42
    )
    parts = {"train": np.sort(train), "validation": np.sort(valid), "test": np.sort(test)}
    for part, rows in parts.items():
        ids = np.load(tmp_path / "out" / f"features.{part}.ids.npy").tolist()
        assert ids == names[rows].tolist()
        ours = np.load(tmp_path / "out" / f"features.{part}.npy")
        assert ours.shape[1:] == (4, 4, 512)
        x[rows] = ours
    views = [keras_view(load_img(images[name], 150), draw(drawn, name, 1)) for name in names[SOME]]
    # Pixels are equal to 1e-5, not to the bit: where a column has less than a thirtieth of the
    # largest value, what Keras says is up to 7e-4 from float64.
    right = outputs(vgg, [pixels / 255 for pixels in views])
    assert_same_features(x[SOME], right, alive=1 / 30)
    held = list(csv.DictReader((tmp_path / "out" / "model" / "holdout.csv").open()))
    assert sorted(row["id"] for row in held) == names[parts["test"]].tolist()

    layers = [keras.layers.Flatten, partial(Dense, 256, "relu"), partial(Dense, 5, "sigmoid")]
    how = {"optimizer": partial(keras.optimizers.SGD, 0.01), "loss": "binary_crossentropy"}
    data = x[train], y[train], x[valid], y[valid]
    found = curves(tmp_path / "out" / "model")
    assert steps["train"]["best_epoch"] == len(found) == 50
    assert_within_spread(found, seeds(layers, how, data, epochs=50, batch_size=32))
    # The export's parts are the head's: its last loss is that of features.validation.npy.
    model = raypipe.load_model(tmp_path / "out" / "model")
    rows = parts["validation"]
    scores = model.head.scores(np.load(tmp_path / "out" / "features.validation.npy"))
    each = np.exp(scores.astype(np.float64))
    loss = -np.mean(y[rows] * np.log(each) + (1 - y[rows]) * np.log1p(-each))
    assert found[-1, 1] == pytest.approx(loss, rel=1e-3)


# ── dog breeds


def test_dog_breeds(tmp_path: Path) -> None:
    images = {}
    for part, count in (("train", 9), ("valid", 3), ("test", 3)):
        for kind in range(4):
            folder = tmp_path / "dogs" / part / f"00{kind}.Breed_{kind}"
            folder.mkdir(parents=True)
            for number in range(count):
                path = folder / f"{number}.jpg"
                path.write_bytes(write(photograph(kind, 10 * len(part) + number), number == 1))
                images[path.relative_to(tmp_path / "dogs").as_posix()] = path
    resnet = network("resnet50", 224, tmp_path / "resnet.h5", classes=1000)
    steps = run_recipe(
        "dog-breeds.yaml",
        tmp_path / "dogs",
        tmp_path / "out",
        f"extract.weights={tmp_path / 'resnet.h5'}",
    )
    outs = [resnet.get_layer("avg_pool").output, resnet.output]
    both = keras.Model(resnet.input, keras.layers.Concatenate()(outs))
    names = sorted(images)
    prepared = keras.applications.resnet50.preprocess_input
    pixels = [prepared(load_img(images[name], 224)) for name in names[SOME]]
    right, classes = np.split(outputs(both, pixels), [2048], axis=1)
    table = raypipe.open(tmp_path / "out" / "features").to_arrow(
        ["id", "features", "imagenet_class", "split"]
    )
    order = np.argsort(table["id"].to_pylist())
    assert [table["id"][row].as_py() for row in order] == names
    ours = raypipe.open(tmp_path / "out" / "features").to_numpy("features")
    assert ours.ids.tolist() == names
    x = ours.features
    assert_same_features(x[SOME], right)
    found = table["imagenet_class"].to_numpy()[order]
    np.testing.assert_array_equal(found[SOME], classes.argmax(axis=1))

    part = np.array([name.split("/")[0] for name in names])
    y = np.eye(4)[[int(name.split("/")[1][2]) for name in names]]
    held = list(csv.DictReader((tmp_path / "out" / "model" / "holdout.csv").open()))
    assert [row["id"] for row in held] == np.array(names)[part == "test"].tolist()
    assert (steps["train"]["train_rows"], steps["train"]["validation_rows"]) == (48, 12)
    layers = [partial(Dense, 4, "softmax")]
    how = {"optimizer": rmsprop(0.001), "loss": "categorical_crossentropy"}
    data = x[part == "train"], y[part == "train"], x[part == "valid"], y[part == "valid"]
    losses = curves(tmp_path / "out" / "model")
    assert len(losses) == 20
    assert steps["train"]["best_epoch"] == 1 + losses[:, 1].argmin()
    assert_within_spread(losses, seeds(layers, how, data, epochs=20, batch_size=20))
