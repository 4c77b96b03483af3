"""A model predicts images of any kind as the command does, and is scikit-learn's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.base import is_classifier
from sklearn.calibration import CalibrationDisplay
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score

import raypipe
from raypipe.flow.here import Here
from raypipe.heads import Head, Linear, Scaling
from raypipe.heads.scaling import Kind
from tests.api.conftest import Made
from tests.conftest import TINY, draw
from tests.support.sharded import store_of
from tests.support.stores import items_of, make_spec, make_store

pytestmark = pytest.mark.usefixtures("no_ray")

KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda file: file,
    "text": str,
    "bytes": Path.read_bytes,
    "opened": Image.open,
    "picture": lambda file: Image.open(file).copy(),
    "array": lambda file: np.array(Image.open(file)),
}


def by_command(made: Made, source: Path, out: Path) -> np.ndarray:
    """What the command gives for the files of a folder, (N, 3), by id."""
    found = raypipe.predict(made.model, source, out=out, probabilities=True, backbone=TINY)
    table = found.to_arrow(["probabilities"])  # type: ignore[union-attr]
    return np.array(table["probabilities"].to_pylist(), np.float32)


@pytest.fixture(scope="module")
def expected(made: Made) -> np.ndarray:
    return by_command(made, made.folder / "photos", made.folder / "all")


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_the_commands_to_the_bit(
    kind: str, made: Made, expected: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [KINDS[kind](file) for file in made.files]
    np.testing.assert_array_equal(made.model.predict_proba(images), expected)
    assert capsys.readouterr().err.count("\n") <= 1  # of the network's check
    one = made.model.predict_proba(images[3])  # sums of a single row are rounded otherwise
    np.testing.assert_allclose(one, expected[3:4], rtol=1e-6)
    assert made.model.predict(images).tolist() == [
        made.model.classes[best] for best in expected.argmax(1)
    ]


def kinds_of_files(folder: Path) -> list[Path]:
    """Files whose pixels depend on how they are decoded."""
    rgb, exif = draw("circle", 5), Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "turned.jpg", quality=90, exif=exif)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("L").save(folder / "grey.png")
    rgb.quantize(16).save(folder / "palette.png")
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.convert("1").save(folder / "one.png")
    wide = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save(folder / "wide.png")
    Image.fromarray(255 - np.asarray(rgb.convert("L"))).save(
        folder / "white.tiff", tiffinfo={262: 0}
    )
    return sorted(folder.iterdir())


def test_every_mode_is_decoded_as_from_a_file(made: Made, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    files = kinds_of_files(tmp_path / "files")
    expected = by_command(made, tmp_path / "files", tmp_path / "out")
    for kind in ("bytes", "opened", "picture"):
        found = made.model.predict_proba([KINDS[kind](file) for file in files])
        equal = (found == expected).all(axis=1)
        assert [file.name for file, same in zip(files, equal, strict=True) if not same] == []


def test_what_only_the_file_says_is_not_guessed(made: Made, tmp_path: Path) -> None:
    """Of a TIFF, what white is: a picture that Pillow has read does not know any more."""
    white = Image.fromarray(255 - np.asarray(draw("circle", 5).convert("L")))
    white.save(tmp_path / "white.tiff", tiffinfo={262: 0})
    opened = made.model.predict_proba(Image.open(tmp_path / "white.tiff"))
    np.testing.assert_array_equal(opened, made.model.predict_proba(tmp_path / "white.tiff"))
    read = Image.open(tmp_path / "white.tiff")
    read.load()
    with pytest.raises(raypipe.UsageError, match="give its path"):
        made.model.predict(read)


def test_a_picture_that_was_turned_by_hand_is_not_turned_again(made: Made, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    draw("circle", 1).save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as opened:
        upright = opened.transpose(Image.Transpose.ROTATE_180)
        del upright.getexif()[0x0112]
    np.testing.assert_array_equal(
        made.model.predict_proba(upright), made.model.predict_proba(tmp_path / "turned.jpg")
    )


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing there": ("nothing.png", "'nothing.png' cannot be read: unreadable"),
    "no image": ([b"GIF8", b"xx"], "image 0 of 2 (bytes) cannot be read"),
    "integers": (np.zeros((4, 4), np.int64), "got an array (4, 4) of int64"),
    "several": (np.zeros((2, 4, 4, 3), np.uint8), "got an array (2, 4, 4, 3) of uint8"),
    "bools": (np.zeros((4, 4), bool), "got an array (4, 4) of bool"),
    "width": (np.zeros((4, 5)), "has rows of 16 values; got an array (4, 5) of float64"),
    "one row": (np.zeros(16, np.float32), "got an array (16,) of float32"),
    "nan": (np.full((1, 16), np.nan), "NaN"),
    "rows in a list": ([np.zeros(16)], "got an array (16,) of float64"),
    "a number": (3, "got int"),
    "none": (None, "got NoneType"),
    "mode": (Image.new("F", (8, 8)), "no rule to convert mode 'F'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_in_a_line(name: str, made: Made) -> None:
    given, expected = REFUSED[name]
    with pytest.raises(raypipe.UsageError) as raised:
        made.model.predict(given)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_images_have_no_rows(made: Made) -> None:
    assert made.model.predict_proba([]).shape == (0, 3)
    assert made.model.predict([]).shape == (0,)


def test_it_stays_in_this_process(
    made: Made, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it may take, and whatever else would want Ray."""
    monkeypatch.setattr("raypipe.flow.executor._asks_for_ray", lambda _: True)
    monkeypatch.setattr("raypipe.flow.executor._SECONDS", 0.0)
    monkeypatch.setattr("raypipe.flow.executor.on_ray", lambda *_: pytest.fail("Ray"))
    np.testing.assert_array_equal(made.model.predict_proba(made.files), expected)
    assert not Here().stays


def test_scikit_learn_takes_it_for_a_classifier(made: Made) -> None:
    model, labels = made.model, [file.parent.name for file in made.files]
    data = made.store.to_numpy()
    assert is_classifier(model)
    assert model.classes_.tolist() == ["circle", "square", "stripes"]
    assert model.score(made.files, labels) == accuracy_score(labels, model.predict(made.files))
    assert model.score(data.features, data.labels.astype(str)) > 0.8
    shown = ConfusionMatrixDisplay.from_estimator(model, made.files, labels)
    assert shown.confusion_matrix.sum() == 24


def test_calibration_is_shown_of_two_classes(made: Made) -> None:
    """As of scikit-learn's own estimator, whose coefficients it has."""
    data = made.store.to_numpy()
    keep = data.labels != "stripes"
    features, labels = data.features[keep], data.labels[keep].astype(str)
    own = LogisticRegression().fit(features, labels)
    linear = Linear("logistic", own.coef_, own.intercept_)
    head = Head(tuple(own.classes_), "flatten", Scaling.without("none"), linear)
    trained = replace(made.model.trained, head=head)
    model = raypipe.ImageClassifier(trained, made.model.origin)
    shown, wanted = (
        CalibrationDisplay.from_estimator(one, features, labels, n_bins=4, pos_label="square")
        for one in (model, own)
    )
    np.testing.assert_array_equal(shown.prob_true, wanted.prob_true)
    np.testing.assert_allclose(shown.prob_pred, wanted.prob_pred, rtol=1e-5)
    with pytest.raises(raypipe.UsageError, match="rows of 16 values"):
        model.predict(features[:, :9])
    plt.close("all")


def test_reprs_are_short_and_have_pictures(made: Made) -> None:
    assert repr(made.model).startswith("<ImageClassifier '")
    assert "24 images in 3 clusters" in repr(made.groups)
    for one in (made.model, made.groups, made.store):
        assert len(repr(one)) < 250
        assert "\n" not in repr(one)
    for one in (made.groups, made.store):
        html = one._repr_html_()
        assert html.count("<img src='data:image/jpeg;base64,") == 3
        assert len(html) < 60_000
        assert "http" not in html
    assert "text/html" in made.model._repr_mimebundle_()


def test_pictures_are_of_images_that_can_still_be_read(made: Made, tmp_path: Path) -> None:
    from raypipe.reports.inline import MOST, pictures

    places = [(str(n), str(file)) for n, file in enumerate(made.files)]
    assert pictures(places).count("<img") == MOST
    assert pictures([("<a>", str(made.files[0]))]).count("&lt;a&gt;") == 2
    assert pictures([("gone", str(tmp_path / "gone.png"))]) == ""
    assert pictures([("there", "http://127.0.0.1:9/x.png")]) == ""


@pytest.mark.parametrize("scale", ["none", "standard", "l2", "standard-l2"])
def test_clusters_are_predicted_as_they_were_assigned(
    scale: str, made: Made, tmp_path: Path
) -> None:
    groups = raypipe.cluster(made.store, out=tmp_path / "groups", k=4, scale=scale)  # type: ignore[arg-type]
    features = made.store.to_numpy().features
    np.testing.assert_array_equal(groups.predict(features), groups.labels)
    np.testing.assert_array_equal(groups.predict(features[5:7]), groups.labels[5:7])
    np.testing.assert_array_equal(groups.labels_, groups.labels)
    for wrong in (
        features[:, :3],
        features[0],
        features.astype(int),
        np.full_like(features, np.nan),
    ):
        with pytest.raises(raypipe.UsageError, match="features:"):
            groups.predict(wrong)


@pytest.mark.parametrize("scale", ["standard", "standard-l2"])
def test_clusters_stay_what_they_are(scale: Kind, tmp_path: Path) -> None:
    """Without their store, and with another one in its place."""
    rng = np.random.default_rng(0)
    features = rng.normal(3, [1, 5, 9, 2], (60, 4)).astype(np.float32)
    place = tmp_path / "store"
    groups = raypipe.cluster(store_of(place, features).uri, out=tmp_path / "g", k=4, scale=scale)
    for there in (None, features.astype(np.float16), 2 * features):
        shutil.rmtree(place, ignore_errors=True)
        if there is not None:
            store_of(place, there)
        np.testing.assert_array_equal(groups.predict(features), groups.labels)
        with pytest.raises(raypipe.UsageError, match="RUN: .*STORE: .*; run `cluster` again"):
            raypipe.report(groups, out=tmp_path / "page.html")


def test_pictures_are_of_the_store_that_was_clustered(tmp_path: Path) -> None:
    """Not of another one in its place, whose images have the same names."""
    names = [f"{n}.png" for n in range(9)]
    place = tmp_path / "store"
    for colour, shown in (("red", True), ("blue", False)):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
        items = items_of(names, uri=[str(tmp_path / f"{colour}.png")] * len(names))
        make_store(place, [items], make_spec())
        if shown:
            groups = raypipe.cluster(place, out=tmp_path / "g", k=2)
        assert ("<img" in groups._repr_html_()) == shown
        shutil.rmtree(place)
