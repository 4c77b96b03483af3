"""Faces and captions of the example of recipe 4."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import dog_breeds
from dog_pictures import Answer, draw
from tests.support.portraits import portrait


def test_faces_are_what_opencv_finds_by_default_at_full_size(tmp_path: Path) -> None:
    portrait(8).save(tmp_path / "large.jpg")  # 1,600 × 1,280
    grey = cv2.imread(str(tmp_path / "large.jpg"), cv2.IMREAD_COLOR)
    grey = cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY)
    name = cv2.data.haarcascades + "haarcascade_frontalface_alt.xml"
    right = cv2.CascadeClassifier(name).detectMultiScale(grey)
    assert len(right)
    photo = dog_breeds.Photo("large.jpg", str(tmp_path / "large.jpg"), "", 900, [("Pug", 0.5)])
    finder = dog_breeds.FaceFinder("alt")
    with Image.open(tmp_path / "large.jpg") as image:
        assert finder(image.convert("RGB")) == [tuple(map(int, box)) for box in right]
    found = dog_breeds.answer(photo, False, finder, tmp_path / "p.jpg")
    assert found.faces == [tuple(round(int(side) / 2) for side in box) for box in right]


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (640, 480)])
def test_odd_sizes_and_names_fit(size: tuple[int, int]) -> None:
    name = "a/" + "ünnamed" * 60 + ".jpg"
    breeds = [("Éclair " * 30, 0.5), ("Mops", 0.25)]
    found = draw(Answer(name, "dog", breeds, [], "x.jpg"), Image.new("RGB", size, "blue"))
    assert found.width == max(480, size[0])
    ink = np.asarray(found.convert("L"))[size[1] + 8 :]
    assert (ink[:, -12:] > 250).all()  # no text runs into the margin
    assert (ink[-4:] > 250).all()
    assert (ink < 100).any()
