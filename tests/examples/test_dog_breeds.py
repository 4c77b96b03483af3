"""The example of recipe 4: dog, human or neither, from a model to pictures and back again."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import dog_breeds
import raypipe
from raypipe.errors import RejectedItem, RejectReason
from tests.conftest import NETWORKS
from tests.support.portraits import landscape, noisy, portrait
from tests.support.stores import items_of, make_spec, make_store
from tests.support.tutorials import run_recipe

NETWORK = f"{NETWORKS}:thousand"
EXAMPLE = Path(dog_breeds.__file__)
BREEDS = {
    "001.Affenpinscher": (90, 60, 40),
    "002.Afghan_hound": (200, 160, 90),
    "003.Ça_va_<très>_bien_& a rather long name": (170, 80, 50),
}
NAMES = {dog_breeds.name_of(label) for label in BREEDS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """What the recipe trains on three breeds, with a small network."""
    root = tmp_path_factory.mktemp("dogs")
    for part, count in (("train", 3), ("valid", 1), ("test", 1)):
        for number, (breed, colour) in enumerate(BREEDS.items()):
            folder = root / "dogImages" / part / breed
            folder.mkdir(parents=True)
            for i in range(count):
                noisy(colour, 10 * number + i).save(folder / f"{i}.png")
    changes = (
        f"extract.backbone={NETWORK}",
        "extract.layer=[features=avgpool:avg, imagenet_class=logits:argmax]",
        "extract.batch_size=4",
        "extract.weights=random",
        "extract.precision=fp32",
        "train.epochs=2",
    )
    run_recipe("dog-breeds.yaml", root / "dogImages", root / "out", *changes)
    return root / "out" / "model"


def take_photos(folder: Path) -> Path:
    """Two dogs, a human, the sea, and two files that cannot be read."""
    (folder / "dogs").mkdir(parents=True)
    noisy((180, 120, 70), 1, (300, 400)).save(folder / "dogs" / "Schäferhund #1 (50 %).jpg")
    noisy((120, 70, 50), 2, (1200, 900)).save(folder / "dogs" / "large.jpg")
    portrait(3).save(folder / "me.jpg")
    landscape().save(folder / "sea.png")
    (folder / "broken.jpg").write_bytes(b"<b>no image")
    (folder / "empty.png").touch()
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return take_photos(tmp_path / "photos")


def ask(model: Path, photos: Path, *options: str) -> int:
    out = str(photos.parent / "answers")
    given = [str(model), str(photos), "--out", out, "--actors", "1", "--backbone", NETWORK]
    return dog_breeds.main([*given, *options])


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def pictures_of(out: Path) -> dict[str, Path]:
    entries = json.loads((out / "answers.json").read_text("utf-8"))
    return {entry["id"]: out / "pictures" / entry["picture"] for entry in entries}


def colour_below(picture: Path, photo_height: int) -> tuple[int, ...]:
    with Image.open(picture) as image:
        found = image.convert("RGB").getpixel((image.width // 2, photo_height + 2))
    assert isinstance(found, tuple)
    return found


@pytest.fixture(scope="module")
def answered(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the answers are, beside the photographs; to be read and not changed."""
    photos = take_photos(tmp_path_factory.mktemp("answered") / "photos")
    assert ask(model, photos) == 0
    return photos.parent / "answers"


def test_answers(model: Path, answered: Path) -> None:
    photos = answered.parent / "photos"
    rows = rows_of(answered / "answers.csv")
    kinds = {name: row["answer"] for name, row in rows.items()}
    first = "dogs/Schäferhund #1 (50 %).jpg"
    assert kinds == {first: "dog", "dogs/large.jpg": "dog", "me.jpg": "human", "sea.png": "neither"}
    assert (rows["sea.png"]["breed"], rows["sea.png"]["probability"]) == ("", "")
    assert rows["sea.png"]["imagenet"] == "water tower"
    assert rows[first]["imagenet"] == "Tibetan terrier"
    given = {
        "where": "imagenet_class=0:",
        "class_names": "imagenet",
        "actors": "1",
        "backbone": NETWORK,
    }
    plain = raypipe.predict(model, photos, out=photos.parent / "plain.csv", **given).to_pylist()
    assert {(row["imagenet_class"], row["imagenet_class_name"]) for row in plain} == {
        (200, "Tibetan terrier"),
        (900, "water tower"),
    }
    for row in plain:
        if row["id"] != "sea.png":
            assert rows[row["id"]]["breed"] == dog_breeds.name_of(row["label"])
            assert float(rows[row["id"]]["probability"]) == pytest.approx(
                row["probability"], abs=2e-6
            )
    reasons = {name: row["reason"] for name, row in rows_of(answered / "unread.csv").items()}
    assert reasons == {"broken.jpg": "not_an_image", "empty.png": "empty"}


def test_pictures(answered: Path) -> None:
    found = pictures_of(answered)
    assert sorted((answered / "pictures").iterdir()) == sorted(found.values())
    assert Image.open(found["dogs/large.jpg"]).width == 800
    green, orange = (46, 125, 50), (239, 108, 0)
    assert colour_below(found["dogs/large.jpg"], 600) == pytest.approx(green, abs=12)
    assert colour_below(found["me.jpg"], 480) == pytest.approx(orange, abs=12)
    entry = next(
        e for e in json.loads((answered / "answers.json").read_text()) if e["id"] == "me.jpg"
    )
    [[left, top, width, height]] = entry["faces"]
    assert left < 300 < left + width  # the portrait is 600 × 480
    assert top < 250 < top + height
    drawn = np.asarray(Image.open(found["me.jpg"]), int)[top + height // 2, left : left + 3]
    assert drawn.mean(0) == pytest.approx(orange, abs=25)


def test_page(answered: Path) -> None:
    page = (answered / "index.html").read_text("utf-8")
    shown = [unquote(name) for name in re.findall('src="([^"]+)"', page)]
    assert all((answered / name).is_file() for name in shown)
    assert len(shown) == 4
    assert "This human resembles a" in page
    assert "Neither a dog nor a human" in page
    assert "<td>broken.jpg<td>not_an_image<td>" in page


def test_the_same_again_takes_only_what_is_new(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ask(model, photos) == 0
    out = photos.parent / "answers"
    before = pictures_of(out)
    table, page = (out / "answers.csv").read_bytes(), (out / "index.html").read_bytes()
    capfd.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(dog_breeds, "decode", None)  # would fail, were it called
        assert ask(model, photos) == 0
    said = capfd.readouterr()
    assert "dog: 2, human: 1, neither: 1, could not be read: 2\nnew pictures: 0" in said.out
    assert "of the network" not in said.err  # no replica of the network
    assert raypipe.open(out / "predictions").snapshot.number == 1
    assert ((out / "answers.csv").read_bytes(), (out / "index.html").read_bytes()) == (table, page)

    (photos / "me.jpg").rename(photos / "you.jpg")
    (photos / "broken.jpg").unlink()
    assert ask(model, photos) == 0
    said = capfd.readouterr()
    assert "new pictures: 1" in said.out
    assert "1 image to do, by 1 copy of the network on the CPU" in said.err
    after = pictures_of(out)
    assert set(after) == set(before) - {"me.jpg"} | {"you.jpg"}
    assert not before["me.jpg"].exists()
    assert list(rows_of(out / "unread.csv")) == ["empty.png"]


def test_other_classes_are_dogs(
    model: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ask(model, photos) == 0
    capfd.readouterr()
    assert ask(model, photos, "--dog-classes", "900:900") == 0
    assert "of the network" not in capfd.readouterr().err
    kinds = [row["answer"] for row in rows_of(photos.parent / "answers" / "answers.csv").values()]
    assert kinds == ["neither", "neither", "dog", "dog"]


def test_hit_rates_of_the_detectors(
    model: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    people, dogs = photos.parent / "people", photos.parent / "dogs"
    people.mkdir()
    dogs.mkdir()
    for number in range(2):
        portrait(2 + number).save(people / f"{number}.jpg")
    landscape().save(people / "9.png")
    for number in range(4):
        noisy((170, 90, 60), number).save(dogs / f"{number}.png")
    assert ask(model, photos, "--rates", str(people), str(dogs)) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0] == "people: a face in 67%, a dog in 0% of 3"
    assert said[1] == "dogs: a face in 0%, a dog in 100% of 4"
    assert said[2].startswith("dog: 2, human: 1")


@pytest.mark.ci
def test_what_cannot_be_read_any_more_is_recorded(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RejectedItem(RejectReason.TRUNCATED, "it has become shorter")

    monkeypatch.setattr(dog_breeds, "decode", fail)
    assert ask(model, photos) == 0
    out = photos.parent / "answers"
    assert rows_of(out / "answers.csv") == {}
    assert rows_of(out / "unread.csv")["me.jpg"]["reason"] == "truncated"


def test_nothing_but_broken_images(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"nothing")
    assert ask(model, tmp_path / "photos") == 0
    assert rows_of(tmp_path / "answers" / "answers.csv") == {}
    assert list(rows_of(tmp_path / "answers" / "unread.csv")) == ["a.jpg"]


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error for wrong use."""
    assert dog_breeds.main(arguments) == 2
    said = capfd.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dog_breeds: ")
    return lines[0]


@pytest.mark.parametrize(
    ("cv2", "words"),
    [(None, "there is no OpenCV"), (SimpleNamespace(__version__="5.0.0"), "OpenCV 5.0.0 has no")],
)
def test_opencv_without_cascades(
    cv2: object,
    words: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    out = photos.parent / "answers"
    line = refused(capfd, "no model", str(photos), "--out", str(out))
    assert words in line
    assert "pip install 'raypipe-features[faces]'" in line
    assert not out.exists()


def test_wrong_models_and_photos(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "answers"))
    assert "no model at" in refused(capfd, str(tmp_path), str(tmp_path), *out)
    assert "no file or folder" in refused(capfd, str(model), str(tmp_path / "none"), *out)
    (tmp_path / "empty").mkdir()
    given = (str(model), str(tmp_path / "empty"), *out, "--backbone", NETWORK)
    assert "no images in" in refused(capfd, *given)
    items = items_of([f"{kind}/{number}" for kind in "ab" for number in range(8)])
    make_store(tmp_path / "store", [items], make_spec())
    raypipe.train(tmp_path / "store", out=tmp_path / "other", grid="C=1", cv=2)
    capfd.readouterr()
    line = refused(capfd, str(tmp_path / "other"), str(tmp_path / "empty"), *out)
    assert "has no output 'imagenet_class'" in line
    assert "recipes/dog-breeds.yaml" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: MODEL, PHOTOS, --out"),
        (("a", "b", "--out", "c", "--dog-classes", "9:1"), "LOW:HIGH with LOW ≤ HIGH; got '9:1'"),
        (("a", "b", "--out", "c", "--cascade", "cat"), "--cascade: invalid choice: 'cat'"),
    ],
)
def test_wrong_commands(
    arguments: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capfd, *arguments)


def test_it_is_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "none", "photos", "--out", "answers"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parents[1]), *sys.path])},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "no model at" in done.stderr
    assert not list(tmp_path.iterdir())
