"""Pages about stores, models, clusters and predictions, as a browser shows them."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

import raypipe
from raypipe import schema
from raypipe.cli import main
from raypipe.errors import UsageError
from raypipe.fit.evaluate import duplicates
from raypipe.reports.album import Album
from raypipe.reports.judged import wilson
from raypipe.reports.predicted import Predictions, predictions_part
from tests.conftest import TINY, draw, draw_folder, options
from tests.support import stores
from tests.support.pages import PHONE, column, opened, point_at

ODD = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """Everything there is to report on, below one folder; some images are broken, one is twice."""
    root = tmp_path_factory.mktemp("run")
    source = draw_folder(root / "photos", 12)
    (source / "circle" / "broken.jpg").write_bytes(b"no image at all")
    draw("circle", 1, (900, 700)).save(source / "circle" / "cut.jpg", quality=90)
    cut = (source / "circle" / "cut.jpg").read_bytes()
    (source / "circle" / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    for number in range(8):  # so many that some are held out and some are trained on
        draw("square", 77).save(source / "square" / f"again-{number}.png")
    (source / ODD.replace("/", "")).mkdir()
    for number in range(12):
        draw("stripes", number, (32, 40)).rotate(90).save(
            source / ODD.replace("/", "") / f"{number}.png"
        )
    out = root / "out"
    store = raypipe.extract(source, out=out / "features", **options())
    raypipe.train(store.uri, out=out / "model", grid="C=0.001,0.01", report=True)
    raypipe.cluster(store.uri, out=out / "clusters", k="2:6", report=True)
    given = {"evaluate": False, "report": True, "backbone": TINY}
    raypipe.predict(out / "model", source, out=out / "predictions", **given)
    return out


def test_a_classifier(run: Path, browser: Any) -> None:
    held = list(csv.DictReader((run / "model" / "holdout.csv").open()))
    wrong = [row for row in held if row["label"] != row["predicted"]]
    with opened(browser, run / "model" / "report.html") as page:
        shown = page.inner_text(".headline")
        assert re.fullmatch(r"Classifier of 4 classes: \d+\.\d\s% right", page.title())
        pairs = csv.DictReader((run / "model" / "near_duplicates.csv").open())
        seen = {row["id"] for row in pairs}  # by the fit, in another file
        new = [row for row in held if row["id"] not in seen]
        right = sum(row["label"] == row["predicted"] for row in new)
        assert f"{100 * right / len(new):.1f} % right" in " ".join(shown.split())
        assert f"{100 * (1 - len(wrong) / len(held)):.1f} % with {len(seen)} near-dup" in shown
        for button in page.query_selector_all(".confusion [data-cell]"):
            known, predicted = button.get_attribute("aria-label").split(":")[0].split(" taken for ")
            button.click()
            names = page.eval_on_selector_all(".chosen .id", "all => all.map(e => e.textContent)")
            own = {r["id"] for r in held if (r["label"], r["predicted"]) == (known, predicted)}
            assert names
            assert set(names) <= own
            assert len(names) == min(len(own), 24 if known != predicted else 6)
            assert button.get_attribute("aria-pressed") == "true"
        assert "near-duplicates of training images" in page.inner_text("main")
        assert page.query_selector_all(".couple img")


@pytest.mark.parametrize("threshold", [0.99, 2.0])
def test_of_copies_no_more_is_said_than_was_compared(
    threshold: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{label}/{number}" for label in "ab" for number in range(20)]
    storage, _ = stores.make_store(tmp_path / "s", [stores.items_of(names)], stores.make_spec())
    monkeypatch.setattr(duplicates, "DUPLICATE_COSINE", threshold)
    raypipe.train(storage.uri, out=tmp_path / "m", cv=2, grid="C=1", report=True)
    found = json.loads((tmp_path / "m" / "metrics.json").read_text())["near_duplicates"]
    assert (found > 0) == (threshold < 1)
    page = (tmp_path / "m" / "report.html").read_text()
    assert "practically the same features" in page
    assert f"(cosine above 0.99). {duplicates.BY_FEATURES}." in page
    assert "No held-out image is a near-duplicate" not in page


def test_sorting(run: Path, browser: Any) -> None:
    with opened(browser, run / "model" / "report.html") as page:
        before = column(page, ".by-class", 1)
        page.click(".by-class thead th:nth-child(2) button")
        assert column(page, ".by-class", 1) == sorted(before, key=int, reverse=True)
        page.keyboard.press("Enter")  # the header is still in focus
        assert column(page, ".by-class", 1) == sorted(before, key=int)
        header = page.query_selector(".by-class thead th:nth-child(2)")
        assert header.get_attribute("aria-sort") == "ascending"
        page.click(".by-class thead th:nth-child(1) button")
        names = column(page, ".by-class", 0)
        assert names == page.evaluate("all => all.sort((a, b) => a.localeCompare(b))", names)


def test_clusters(run: Path, browser: Any) -> None:
    rows = list(csv.DictReader((run / "clusters" / "clusters.csv").open()))
    with opened(browser, run / "clusters" / "report.html") as page:
        assert len(page.query_selector_all(".map use")) == len(rows)
        page.focus(".map")
        page.keyboard.press("ArrowRight")
        hover = page.query_selector(".hover")
        assert hover.is_visible()
        name = hover.query_selector(".id").inner_text()
        cluster = next(row["cluster"] for row in rows if row["id"] == name)
        assert f"cluster {cluster}" in hover.inner_text()
        page.keyboard.press("ArrowRight")
        assert hover.query_selector(".id").inner_text() != name
        page.keyboard.press("Tab")  # leaves the map
        assert not hover.is_visible()
        point_at(page, 3)
        assert hover.is_visible()
        counts = column(page, "table.sortable", 1)
        metrics = json.loads((run / "clusters" / "metrics.json").read_text())
        assert [int(count) for count in counts] == metrics["sizes"]
        nearest = page.query_selector_all("#cluster-0 .gallery")[0]
        own = sorted((float(r["distance"]), r["id"]) for r in rows if r["cluster"] == "0")
        shown = [e.inner_text() for e in nearest.query_selector_all(".id")]
        assert shown == [name for _, name in own[:10]]
        assert len(page.query_selector_all(".charts svg")) == 2


def test_a_store(run: Path, browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert raypipe.report(run / "features", out=out) == str(out)
    with opened(browser, out) as page:
        text = page.inner_text("main")
        assert "truncated: 1" in text
        assert "not_an_image: 1" in text or "no_image: 1" in text or "undecodable: 1" in text
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        # Of the truncated photograph its upper half can be seen.
        assert page.query_selector_all("details .gallery img")
        assert "resized to 32 × 32" in text
        runs = column(page, "table.runs", 2)
        assert runs == ["58"]


def test_predictions(run: Path, browser: Any) -> None:
    with opened(browser, run / "predictions" / "report.html") as page:
        text = page.inner_text("main")
        assert "right" in page.inner_text(".headline")  # the folders are known labels
        trained = json.loads((run / "model" / "metrics.json").read_text())["train_rows"]
        rows = len(list(csv.DictReader((run / "model" / "holdout.csv").open()))) + trained
        said = page.inner_text(".first")
        assert f"trained on {trained} of these {rows} images" in said
        assert text.index(said) < text.index(page.inner_text(".headline"))
        assert "of the new ones right" in page.title()
        assert "Surest of each class" in text
        assert page.query_selector_all("[data-cell]")


def test_predictions_in_one_file(run: Path, browser: Any, tmp_path: Path) -> None:
    source = run.parent / "photos"
    out = tmp_path / "found.csv"
    raypipe.predict(run / "model", source, out=out, report=True, label="none", backbone=TINY)
    with opened(browser, tmp_path / "found.report.html") as page:
        assert "not known" in page.inner_text(".headline")
        assert "right or not is not known" in page.title()
        assert "truncated: 1" in page.inner_text("main")
        assert page.query_selector_all(".gallery img")
    raypipe.predict(run / "model", run / "features", out=out, report=True)
    with opened(browser, tmp_path / "found.report.html") as page:
        assert page.query_selector_all("[data-cell]")


def test_a_whole_run(run: Path, browser: Any, tmp_path: Path) -> None:
    out = tmp_path / "all.html"
    raypipe.report(run, out=out, title="shapes & more")
    for size in (PHONE, (1280, 900)):
        with opened(browser, out, size) as page:
            titles = page.eval_on_selector_all("h2", "all => all.map(e => e.textContent)")
            starts = ["Features of", "Classifier of", "", "Predictions for"]
            assert all(map(str.startswith, titles, starts)), titles
            assert "clusters of" in titles[2]
            links = page.eval_on_selector_all(".summary a", "all => all.map(e => e.textContent)")
            assert links == titles
            assert page.title() == "shapes & more"
            cells = page.query_selector_all("#part-4 [data-cell]")
            cells[0].click()
            assert page.query_selector("#part-4 .chosen").is_visible()
            assert not page.query_selector("#part-2 .chosen").is_visible()
            page.click("#theme")
            assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_names_are_text(run: Path) -> None:
    """Whatever a class or an image is called, it is shown, and not run."""
    html = (run / "model" / "report.html").read_text()
    assert "<img src=x" not in html
    assert "&lt;img src=x" in html
    assert "</script" not in html.split('id="data">')[1].split("</script>")[0]


def test_room_for_pictures(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    raypipe.report(run, out=out, picture_mb=0)
    assert "data:image/webp" not in out.read_text()
    names = [str(path) for path in sorted((run.parent / "photos" / "square").iterdir())]
    album = Album(10_000)
    with album.share(0.5):
        album.add(names)
    held = sum(map(len, album.pictures))
    assert 0 < held < 5_000 + 4_000  # the last one may pass the mark
    album.add(names)
    assert sum(map(len, album.pictures)) > held


def test_images_that_are_gone(
    run: Path, browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read any more is said, and the rest of the page is there."""
    storage, _ = stores.make_store(
        tmp_path / "store", [stores.items_of([f"a/{i}" for i in range(9)])], stores.make_spec()
    )
    raypipe.report(storage.uri, out=tmp_path / "page.html")
    said = "images cannot be read where the store says they are"
    assert f"no picture is in the page: {said}, as '/a/0'" in capsys.readouterr().err
    with opened(browser, tmp_path / "page.html") as page:
        assert f"No picture is shown: the {said}." in page.inner_text("main")
        assert not page.query_selector_all("img")
        assert "not shown" in page.inner_text("main")
    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    for name in ("model.json", "metrics.json"):
        text = (model / name).read_text().replace(str(run / "features"), str(tmp_path / "nowhere"))
        content = json.loads(text)
        for key in ("sha256", "trained_on_sha256"):  # of the text as it was
            content.pop(key, None)
        (model / name).write_text(json.dumps(content))
    raypipe.report(model, out=tmp_path / "page.html", picture_mb=0)
    assert said not in capsys.readouterr().err  # which nobody has tried
    with opened(browser, tmp_path / "page.html") as page:
        assert "is not where it was" in page.inner_text("main")
        assert "right" in page.inner_text(".headline")


def test_a_store_in_the_place_of_the_one_a_model_is_of(run: Path, tmp_path: Path) -> None:
    """Its images may have the names of others."""
    model, store, other = (tmp_path / name for name in ("model", "features", "other"))
    for place, colour in ((store, "red"), (other, "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
        names = [f"{label}/{n}.png" for label in ("a", "b") for n in range(9)]
        items = stores.items_of(names, uri=[str(tmp_path / f"{colour}.png")] * len(names))
        stores.make_store(place, [items], stores.make_spec())
    raypipe.train(store, out=model, grid="C=1")
    for shown in (True, False):
        raypipe.report(model, out=tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text()
        assert ("or has been made again: no images can be shown" not in text) == shown
        if shown:
            store.rename(tmp_path / "before")
            other.rename(store)


def test_results_of_older_versions_and_damaged_ones(run: Path, tmp_path: Path) -> None:
    model, clusters = tmp_path / "model", tmp_path / "clusters"
    shutil.copytree(run / "model", model)
    shutil.copytree(run / "clusters", clusters)
    content = json.loads((model / "model.json").read_text())
    del content["metrics"]["reliability"], content["sha256"], content["trained_on_sha256"]
    (model / "model.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="older version, without reliability; run `train` again"):
        raypipe.report(model, out=tmp_path / "page.html")
    (clusters / "metrics.json").write_text("{}")
    with pytest.raises(UsageError, match="older version; run `cluster` again"):
        raypipe.report(clusters, out=tmp_path / "page.html")
    (clusters / "metrics.json").write_text("{")
    with pytest.raises(UsageError, match="metrics.json cannot be read"):
        raypipe.report(clusters, out=tmp_path / "page.html")


def test_a_source_that_does_not_answer_is_asked_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("raypipe.reports.album.thumbnail", asked.append)
    album = Album(10**6)
    album.add([f"http://127.0.0.1:9/{number}.jpg" for number in range(1000)])
    assert 0 < len(asked) < 20
    assert album.pictures == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"run": "{tmp}"}, "RUN: nothing to report on at"),
        ({"run": "{tmp}/none"}, "RUN: nothing to report on at"),
        ({"out": "{tmp}/page.pdf"}, "--out: expected an .html file"),
        ({"out": "{tmp}/none/page.html"}, "--out: no folder .*none.; make it"),
    ],
)
def test_wrong_use(run: Path, tmp_path: Path, given: dict[str, str], message: str) -> None:
    filled = {name: text.format(tmp=tmp_path) for name, text in given.items()}
    with pytest.raises(UsageError, match=message):
        raypipe.report(**({"run": run, "out": tmp_path / "page.html"} | filled))


def test_the_command(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "page.html"
    monkeypatch.setattr(
        "sys.argv", ["raypipe", "report", str(run / "features"), "--out", str(out), "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["out"] == str(out)
    assert summary["bytes"] == out.stat().st_size < 10**7


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_confidence_interval(right: int, rows: int, low: float, high: float) -> None:
    assert wilson(right, rows) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) is None


def test_many_classes(tmp_path: Path, browser: Any) -> None:
    """A matrix of that many cells could not be hit: the classes that are confused most stand in."""
    names = [f"{label:02d}/{i}" for label in range(45) for i in range(8)]
    storage, _ = stores.make_store(
        tmp_path / "store", [stores.items_of(sorted(names))], stores.make_spec()
    )
    raypipe.train(storage.uri, out=tmp_path / "model", grid="C=0.01", report=True)
    with opened(browser, tmp_path / "model" / "report.html") as page:
        assert not page.query_selector_all("table.confusion")
        page.click(".pairs button >> nth=0")
        assert page.query_selector(".chosen").is_visible()
        assert len(column(page, ".by-class", 0)) == 45


def test_predictions_come_in_pieces() -> None:
    """What is shown does not depend on how the rows are cut, and little of them is held."""
    noise = np.random.default_rng(0)
    count = 3000
    rows = pa.table(
        {
            "id": [f"{i}" for i in range(count)],
            "uri": [f"/none/{i}" for i in range(count)],
            "label": pa.array([("a", "b", None)[i] for i in noise.integers(0, 3, count)]),
            "predicted": pa.array([("a", "b", None)[i] for i in noise.integers(0, 3, count)]),
            "probability": noise.permutation(4096)[:count] / 4096,  # so that sums are exact
            "status": pa.array(["ok"] * count),
        }
    )

    def part(pieces: list[pa.Table]) -> Any:
        found = Predictions(pieces, schema.REJECTS.empty_table(), ("a", "b"), [])
        return predictions_part(found, Album(0))

    whole = part([rows])
    cut = part([rows.slice(start, 70) for start in range(0, count, 70)])
    assert cut.data == whole.data
    for name in ("classes", "unsure", "scores", "status"):
        assert repr(cut.content[name]) == repr(whole.content[name])
    decided = rows.filter(pc.is_valid(rows["predicted"]))
    assert sum(entry["count"] for entry in whole.content["classes"]) == len(decided)
    labelled = decided.filter(pc.is_valid(decided["label"]))
    right = pc.sum(pc.equal(labelled["label"], labelled["predicted"])).as_py()
    assert whole.content["scores"]["accuracy"] == pytest.approx(right / len(labelled))
    assert part([]).content["scores"] is None


def test_what_is_left_of_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(whole)
    places = {name: tmp_path / name for name in ("cut.png", "text.png", "gone.png")}
    places["cut.png"].write_bytes(whole.read_bytes()[:9000])
    places["text.png"].write_text("no image")
    album = Album(10**6)
    album.add_remains(map(str, places.values()))
    assert [album.key(str(path)) for path in places.values()] == [0, None, None]
    monkeypatch.setattr("raypipe.reports.album.remains", sys.exit)  # one that ends its process
    album.add_remains([str(whole)])
    assert album.key(str(whole)) is None
    assert len(album.pictures) == 1
