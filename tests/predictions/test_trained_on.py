"""Scores of images that a model was trained on, which say so."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import raypipe
from raypipe.config import PredictConfig
from raypipe.errors import RaypipeError
from raypipe.fit.evaluate.tally import Tally, trained_on
from raypipe.heads.model import save_model
from raypipe.heads.trained_on import TRAINED_ON_FILE, TrainedOn
from raypipe.jobs import predict
from tests.fit.test_multinomial import blobs
from tests.support.sharded import store_of


def items(*rows: tuple[str, str, str]) -> pa.Table:
    return pa.table(
        dict(zip(("id", "uri", "etag"), map(list, zip(*rows, strict=True)), strict=True))
    )


def test_images_are_known_by_their_place_or_by_id_and_version() -> None:
    known = TrainedOn.of(items(("a.jpg", "/x/a.jpg", "1"), ("b.jpg", "/x/b.jpg", "")))
    others = items(
        ("sub/a.jpg", "/x/a.jpg", "2"),  # the same file, listed from elsewhere
        ("a.jpg", "/moved/a.jpg", "1"),
        ("a.jpg", "/other/a.jpg", "3"),  # only the name is the same
        ("b.jpg", "/other/b.jpg", ""),  # nothing says that it is
    )
    assert known.seen(others).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (["a", "b"], "was trained on 2 of these 3 images; accuracy on the other 1: 0.0000"),
        (["a", "b", "c"], "was trained on all of these images"),
        (None, "cannot be known"),
        ([], None),
    ],
)
def test_what_is_said(seen: list[str] | None, said: str | None) -> None:
    known = None if seen is None else pa.array(seen, pa.string())
    tally = Tally(("x", "y"), evaluate=True, seen=known)
    tally.add(pa.table({"id": ["a", "b", "c"], "label": ["x"] * 3, "predicted": ["x", "x", "y"]}))
    scores = tally.evaluation()
    assert scores is not None
    assert scores["accuracy"] == pytest.approx(2 / 3)  # of all rows, as the matrix is
    lines = trained_on(scores)
    assert (said in lines[0]) if said else not lines


def test_a_model_on_its_own_store(tmp_path: Path) -> None:
    x, y = blobs(200, 5, 2)
    store = store_of(tmp_path / "store", x, [str(c) for c in y])
    model = tmp_path / "model"
    raypipe.train(store.uri, out=model, grid="C=1")
    given: dict[str, Any] = {"model": str(model), "source": store.uri, "evaluate": True}
    outcome = predict.run(PredictConfig(**given, out=str(tmp_path / "p.csv")))
    held = {row["id"]: row for row in csv.DictReader((model / "holdout.csv").open())}
    right = np.mean([row["label"] == row["predicted"] for row in held.values()])
    scores = outcome.summary["evaluation"]
    assert scores["training_rows"] == 200 - len(held) == 150
    assert scores["accuracy_without_training_rows"] == pytest.approx(right)
    assert outcome.text.startswith("the model was trained on 150 of these 200 images; accuracy on")
    (model / TRAINED_ON_FILE).unlink()
    with pytest.raises(RaypipeError, match=r"trained_on.npy is damaged: it is missing; restore"):
        predict.run(PredictConfig(**given, out=str(tmp_path / "p.csv")))
    save_model(raypipe.load_model(model).trained, model)  # as an older version has written it
    outcome = predict.run(PredictConfig(**given, out=str(tmp_path / "p.csv")))
    assert outcome.text.startswith("whether the model was trained on some of these images cannot")
    assert outcome.summary["evaluation"]["training_rows"] is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    known = TrainedOn.of(items(*((f"{i}.jpg", f"/x/{i}.jpg", "1") for i in range(20))))
    expected = known.save(tmp_path)
    path = tmp_path / TRAINED_ON_FILE
    data = path.read_bytes()
    broken = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    broken += [data[:length] for length in (0, 5, 50, 200, len(data) - 1)]
    for content in (*broken, data + b"x", b"another file"):
        path.write_bytes(content)
        with pytest.raises(RaypipeError, match=r"trained_on.npy is damaged: .*train the model"):
            TrainedOn.load(tmp_path, None)
    TrainedOn.of(items(("1.jpg", "/x/1.jpg", "1"))).save(tmp_path)
    with pytest.raises(RaypipeError, match=r"damaged: it is not what model.json was written with"):
        TrainedOn.load(tmp_path, expected)
    np.save(path, known.digests)  # as before there was a checksum
    found = TrainedOn.load(tmp_path, None)
    assert found is not None
    assert (found.digests == known.digests).all()
