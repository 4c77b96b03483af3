"""The doctor: its arithmetic, its words, and rehearsals of small sources."""

from __future__ import annotations

import json
import math
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

import raypipe
from raypipe import config, schema
from raypipe.actors import timing
from raypipe.actors.timing import Lap
from raypipe.backbone.loading import load
from raypipe.config import DoctorConfig, ExtractConfig
from raypipe.diagnosis import machine, wording
from raypipe.diagnosis.advice import advice, command
from raypipe.diagnosis.findings import Findings, Node, Precision, Reading, Transfer
from raypipe.diagnosis.machine import Gpu, Machine
from raypipe.diagnosis.rates import (
    Costs,
    Estimate,
    Pool,
    better_batch,
    cluster_shape,
    estimate,
    images_per_second,
    knee,
    limit,
)
from raypipe.diagnosis.report import report
from raypipe.errors import RaypipeError, UsageError
from raypipe.jobs import doctor
from raypipe.options import resolve
from raypipe.plan import Listing
from raypipe.rehearsal import rehearse
from raypipe.rehearsal.company import gather
from raypipe.rehearsal.flow import Check, Flow
from raypipe.rehearsal.sample import make_pictures, share, some_items, unit_of, write_pictures
from raypipe.runtime import Replicas
from raypipe.spec import Preprocess, Spec
from raypipe.submission import parse
from tests.conftest import TINY, options

MS = 1e-3
BALANCED = Costs(wait=0, read=0.1 * MS, decode=2 * MS, forward=4 * MS, write=0.1 * MS)
GPU = replace(BALANCED, forward=0.5 * MS, put=0.2 * MS, get=0.1 * MS, to_device=0.1 * MS)

seconds = st.floats(1e-6, 10)
batches = st.dictionaries(st.integers(1, 1024), st.floats(1e-3, 1e6), min_size=1)
all_costs = st.builds(Costs, *[seconds] * 8)
pools = st.builds(Pool, st.integers(1, 500), st.integers(1, 500), st.sampled_from([0, 1, 4, 32]))


class TestRates:
    def test_replicas_without_gpus_do_one_step_after_the_other(self) -> None:
        assert images_per_second(BALANCED, Pool(2, 2)) == pytest.approx(2 / (6.2 * MS))

    def test_the_slower_side_sets_the_pace(self) -> None:
        assert images_per_second(GPU, Pool(1, 100, 1)) == pytest.approx(1 / (0.7 * MS))
        assert images_per_second(GPU, Pool(1, 2, 1)) == pytest.approx(2 / (2.4 * MS))

    @given(all_costs, pools, st.integers(2, 9))
    def test_rates_grow_with_the_pool_and_fall_with_the_costs(
        self, costs: Costs, pool: Pool, times: int
    ) -> None:
        rate = images_per_second(costs, pool)
        larger = Pool(*(times * size for size in (pool.replicas, pool.cores, pool.gpus)))
        assert images_per_second(costs, larger) == pytest.approx(times * rate)
        slower = Costs(*(times * cost for cost in asdict(costs).values()))
        assert images_per_second(slower, pool) == pytest.approx(rate / times)

    @given(all_costs, pools)
    def test_a_step_less_is_never_slower(self, costs: Costs, pool: Pool) -> None:
        found = limit(costs, pool)
        rate = images_per_second(costs, pool)
        assert found.without is not None
        assert found.without >= rate * (1 - 1e-9)
        assert 0 < found.share <= 1
        assert 0 <= found.idle < 1
        if not pool.gpus:  # it takes that share of the time and no other does
            assert found.without == pytest.approx(rate / (1 - found.share))
            assert getattr(costs, found.step) == max(asdict(costs).values())

    @pytest.mark.parametrize("step", [name for name in asdict(GPU) if name != "wait"])
    def test_what_takes_longest_is_named(self, step: str) -> None:
        slow = replace(GPU, **{step: 1.0})
        assert limit(slow, Pool(4, 4)).step == step
        assert limit(slow, Pool(1, 1, 1)).step == step

    def test_the_limit_is_on_the_busy_side(self) -> None:
        few_cores, many_cores = limit(GPU, Pool(1, 1, 1)), limit(GPU, Pool(1, 16, 1))
        assert few_cores.step == "decode"
        assert few_cores.idle == pytest.approx(1 - 0.7 / 2.4)
        assert many_cores.step == "forward"
        assert many_cores.idle == pytest.approx(1 - (2.4 / 16) / 0.7)

    def test_nothing_is_left_without_the_only_step(self) -> None:
        assert limit(Costs(0, 0, 0, 1, 0), Pool(1, 1)).without is None

    @given(all_costs, st.integers(1, 64))
    def test_the_cores_a_gpu_needs_keep_it_busy(self, costs: Costs, gpus: int) -> None:
        pool = Pool(gpus, 1, gpus)
        shape = cluster_shape(costs, pool)
        assert shape is not None
        enough = Pool(gpus, 1 + shape.cores_missing, gpus)
        assert images_per_second(costs, enough) >= gpus / costs.device * 0.98
        after = cluster_shape(costs, enough)
        assert after is not None
        assert after.cores_missing == 0
        assert shape.cores_per_gpu == pytest.approx(costs.core / costs.device)

    def test_without_gpus_there_is_no_shape(self) -> None:
        assert cluster_shape(BALANCED, Pool(2, 2)) is None


class TestBatches:
    @pytest.mark.parametrize(
        ("rates", "size"),
        [
            ({1: 10}, 1),
            ({1: 10, 2: 20, 4: 40, 8: 41, 16: 41.5}, 4),
            ({1: 100, 2: 90, 4: 80}, 1),
            ({1: 94, 2: 95, 4: 100}, 2),
            ({8: 100, 16: 100}, 8),
        ],
    )
    def test_the_knee_is_the_smallest_good_size(self, rates: dict[int, float], size: int) -> None:
        assert knee(rates) == size

    def test_how_near_is_a_choice(self) -> None:
        rates = {1: 50, 2: 80, 4: 100}
        assert [knee(rates, within) for within in (0, 0.2, 0.5)] == [4, 2, 1]
        with pytest.raises(ValueError, match="empty"):
            knee({})

    @given(
        st.dictionaries(st.integers(1, 1024), st.floats(1e-3, 1e6), min_size=1), st.floats(0, 0.5)
    )
    def test_no_smaller_size_is_as_good(self, rates: dict[int, float], within: float) -> None:
        found, least = knee(rates, within), (1 - within) * max(rates.values())
        assert rates[found] >= least
        assert all(rate < least for size, rate in rates.items() if size < found)
        assert knee({size: 3 * rate for size, rate in rates.items()}, within) == found

    def test_a_clearly_better_size_is_advised(self) -> None:
        better = better_batch({4: 400, 32: 200}, 32, BALANCED, Pool(2, 2))
        assert better is not None
        assert better[0] == 4
        assert better[1] == pytest.approx(2 / (4.2 * MS))

    @pytest.mark.parametrize("rates", [{4: 260, 32: 250}, {}, {4: 400}, {32: 250}])
    def test_else_none_is(self, rates: dict[int, float]) -> None:
        assert better_batch(rates, 32, BALANCED, Pool(2, 2)) is None

    def test_no_size_helps_where_cores_are_short(self) -> None:
        assert better_batch({64: 100, 256: 400}, 64, GPU, Pool(1, 1, 1)) is None


class TestEstimates:
    @given(st.integers(1, 10**9), st.floats(0.1, 1e5), st.integers(1, 50), st.floats(0, 100))
    def test_time_goes_down_with_nodes_and_cost_stays(
        self, images: int, rate: float, times: int, price: float
    ) -> None:
        def of(times: int) -> Estimate:
            return estimate(images, rate, nodes=2, times=times, start=0, price=price)

        one, many = of(1), of(times)
        assert many.nodes == 2 * times
        assert many.seconds == pytest.approx(one.seconds / times)
        assert many.cost == pytest.approx(one.cost)

    def test_each_node_starts_once(self) -> None:
        found = estimate(7200, 2, nodes=1, times=2, start=1800, price=3)
        assert found == Estimate(2, 3600, 6.0)
        assert estimate(10, 1, nodes=1, times=1, start=0, price=None).cost is None

    @pytest.mark.parametrize(
        ("length", "text"),
        [
            (0.2, "1 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (300, "5 min"),
            (1080, "18 min"),
            (3599, "1 h"),
            (4320, "1 h 12 min"),
            (86400, "24 h"),
            (47.999 * 3600, "48 h"),
            (400_000, "4 d 15 h"),
            (30 * 86400, "30 d"),
        ],
    )
    def test_lengths_of_time(self, length: float, text: str) -> None:
        assert wording.duration(length) == text


MACHINE = Machine(
    cores=8,
    physical=4,
    quota=None,
    capability="AVX512",
    bf16=True,
    amx=False,
    memory=2**35,
    free=2**34,
    swapped=0,
    shared=2**34,
    threads=1,
    gpus=(),
)


def findings(**changes: Any) -> Findings:
    usual: dict[str, Any] = {
        "costs": BALANCED,
        "pool": Pool(8, 8),
        "batch_size": 32,
        "unit": 512,
        "pixel_bytes": 150_528,
        "batches": {8: 240.0, 32: 250.0},
        "precision": "bf16",
        "precisions": (Precision("fp32", 0.4, 0.9996),),
        "reading": Reading(256, 256 * 110_000, 0.1 * MS, 0.1 * MS, 0.2 * MS),
        "rejects": 0,
        "message": "",
        "transfer": Transfer(2e9, 4e9),
        "alone": 200.0,
        "start": 10.0,
        "nodes": (Node(MACHINE, 8, 8),),
        "store": 2**33,
        "replica_memory": 2**30,
    }
    return Findings(**{**usual, **changes})


def told(found: Findings, others: float = 0.0, **given: Any) -> tuple[dict[str, Any], str]:
    return report(
        found, DoctorConfig(**given), 1_000_000, {"features": ((512,), "float32")}, others
    )


class TestReport:
    def test_the_conclusion_comes_first(self) -> None:
        summary, text = told(findings(), source="photos", price=2.5)
        first = text.splitlines()[0]
        assert first == (
            "The network limits: 65% of each core's time, at 1,290 images/s (3,636 without it)."
        )
        assert summary["conclusion"] == first
        assert (
            "1,000,000 images: 1 node 13 min (cost 0.55); 4 such nodes 3 min 24 s (cost 0.57)"
            in text
        )
        assert "Use: raypipe extract photos --out STORE\n" in text
        assert "0.9996" in text
        json.dumps(summary)

    def test_shares_add_up(self) -> None:
        shares = [line.split("%")[0].split()[-1] for line in wording.table(findings())[1:]]
        assert sum(map(float, shares)) == pytest.approx(100, abs=0.3)

    def test_gpus_without_enough_cores(self) -> None:
        found = findings(costs=GPU, pool=Pool(2, 4, 2))
        summary, text = told(found)
        assert text.startswith("Decoding limits: 1,667 images/s")
        assert "the GPUs idle 42% of the time" in text
        assert "needs 3.4 cores per GPU; add 3 cores" in text
        assert (summary["cores_per_gpu"], summary["cores_missing"]) == (3.43, 3)
        assert "of a GPU" in text

    def test_gpus_with_enough_cores(self) -> None:
        found = findings(costs=GPU, pool=Pool(2, 40, 2))
        _, text = told(found)
        assert text.startswith("The network limits: 2,857 images/s")
        assert "more GPUs" in text
        assert "; add" not in text

    def test_a_better_batch_size_goes_into_the_command_and_the_estimate(self) -> None:
        summary, text = told(findings(batches={4: 500.0, 32: 250.0}), backbone="resnet18")
        assert summary["use"] == {"batch_size": 4}
        assert "--backbone resnet18 --batch-size 4" in text
        assert summary["images_per_second_then"] > summary["images_per_second"]
        assert summary["estimates"][0]["seconds"] == pytest.approx(
            10 + 1e6 / summary["images_per_second_then"], rel=1e-3
        )

    def test_slow_storage_crowding_and_rejects(self) -> None:
        reading = Reading(10, 10**6, 3 * MS, 0.1 * MS, 15 * MS)
        costs = replace(BALANCED, wait=9 * MS)
        found = findings(
            reading=reading, costs=costs, alone=900.0, rejects=2, message="empty: no bytes"
        )
        lines = "\n".join(advice(found, quiet=True))
        assert all(
            words in lines
            for words in ("raypipe pack", "15.0 ms", "one replica alone", "2 of 10", "empty")
        )
        assert "alone" not in "\n".join(advice(found, quiet=False))

    def test_other_processes_are_mentioned(self) -> None:
        assert not told(findings())[0]["warnings"]
        assert "other processes took 40%" in told(findings(), others=0.4)[1]

    def test_the_command_is_the_one_that_was_given(self) -> None:
        given: dict[str, Any] = {
            "source": "my photos",
            "out": "it's here",
            "backbone": "net.py:build",
            "layer": ("a", "b:max"),
            "glob": ("*.jpg",),
            "antialias": False,
            "flip": True,
            "augment": 2,
            "size": 96,
            "label": "none",
            "batch_size": 8,
            "dtype": "float16",
        }
        text = command(DoctorConfig(**given, price=1.0, sample=3, images=9), {"batch_size": 4})
        program, *arguments = shlex.split(text)
        assert program == "raypipe"
        found = parse(tuple(arguments)).given
        assert found.name == "extract"
        assert found.config == ExtractConfig(**{**given, "batch_size": 4})


class TestMachine:
    def test_it_has_what_this_one_has(self) -> None:
        found = machine.look()
        assert found.cores >= 1
        assert found.memory > found.free > 0
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
        assert machine.look(root=tmp_path).quota == cores

    @pytest.mark.parametrize(
        ("changes", "given", "words"),
        [
            ({}, {}, ""),
            ({"quota": 2.0}, {}, "--actors 2"),
            ({"threads": 4}, {}, "OMP_NUM_THREADS=1"),
            ({"free": 2**32}, {}, "the replicas take"),
            ({"swapped": 2**33}, {}, "swapped out"),
            ({"shared": 2**26}, {}, "--shm-size"),
            ({"bf16": False}, {}, "fp32"),
            ({"bf16": False, "gpus": (Gpu("H", 2**36),)}, {}, ""),
            ({"bf16": False}, {"replicas": 0}, ""),
            ({}, {"in_flight": 2**34}, "--object-store-memory"),
        ],
    )
    def test_what_makes_it_slow(
        self, changes: dict[str, Any], given: dict[str, Any], words: str
    ) -> None:
        usual = {"cpus": 8, "replicas": 8, "replica_memory": 2**30, "store": 2**33, "in_flight": 0}
        found = machine.warnings(replace(MACHINE, **changes), **{**usual, **given})
        assert len(found) == bool(words), found
        assert words in "".join(found)


class TestTrials:
    def test_laps_go_on_until_the_time_is_over(self) -> None:
        watch = timing.Stopwatch()
        work: Callable[[int], int] = watch.timing("work", lambda number: 10 + number)
        assert [lap.images for lap in timing.laps(work, watch, seconds=0, least=3)] == [10, 11, 12]
        done = timing.laps(work, watch, seconds=0.05)
        assert len(done) > 3
        assert timing.median(done, "work") > 0
        assert timing.median(done, "rest") == 0

    def test_sizes_are_tried_until_memory_is_short(self) -> None:
        def forward(size: int) -> None:
            if size > 4:
                raise RuntimeError("CUDA out of memory")

        rates = timing.sweep(forward, [1, 2, 4, 8, 16], seconds=0.2, memory=math.inf)
        assert list(rates) == [1, 2, 4]
        assert list(timing.sweep(lambda _: None, [1, 2], seconds=0.2, memory=0)) == [1]
        assert list(timing.sweep(lambda _: None, [1, 2], seconds=0, memory=math.inf)) == [1]

    def test_other_errors_are_not_taken_for_it(self) -> None:
        def forward(size: int) -> None:
            raise RuntimeError("no such kernel")

        with pytest.raises(RuntimeError, match="kernel"):
            timing.sweep(forward, [1], seconds=1, memory=math.inf)

    def test_reading(self, photos: Path) -> None:
        paths = sorted(map(str, photos.rglob("*.png")))
        found = timing.time_reading(paths, 10**6)
        assert found.images == 24
        assert found.bytes == sum(Path(path).stat().st_size for path in paths)
        assert min(found.found, found.cached) > 0
        assert (found.cold is not None) == hasattr(os, "posix_fadvise")
        assert timing.time_reading(["/nowhere", "npy:/x!/y?row=0"], 10**6).cold is None


def listing(count: int, uri: str = "/photos/{}.jpg") -> Listing:
    rows = [{"id": f"{n}", "uri": uri.format(n), "etag": ""} for n in range(count)]
    table = pa.Table.from_pylist(rows, schema.ITEMS)
    return Listing(table.to_batches(max_chunksize=7))


class TestSample:
    def numbers(self, items: pa.Table) -> list[int]:
        return [int(identity) for identity in items["id"].to_pylist()]

    def test_files_are_taken_from_all_over(self) -> None:
        with listing(100) as found:
            items = some_items(found, 10, 2)
            assert self.numbers(items) == list(range(0, 100, 11))
            parts = [share(items, n, 3) for n in range(3)]
            assert [len(part) for part in parts] == [4, 3, 3]
            assert self.numbers(parts[1]) == [11, 44, 77]
            assert len(share(items, 0, 11)) == 10
            assert len(some_items(found, 1000, 2)) == 100

    def test_members_of_archives_are_taken_in_runs(self) -> None:
        with listing(100, "tar:/a.tar!/{}?at=1") as found:
            items = some_items(found, 10, 2)
            assert self.numbers(items) == [*range(5), *range(95, 100)]
            assert self.numbers(share(items, 1, 2)) == list(range(95, 100))
            assert len(some_items(found, 3, 8)) == 3

    def test_a_unit_repeats_items_under_new_ids(self) -> None:
        with listing(3) as found:
            unit = unit_of(some_items(found, 3, 1), 8, "name")
        assert unit.count == len(unit.items) == 8
        assert len(set(unit.items["id"].to_pylist())) == 8
        assert unit.items["uri"][7].as_py() == "/photos/1.jpg"

    def test_pictures_are_like_imagenets(self, tmp_path: Path) -> None:
        pictures = make_pictures(3)
        items = write_pictures(pictures, tmp_path / "in")
        assert items.schema == schema.ITEMS
        assert all(90_000 < Path(uri).stat().st_size < 130_000 for uri in items["uri"].to_pylist())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Makes rehearsals short; returns the folder that temporary files go to."""
    for name in ("_LAPS_SECONDS", "_LAP_SECONDS", "_SWEEP_SECONDS", "_COMPARED_SECONDS"):
        monkeypatch.setattr(rehearse, name, 0.2)
    monkeypatch.setattr(doctor, "busy", lambda: 0.0)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(**given: object) -> dict[str, Any]:
    outcome = doctor.run(resolve(DoctorConfig, {**options(), **given}, environment={}))
    assert outcome.text.startswith(outcome.summary["conclusion"])
    json.dumps(outcome.summary)
    return outcome.summary


@pytest.mark.usefixtures("ray_session")
class TestRehearsals:
    def test_a_source_with_rejects(self, photos: Path, quick: Path, tmp_path: Path) -> None:
        (photos / "circle" / "none.jpg").write_text("nothing to see")
        out = tmp_path / "later" / "store"
        found = run(source=str(photos), out=str(out), price=3, batch_size=4)
        assert found["images"] == 25
        assert found["sampled"] == {"images": 25, "rejects": 1}
        assert found["batch_size"] == 4
        assert "1" in found["batch_sizes"]
        assert found["images_per_second"] > 0
        assert found["features"] == {"features": [16]}
        costs = found["seconds_per_image"]
        assert min(costs["forward"], costs["write"]) > 0
        assert min(costs.values()) >= 0  # decoding 40×32 pixels may be hidden behind reading
        assert sum(costs.values()) == pytest.approx(1 / found["images_per_second"], rel=0.01)
        assert [one["nodes"] for one in found["estimates"]] == [1, 4]
        assert "1 of 25" in "".join(found["advice"])
        assert list(quick.iterdir()) == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "temporary"]

    def test_gpus_are_measured_beside_cores(self, quick: Path) -> None:
        """The layout for GPUs, with the network on a core instead."""
        replicas = Replicas(1, 1, 0, 0, "cpu", 1, 4, compiled=False, whole_flow=False)
        pictures = make_pictures(2)
        found = rehearse.rehearse(
            flow(replicas, quick / "work"), pictures, 8, others=("bf16",), started=0.0
        )
        assert found.pool == Pool(1, 2, 1)
        assert min(found.costs.put, found.costs.write, found.costs.forward) > 0
        assert found.costs.to_device == 0
        assert found.reading.images == 4  # two for each core
        assert found.alone is None
        assert cluster_shape(found.costs, found.pool) is not None
        assert 1 in found.batches
        assert found.precisions[0].cosine > 0.99
        assert not (quick / "work").exists()

    def test_an_interrupt_leaves_nothing(
        self, quick: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            assert len(list(quick.rglob("*.jpg"))) == 2
            raise KeyboardInterrupt

        monkeypatch.setattr(rehearse, "_laps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(sample=2)
        assert list(quick.iterdir()) == []

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (RaypipeError("SOURCE: the server is gone"), "^SOURCE: the server is gone$"),
            (ValueError("no such luck"), "^the rehearsal failed: no such luck$"),
        ],
    )
    def test_what_fails_in_a_process_is_one_line(self, error: Exception, words: str) -> None:
        @ray.remote(num_cpus=0)
        def broken() -> None:
            raise error

        with pytest.raises(RaypipeError, match=words):
            gather([broken.remote()])


def test_no_image_can_be_decoded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SOURCE: no images in"):
        doctor.run(DoctorConfig(source=str(tmp_path)))
    checks = [Check(1, 1, "empty: no bytes", 0.1, 0.1), Check(2, 2, "corrupt: bad", 0.1, 0.1)]
    with pytest.raises(UsageError, match="none of 3 sampled images can be decoded .empty: no by"):
        rehearse._refuse_unreadable(checks)
    rehearse._refuse_unreadable([*checks, Check(1, 0, "", 0.1, 0.1)])


class TestCosts:
    """What goes on behind something else counts as far as it is longer."""

    def costs(self, found: float, cached: float, *, busy: float = 2, get: float = 0) -> Costs:
        """Per image: 2.5 ms until it is decoded, 4 ms of the network, 0.5 of them to the GPU."""
        core = [Lap(10, {"decode": 25 * MS, "write": 1 * MS, "put": 2 * MS})] * 3
        device = [Lap(20, {"forward": 80 * MS})]
        reading = Reading(10, 10**6, found * MS, cached * MS, None)
        checks = [Check(5, 0, "", 9.9, busy * MS)] * 2
        timed = rehearse._Timed([core, core], [device], get * MS, 0.5 * MS)
        return rehearse._costs(reading, checks, timed)

    def test_on_cores_beside_gpus(self) -> None:
        assert asdict(self.costs(0.1, 0.1)) == pytest.approx(
            asdict(
                Costs(0, 0.1 * MS, 2.4 * MS, 3.5 * MS, 0.1 * MS, 0.2 * MS, 0, to_device=0.5 * MS)
            )
        )

    def test_reading_faster_than_decoding_is_not_seen(self) -> None:
        assert self.costs(2.4, 0.1).wait == 0
        assert self.costs(3, 0.1).wait == pytest.approx(0.5 * MS)

    def test_slow_servers_are_told_from_slow_decoding(self) -> None:
        served = self.costs(2.4, 2.4, busy=0.5)
        assert (served.read, served.decode) == pytest.approx((2 * MS, 0.5 * MS))
        assert self.costs(2.4, 2.4, busy=3).read == 0

    def test_units_are_fetched_while_others_are_computed(self) -> None:
        assert self.costs(0, 0, get=3.9).get == 0
        assert self.costs(0, 0, get=5).get == pytest.approx(1 * MS)

    def test_one_process_reads_behind_all_it_does(self) -> None:
        laps = [[Lap(1, {"decode": 2 * MS, "forward": 4 * MS, "write": 1 * MS})]]
        checks = [Check(1, 0, "", 1, 2 * MS)]
        costs = [
            rehearse._costs(
                Reading(1, 1, found * MS, 0.1 * MS, None), checks, rehearse._Timed(laps, laps)
            )
            for found in (5, 8)
        ]
        assert [cost.wait for cost in costs] == pytest.approx([0, 2 * MS])
        assert costs[0].whole == pytest.approx(7 * MS)


@pytest.mark.parametrize(
    ("unit", "batch", "seconds", "length"),
    [(512, 32, 0.001, 512), (512, 32, 0.01, 256), (512, 32, 1.0, 32), (9, 32, 0.001, 9)],
)
def test_laps_are_units_unless_these_take_long(
    unit: int, batch: int, seconds: float, length: int
) -> None:
    assert rehearse._length(unit, batch, seconds) == length


def flow(replicas: Replicas, folder: Path) -> Flow:
    backbone = load(TINY, "random", ("block2",))
    spec = Spec(
        backbone=backbone.source.name,
        weights_sha256=backbone.weights_sha256,
        outputs=backbone.outputs,
        preprocess=Preprocess(size=32, resize="squash", resize_to=None),
    )
    return Flow(ray.put(backbone), spec, replicas, 10**7, False, "parquet", str(folder))


def test_wrong_use_is_found_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder at"):
        raypipe.doctor(tmp_path / "none")
    with pytest.raises(UsageError, match="--sample must be greater"):
        raypipe.doctor(sample=0)
    assert callable(raypipe.doctor)  # no module has taken its name
    with pytest.raises(UsageError, match="--out: expected a path"):
        raypipe.doctor(out="ftp://host/store", **options())


def test_it_takes_the_options_of_extract() -> None:
    assert set(ExtractConfig.model_fields) < set(config.DoctorConfig.model_fields)
