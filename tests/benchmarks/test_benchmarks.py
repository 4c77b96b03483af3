"""The benchmarks' own arithmetic: what they call steady, ideal and equal, and how they tell it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmarks import report, results
from benchmarks.extraction import __main__, images
from benchmarks.extraction.__main__ import command, parse
from benchmarks.extraction.agreement import least_cosine
from benchmarks.extraction.contestants import fast_loop, plain_loop
from benchmarks.extraction.field import BASE, Contestant, contestants, ray_data
from benchmarks.extraction.field import fast_loop as fast_contestant
from benchmarks.extraction.ideal import _pixels, combine, ideal_rate
from benchmarks.extraction.measure import FailedRunError, measure
from benchmarks.extraction.networks import Network, prepare
from benchmarks.extraction.outputs import read_features
from benchmarks.extraction.recipe import Job
from benchmarks.extraction.trace import (
    Piece,
    Recorder,
    begins,
    read_partitions,
    read_trace,
    steady_rate,
)
from benchmarks.extraction.tuning import of_fast_loop, tune
from raypipe.images.decode import decode
from tests.conftest import TINY


def replicas(
    lags: list[float], *, count: int = 8, images: int = 256, rate: float = 100.0
) -> list[Piece]:
    """Pieces of replicas that begin at 5 s plus a lag, all together at a rate."""
    took = images * len(lags) / rate
    found = [Piece(5 + lag + (i + 1) * took, images) for lag in lags for i in range(count)]
    return sorted(found, key=lambda piece: piece.seconds)


def test_steady_rate_of_batches_leaves_start_and_end_out():
    # 10 s of start-up, 1,000 images at 50 per second, of which the last 5 % come at once.
    times = [10 + 0.2 * i for i in range(1, 96)] + [29.01] * 5
    pieces = [Piece(t, 10) for t in times]
    assert steady_rate(pieces, 1) == pytest.approx(50, rel=1e-6)
    assert begins(pieces, 1, 50.0) == pytest.approx(10, abs=1e-6)


@pytest.mark.parametrize("lag", [0.0, 0.01, 0.5, 1.3, 2.56, 4.0])
def test_steady_rate_does_not_depend_on_whether_replicas_are_in_step(lag: float):
    assert steady_rate(replicas([0.0, lag]), 2) == pytest.approx(100, rel=0.01)


def test_steady_rate_of_replicas_that_drift_and_change_places():
    noise = np.random.default_rng(0)
    pieces = []
    for _ in range(4):
        ends = 5 + np.cumsum(4.0 * noise.uniform(0.85, 1.15, 20))
        pieces += [Piece(float(end), 100) for end in ends]
    pieces.sort(key=lambda piece: piece.seconds)
    assert steady_rate(pieces, 4) == pytest.approx(100, rel=0.04)


def test_begins_takes_off_what_the_first_piece_took_its_worker():
    assert begins(replicas([0.0, 0.3]), 2, 100.0) == pytest.approx(5, abs=0.01)


def test_steady_rate_is_not_told_from_too_few_pieces():
    assert steady_rate(replicas([0.0, 0.1], count=2), 2) is None


def test_a_trace_is_written_by_several_and_read_in_order(tmp_path: Path):
    path = tmp_path / "trace.txt"
    one, two = Recorder(path, "one"), Recorder(path, "two")
    one(32)
    two(16)
    one(8)
    found = read_trace(path, launched=0.0)
    assert [(piece.images, piece.worker) for piece in found] == [
        (32, "one"),
        (16, "two"),
        (8, "one"),
    ]
    assert found == sorted(found, key=lambda piece: piece.seconds)


def test_partitions_are_a_trace(tmp_path: Path):
    (tmp_path / "data").mkdir()
    for name, rows, when in (("b", 3, 1010.0), ("a", 5, 1020.5)):
        path = tmp_path / "data" / f"part-{name}.parquet"
        pq.write_table(pa.table({"id": list(range(rows))}), path)
        os.utime(path, (when, when))
    assert read_partitions(tmp_path, 1000.0) == [Piece(10.0, 3), Piece(20.5, 5)]


def test_ideal_sums_parts_and_divides_by_cores():
    # Two processes: 10 images in 2 s and 30 in 3 s are 15 a second, 2/15 core-seconds each.
    cost = combine([(10, 2.0, 1.0, 16), (30, 3.0, 3.0, 16)])
    assert cost.seconds == pytest.approx(2 / 15)
    assert cost.cpu == pytest.approx(2 / 20)
    assert cost.batch == 16
    assert ideal_rate(0.002, 0.006, 2) == pytest.approx(250)


def test_generated_images_are_as_large_as_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = images.generated(12)
    found = images.jpegs(folder)
    assert len(found) == 12
    assert Image.open(found[0]).size == images.SIZE
    assert images.read_all(found) == pytest.approx(images.MEAN_BYTES, rel=0.05)
    assert len({path.read_bytes() for path in found}) == 12
    before = found[0].stat().st_ino
    assert images.generated(12) == folder
    assert found[0].stat().st_ino == before, "they are not generated anew"


def test_links_are_in_class_folders_and_spread_over_all(tmp_path: Path):
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    for name in ("a/1.jpg", "a/2.JPEG", "3.jpg", "4.jpg", "note.txt"):
        (source / name).write_bytes(b"x")
    links = images.link(source, tmp_path / "links")
    assert sorted(p.relative_to(tmp_path / "links").as_posix() for p in links) == [
        "a/1.jpg",
        "a/2.JPEG",
        "all/3.jpg",
        "all/4.jpg",
    ]
    assert len(images.link(source, tmp_path / "links", 2)) == 2
    assert len(images.jpegs(tmp_path / "links")) == 2
    with pytest.raises(SystemExit, match="no .jpg"):
        images.link(tmp_path / "links" / "nowhere", tmp_path / "other")


def test_turned_photographs_are_upright_for_all_contestants(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    source = tmp_path / "source"
    source.mkdir()
    images.draw(0).save(source / "1.jpg", exif=exif)
    images.draw(0).save(source / "2.jpg")
    turned, usual = images.link(source, tmp_path / "links")
    with Image.open(turned) as image:
        assert image.size == images.SIZE[::-1]
        assert image.getexif().get(0x0112, 1) == 1
        blind = np.asarray(image)
    assert np.array_equal(blind, decode(turned.read_bytes(), 10**6)), "as those that heed EXIF"
    assert usual.is_symlink()


def test_contestants_that_differ_are_told_of_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def differ(*_: object) -> None:
        raise FailedRunError("raypipe: a feature's cosine to the base's is 0.9720")

    monkeypatch.setattr(__main__, "benchmark", differ)
    monkeypatch.setattr(sys, "argv", ["x", "--images", str(tmp_path), "--out", str(tmp_path)])
    with pytest.raises(
        SystemExit, match=r"^resnet18: raypipe: .* cosine to the base's is 0\.9720$"
    ):
        __main__.main()


def test_decoding_alone_takes_all_jpegs(tmp_path: Path):
    images.draw(0).save(tmp_path / "1.JPEG", "JPEG")
    job = Job(str(tmp_path), "", "", "net", "w", "layer", "tf", 32, 1)
    assert next(_pixels(job, 0)).shape == (32, 32, 3)


def test_options_of_a_network_belong_to_the_one_in_front():
    given = ["--network", "resnet18", "--network", "n.py:f", "--layer", "pw12", "--size", "32"]
    assert parse(given).networks == [Network("resnet18"), Network("n.py:f", layer="pw12", size=32)]
    assert parse([]).networks == [Network("resnet18")]
    with pytest.raises(SystemExit):
        parse(["--layer", "pw12"])


def test_the_command_is_told_without_folders():
    given = ["--network", "/home/me/net.py:f", "--weights=/data/w.pth", "--rounds", "3"]
    expected = "python -m benchmarks.extraction --network net.py:f --weights=w.pth --rounds 3"
    assert command(given) == expected


def test_tuning_tries_other_batches_of_the_best_shapes_only():
    tried = tune(of_fast_loop(4), lambda one: one["workers"] + one["batch"] / 1000)
    assert tried[0][0] == {"batch": 64, "workers": 4, "threads": 4, "processes": 1}
    assert {some["workers"] for some, _ in tried if some["batch"] != 32} == {4}
    assert [rate for _, rate in tried] == sorted((rate for _, rate in tried), reverse=True)


def test_cosines_are_compared_before_and_after_centring():
    rows = np.random.default_rng(0).normal(0, 1, (20, 8)).astype(np.float32)
    alike = 100 + rows
    other = 100 + rows[::-1].copy()
    assert least_cosine(alike, 3 * alike) == pytest.approx(1)
    assert least_cosine(alike, other) > 0.99
    assert least_cosine(alike, other, centred=True) < 0.9
    with pytest.raises(ValueError, match="cannot be compared"):
        least_cosine(rows, rows[:3])


def field() -> list[Contestant]:
    fast = fast_contestant({"batch": 16, "workers": 0, "threads": 1, "processes": 2})
    return contestants(2, ray_data({"least": 1, "most": 2, "cpus": 1}, 2), fast, None)


def test_the_field_has_each_contestant_once():
    names = [one.name for one in field()]
    assert len(set(names)) == len(names)
    assert {BASE, "Ray Data's recipe", "best loop", "best loop, compiled"} < set(names)
    ours = [one for one in field() if one.kind == "raypipe"]
    assert ours
    job = Job("in", "out", "trace", "net", "w.safetensors", "layer", "tf", 32, 2)
    told = " ".join(ours[0].start(job))
    assert "raypipe.cli extract --compile off in --backbone net --weights w.safetensors" in told
    assert [one.compiled for one in ours] == [False, True]
    assert "--size 32 --normalize tf --resize squash --interpolation bilinear" in told


def test_a_run_is_measured_from_outside(tmp_path: Path):
    script = (
        "import sys; from benchmarks.extraction.recipe import read_job\n"
        "from benchmarks.extraction.trace import Recorder\n"
        "done = Recorder(read_job()[0].trace)\n"
        "[done(4) for _ in range(50)]"
    )
    quick = Contestant("quick", "", (sys.executable, "-c", script), "npz")
    job = Job("in", "", "", "net", "w", "layer", "tf", 32, 2)
    run = measure(quick, job, tmp_path / "quick")
    assert run.images == 200
    assert run.pieces == 50
    assert 0 < run.first <= run.seconds
    broken = Contestant("broken", "", (sys.executable, "-c", "raise ValueError('no way')"), "npz")
    with pytest.raises(FailedRunError, match="no way"):
        measure(broken, job, tmp_path / "broken")


def test_loops_compute_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "images" / "a").mkdir(parents=True)
    names = [f"a/{number}{'.JPEG' if number == 5 else '.jpg'}" for number in range(10)]
    for number, name in enumerate(names):
        images.draw(number).save(tmp_path / "images" / name, "JPEG", quality=90)
    network = prepare(Network(TINY, layer="flat", size=32), tmp_path)
    monkeypatch.setattr(fast_loop, "keep_memory", lambda: None)  # it is for a whole process
    threads = torch.get_num_threads()
    found = {}
    for script, options in ((plain_loop, []), (fast_loop, ["--workers=0", "--batch=4"])):
        out = tmp_path / script.__name__
        out.mkdir()
        job = Job(
            str(tmp_path / "images"),
            str(out),
            str(out / "trace.txt"),
            network.name,
            network.weights,
            network.layer,
            "torch",
            32,
            0,
        )
        monkeypatch.setattr(sys, "argv", ["script", *job.arguments(), *options])
        script.main()
        found[script] = read_features("npz", out, tmp_path / "images")
        assert sum(piece.images for piece in read_trace(out / "trace.txt", 0.0)) == 10
    torch.set_num_threads(threads)
    (ids, one), (other_ids, other) = found.values()
    assert ids == other_ids == names
    assert one.shape == (10, 16)
    assert least_cosine(one, other) > 0.98


def figures(steady: float | None, seconds: float = 10.0) -> dict[str, object]:
    begin = None if steady is None else 2.0
    run = {"seconds": seconds, "images": 400, "steady": steady, "begins": begin, "first": 3.0}
    return run | {"pieces": 10, "own": {}}


def measured() -> dict[str, object]:
    def one(name: str, runs: list[dict[str, object]], compiled: bool = False) -> dict[str, object]:
        agreement = {"cosine": 0.9991, "centred": 0.99}
        about = {"name": name, "about": f"what {name} is", "compiled": compiled}
        return about | {"agreement": agreement, "runs": runs}

    part = {"seconds": 0.002, "cpu": 0.0019, "batch": 1}
    forward, compiled = part | {"seconds": 0.008}, part | {"seconds": 0.003}
    round_ = {"precision": "bf16", "decode": part, "forward": forward, "compiled": compiled}
    return {
        "label": "net to flat, 32×32",
        "weights": "random",
        "date": "2030-01-02",
        "machine": {"processor": "P, 2 cores"},
        "cores": 2,
        "images": {"count": 400, "mean_bytes": 110_000},
        "generated": True,
        "command": "python -m benchmarks.extraction",
        "tried": {
            "recipe": [[{"least": 1}, 0.0]],
            "loop": [[{"batch": 8}, 9.0], [{"batch": 4}, 8]],
        },
        "ideal": [round_, round_],
        "notes": ["A note."],
        "contestants": [
            one(BASE, [figures(50.0), figures(40.0)]),
            one("raypipe", [figures(150.0), figures(160.0, 8.0)]),
            one("raypipe --compile on", [figures(300.0), figures(None)], compiled=True),
        ],
    }


def test_a_report_has_medians_ranges_and_ratios_within_rounds():
    text = report.render({"extraction": {"net": measured()}})
    # 150/50 and 160/40; the ideal is 2/(0.002 + 0.008) = 200, compiled 2/(0.002 + 0.003) = 400.
    assert "| raypipe | 2.0 (2.0–2.0) | 3.0 | 155.0 (150.0–160.0) | 3.50 | 0.78 | 45.0 |" in text
    assert "| raypipe --compile on | 2.0 | 3.0 | 300.0 | 6.00 | 0.75 | 40.0 |" in text
    assert "| network, bf16, batch 1 | 8.00 (8.00–8.00) | 1.90 | 250.0 |" in text
    assert "| ideal, compiled |  |  | 400.0 |" in text
    assert "0.9991, centred 0.9900" in text
    assert "| 8 | 9.0 |" in text
    assert "- A note." in text
    assert "Ray Data's recipe, on fewer" not in text, "there was nothing to choose from"


def test_other_scripts_add_sections(tmp_path: Path):
    results.put("extraction", {"net": measured()}, tmp_path)
    rows = [["items", "seconds"], [1000, 2.5]]
    results.put("scale", [{"title": "Scale", "text": "Text.", "table": rows}], tmp_path)
    results.put("scale", [{"title": "Scale", "table": rows}, {"title": "More"}], tmp_path)
    report.write(tmp_path)
    text = (tmp_path / report.NAME).read_text()
    assert text.endswith("## Scale\n\n| items | seconds |\n|---|---|\n| 1000 | 2.5 |\n\n## More\n")
    assert "# Extraction" in text
    assert "# Scale of the machinery" in text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
