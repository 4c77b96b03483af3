"""Containers that promise what they do not hold, and text that is none: told in one line."""

from __future__ import annotations

import io
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.sources import read_item
from raypipe.storage import hdf5_safety
from tests.support.sources import CAP, ids, labels, listed, tar_of

MANY = 10**12


def png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (4, 4)).save(sink, "PNG")
    return sink.getvalue()


def header(text: str) -> bytes:
    data = text.encode() + b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data


def npy(shape: str, kind: str = "|u1") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}}}"
    return header(text) + bytes(200)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npy(f"({MANY}, 8, 8, 3)"), "mmap length is greater than file size"),
        (npy("(-1, 8, 8, 3)"), "must be positive"),
        (npy(f"({10**22}, 8, 8, 3)"), "too large"),
        (npy("(1.5, 8, 8, 3)"), "shape is not valid"),
        (npy("(1, 8, 8)", "no type"), "not a valid dtype"),
        (header("{'descr': [('a',"), "EOF in multi-line"),
        (header("{'descr': " + "(" * 9000 + ")" * 9000), "is large"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "expected 2147483648 bytes"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "format version"),
        (b"", "No data left"),
    ],
)
def test_npy_headers(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(RaypipeError, match=said) as found:
        listed(tmp_path / "a.npy")
    assert len(str(found.value).splitlines()) == 1


def test_npz_with_more_rows_than_bytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", npy(f"({MANY}, 8, 8, 3)"))
    with pytest.raises(RaypipeError, match="promises .* values, but has"):
        listed(tmp_path / "a.npz")


PIXELS = np.ones((3, 8, 8, 3), np.uint8)


def _h5(write: Callable[[Any], object], path: Path) -> Path:
    with h5py.File(path, "w") as file:
        write(file)
    return path


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda f: f.create_dataset("images", (MANY, 8, 8), "u1", chunks=(8, 8, 8)), "never"),
        (lambda f: f.create_dataset("images", (3, 8, 8, 3), "u1"), "never written"),
        (lambda f: f.create_dataset("images", data=h5py.Empty("u1")), "is empty"),
        (
            lambda f: f.update(images=PIXELS, labels=np.zeros(3, [("a", "u1"), ("b", "f4")])),
            "neither a text nor a number",
        ),
        (lambda f: f.update(images=PIXELS, labels=np.zeros(3, "V4")), "neither a text"),
        (
            lambda f: (
                f.create_dataset("ids", data=["a", "", "c"], dtype=h5py.string_dtype())
                and f.update(images=PIXELS)
            ),
            "row 1 .* has no 'ids'",
        ),
    ],
)
def test_hdf5_types(write: Callable[[Any], object], said: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(RaypipeError, match=said):
        listed(_h5(write, tmp_path / "a.h5"))
    assert time.monotonic() - started < 30


def test_hdf5_with_links_to_nowhere_and_to_itself(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file["images"] = PIXELS
        file["soft"] = h5py.SoftLink("/nowhere")
        file["other"] = h5py.ExternalLink("other.h5", "/images")
        file["loop"] = file["/"]
        file["type"] = np.dtype("f4")

    assert ids(_h5(write, tmp_path / "a.h5")) == ["0", "1", "2"]


#: Stands for HDF5's library on a damaged file; the first file is a good one.
WALK = """
import os, sys, time
for number, name in enumerate(sys.stdin.read().split(chr(0))):
    print(flush=True)
    if number: {what}
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [("time.sleep(60)", "not get on with it in 0.5 s"), ("os.abort()", "ends the process")],
)
def test_hdf5_that_hangs_or_dies(
    what: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "walk.py").write_text(WALK.format(what=what))
    monkeypatch.setattr(hdf5_safety, "_WALK", tmp_path / "walk.py")
    started = time.monotonic()
    found = hdf5_safety.stuck_in(["good.h5", "bad.h5"], seconds=0.5 if "sleep" in what else 20)
    assert found is not None
    assert (found[0], said in found[1]) == ("bad.h5", True)
    assert time.monotonic() - started < 20


def test_hdf5_with_a_zeroed_heap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: Any) -> None:
        file["images"] = PIXELS
        file.create_dataset("ids", data=["a", "b", "c"], dtype=h5py.string_dtype())

    monkeypatch.setattr(hdf5_safety.stuck_in, "__defaults__", (2.0,))
    data = _h5(write, tmp_path / "a.h5").read_bytes()
    heap = data.index(b"GCOL")
    for length in (8, 16, 24, 64):
        (tmp_path / f"{length}.h5").write_bytes(
            data[: heap + 8] + bytes(length) + data[heap + 8 + length :]
        )
        with pytest.raises(RaypipeError) as found:
            listed(tmp_path / f"{length}.h5")
        assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_uri_with_a_zero_is_a_reject(kind: str, tmp_path: Path) -> None:
    table = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        table.write_text('{"uri": "b\\u0000c.png"}\n')
    else:
        pq.write_table(pa.table({"uri": ["b\0c.png"]}), table)
    (uri,) = listed(table)["uri"].to_pylist()
    with pytest.raises(RejectedItem, match="no file has such a name") as found:
        read_item(uri, CAP)
    assert found.value.reason is RejectReason.UNREADABLE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"uri": "b\\ud800c.png"}', "line 2 .* half a character as 'uri'"),
        ('{"uri": "b.png", "id": "\\udfff"}', "half a character as 'id'"),
        ('{"uri": "b.png", "uri": "c.png"}', "line 2 .* a key is there twice"),
        ('{"uri": ' + "[" * 10**5, "line 2 .* too many to read"),
    ],
)
def test_json_lines(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"uri": "a.png", "id": "a"}}\n{line}\n')
    with pytest.raises(RaypipeError, match=said):
        listed(tmp_path / "t.jsonl")


@pytest.mark.parametrize("side", [b'{"label": "\\ud800"}', b"[" * 10**5])
def test_what_is_beside_an_image_in_a_shard(
    side: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar_of(tmp_path / "a.tar", {"x.png": png(), "x.json": side})
    assert labels(tmp_path / "a.tar") == {"a/x": None}
    assert "1 .cls and .json members" in capsys.readouterr().err


def test_a_time_that_is_no_number(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x.png")
        info.size, info.pax_headers = len(png()), {"mtime": "nan"}
        archive.addfile(info, io.BytesIO(png()))
    assert ids(tmp_path / "a.tar") == ["a/x"]


def test_a_zip_member_without_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.png", png())
    data = bytearray((tmp_path / "a.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 28] = 0  # the name's length; what was the name becomes a comment
    data[entry + 32] = len("x.png")
    (tmp_path / "a.zip").write_bytes(data)
    (uri,) = listed(tmp_path / "a.zip")["uri"].to_pylist()
    with pytest.raises(RejectedItem, match="unsafe name"):
        read_item(uri, CAP)


def test_a_zip_member_that_is_called_otherwise_by_its_directory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/x.png", png())
        archive.writestr("café/é.png", png())
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.index(b"cat/x.png", data.index(b"PK\x01\x02"))
    (tmp_path / "b.zip").write_bytes(data[:at] + b"bat" + data[at + 3 :])
    found = dict(
        zip(ids(tmp_path / "b.zip"), listed(tmp_path / "b.zip")["uri"].to_pylist(), strict=True)
    )
    assert read_item(found["café/é.png"], CAP) == png()
    with pytest.raises(RejectedItem, match="a member of another name, 'cat/x.png'"):
        read_item(found["bat/x.png"], CAP)


def test_a_zip_whose_directory_lost_an_entry(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in "ab":
            archive.writestr(f"{name}.png", png())
    data = bytearray((tmp_path / "a.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 32] = 46 + len("b.png")  # its comment swallows the next one
    (tmp_path / "b.zip").write_bytes(data)
    assert ids(tmp_path / "a.zip") == ["a.png", "b.png"]
    with pytest.raises(RaypipeError, match="directory has 1 members, its last record says 2"):
        listed(tmp_path / "b.zip")


def test_messages_of_libraries_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [png()]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:-8] + (4).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(RaypipeError) as found:
        listed(tmp_path / "a.parquet")
    assert len(str(found.value).splitlines()) == 1
