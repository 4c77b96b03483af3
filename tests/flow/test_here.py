"""Small work runs in this process, and gives what Ray gives."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from PIL import Image

import raypipe
from raypipe.cli.options import resolve
from raypipe.config import ExtractConfig
from raypipe.config.values import Actors
from raypipe.errors import RaypipeError, RejectedItem, UsageError
from raypipe.flow import executor
from raypipe.flow.here import Here
from raypipe.rows.listing import Listing
from raypipe.rows.unit import Unit, pack_items
from raypipe.sources import open_source
from raypipe.spec import Augment, Preprocess, Spec
from raypipe.steps.apart import DECODERS, decoded_apart, limited
from raypipe.steps.batch import ReadOptions
from raypipe.steps.read import Fetch, decoded
from tests.conftest import TINY, draw, draw_folder, flags, options

LIMIT = 178_956_970
SPEC = Spec(
    backbone="tiny",
    weights_sha256="0" * 64,
    outputs=(),
    preprocess=Preprocess(size=32, resize="squash", resize_to=None),
)


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without Ray, although other tests have started it."""
    monkeypatch.setattr(executor, "_asks_for_ray", lambda _: False)


def listed(folder: Path) -> pa.Table:
    config = resolve(ExtractConfig, {"source": str(folder), "out": "x"}, environment={})
    with Listing(open_source(config).list()) as listing:
        return pa.Table.from_batches(list(listing.batches()))


def reading(**changes: Any) -> ReadOptions:
    how = SPEC.preprocess.model_copy(update=changes)
    return ReadOptions(SPEC.model_copy(update={"preprocess": how}), LIMIT, max_seconds=60.0)


def contents(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name in ("data", "rejects")]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class TestExtract:
    def test_the_store_is_the_same_to_the_bit(
        self, album: Path, album_store: Path, tmp_path: Path, no_ray: None
    ) -> None:
        store = raypipe.extract(str(album), out=str(tmp_path / "here"), **options(actors="auto"))
        assert contents(tmp_path / "here") == contents(album_store)
        there = raypipe.open(str(album_store))
        assert store.spec.fingerprint == there.spec.fingerprint
        np.testing.assert_array_equal(store.to_numpy().features, there.to_numpy().features)

    def test_it_goes_on_where_ray_has_ended(self, photos: Path, stored: Path, no_ray: None) -> None:
        draw("circle", 77).save(photos / "circle" / "new.png")
        outcome = raypipe.extract(str(photos), out=str(stored), **options())
        assert len(outcome) == 25
        assert {f"circle/{n:04d}.png" for n in range(8)} < set(outcome.to_numpy().ids)

    def test_rejects_are_the_same(
        self, photos: Path, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (photos / "text.jpg").write_text("no image")
        (photos / "empty.jpg").write_bytes(b"")
        (photos / "cut.png").write_bytes((photos / "circle" / "0000.png").read_bytes()[:200])
        there = raypipe.extract(str(photos), out=str(tmp_path / "ray"), **options())
        monkeypatch.setattr(executor, "_asks_for_ray", lambda _: False)
        here = raypipe.extract(str(photos), out=str(tmp_path / "here"), **options())
        assert here.rejects().to_pylist() == there.rejects().to_pylist()
        assert len(here.rejects()) == 3

    def test_a_unit_that_fails_before_others_ends_the_run(
        self, tmp_path: Path, no_ray: None
    ) -> None:
        """The replica it had is there for the next unit, which would else wait for ever."""
        source = draw_folder(tmp_path / "photos", 90)
        changed = options(backbone=TINY.replace(":tiny", ":fragile_later"), actors="1")
        with pytest.raises(RaypipeError, match="the flow failed: RuntimeError: out of luck; fin"):
            raypipe.extract(str(source), out=str(tmp_path / "s"), **changed)

    def test_steps_are_told_that_all_comes_from_one_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that a unit of which nothing can be fetched ends the run."""
        lines = ["uri", *(f"http://127.0.0.1:9/{n}.jpg" for n in range(20))]
        (tmp_path / "t.csv").write_text("\n".join(lines))
        items, told = listed(tmp_path / "t.csv"), []

        def noted(batch: Any, **given: Any) -> Any:
            told.append(given["options"].one_server)
            return batch

        monkeypatch.setattr("raypipe.flow.here.read_and_embed", noted)
        monkeypatch.setattr("raypipe.flow.here._embedder", lambda *_: SimpleNamespace(stream=None))
        units = [Unit("u", len(items), pack_items(items))]
        replicas = Here().replicas(Actors.parse("1"), 4, 1)
        finish: Any = lambda batch: batch  # noqa: E731
        assert len(list(Here().run(units, None, reading(), replicas, finish, "unit"))) == 1  # type: ignore[arg-type]
        assert told == [True]

    def test_a_network_that_fails(self, photos: Path, tmp_path: Path, no_ray: None) -> None:
        changed = options(backbone=TINY.replace(":tiny", ":fragile_later"))
        with pytest.raises(RaypipeError, match="the flow failed: RuntimeError: out of luck; fin"):
            raypipe.extract(str(photos), out=str(tmp_path / "s"), **changed)

    def test_replicas_are_made_before_any_computes(
        self, tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Torch builds a network anew by having calls of all modules go through it."""
        import raypipe.actors.embedder as made

        source, steps = draw_folder(tmp_path / "photos", 90), list[str]()
        begin, compute = made.Embedder.__init__, made.Embedder.embed

        def begun(self: Any, *arguments: Any, **options: Any) -> None:
            begin(self, *arguments, **options)
            steps.append("made")

        def computed(self: Any, images: Any) -> Any:
            steps.append("computed")
            return compute(self, images)

        monkeypatch.setattr(Here, "slots", lambda _: 3)
        monkeypatch.setattr(made.Embedder, "__init__", begun)
        monkeypatch.setattr(made.Embedder, "embed", computed)
        store = raypipe.extract(str(source), out=str(tmp_path / "s"), **options(actors="3"))
        assert len(store) == 270
        last = len(steps) - 1 - steps[::-1].index("made")
        assert steps[last - 2 : last + 1] == ["made"] * 3

    def test_threads_of_torch_are_what_they_were(
        self, photos: Path, tmp_path: Path, no_ray: None
    ) -> None:
        import torch

        before = torch.get_num_threads()
        raypipe.extract(str(photos), out=str(tmp_path / "s"), **options())
        assert torch.get_num_threads() == before


def test_ray_is_not_even_imported(photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from raypipe.cli import app\n"
        "try: app.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' in sys.modules and 'ray' not in sys.modules\n"
        "assert 'torchvision' not in sys.modules"
    )
    command = ["extract", str(photos), "--out", str(tmp_path / "s"), *flags()]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class TestChoice:
    def config(self, **changes: Any) -> ExtractConfig:
        return resolve(ExtractConfig, {"source": "x", "out": "y", **changes}, environment={})

    def test_an_address_means_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr(executor, "on_ray", lambda *_: asked.append(1))
        monkeypatch.setitem(sys.modules, "ray", type("R", (), {"is_initialized": lambda: False}))
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with ExitStack() as stack:
            assert isinstance(executor.choose(self.config(), stack, 10), Here)
            executor.choose(self.config(address="local"), stack, 10)
            executor.choose(self.config(wait_for="cpu"), stack, 10)
            executor.choose(self.config(), stack, executor.MANY + 1)
            executor.choose(self.config(actors="9"), stack, 10)  # which has room for them, or says
            assert len(asked) == 4
            monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
            executor.choose(self.config(), stack, 10)
            assert len(asked) == 5

    def test_so_does_work_of_more_than_a_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(executor, "on_ray", lambda *_: "ray")
        here = Here()
        with ExitStack() as stack:
            most = int(60 * here.slots() / 0.11)
            assert executor.suited(here, self.config(), stack, most - 1, 0.1) is here
            assert executor.suited(here, self.config(), stack, most + 2, 0.1) == "ray"
            assert executor.suited(here, self.config(), stack, 1, 0.1, gpu_decoded=True) == "ray"


class TestDecodedApart:
    def test_pixels_are_those_of_a_replica(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        for mode, ending in (
            ("RGB", "png"), ("L", "png"), ("1", "png"), ("P", "gif"), ("RGBA", "png"),
            ("CMYK", "jpg"), ("RGB", "jpg"), ("RGB", "webp"), ("I;16", "png"), ("RGB", "bmp"),
        ):  # fmt: skip
            size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)))
            if mode == "I;16":
                image = Image.fromarray(rng.integers(0, 2**16, size, np.uint16))
            else:
                image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert(mode)
            image.save(tmp_path / f"{mode.replace(';', '')}.{ending}")
        (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
        items = listed(tmp_path)
        views = Augment(views=2, seed=1, flip=True, rotate=20.0)
        some = replace(reading(), spec=reading().spec.model_copy(update={"augment": views}))
        here, fetch = list(decoded(items, some)), Fetch()
        with limited(some) as within:
            apart = list(decoded_apart(items, within, fetch))
        assert len(here) == len(apart) == 11
        for one, other in zip(here, apart, strict=True):
            if isinstance(one, RejectedItem):
                assert isinstance(other, RejectedItem)
                assert (one.reason, one.message) == (other.reason, other.message)
            else:
                np.testing.assert_array_equal(one, other)
        cost = fetch.elsewhere
        assert cost is not None
        assert cost.bytes_read == sum(p.stat().st_size for p in tmp_path.iterdir())
        assert cost.decode_seconds > 0

    @pytest.mark.parametrize(
        ("what", "reason"), [("dies", "crashed"), ("hangs", "too_slow"), ("grows", "too_large")]
    )
    def test_an_image_that_ends_its_process(self, what: str, reason: str, tmp_path: Path) -> None:
        draw_folder(tmp_path / "photos", 2)
        for number in range(2):
            (tmp_path / "photos" / "circle" / f"a{number}.png").write_text(f"DEADLY: {what}\n")
        items = listed(tmp_path / "photos")
        some = reading(decoders=("tests.support.deadly:decode",))
        some = replace(some, max_seconds=0.7 if what == "hangs" else 60.0)
        with limited(some) as within:
            found = list(decoded_apart(items, within))
        rejects = {
            name: one.reason.value
            for name, one in zip(items["id"].to_pylist(), found, strict=True)
            if isinstance(one, RejectedItem)
        }
        assert rejects == {"circle/a0.png": reason, "circle/a1.png": reason}

    def test_no_such_decoder(self, tmp_path: Path) -> None:
        draw_folder(tmp_path / "photos", 1)
        some = reading(decoders=("tests.support.deadly:nothing",))
        with limited(some) as within, pytest.raises(UsageError, match="--decoder"):
            list(decoded_apart(listed(tmp_path / "photos"), within))

    def test_who_stops_leaves_nothing_running(self, tmp_path: Path) -> None:
        draw_folder(tmp_path / "photos", 30)
        DECODERS.close()
        before = {child.pid for child in psutil.Process().children()}
        with limited(reading()) as within:
            some = decoded_apart(listed(tmp_path / "photos"), within)
            next(some)
            some.close()  # type: ignore[attr-defined]
        DECODERS.close()
        assert {child.pid for child in psutil.Process().children()} <= before

    def test_a_process_that_never_starts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draw_folder(tmp_path / "photos", 1)
        DECODERS.close()
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with (
            limited(reading()) as within,
            pytest.raises(RaypipeError, match="ended 8 times, at last with status 1"),
        ):
            list(decoded_apart(listed(tmp_path / "photos"), within))


def test_predictions_on_the_screen(here: Any, shape_store: str, tmp_path: Path) -> None:
    model, image = str(tmp_path / "model"), tmp_path / "one.png"
    raypipe.train(shape_store, out=model, grid="C=1")
    draw("circle", 5).save(image)
    network = ("--backbone", TINY)
    done = here("predict", model, str(image), *network)
    assert done.returncode == 0, done.stderr
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["id", "label", "probability"]
    assert row.split()[:2] == ["one.png", "circle"]
    table = raypipe.predict(model, str(image), backbone=TINY)
    assert table.column_names == ["id", "label", "probability"]
    assert float(row.split()[2]) == pytest.approx(table["probability"][0].as_py(), abs=5e-4)
    out = str(tmp_path / "p.csv")
    np.testing.assert_allclose(
        raypipe.predict(model, str(image), out=out, backbone=TINY)["probability"],
        table["probability"],
    )
    image.write_bytes(io.BytesIO(b"no image").getvalue())
    done = here("predict", model, str(image), *network)
    assert done.returncode == 1
    assert "not one of 1 image" in done.stderr


def test_a_program_may_call_from_several_threads(
    photos: Path, tmp_path: Path, no_ray: None
) -> None:
    def extract(number: int) -> int:
        given = options(layer=(f"block{number % 2 + 1}",))
        return len(raypipe.extract(str(photos), out=str(tmp_path / f"s{number}"), **given))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(extract, range(4))) == [24] * 4
