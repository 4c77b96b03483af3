"""Features that cannot be kept become rejects; the run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import raypipe
from raypipe.errors import UsageError
from raypipe.spec import Output, Spec
from raypipe.steps import feature_column, without_infinite
from tests.backbone.comparing import own
from tests.conftest import options


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
    found = without_infinite(
        batch(values, ["", "", "", "corrupt"]), spec(dtype="float16", precision="bf16")
    )
    assert list(found["reason"]) == ["", "not_finite", "not_finite", "corrupt"]
    assert found["message"][1] == (
        "1 of 6 values of features are infinite as float16; a new store with --dtype float32 or "
        "--precision fp32 may keep them"
    )
    assert "NaN as float16; a new store with --precision fp32" in found["message"][2]
    plain = without_infinite(batch(values.astype(np.float32), [""] * 4), spec())
    assert plain["message"][1].endswith("infinite as float32")


def test_one_overflowing_image_is_a_reject_and_the_run_goes_on(
    tmp_path: Path, ray_session: None
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, grey in enumerate([30, 40, 50, 60, 254, 70]):
        Image.new("RGB", (40, 40), (grey, grey, grey)).save(folder / f"{i}.png")
    changes = {"backbone": own("infinite"), "layer": ("logits",), "dtype": "float16"}
    store = raypipe.extract(str(folder), out=str(tmp_path / "store"), **options(**changes))
    assert store.reject_counts() == {"not_finite": 1}
    ids = [row for part in store.iter_batches(["id"]) for row in part["id"].to_pylist()]
    assert sorted(ids) == ["0.png", "1.png", "2.png", "3.png", "5.png"]


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
