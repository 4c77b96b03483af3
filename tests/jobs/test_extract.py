"""Extraction with real Ray: nothing lost, nothing computed twice."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import raypipe
from raypipe import runtime
from raypipe.cli.options import resolve
from raypipe.config import ExtractConfig, InspectConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.jobs import extract as job
from raypipe.jobs import inspect
from raypipe.sources import open_source
from raypipe.store.snapshot import numbers
from tests.conftest import TINY, draw, draw_folder, options
from tests.support.networks import tiny

pytestmark = pytest.mark.usefixtures("ray_session")


def extract(source: Path, out: Path, **changes: object) -> dict[str, object]:
    given = {"source": str(source), "out": str(out), **options(**changes)}
    return job.run(resolve(ExtractConfig, given, environment={})).summary


def test_features_equal_a_plain_loop(photos: Path, tmp_path: Path) -> None:
    summary = extract(photos, tmp_path / "store", interpolation="nearest")
    assert (summary["rows"], summary["rejects"], summary["decoded"]) == (24, 0, 24)
    assert summary["features"] == {"features": [16]}
    data = raypipe.open(str(tmp_path / "store")).to_numpy()
    torch.manual_seed(0)
    model = tiny().eval()[:2]
    for identity, label, row in zip(data.ids, data.labels, data.features, strict=True):
        image = Image.open(photos / identity).convert("RGB").resize((32, 32), 0)
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            expected = model(x).mean((2, 3))[0].numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5)
        assert label == identity.split("/")[0]


def test_second_run_does_nothing(photos: Path, tmp_path: Path) -> None:
    extract(photos, tmp_path / "store")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.*")}
    summary = extract(photos, tmp_path / "store")
    assert (summary["decoded"], summary["snapshot"], summary["rows"]) == (0, 1, 24)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.*")} == before


def test_added_changed_and_removed(photos: Path, stored: Path) -> None:
    out = stored
    old = raypipe.open(str(out)).to_numpy()
    for i in range(10):
        draw("circle", 77 + i).save(photos / "circle" / f"new{i}.png")
    summary = extract(photos, out)
    assert (summary["decoded"], summary["rows"], summary["snapshot"]) == (10, 34, 2)
    draw("square", 99).save(photos / "circle" / "0003.png")
    (photos / "stripes" / "0001.png").unlink()
    summary = extract(photos, out, prune=True)
    assert (summary["decoded"], summary["rows"], summary["changed"]) == (1, 33, 1)
    store = raypipe.open(str(out))
    current = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
    new = store.to_numpy()
    assert new.ids.tolist() == current
    before, after = (dict(zip(d.ids, d.features, strict=True)) for d in (old, new))
    assert not np.array_equal(before["circle/0003.png"], after["circle/0003.png"])
    for identity in set(before) & set(after) - {"circle/0003.png"}:
        np.testing.assert_array_equal(before[identity], after[identity])


def test_gone_images_are_kept_without_prune(photos: Path, stored: Path) -> None:
    (photos / "stripes" / "0001.png").unlink()
    summary = extract(photos, stored)
    assert (summary["rows"], summary["gone"], summary["pruned"]) == (24, 1, 0)


def test_bad_images_are_rejects_with_reasons(photos: Path, tmp_path: Path) -> None:
    good = (photos / "circle" / "0000.png").read_bytes()
    (photos / "circle" / "cut.png").write_bytes(good[: len(good) // 2])
    (photos / "circle" / "empty.jpg").touch()
    (photos / "circle" / "text.jpg").write_text("not an image")
    (photos / "circle" / "link.png").symlink_to("nowhere")
    Image.new("1", (3000, 3000)).save(photos / "circle" / "bomb.png")
    summary = extract(photos, tmp_path / "store", max_pixels=1_000_000)
    assert (summary["rows"], summary["rejects"]) == (24, 5)
    assert summary["rejects_by_reason"] == {
        "empty": 1,
        "not_an_image": 1,
        "too_large": 1,
        "truncated": 1,
        "unreadable": 1,
    }
    store = raypipe.open(str(tmp_path / "store"))
    assert len(store) == 24
    assert "circle/cut.png" in store.rejects()["id"].to_pylist()
    assert extract(photos, tmp_path / "store")["decoded"] == 0
    (photos / "circle" / "cut.png").write_bytes(good)
    mended = extract(photos, tmp_path / "store")
    assert (mended["decoded"], mended["rows"], mended["rejects"]) == (1, 25, 4)


def test_a_run_without_a_row_is_no_good_run(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").write_text("no")
    for _ in range(2):  # also where there is nothing left to do
        with pytest.raises(RaypipeError, match=r"not one of 1 image became a row .*'x.jpg'"):
            extract(tmp_path / "bad", tmp_path / "store")
    store = raypipe.open(str(tmp_path / "store"))
    assert (store.snapshot.rows, store.snapshot.rejects) == (0, 1)


def test_more_rejects_than_there_may_be(photos: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (photos / "circle" / name).write_text("no")
    with pytest.raises(RaypipeError, match=r"2 of 26 images are rejects, more than .* 1 \(2 × not"):
        extract(photos, tmp_path / "store", max_rejects="1")
    assert len(raypipe.open(str(tmp_path / "store"))) == 24  # what is good is there
    with pytest.raises(RaypipeError, match=r"more than --max-rejects 7.6%"):
        extract(photos, tmp_path / "store", max_rejects="7.6%")
    assert extract(photos, tmp_path / "store", max_rejects="7.7%")["rows"] == 24


def test_what_a_source_holds_is_accounted_for(photos: Path, tmp_path: Path) -> None:
    (photos / ".DS_Store").touch()
    (photos / "notes.txt").write_text("no image")
    summary = extract(photos, tmp_path / "store", glob=("*.png", "*.txt"))
    assert summary["left_aside"] == {"hidden or a marker (its name begins with . or _)": 1}
    assert (summary["rows"], summary["rejects"]) == (24, 1)
    shown = inspect.run(InspectConfig(store=str(tmp_path / "store")))
    assert "left aside, in the source as it was last listed" in shown.text
    assert shown.summary["left_aside"] == summary["left_aside"]


def test_several_layers_in_one_pass(photos: Path, tmp_path: Path) -> None:
    extract(photos, tmp_path / "both", layer=("block1", "block2"), pool="max")
    extract(photos, tmp_path / "one", layer=("block2",), pool="max")
    both, one = raypipe.open(str(tmp_path / "both")), raypipe.open(str(tmp_path / "one"))
    assert both.shapes == {"block1": (8,), "block2": (16,)}
    np.testing.assert_array_equal(both.to_numpy("block2").features, one.to_numpy().features)
    with pytest.raises(UsageError, match="--layer: the store has several: block1, block2"):
        both.to_numpy()
    clusters = raypipe.cluster(both.uri, out=tmp_path / "k", k=2, layer="block1")
    assert clusters.centers.shape == (2, 8)
    model = raypipe.train(both.uri, out=tmp_path / "m", layer="block2", grid="C=1", cv=2)
    assert model.column == "block2"
    stored = raypipe.predict(tmp_path / "m", both.uri, out=tmp_path / "p.csv")
    images = raypipe.predict(tmp_path / "m", photos, out=tmp_path / "q.csv", backbone=TINY)
    assert stored.select(["id", "label"]).equals(images.select(["id", "label"]))
    with pytest.raises(UsageError, match="no 'block3' in the store; it has block1, block2"):
        raypipe.cluster(both.uri, out=tmp_path / "other", k=2, layer="block3")


def test_names_of_layers_that_are_columns(tmp_path: Path, photos: Path) -> None:
    network = tmp_path / "net.py"
    network.write_text(
        "from torch import nn\n"
        "def f(): return nn.Sequential(__import__('collections').OrderedDict("
        "view=nn.Conv2d(3, 4, 3), label=nn.Conv2d(4, 4, 3)))\n"
    )
    with pytest.raises(UsageError, match="there is a column 'view' already"):
        extract(photos, tmp_path / "s", backbone=f"{network}:f", layer=("view", "label"))


def test_another_source_does_not_take_the_place_of_the_first(
    photos: Path, stored: Path, tmp_path: Path
) -> None:
    other = draw_folder(tmp_path / "other", 8)
    with pytest.raises(UsageError, match=r"was made from .*photos; .*24 of its rows; give --moved"):
        extract(other, stored)
    assert extract(photos, stored)["decoded"] == 0  # a copy with its modification times: the same
    summary = extract(other, stored, moved=True)
    assert (summary["changed"], summary["rows"]) == (24, 24)
    shown = inspect.run(InspectConfig(store=str(stored)))
    assert shown.summary["provenance"]["source"] == str(other)
    draw("square", 5).save(other / "circle" / "0001.png")
    assert extract(other, stored)["changed"] == 1  # which it need not be told again
    with pytest.raises(UsageError, match=r"was made from .*other; .*give --moved"):
        extract(photos, stored)


def test_another_source_with_other_names_is_not_mixed_in(stored: Path, tmp_path: Path) -> None:
    other = draw_folder(tmp_path / "other", 8)
    for folder in other.iterdir():
        folder.rename(folder.with_name(f"{folder.name}-2"))
    with pytest.raises(UsageError, match=r"leave behind 24 of its rows; give --moved"):
        extract(other, stored)
    summary = extract(other, stored, moved=True)
    assert (summary["gone"], summary["rows"]) == (24, 48)


def test_a_refusal_leaves_no_store(photos: Path, tmp_path: Path) -> None:
    """Nor does it settle what a machine without room has computed precision and batches for."""
    with pytest.raises(UsageError, match="--actors: the cluster has room for 2 replicas; got '64'"):
        extract(photos, tmp_path / "store", actors="64", precision="auto", batch_size="auto")
    assert not list((tmp_path / "store").rglob("*"))


def test_unpooled_half_precision(photos: Path, tmp_path: Path) -> None:
    extract(photos, tmp_path / "store", pool="none", dtype="float16")
    data = raypipe.open(str(tmp_path / "store")).to_numpy()
    assert (data.features.shape, data.features.dtype) == ((24, 16, 8, 8), np.float16)


def test_untraceable_network(photos: Path, tmp_path: Path) -> None:
    network = TINY.replace(":tiny", ":branching")
    assert extract(photos, tmp_path / "store", backbone=network)["rows"] == 24


def test_to_ray_reads_the_same_rows(shape_store: str) -> None:
    store = raypipe.open(shape_store)
    rows = {row["id"]: row["features"] for row in store.to_ray().take_all()}
    data = store.to_numpy()
    assert sorted(rows) == data.ids.tolist()
    np.testing.assert_array_equal(np.stack([rows[i] for i in data.ids]), data.features)


def test_auto_precision_stays_what_the_store_was_begun_with(
    photos: Path, stored: Path, tmp_path: Path
) -> None:
    draw("circle", 5).save(photos / "circle" / "new.png")
    summary = extract(photos, stored, precision="auto")  # begun with fp32
    assert (summary["precision"], summary["decoded"]) == ("fp32", 1)
    fresh = extract(photos, tmp_path / "fresh", precision="auto")
    assert fresh["precision"] in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool": "max"}, "another spec .output features: block2:avg → block2:max"),
        ({"layer": ("block1",)}, "output features: block2:avg → block1:avg"),
        ({"seed": 3}, "weights_sha256: "),
        ({"size": 40}, "preprocess.size: 32 → 40"),
    ],
)
def test_another_spec_is_refused(
    shape_store: str, changes: dict[str, object], words: str, photos: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        extract(photos, Path(shape_store), **changes)
    assert numbers(raypipe.open(shape_store).storage) == [1]


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="SOURCE: no images in"):
        extract(tmp_path / "none", tmp_path / "store")


def test_store_within_its_own_source(photos: Path) -> None:
    for out in (photos, photos / "circle" / "store"):
        with pytest.raises(UsageError, match="lies inside the source"):
            extract(photos, out)


def test_output_that_cannot_be_written(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="--out: .* is a file; give a folder"):
        extract(photos, tmp_path / "file")
    with pytest.raises(UsageError, match="--out: .* is a file; give a folder"):
        extract(photos, tmp_path / "file" / "store")


def test_too_many_actors(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="room for 2 replicas; got '5'"):
        extract(photos, tmp_path / "store", actors="5")


def test_same_features_whatever_the_pool(photos: Path, stored: Path, tmp_path: Path) -> None:
    extract(photos, tmp_path / "two", actors="2")
    one, two = (raypipe.open(str(store)).to_numpy() for store in (stored, tmp_path / "two"))
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.features, two.features)


def test_a_long_listing_ends_with_what_else_went_wrong(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []
    given = {"source": str(photos), "out": str(tmp_path / "store")}
    batch = next(open_source(resolve(ExtractConfig, given, environment={})).list())

    class Long:
        uri = str(photos)

        def list(self) -> Any:
            for number in range(1000):
                listed.append(number)
                time.sleep(0.02)
                yield batch

    monkeypatch.setattr(job, "open_source", lambda _: Long())
    with pytest.raises(UsageError, match="nowhere"):
        extract(photos, tmp_path / "store", layer=("nowhere",))
    assert len(listed) < 900


def test_moved_sources_and_stores_still_work(photos: Path, stored: Path, tmp_path: Path) -> None:
    shutil.move(stored, tmp_path / "elsewhere")  # it was made elsewhere, from images elsewhere
    assert extract(photos, tmp_path / "elsewhere")["decoded"] == 0
    assert len(raypipe.open(str(tmp_path / "elsewhere")).to_numpy()) == 24
    assert not stored.exists()


def test_steps_apart_give_the_same_as_steps_in_the_replica(
    photos: Path, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How the flow is laid out where replicas have GPUs, here without one."""
    (photos / "circle" / "text.jpg").write_text("not an image")
    plan = runtime.plan_replicas

    def apart(*arguments: Any, **options: Any) -> runtime.Replicas:
        return replace(plan(*arguments, **options), whole_flow=False, num_cpus=0)

    monkeypatch.setattr(runtime, "plan_replicas", apart)
    assert extract(photos, tmp_path / "apart")["rejects"] == 1
    one, two = (raypipe.open(str(store)).to_numpy() for store in (stored, tmp_path / "apart"))
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.features, two.features)


def test_network_that_fails_on_real_images(photos: Path, tmp_path: Path) -> None:
    network = TINY.replace(":tiny", ":fragile")
    with pytest.raises(RaypipeError, match="fails on a real image: RuntimeError: out of luck"):
        extract(photos, tmp_path / "none", backbone=network)
    assert not (tmp_path / "none" / "spec.json").exists()
    with pytest.raises(RaypipeError, match="the flow failed: RuntimeError: out of luck; finished"):
        extract(photos, tmp_path / "store", backbone=f"{network}_later")
    assert numbers(raypipe.open(str(tmp_path / "store")).storage) == []
