"""Features that cannot be kept become rejects; the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import raypipe
from raypipe.errors import UsageError
from raypipe.spec import Output, Spec
from raypipe.steps.batch import feature_column
from raypipe.steps.write import without_lost_values
from tests.backbone.comparing import own
from tests.conftest import Here, flags, options


def spec(**changes: object) -> Spec:
    outputs = (Output(column="features", layer="x"), Output(column="class", layer="y"))
    return Spec(backbone="x", weights_sha256="", outputs=outputs, **changes)  # type: ignore[arg-type]


def batch(features: np.ndarray, reasons: list[str]) -> dict[str, np.ndarray]:
    return {
        "reason": np.array(reasons, object),
        "message": np.array([""] * len(reasons), object),
        feature_column("features"): features,
        feature_column("class"): np.zeros(len(reasons), np.int32),
    }


def test_rows_that_are_no_numbers_are_rejected_with_advice() -> None:
    values = np.ones((4, 2, 3), np.float16)  # the second view of one, the first of another
    values[1, 1, 0], values[2, 0, 2], values[3] = np.inf, np.nan, np.inf
    found = without_lost_values(
        batch(values, ["", "", "", "corrupt"]), spec(dtype="float16", precision="bf16")
    )
    assert list(found["reason"]) == ["", "not_finite", "not_finite", "corrupt"]
    assert found["message"][1] == (
        "1 of 6 values of features are infinite as float16; a new store with --dtype float32 or "
        "--precision fp32 may keep them"
    )
    assert "NaN as float16; a new store with --precision fp32" in found["message"][2]
    plain = without_lost_values(batch(values.astype(np.float32), [""] * 4), spec())
    assert plain["message"][1].endswith("infinite as float32")


@pytest.mark.usefixtures("ray_session")
def test_one_overflowing_image_is_a_reject_and_the_run_goes_on(tmp_path: Path, here: Here) -> None:
    photos, store, model = (str(tmp_path / name) for name in ("photos", "store", "model"))
    for i, grey in enumerate([30, 90, 50, 110, 254, 60, 100, 40, 95]):
        folder = Path(photos, "light" if grey > 80 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (grey, grey, grey)).save(folder / f"{i}.png")
    changes = {"backbone": own("infinite"), "layer": ("logits",), "dtype": "float16"}
    command = ("extract", photos, "--out", store, "--label", "folder", "--json")

    def extract(*more: str) -> dict[str, Any]:
        done = here(*command, *flags(**changes), *more)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    first, again, retried = extract(), extract(), extract("--retry-rejects")
    assert [one["decoded"] for one in (first, again, retried)] == [9, 0, 1]
    for one in (first, again, retried):
        assert (one["rows"], one["rejects"]) == (8, 1)
    rejects = raypipe.open(store).rejects()
    assert rejects["id"].to_pylist() == ["light/4.png"]
    assert rejects["reason"].to_pylist() == ["not_finite"]
    train = here("train", store, "--out", model, "--cv", "2", "--json")
    assert train.returncode == 0, train.stderr
    bad, found = str(Path(photos, "light", "4.png")), tmp_path / "found.csv"
    network = own("infinite")
    predict = here("predict", model, bad, "--out", str(found), "--backbone", network, "--json")
    assert predict.returncode == 1, predict.stderr  # not one image has become a row
    assert "not_finite" in found.with_name("found.rejects.csv").read_text()


def test_a_network_without_any_number_is_refused_with_what_helps(
    tmp_path: Path, ray_session: None
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (40, 40), (255, 255, 255)).save(folder / f"{i}.png")
    changes = {"backbone": own("infinite"), "layer": ("logits",), "dtype": "float16"}
    with pytest.raises(UsageError, match=r"features .* is too large for float16; .*float32"):
        raypipe.extract(str(folder), out=str(tmp_path / "store"), **options(**changes))
