"""Images like another one, and the same picture several times."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import raypipe
from raypipe.cli.help import short_help
from raypipe.config import DedupeConfig, SimilarConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.evaluate.duplicates import Likeness, alike_pairs, complete_groups, groups_of
from raypipe.images.same_picture import SAME, similarity, small
from raypipe.jobs import dedupe, similar
from raypipe.predictions.stored import _features
from raypipe.spec import Preprocess
from tests.conftest import SHARED, TINY, Here, draw, draw_folder, flags, options
from tests.support import stores

MOBILENET: dict[str, Any] = {
    "backbone": f"{SHARED / 'mobilenet_v1.py'}:mobilenet_v1",
    "weights": str(SHARED / "mobilenet_v1.safetensors"),
    "layer": ("pw12",),
    "size": 224,
    "resize": "squash",
    "normalize": "tf",
}


def test_an_image_of_the_store(shape_store: str) -> None:
    outcome = similar.run(SimilarConfig(store=shape_store, image="circle/0003.png", k=5))
    found = outcome.summary["similar"]
    assert len(found) == 5
    assert "circle/0003.png" not in [one["id"] for one in found]
    assert [one["similarity"] for one in found] == sorted(
        (one["similarity"] for one in found), reverse=True
    )
    data = raypipe.open(shape_store).to_numpy()
    std = data.features.std(0)
    rows = (data.features - data.features.mean(0)) / np.where(std == 0, 1, std)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows[list(data.ids).index("circle/0003.png")]
    order = np.argsort(-cosines)[1:6]
    assert [one["id"] for one in found] == data.ids[order].tolist()
    np.testing.assert_allclose([one["similarity"] for one in found], cosines[order], atol=1e-5)


def test_any_image(shape_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "new.png"
    draw("square", 1003).save(picture)  # as square/0003.png of the store
    out = tmp_path / "sheet.png"
    given = {"out": str(out), "backbone": TINY}
    outcome = similar.run(SimilarConfig(store=shape_store, image=str(picture), k=3, **given))
    first = outcome.summary["similar"][0]
    assert (first["id"], first["label"]) == ("square/0003.png", "square")
    assert first["similarity"] == pytest.approx(1, abs=1e-4)
    heading, line, *_ = outcome.text.splitlines()
    assert heading.split() == ["similarity", "image", "label"]
    assert line.split() == ["1.0000", "square/0003.png", "square"]
    assert Image.open(out).size[0] > 100
    monkeypatch.setattr("raypipe.backbone.loading.load_again", None)  # the network is kept
    assert raypipe.similar(shape_store, picture, k=3, backbone=TINY) == outcome.summary["similar"]


@pytest.mark.ci
def test_a_file_of_the_store_is_not_like_itself(tmp_path: Path, here: Here) -> None:
    """By whatever way it is named; a copy of it elsewhere is found."""
    photos = draw_folder(tmp_path / "photos", 4)
    raypipe.extract(photos, out=tmp_path / "store", **options())
    shutil.copy(photos / "circle" / "0001.png", tmp_path / "copy.png")
    (tmp_path / "link").symlink_to(photos)
    expected = raypipe.similar(tmp_path / "store", "circle/0001.png", k=3)
    assert max(one["similarity"] for one in expected) <= 1
    for folder in (photos, tmp_path / "link", f"file://{photos}"):
        place = f"{folder}/circle/0001.png"
        found = raypipe.similar(tmp_path / "store", place, k=3, backbone=TINY)
        assert [one["id"] for one in found] == [one["id"] for one in expected]
    found = raypipe.similar(tmp_path / "store", tmp_path / "copy.png", k=3, backbone=TINY)
    assert found[0]["id"] == "circle/0001.png"
    assert found[0]["similarity"] <= 1
    shutil.rmtree(photos)
    words = ("similar", str(tmp_path / "store"), "circle/0001.png", "--k", "3")
    done = here(*words, "--out", str(tmp_path / "gone.png"))
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == [
        one["id"] for one in expected
    ]
    assert "--out: no picture is written: images cannot be read where the store" in done.stderr
    assert not (tmp_path / "gone.png").exists()


@pytest.mark.ci
def test_names_that_are_not_utf8(tmp_path: Path, here: Here) -> None:
    """Images and their folder may have them; a page shows them, and results are elsewhere."""
    photos, store = draw_folder(tmp_path / os.fsdecode(b"caf\xe9"), 3), tmp_path / "store"
    raypipe.extract(photos, out=store, **options())
    expected = raypipe.similar(store, "circle/0001.png", k=2)
    odd = shutil.copy(photos / "circle" / "0001.png", tmp_path / os.fsdecode(b"\xff.png"))
    assert raypipe.similar(store, odd, k=1, backbone=TINY)[0]["id"] == "circle/0001.png"
    uri = (photos / "circle" / "0001.png").as_uri()
    assert "%E9" in uri
    found = raypipe.similar(store, uri, k=2, backbone=TINY)
    assert [one["id"] for one in found] == [one["id"] for one in expected]
    done = here("report", str(store), "--out", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9" in (tmp_path / "page.html").read_text()
    done = here("extract", str(photos), "--out", str(photos) + "-store", *flags())
    assert done.returncode == 2
    assert "--out: expected a path in UTF-8, without zero bytes; got " in done.stderr


def test_similarity_is_at_most_1(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(200)]
    storage, _ = stores.make_store(tmp_path / "s", [stores.items_of(names)], stores.make_spec())
    every = [raypipe.similar(storage.uri, name, k=199) for name in names[::20]]
    assert max(one["similarity"] for found in every for one in found) <= 1


def test_no_image(shape_store: str, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("circle/none.png", str(tmp_path / "text.jpg")):
        with pytest.raises(UsageError, match="IMAGE: .* is neither the id of an image in"):
            similar.run(SimilarConfig(store=shape_store, image=name))


def test_an_image_that_ends_its_decoder_is_one_line(tmp_path: Path) -> None:
    spec = stores.make_spec(preprocess=Preprocess(decoders=("tests.support.deadly:decode",)))
    stores.make_store(tmp_path / "store", [stores.items_of(["a/1.jpg", "b/2.jpg"])], spec)
    (tmp_path / "x.jpg").write_text("DEADLY: dies\n")
    config = SimilarConfig(store=str(tmp_path / "store"), image=str(tmp_path / "x.jpg"))
    with pytest.raises(UsageError, match="IMAGE: .* nor one that can be read: crashed: ") as found:
        similar.run(config)
    assert "\n" not in str(found.value)


def test_the_threshold_is_in_the_short_help() -> None:
    assert "--least LEAST" in short_help("dedupe", DedupeConfig)


def test_pairs_and_groups() -> None:
    noise = np.random.default_rng(0)
    rows = noise.normal(size=(5000, 8)).astype(np.float32)
    rows[[10, 2100, 4900]] = rows[7]
    unit = Likeness(lambda: [rows], 8).unit(rows)
    found = list(alike_pairs(unit, 0.9999))
    pairs = np.concatenate([some for some, _ in found])
    expected = {(7, 10), (7, 2100), (7, 4900), (10, 2100), (10, 4900), (2100, 4900)}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert np.concatenate([values for _, values in found]).min() > 0.9999
    assert [group.tolist() for group in groups_of(5000, pairs)] == [[7, 10, 2100, 4900]]
    assert groups_of(5, np.zeros((0, 2), np.int64)) == []


def test_groups_are_not_chains() -> None:
    alike = {(0, 1), (1, 2), (0, 2), (2, 3), (3, 4)}  # 3 is like 2 and 4, and 4 only like 3
    parts = complete_groups(np.arange(5), lambda a, b: float((a, b) in alike), 0.5)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4]]


def photograph(seed: int, cut: tuple[int, int, int, int] = (0, 0, 300, 240)) -> Image.Image:
    """Detail of all sizes, as photographs have, under colours that other seeds have, too."""
    noise = np.random.default_rng(seed)
    whole = np.zeros((240, 300, 3))
    whole[:] = np.linspace(60, 200, 240)[:, None, None]
    for side in (6, 12, 24, 48):
        coarse = Image.fromarray(noise.integers(0, 256, (side, side, 3), np.uint8))
        whole += (np.asarray(coarse.resize((300, 240), Image.Resampling.BICUBIC)) - 127.5) * 0.2
    return Image.fromarray(whole.clip(0, 255).astype(np.uint8)).crop(cut)


def test_the_same_picture_is_told_from_its_neighbours() -> None:
    image, coded = photograph(0), io.BytesIO()
    image.resize((150, 120)).save(coded, "JPEG", quality=30)
    copies = [
        Image.open(coded),
        ImageOps.mirror(image),
        image.resize((90, 72)),
        image.point(lambda value: min(255, int(value * 1.15))),
        image.crop((3, 2, 297, 238)),
    ]
    others = [
        photograph(1),  # of one subject
        image.crop((30, 24, 270, 216)),  # another cut
        image.crop((30, 0, 300, 240)),
        image.rotate(180),
        Image.new("RGB", image.size, (130, 130, 130)),
    ]
    first = small(image)
    assert min(similarity(first, small(copy)) for copy in copies) >= SAME
    assert max(similarity(first, small(other)) for other in others) < SAME
    frame = [Image.new("RGB", (340, 280), "white") for _ in range(2)]
    for number, page in enumerate(frame):
        page.paste(photograph(number), (20, 20))
    assert similarity(*map(small, frame)) < SAME
    flat = [small(Image.new("RGB", (80, 60), (v, v, v))) for v in (90, 90, 140)]
    assert (similarity(flat[0], flat[1]), similarity(flat[0], flat[2])) == (1, 0)


def scene(seed: int) -> Image.Image:
    """A smooth picture, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((120, 100), Image.Resampling.BICUBIC)


def plant(image: Image.Image, folder: Path, name: str) -> dict[str, str]:
    """Write copies of an image; return which is a copy of what."""
    half = image.resize((image.width // 2, image.height // 2))
    coded = io.BytesIO()
    image.save(coded, "JPEG", quality=40)
    copies = {
        "half": half,
        "coded": Image.open(coded),
        "mirrored": ImageOps.mirror(image),
    }
    for kind, copy in copies.items():
        copy.convert("RGB").save(folder / f"{name}-{kind}.jpg", quality=90)
    return {f"{name}-{kind}.jpg": name for kind in copies}


def test_copies(tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(30):
        scene(seed).save(photos / f"{seed:02}.png")
    plant(scene(7), photos, "07")
    shutil.copy(photos / "11.png", photos / "again.png")
    store = raypipe.extract(photos, out=tmp_path / "store", **options())
    # The features of a small random network say little: all pairs are looked at.
    config = DedupeConfig(store=store.uri, least=0, out=str(tmp_path / "groups.csv"))
    outcome = dedupe.run(config)
    assert outcome.summary["groups"] == [
        ["07-coded.jpg", "07-mirrored.jpg", "07.png", "07-half.jpg"],  # the one to keep first
        ["11.png", "again.png"],
    ]
    rows = list(csv.DictReader((tmp_path / "groups.csv").open()))
    assert [row["id"] for row in rows] == [
        name for group in outcome.summary["groups"] for name in group
    ]
    assert [row["keep"] for row in rows] == ["yes", "no", "no", "no", "yes", "no"]
    assert [(row["width"], row["height"]) for row in rows][2:4] == [("120", "100"), ("60", "50")]
    assert [int(row["bytes"]) for row in rows] == [
        (photos / row["id"]).stat().st_size for row in rows
    ]
    assert min(float(row["similarity"]) for row in rows) >= SAME
    first, second, *_ = outcome.text.splitlines()
    assert first == "2 pictures are there several times; 4 images could go"
    pairs = outcome.summary["candidates"]
    assert second == f"compared: {pairs} pairs with a cosine of 0 or more; --least lowers it"
    picture = config.model_copy(update={"out": str(tmp_path / "groups.png")})
    dedupe.run(picture)
    assert Image.open(tmp_path / "groups.png").size[1] > 100
    assert raypipe.dedupe(store.uri, least=0) == outcome.summary["groups"]
    candidates = outcome.summary["candidates"]
    assert outcome.summary["not_compared"] == 0
    assert "cannot be compared" not in capsys.readouterr().err
    (photos / "11.png").unlink()
    outcome = dedupe.run(config)
    unread = outcome.summary["not_compared"]
    assert 0 < unread < 34
    assert f"\ncompared: {candidates - unread} pairs with" in outcome.text
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"{unread} of {candidates} pairs cannot be compared: images cannot be ")
    assert f"as {str(photos / '11.png')!r}; put them there again" in last
    assert [len(group) for group in outcome.summary["groups"]] == [4]
    before = (tmp_path / "groups.csv").read_bytes()
    for path in photos.glob("*"):
        path.unlink()
    with pytest.raises(RaypipeError, match=f"{candidates} of {candidates} pairs cannot") as found:
        dedupe.run(config)
    assert found.value.exit_code == 1
    assert "\n" not in str(found.value)
    assert (tmp_path / "groups.csv").read_bytes() == before


@pytest.mark.long
@pytest.mark.shared
def test_flowers(tmp_path: Path, ray_session: None) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(SHARED / "flowers17", photos)
    originals = sorted(path for path in photos.rglob("*.jpg"))[::97]
    planted: dict[str, str] = {}
    for path in originals:
        name = str(path.relative_to(photos))
        (photos / "copies" / path.parent.name).mkdir(parents=True, exist_ok=True)
        image = Image.open(path).convert("RGB")
        copies = plant(image, photos / "copies" / path.parent.name, path.stem)
        planted |= {f"copies/{path.parent.name}/{copy}": name for copy in copies}
    given: dict[str, Any] = MOBILENET
    store = raypipe.extract(photos, out=tmp_path / "store", label="folder:last", **given)
    data = raypipe.open(store.uri).to_numpy()
    own = np.array([not name.startswith("copies/") for name in data.ids])
    rows = data.features[own]
    unit = Likeness(lambda: [rows], rows.shape[1]).unit(rows)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    labels = data.labels[own]
    assert (labels[cosines.argmax(1)] == labels).mean() >= 0.88

    summary = dedupe.run(DedupeConfig(store=store.uri)).summary
    group = {name: number for number, names in enumerate(summary["groups"]) for name in names}
    missed = [copy for copy, name in planted.items() if group.get(copy, -1) != group.get(name, -2)]
    assert missed == []
    twice = sum(len(names) - 1 for names in summary["groups"]) - len(planted)
    assert 66 <= twice <= 70  # looked at: 68 photographs are there twice


def test_rows_that_are_no_numbers_are_refused_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "c", "d"]
    whole = stores.features_of

    def with_nan(ids: Any, spec: Any) -> dict[str, np.ndarray]:
        found = whole(ids, spec)
        found["features"][1:3, 0] = np.nan
        return found

    monkeypatch.setattr(stores, "features_of", with_nan)
    storage, _ = stores.make_store(tmp_path / "s", [stores.items_of(names)], stores.make_spec())
    with pytest.raises(UsageError, match="2 rows"):
        dedupe.run(DedupeConfig(store=storage.uri, least=0.9))
    with pytest.raises(UsageError, match="2 rows"):
        similar.run(SimilarConfig(store=storage.uri, image="a", k=2))
    table = next(iter(raypipe.open(storage.uri).iter_batches()))
    with pytest.raises(UsageError, match="2 rows"):
        _features(table, stores.make_spec())
