"""Packing: the same bytes under the same ids, and shards that come out the same every time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raypipe.config import PackConfig
from raypipe.errors import UsageError
from raypipe.jobs import pack
from tests.support.sources import contents, csv_of, files_in, labels, listed


def packed(source: object, out: Path, **options: object) -> dict[str, object]:
    return pack.run(PackConfig(source=str(source), out=str(out), **options)).summary


def test_packed_set_is_the_same_set(photos: Path, tmp_path: Path) -> None:
    (photos / ".DS_Store").touch()
    summary = packed(photos, tmp_path / "out", split="hash")
    (photos / ".DS_Store").unlink()
    assert {**summary, "seconds": 0, "bytes": 0} == {
        "out": str(tmp_path / "out"),
        "shards": 1,
        "items": 24,
        "rejects": 0,
        "bytes": 0,
        "left_aside": {"hidden or a marker (its name begins with . or _)": 1},
        "labels_not_found": {},
        "seconds": 0,
    }
    assert summary["bytes"] == (tmp_path / "out" / "shard-000000.tar").stat().st_size
    assert contents(tmp_path / "out") == files_in(photos)
    assert labels(tmp_path / "out") == labels(photos)
    there = listed(tmp_path / "out", split="column")["split"].to_pylist()
    assert there == listed(photos, split="hash")["split"].to_pylist()


def test_members(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out", prefix="p")
    with tarfile.open(tmp_path / "out" / "p-000000.tar") as archive:
        assert archive.getnames()[:4] == ["000000.png", "000000.json", "000000.cls", "000001.png"]
        values = json.load(archive.extractfile("000000.json"))
        assert values == {"id": "circle/0000.png", "label": "circle", "split": None}
        assert archive.extractfile("000000.cls").read() == b"circle"
        assert {m.mtime for m in archive} == {0}


def test_same_shards_again(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "a", shards=5)
    before = files_in(tmp_path / "a")
    packed(photos, tmp_path / "a", shards=5)
    packed(photos, tmp_path / "b", shards=5)
    assert before == files_in(tmp_path / "a") == files_in(tmp_path / "b")
    assert len([name for name in before if name.endswith(".tar")]) == 5


def test_cut_by_count_and_by_size(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "n", shards=3)
    counts = []
    for shard in sorted((tmp_path / "n").glob("*.tar")):
        counts.append(len(listed(shard)))
    assert counts == [8, 8, 8]
    big = tmp_path / "big"
    big.mkdir()
    for i in range(5):
        (big / f"{i}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(400_000))
    assert packed(big, tmp_path / "mb", shard_mb=1)["shards"] == 3
    with pytest.raises(UsageError, match="--shards: at most the number of images, 5"):
        packed(big, tmp_path / "many", shards=6)


def test_other_shards_are_not_overwritten(photos: Path, tmp_path: Path) -> None:
    packed(photos, tmp_path / "out")
    (photos / "circle" / "0000.png").unlink()
    with pytest.raises(UsageError, match="--out: .*holds shards of another packing"):
        packed(photos, tmp_path / "out")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "x.tar").write_bytes(b"")
    with pytest.raises(UsageError, match="--out: .*holds shards of another packing"):
        packed(photos, tmp_path / "foreign")


def test_what_cannot_be_read_is_listed(photos: Path, tmp_path: Path) -> None:
    (photos / "circle" / "gone.jpg").symlink_to("nowhere")
    (photos / "circle" / "notes.txt").write_text("no image")
    (photos / "circle" / "cut.jpg").write_bytes(b"\xff\xd8\xff cut short")
    summary = packed(photos, tmp_path / "out", shards=2)
    assert (summary["items"], summary["rejects"]) == (25, 2)
    lines = (tmp_path / "out" / "rejects.csv").read_text().splitlines()
    assert lines[0] == "id,reason,message"
    assert lines[1].startswith("circle/gone.jpg,unreadable,No such file")
    assert lines[2].startswith("circle/notes.txt,not_an_image,")
    assert len(listed(tmp_path / "out")) == 25  # rejects.csv does not make it a folder of files


def test_extension_is_that_of_the_content(photos: Path, tmp_path: Path) -> None:
    data = (photos / "circle" / "0000.png").read_bytes()
    (tmp_path / "x").write_bytes(data)
    (tmp_path / "y.jpg").write_bytes(data)
    rows = [{"id": n, "uri": n} for n in ("x", "y.jpg")]
    packed(csv_of(tmp_path / "t.csv", rows), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        assert [n for n in archive.getnames() if "json" not in n] == ["000000.png", "000001.png"]


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint8, 1), (np.uint16, 1)])
def test_arrays_keep_their_pixels(dtype: type, channels: int, tmp_path: Path) -> None:
    top = np.iinfo(dtype).max
    images = np.random.default_rng(0).integers(0, top, (3, 9, 7, channels), dtype)
    np.save(tmp_path / "a.npy", images)
    packed(tmp_path / "a.npy", tmp_path / "out")
    found = [np.asarray(Image.open(io.BytesIO(d))) for d in contents(tmp_path / "out").values()]
    assert np.array_equal(np.stack(found).reshape(images.shape), images)


def test_wide_colour_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8, 3), np.uint16))
    with pytest.raises(UsageError, match="16-bit colour cannot be packed; scale"):
        packed(tmp_path / "a.npy", tmp_path / "out")


def test_nothing_to_pack(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="SOURCE: no images in"):
        packed(tmp_path / "empty", tmp_path / "out")


def test_command_line(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raypipe.jobs.pack", str(photos), "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["items"] == 24
