"""The doctor: its arithmetic, its words, and short extractions of small sources."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import raypipe
from raypipe import config, runtime, schema
from raypipe.backbone.hardware.footprint import knee
from raypipe.cli.options import resolve
from raypipe.config import DoctorConfig, ExtractConfig
from raypipe.diagnosis import machine, measure
from raypipe.diagnosis.advice import advice
from raypipe.diagnosis.findings import duration, estimate, report
from raypipe.diagnosis.machine import Machine
from raypipe.diagnosis.measure import Measured, sample_units
from raypipe.diagnosis.pictures import listed_pictures
from raypipe.diagnosis.rates import Pool, Rates
from raypipe.display import Pace
from raypipe.errors import UsageError
from raypipe.jobs import doctor
from raypipe.rows.unit import Unit, pack_items
from raypipe.spec import Preprocess, Spec
from raypipe.steps.cost import Cost
from raypipe.steps.pool_plan import Replicas
from tests.conftest import draw, options

#: Of 1,000 images: 0.1, 2, 4 and 0.1 ms each.
COST = Cost(1000, {}, 10**6, 10**6, 0.1, 2.0, 4.0, 0.1)
GPU = replace(COST, compute_seconds=0.5)
CORES = Pool(8, 8)
MADE = "*raypipe-doctor-*"

seconds = st.floats(1e-3, 100)
costs = st.builds(
    lambda *steps: Cost(
        10, {}, 0, 0, read_seconds=steps[0], decode_seconds=steps[1], compute_seconds=steps[2],
        write_seconds=steps[3],
    ),
    *[seconds] * 4,
)  # fmt: skip
pools = st.builds(Pool, st.integers(1, 500), st.integers(1, 500), st.booleans(), st.booleans())


class TestRates:
    def test_replicas_without_gpus_do_one_step_after_the_other(self) -> None:
        found = Rates(COST, Pool(2, 2), None)
        assert found.steady == pytest.approx(2 / 6.2e-3)
        assert sum(found.shares.values()) == pytest.approx(1)
        limit = found.limit()
        assert (limit.step, limit.idle) == ("compute", 0)
        assert limit.share == pytest.approx(4 / 6.2)
        assert limit.without == pytest.approx(2 / 2.2e-3)

    def test_time_between_units_counts(self) -> None:
        found = Rates(COST, Pool(2, 2), 100.0)
        assert found.seconds["other"] == pytest.approx(2 / 100 - 6.2e-3)
        assert found.limit().step == "other"
        assert Rates(COST, Pool(2, 2), 400.0).steady == pytest.approx(2 / 6.2e-3)

    def test_the_busier_side_limits(self) -> None:
        few, many = Rates(GPU, Pool(1, 2, True), None), Rates(GPU, Pool(1, 16, True), None)
        assert few.steady == pytest.approx(2 / 2.2e-3)
        assert few.limit().step == "decode"
        assert few.limit().idle == pytest.approx(1 - 0.5 / 1.1)
        assert many.steady == pytest.approx(1 / 0.5e-3)
        assert many.limit().step == "compute"
        assert many.limit().without == pytest.approx(16 / 2.2e-3)
        assert (few.cores_per_gpu(), few.cores_missing()) == (pytest.approx(4.4), 3)

    def test_gpus_that_decode_need_few_cores(self) -> None:
        found = Rates(GPU, Pool(1, 2, True, True), None)
        assert found.steady == pytest.approx(1 / 2.5e-3)
        assert found.cores_per_gpu() == pytest.approx(0.2 / 2.5)

    @given(costs, pools, st.none() | st.floats(0.01, 1e4))
    def test_a_step_less_is_never_slower(
        self, cost: Cost, pool: Pool, steady: float | None
    ) -> None:
        found = Rates(cost, pool, steady)
        limit = found.limit()
        assert 0 < limit.share <= 1
        assert 0 <= limit.idle <= 1
        assert limit.without is not None
        assert limit.without >= found.steady * (1 - 1e-9)
        assert all(0 <= share <= 1 + 1e-9 for share in found.shares.values())

    @given(costs, st.integers(1, 64))
    def test_the_cores_a_gpu_needs_keep_it_busy(self, cost: Cost, gpus: int) -> None:
        missing = Rates(cost, Pool(gpus, 1, True), None).cores_missing()
        assert missing is not None
        enough = Rates(cost, Pool(gpus, 1 + missing, True), None)
        assert enough.cores_missing() == 0
        assert enough.steady >= gpus / (cost.compute_seconds / cost.items) * 0.98


def test_the_knee_is_the_smallest_good_batch() -> None:
    assert knee({1: 10, 2: 20, 4: 40, 8: 41, 16: 41.5}) == 4
    assert knee({1: 94, 2: 95, 4: 100}) == 2
    assert [knee({1: 50, 2: 80, 4: 100}, within) for within in (0, 0.2, 0.5)] == [4, 2, 1]
    with pytest.raises(ValueError, match="empty"):
        knee({})


def test_a_rate_without_the_first_results(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def paced(seconds: float) -> Pace:
        pace = Pace(lambda count: count)
        for count in pace.watch([100, 1, 1, 1, 1, 1]):
            now[0] += seconds if count == 1 else 0
        return pace

    pace = paced(0.5)
    assert pace.steady_from(3) is None
    assert pace.steady_from(2) == pytest.approx(2)
    assert pace.steady_from(0) == pace.steady
    assert paced(0.001).steady is None  # replicas that started together: not 1000 images/s
    assert Pace(int).steady is None


class TestEstimates:
    def test_each_node_starts_once(self) -> None:
        found = estimate(14400, 2, nodes=2, start=1800, price=3)
        assert found[0] == {"nodes": 2, "seconds": 9000, "cost": 15.0}
        assert found[1] == {"nodes": 8, "seconds": 3600, "cost": 24.0}
        assert estimate(10, 1, nodes=1, start=0, price=None)[0]["cost"] is None

    @pytest.mark.parametrize(
        ("length", "text"),
        [
            (0.2, "1 s"),
            (61, "1 min 1 s"),
            (300, "5 min"),
            (3599, "1 h"),
            (4320, "1 h 12 min"),
            (400_000, "4 d 15 h"),
        ],
    )
    def test_lengths_of_time(self, length: float, text: str) -> None:
        assert duration(length) == text


MACHINE = Machine(
    cores=8,
    cpus=8,
    quota=None,
    vectors="AVX512",
    bf16=True,
    memory=2**35,
    swapped=0,
    shared=2**34,
    store=2**33,
    gpus=(),
)
SPEC = Spec(
    backbone="net",
    weights_sha256="0" * 64,
    outputs=(),
    preprocess=Preprocess(size=32, resize="squash", resize_to=None),
)


def measured(cost: Cost = COST, pool: Pool = CORES, steady: float | None = None) -> Measured:
    device = "cuda" if pool.gpus else "cpu"
    replicas = Replicas(
        pool.replicas, pool.replicas, 1, 0, device, 1, 16, compiled=False, whole_flow=not pool.gpus
    )
    return Measured(replicas, pool, cost, cost, steady, 10.0, 64)


def told(found: Measured, others: float = 0.0, **given: Any) -> tuple[dict[str, Any], str]:
    return report(
        DoctorConfig(**given), SPEC, found, [MACHINE], images=10**6, start=10.0, others=others
    )


class TestReport:
    def test_the_conclusion_comes_first(self) -> None:
        summary, text = told(measured(), price=2.5)
        first = text.splitlines()[0]
        assert first == (
            "The network limits: 65% of each core's time, at 1,290 images/s (3,636 without it)."
        )
        assert summary["conclusion"] == first
        costs = "1 node 13 min (cost 0.55); 4 such nodes 3 min 24 s (cost 0.57)"
        assert f"1,000,000 images: {costs}" in text
        assert "needs 3 cores" in text
        json.dumps(summary)

    def test_gpus_without_enough_cores(self) -> None:
        summary, text = told(measured(GPU, Pool(2, 4, True)))
        assert text.startswith("Decoding limits: 1,818 images/s")
        assert "the GPUs idle 55% of the time" in text
        assert "--gpu-decode" in summary["advice"][0]
        assert "needs 4.4 cores per GPU; add 5 cores" in text
        assert "of a GPU" in text
        decoding = measured(replace(GPU, decode_seconds=9.0), Pool(2, 4, True, True))
        assert "--gpu-decode" not in "".join(told(decoding)[0]["advice"])

    def test_gpus_with_enough_cores(self) -> None:
        _, text = told(measured(GPU, Pool(2, 40, True)))
        assert text.startswith("The network limits: 4,000 images/s")
        assert "more GPUs" in text
        assert "; add" not in text

    def test_start_and_rejects(self) -> None:
        found = measured(replace(COST, rejects={"empty": 2}))
        lines = "\n".join(advice(found, 1000, 99.0))
        assert "starting takes 99%" in lines
        assert "rejects: 2 of 1002 sampled images (2 × empty)" in lines
        assert "starting" not in "\n".join(advice(found, 10**6, 99.0))

    def test_other_processes_are_mentioned(self) -> None:
        assert not told(measured())[0]["warnings"]
        assert "other processes took 40%" in told(measured(), others=0.4)[1]


class TestMachine:
    def test_it_has_what_this_one_has(self) -> None:
        found = machine.look(2, 0)
        assert found.cores >= 1
        assert str(found.cores) in str(found)
        assert 0 <= machine.busy(0.01) <= 1

    @pytest.mark.parametrize(
        ("name", "content", "cores"),
        [
            ("cpu.max", "150000 100000", 1.5),
            ("cpu.max", "max 100000", None),
            ("cpu/cpu.cfs_quota_us", "200000", 2.0),
            ("cpu/cpu.cfs_quota_us", "-1", None),
            ("cpu.max", "nonsense", None),
        ],
    )
    def test_a_containers_share(
        self, tmp_path: Path, name: str, content: str, cores: float | None
    ) -> None:
        groups = tmp_path / "sys/fs/cgroup"
        (groups / "cpu").mkdir(parents=True)
        (groups / "cpu/cpu.cfs_period_us").write_text("100000")
        (groups / name).write_text(content)
        assert machine.look(2, 0, tmp_path).quota == cores

    @pytest.mark.parametrize(
        ("changes", "in_flight", "words"),
        [
            ({}, 0, ""),
            ({"quota": 2.0}, 0, "--actors 2"),
            ({"swapped": 2**33}, 0, "swapped out"),
            ({"shared": 2**26}, 0, "--shm-size"),
            ({"bf16": False}, 0, "fp32"),
            ({"bf16": False, "gpus": (("H", 2**36),)}, 0, ""),
            ({}, 2**34, "--object-store-memory"),
        ],
    )
    def test_what_makes_it_slow(self, changes: dict[str, Any], in_flight: int, words: str) -> None:
        found = machine.warnings(replace(MACHINE, **changes), in_flight)
        assert len(found) == bool(words), found
        assert words in "".join(found)


class TestSample:
    def units(self, count: int, uri: str = "/photos/{}.jpg") -> list[Unit]:
        found = []
        for n in range(count):
            rows = [{"id": f"{n}/{i}", "uri": uri.format(n), "etag": ""} for i in range(8)]
            found.append(Unit(str(n), 8, pack_items(pa.Table.from_pylist(rows, schema.ITEMS))))
        return found

    def test_they_are_from_all_over(self) -> None:
        found = sample_units(self.units(1000), 1, 4, 40)
        numbers = [int(unit.items["id"][0].as_py().split("/")[0]) for unit in found]
        assert len(set(numbers)) == 5
        assert len({unit.id for unit in found}) == 10
        assert max(numbers) - min(numbers) > 300
        assert all(unit.count == len(unit.items) == 4 for unit in found)

    def test_streams_are_read_from_their_beginning(self) -> None:
        found = sample_units(self.units(1000, "targz:/a.tar.gz!/{}?at=1"), 1, 8, 40)
        assert [unit.id for unit in found] == ["0", "1", "2", "3", "4"]

    def test_small_sources_are_taken_as_they_are(self) -> None:
        units = self.units(5)
        assert sample_units(units, 2, 8, None) == units
        pieces = sample_units(units, 2, 3, None)
        assert [unit.count for unit in pieces] == [3, 3, 2] * 5
        ids = pa.concat_tables([unit.items for unit in pieces])["id"].to_pylist()
        assert ids == pa.concat_tables([unit.items for unit in units])["id"].to_pylist()

    def test_pictures_are_like_imagenets(self, tmp_path: Path) -> None:
        with listed_pictures(tmp_path / "pictures") as listing:
            uris = pa.Table.from_batches(listing.batches())[schema.URI].to_pylist()
        assert len(uris) == 64 * 256
        assert all(90_000 < Path(uri).stat().st_size < 130_000 for uri in set(uris))


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that temporary files go to."""
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(**given: object) -> dict[str, Any]:
    given = {**options(), "seconds": 0.5, "compile": "off", **given}
    outcome = doctor.run(resolve(DoctorConfig, given, environment={}))
    assert outcome.text.startswith(outcome.summary["conclusion"])
    json.dumps(outcome.summary)
    return outcome.summary


@pytest.fixture
def slow_server() -> Iterator[str]:
    """Serves one picture, and takes its time."""
    file = io.BytesIO()
    draw("circle", 1).save(file, "PNG")

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.5)
            self.send_response(200)
            self.send_header("Content-Length", str(len(file.getvalue())))
            self.end_headers()
            self.wfile.write(file.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.ci
@pytest.mark.usefixtures("ray_session")
class TestMeasuring:
    def test_a_source_with_rejects(self, photos: Path, scratch: Path, tmp_path: Path) -> None:
        (photos / "circle" / "none.jpg").write_text("nothing to see")
        out = tmp_path / "later" / "store"
        found = run(source=str(photos), out=str(out), price=3, batch_size=4)
        assert found["images"] == 25
        assert found["sampled"] == {"images": 25, "rejects": 1}
        assert found["batch_size"] == 4
        assert found["features"] == {"features": [16]}
        steps = found["seconds_per_image"]
        assert min(steps["decode"], steps["compute"], steps["write"]) > 0
        assert sum(steps.values()) == pytest.approx(1 / found["images_per_second"], rel=0.01)
        assert [one["nodes"] for one in found["estimates"]] == [1, 4]
        assert "1 of 25" in "".join(found["advice"])
        assert not list(scratch.glob(MADE))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "temporary"]

    def test_it_stops_in_time_and_leaves_nothing(self, scratch: Path) -> None:
        cores = ray.available_resources()["CPU"]
        found = run(seconds=1e-9)
        assert found["images"] == 1_000_000
        # The replica's first unit, which no rate is taken from, and four that it is taken from.
        assert found["sampled"]["images"] == 5 * found["unit"] < 64 * 256
        assert ray.available_resources()["CPU"] == cores
        assert not list(scratch.glob(MADE))

    def test_an_interrupt_leaves_nothing(
        self, photos: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            (folder,) = scratch.glob(MADE)
            (folder / "store").mkdir(exist_ok=True)
            raise KeyboardInterrupt

        monkeypatch.setattr(measure, "_for_a_while", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(source=str(photos))
        assert not list(scratch.glob(MADE))

    def test_replicas_beside_cores(
        self, photos: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The layout for GPUs, with the network on a core instead."""
        replicas = Replicas(1, 1, 0, 0, "cpu", 1, 4, compiled=False, whole_flow=False)
        monkeypatch.setattr(runtime, "plan_replicas", lambda *_, **__: replicas)
        found = run(source=str(photos), sample=20)
        assert found["pool"] == {"replicas": 1, "cores": 2, "gpus": True, "decoding": False}
        assert (found["sampled"]["images"], found["unit"]) == (20, 5)
        assert found["cores_per_gpu"] > 0

    def test_a_slow_network_limits(self, photos: Path, scratch: Path, tmp_path: Path) -> None:
        (tmp_path / "slow.py").write_text(
            "from torch import nn\n"
            "def slow():\n"
            "    layers = [nn.Conv2d(3, 256, 3, padding=1)]\n"
            "    layers += [nn.Conv2d(256, 256, 3, padding=1) for _ in range(9)]\n"
            "    return nn.Sequential(*layers)\n"
        )
        found = run(source=str(photos), backbone=f"{tmp_path}/slow.py:slow", layer=("9",))
        assert found["limit"]["step"] == "compute"
        assert found["conclusion"].startswith("The network limits")

    def test_slow_decoding_limits(self, scratch: Path, tmp_path: Path) -> None:
        (tmp_path / "large").mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
        for number in range(8):
            Image.fromarray(noise).save(tmp_path / "large" / f"{number}.png", compress_level=1)
        found = run(source=str(tmp_path / "large"))
        assert found["limit"]["step"] == "decode"
        assert found["conclusion"].startswith("Decoding limits")

    def test_a_slow_server_limits(self, scratch: Path, tmp_path: Path, slow_server: str) -> None:
        table = tmp_path / "photos.csv"
        rows = [f"{number},{slow_server}/{number}.png" for number in range(40)]
        table.write_text("\n".join(["id,url", *rows]))
        found = run(source=str(table))
        assert found["limit"]["step"] == "read"
        assert found["conclusion"].startswith("Reading limits")

    def test_no_image_can_be_decoded(self, scratch: Path, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        with pytest.raises(UsageError, match="SOURCE: no images in"):
            run(source=str(tmp_path / "photos"))
        (tmp_path / "photos" / "a.jpg").write_bytes(b"")
        with pytest.raises(UsageError, match="none of 1 sampled images can be decoded .empty"):
            run(source=str(tmp_path / "photos"))
        assert not list(scratch.glob(MADE))


def test_wrong_use_is_found_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder at"):
        raypipe.doctor(tmp_path / "none")
    with pytest.raises(UsageError, match="--sample must be a whole number ≥ 1"):
        raypipe.doctor(sample=0)
    assert callable(raypipe.doctor)  # no module has taken its name
    with pytest.raises(UsageError, match="--out: expected a path"):
        raypipe.doctor(out="ftp://host/store", **options())


def test_it_takes_the_options_of_extract() -> None:
    assert set(ExtractConfig.model_fields) < set(config.DoctorConfig.model_fields)
