"""What is settled before a flow starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import raypipe
from raypipe import runtime
from raypipe.backbone.loading import load
from raypipe.cli.options import resolve
from raypipe.config import ExtractConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.flow import sizing
from raypipe.flow.on_ray import OnRay
from raypipe.flow.trial import Trial
from raypipe.jobs import extract as job
from raypipe.rows.listing import Listing
from raypipe.sources import open_source
from raypipe.spec import Preprocess, Spec
from raypipe.steps.batch import ReadOptions
from tests.conftest import TINY, draw, options

pytestmark = pytest.mark.usefixtures("ray_session")

LOADED = load(TINY, "random", ("block2",))
SPEC = Spec(
    backbone="tiny",
    weights_sha256=LOADED.weights_sha256,
    outputs=LOADED.outputs,
    preprocess=Preprocess(size=32, resize="squash", resize_to=None, std=(255.0,) * 3),
)


def config(**changes: Any) -> ExtractConfig:
    return resolve(ExtractConfig, {"source": "x", "out": "y", **changes}, environment={})


@pytest.fixture
def tried(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settle with what a trial would have found out."""
    asked: list[bool] = []

    def settle(
        *,
        device: str = "cpu",
        seconds: float = 0.0,
        parity: float = 1.0,
        kept: Any = None,
        images: int = 1000,
        **changes: Any,
    ) -> sizing.Sizing:
        def trial(*_: Any, find_batch_size: bool, **__: Any) -> Trial:
            asked.append(find_batch_size)
            size = 256 if find_batch_size else None
            return Trial({"features": parity}, seconds=seconds, batch_size=size)

        monkeypatch.setattr("raypipe.flow.trial.try_out", trial)
        monkeypatch.setattr(runtime, "device", lambda: device)
        with Listing(open_source(config(source=str(photos))).list()) as listing:
            some = listing.some_items()
        reading = ReadOptions(SPEC, 10**8)
        return sizing.settle(
            OnRay(), config(**changes), LOADED, reading, some, images=images, kept=kept
        )

    settle.asked = asked  # type: ignore[attr-defined]
    return settle


def test_a_pass_that_memory_cannot_hold(tried: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(batch_size=100).batch_size == 100
    monkeypatch.setattr(sizing, "available", lambda: 2**20)  # 100 images of float32 take 1.2 MB
    with pytest.raises(
        UsageError, match="--batch-size: a pass of 100 images takes .* or more, .*1"
    ):
        tried(batch_size=100)
    assert tried(batch_size=100, device="cuda").batch_size == 100


def test_batch_size(tried: Any) -> None:
    assert tried().batch_size == 32
    assert tried(batch_size=7).batch_size == 7
    assert tried(device="cuda").batch_size == 256
    assert tried.asked == [False, False, True]
    kept = {"device": "cuda", "batch_size": 64, "compiled": True}
    assert tried(device="cuda", kept=kept) == sizing.Sizing("cuda", 64, True)
    assert tried(device="cuda", kept=kept, batch_size=8, compile="off").batch_size == 8
    assert tried(device="cpu", kept=kept) == sizing.Sizing("cpu", 32, False)
    assert tried.asked == [False, False, True, False, False, False]


def test_long_runs_are_compiled_if_that_is_faster(
    tried: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gain(*_: Any, **__: Any) -> float:
        if not gains:
            raise RaypipeError("no compiler")
        return gains.pop()

    monkeypatch.setattr("raypipe.flow.trial.compiling_gain", gain)
    seconds = 0.1 * runtime.slots()
    gains = [1.01, 1.3]
    assert tried(seconds=seconds, images=6_001).compiled
    assert not tried(seconds=seconds, images=5_999).compiled
    assert not tried(seconds=seconds, images=6_001, compile="off").compiled
    assert not tried(seconds=seconds, images=6_001).compiled
    assert not tried(seconds=seconds, images=6_001).compiled
    assert tried(images=1, compile="on").compiled


def test_poor_precision_is_refused(tried: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tried(parity=0.9912)
    assert (
        "gives the features of fp32, with a cosine similarity of 0.9912 or more"
        in capsys.readouterr().err
    )
    with pytest.raises(UsageError, match=r"a cosine of 0.9876 .* arithmetic is not stable"):
        tried(parity=0.9876)


def test_a_comparison_that_cannot_be_made_is_told(
    tried: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no memory:\n  tried to allocate 8 GiB")

    monkeypatch.setattr("raypipe.backbone.resemblance.check_resemblance", fails)
    assert tried().batch_size == 32
    told = "the rewritten network could not be compared on sampled images: no memory: tried to"
    assert told in capsys.readouterr().err


def test_nothing_is_written_in_a_poor_precision(photos: Path, tmp_path: Path) -> None:
    given = options(backbone=TINY.replace(":tiny", ":touchy"), precision="bf16")
    with pytest.raises(UsageError, match="--precision: on sampled images, features in bf16"):
        raypipe.extract(str(photos), out=str(tmp_path / "store"), **given)
    assert not (tmp_path / "store" / "spec.json").exists()


def test_rejects_only(tmp_path: Path) -> None:
    """There is nothing to try the network on, and nothing is lost."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("no image")
    out = tmp_path / "store"
    given = {"source": str(tmp_path / "photos"), "out": str(out), **options(batch_size=4)}
    with pytest.raises(RaypipeError, match="not one of 1 image became a row"):
        job.run(resolve(ExtractConfig, given, environment={}))
    draw("circle", 1).save(tmp_path / "photos" / "b.png")
    given["batch_size"] = "auto"
    assert job.run(resolve(ExtractConfig, given, environment={})).summary["rows"] == 1
    kept = json.loads((out / "spec.json").read_text())["provenance"]["computed"]
    assert kept == {"device": "cpu", "batch_size": 4, "compiled": False}
    assert not torch.cuda.is_available()
