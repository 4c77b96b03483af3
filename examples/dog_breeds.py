"""Dog, human or neither? Of dogs the breed, of humans the breed they resemble most.

    python examples/dog_breeds.py MODEL PHOTOS --out answers
    python examples/dog_breeds.py MODEL PHOTOS --out answers --rates PEOPLE DOGS

MODEL is what recipes/dog-breeds.yaml trains. The network sees each photograph once: its features
tell the breed, its own ImageNet class whether there is a dog. Where there is none, OpenCV looks for
a face. With --rates, both detectors are first tried on folders of people and of dogs. See
examples/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

import raypipe
from dog_pictures import Answer, Box, Unread, count, draw, read_answers, write_all
from raypipe.errors import RaypipeError, RejectedItem, UsageError
from raypipe.images.decode import decode
from raypipe.predictions.class_names import imagenet_names
from raypipe.runtime.ray_dataset import Store
from raypipe.sources import read_item

CLASS = "imagenet_class"  # the recipe's second output
REMEDY = "pip install 'raypipe-features[faces]'"
MAX_PIXELS = 178_956_970
SIDE = 800  # of a picture; faces are looked for in the whole photograph
TOP = 3


@dataclass(frozen=True)
class Photo:
    """What the network says of a photograph: its class, and the most probable breeds."""

    id: str
    uri: str
    etag: str
    imagenet_class: int
    breeds: list[tuple[str, float]]


class FaceFinder:
    """Finds faces with one of the Haar cascades that OpenCV brings along.

    Raises:
        UsageError: there is no OpenCV, or one without cascades.
    """

    def __init__(self, cascade: str) -> None:
        try:
            import cv2
        except ImportError:
            raise UsageError(f"there is no OpenCV to find faces with; {REMEDY}") from None
        if not hasattr(cv2, "CascadeClassifier"):
            raise UsageError(f"OpenCV {cv2.__version__} has no face cascades; {REMEDY}")
        path = Path(cv2.data.haarcascades) / f"haarcascade_frontalface_{cascade}.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        self._opencv: Any = cv2

    def __call__(self, image: Image.Image) -> list[Box]:
        """Return (left, top, width, height) of each face, as OpenCV's defaults find them."""
        grey = self._opencv.cvtColor(np.asarray(image), self._opencv.COLOR_RGB2GRAY)
        found = self._cascade.detectMultiScale(grey)
        return [(int(x), int(y), int(w), int(h)) for x, y, w, h in found]


def look_at(model: str, source: str, out: Path, **options: Any) -> tuple[list[Photo], list[Unread]]:
    """Show the network what it has not seen yet; return what it says of all photographs.

    Raises:
        UsageError: the model is another one, or there are no photographs.
    """
    trained = raypipe.load_model(model)
    if CLASS not in [output.column for output in trained.spec.outputs]:
        raise UsageError(
            f"MODEL: {model} has no output {CLASS!r} to tell dogs by; "
            "`raypipe run recipes/dog-breeds.yaml` trains one that has"
        )
    top = min(TOP, len(trained.classes))
    raypipe.predict(
        model,
        source,
        out=str(out),
        top_k=top,
        # Lets all pass, so that all keep their breeds: what a filter reads is written as well.
        where=(f"{CLASS}=0:",),
        prune=True,
        max_pixels=MAX_PIXELS,
        max_rejects="100%",  # they are listed in unread.csv
        **options,
    )
    store = raypipe.open(out)
    rejects = store.rejects().to_pylist()
    unread = [Unread(row["id"], row["reason"], row["message"]) for row in rejects]
    return photos_of(store, top), unread


def photos_of(store: Store, top: int) -> list[Photo]:
    """Return what a store of predictions says, in the order of ids."""
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    names = [f"{name}{rank}" for rank in ranks for name in ("predicted", "probability")]
    batches = store.iter_batches(["id", "uri", "etag", CLASS, *names])
    rows = [row for batch in batches for row in batch.to_pylist()]
    photos = []
    for row in sorted(rows, key=lambda row: str(row["id"])):
        breeds = [
            (name_of(row[f"predicted{rank}"]), round(row[f"probability{rank}"], 6))
            for rank in ranks
        ]
        photos.append(Photo(row["id"], row["uri"], row["etag"], row[CLASS], breeds))
    return photos


def name_of(label: str) -> str:
    """Return a breed's name: of `004.Akita_inu` it is `Akita inu`."""
    return re.sub(r"^\d+\.", "", label).replace("_", " ").strip() or label


def answer(photo: Photo, is_dog: bool, finder: FaceFinder, picture: Path) -> Answer:
    """Answer for a photograph and draw its picture.

    Raises:
        RejectedItem: it cannot be read any more.
    """
    data = read_item(photo.uri, MAX_PIXELS)
    image = decode(data, MAX_PIXELS, least=SIDE if is_dog else None)
    whole, faces = image.width, [] if is_dog else finder(image)
    image.thumbnail((SIDE, SIDE))
    faces = [scaled(face, image.width / whole) for face in faces]
    kind = "dog" if is_dog else "human" if faces else "neither"
    own = dict(enumerate(imagenet_names())).get(photo.imagenet_class, "")
    found = Answer(photo.id, kind, photo.breeds, faces, picture.name, own)
    draw(found, image).save(picture, quality=88, subsampling=0)
    return found


def scaled(face: Box, factor: float) -> Box:
    """Return a face's place in a picture that is so many times as large."""
    left, top, width, height = (round(side * factor) for side in face)
    return left, top, width, height


def rates(photos: list[Photo], dogs: tuple[int, int], finder: FaceFinder) -> str:
    """Say in how many photographs the detectors find a face, and a dog.

    Raises:
        RejectedItem: one cannot be read any more.
    """
    faces = [bool(finder(decode(read_item(photo.uri, MAX_PIXELS), MAX_PIXELS))) for photo in photos]
    found = [dogs[0] <= photo.imagenet_class <= dogs[1] for photo in photos]
    return f"a face in {np.mean(faces):.0%}, a dog in {np.mean(found):.0%} of {len(photos)}"


def try_detectors(given: argparse.Namespace, out: Path, finder: FaceFinder, **options: Any) -> None:
    """Print the hit rates of both detectors on people and on dogs.

    Raises:
        UsageError: there is nothing to try them on.
    """
    for name, source in zip(("people", "dogs"), given.rates or (), strict=False):
        photos, _ = look_at(given.model, source, out / f"{name}-seen", **options)
        if not photos:
            raise UsageError(f"--rates: no image in {source!r} can be read; give another folder")
        print(f"{name}: {rates(photos, given.dog_classes, finder)}")


def picture_name(photo: Photo, question: object) -> str:
    """Return a name that says what the picture depends on: it is redrawn when that changes."""
    content = repr((photo.id, photo.etag, photo.breeds, question)).encode()
    readable = re.sub(r"[^\w.-]+", "_", photo.id)[-48:].lstrip(".")
    return f"{readable}-{hashlib.sha256(content).hexdigest()[:12]}.jpg"


def run(given: argparse.Namespace) -> None:
    """Answer for all photographs.

    Raises:
        RaypipeError: wrong use, or something went wrong.
    """
    finder = FaceFinder(given.cascade)  # first, so that nothing is done where there is none
    out, pictures = Path(given.out), Path(given.out) / "pictures"
    options = {name: getattr(given, name) for name in ("actors", "address", "moved", "backbone")}
    try_detectors(given, out, finder, **options)
    photos, unread = look_at(given.model, given.photos, out / "predictions", **options)
    pictures.mkdir(exist_ok=True)
    before = {one.picture: one for one in read_answers(out)}
    answers, drawn = [], 0
    for photo in photos:
        is_dog = given.dog_classes[0] <= photo.imagenet_class <= given.dog_classes[1]
        name = picture_name(photo, is_dog or f"{given.cascade}, whole photograph")
        try:
            known = before.pop(name, None)
            if known is None or not (pictures / name).is_file():
                known, drawn = answer(photo, is_dog, finder, pictures / name), drawn + 1
            answers.append(known)
        except RejectedItem as error:  # it has gone or changed since the network saw it
            unread.append(Unread(photo.id, error.reason, error.message))
    write_all(out, answers, unread)
    for name in before:  # answers that hold no longer
        (pictures / name).unlink(missing_ok=True)
    print(f"{count(answers, unread)}\nnew pictures: {drawn}\n{out / 'index.html'}")


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise UsageError(f"{message} (see --help)")


def class_range(text: str) -> tuple[int, int]:
    """Read LOW:HIGH."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"expected LOW:HIGH with LOW ≤ HIGH; got {text!r}")
    return int(found[1]), int(found[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status: 0 done, 2 wrong use, 1 anything else."""
    parser = Parser(description="Dog, human or neither? Of each photograph, with the breed.")
    option = parser.add_argument
    option("model", metavar="MODEL", help="folder written by `raypipe train`")
    option("photos", metavar="PHOTOS", help="folder of images, or another source")
    option("--out", required=True, help="folder for answers, pictures and predictions")
    option(
        "--dog-classes",
        type=class_range,
        default=(151, 268),
        help="ImageNet classes that are dogs, as LOW:HIGH (default: 151:268)",
    )
    option(
        "--cascade",
        choices=("alt", "alt2", "default"),
        default="alt",
        help="which of OpenCV's frontal face cascades (default: %(default)s)",
    )
    option(
        "--rates",
        nargs=2,
        metavar=("PEOPLE", "DOGS"),
        help="folders to try both detectors on; prints in how many images they find something",
    )
    option("--actors", default="auto", help="as for raypipe predict (default: %(default)s)")
    option("--address", help="as for raypipe predict")
    option("--backbone", help="as for raypipe predict: where the model is of a network of your own")
    option("--moved", action="store_true", help="as for raypipe predict")
    try:
        run(parser.parse_args(arguments))
    except (RaypipeError, OSError) as error:
        print(f"dog_breeds: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, RaypipeError) else 1
    except KeyboardInterrupt:
        print("dog_breeds: interrupted; the same command goes on from there", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
