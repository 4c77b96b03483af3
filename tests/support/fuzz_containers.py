"""Damaged containers, listed and read: what raypipe makes of them, and what another reader does.

`python -m tests.support.fuzz_containers FOLDER CASE…` tells one line of JSON per case.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import tarfile
import traceback
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raypipe.errors import RaypipeError, RejectedItem
from raypipe.images.decode import decode
from raypipe.sources import read_item
from tests.support.case_runner import serve
from tests.support.damage import damaged
from tests.support.sources import listed

_COUNT, _SIDE = 6, 12
_LABELS = ["rose", "tulip", None, "lily", "rose", "iris"]

#: Label and checksum of the content, by id.
Items = dict[str, tuple[str | None, str]]


def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (_COUNT, _SIDE, _SIDE, 3), np.uint8)


def pngs() -> list[bytes]:
    found = []
    for array in pixels():
        sink = io.BytesIO()
        Image.fromarray(array).save(sink, "PNG")
        found.append(sink.getvalue())
    return found


def _sum(data: bytes | np.ndarray) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()[:12]


def _zip(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, data in enumerate(pngs()):
            archive.writestr(zipfile.ZipInfo(f"a/{number}.png"), data, method)


def _read_zip(path: Path) -> Items:
    with zipfile.ZipFile(path) as archive:
        return {i.filename: ("a", _sum(archive.read(i))) for i in archive.infolist()}


def _tar(path: Path, mode: str, sides: bool = False) -> None:
    with tarfile.open(path, mode) as archive:
        for number, data in enumerate(pngs()):
            members = {f"a/{number}.png": data}
            if sides:
                members[f"a/{number}.json"] = json.dumps({"label": _LABELS[number]}).encode()
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _read_tar(path: Path) -> Items:
    images, labels = {}, {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            key, _, end = member.name.partition(".")
            if end == "json":
                labels[key] = json.loads(file.read())["label"]
            else:
                images[key] = _sum(file.read())
    stem = path.name.partition(".")[0]
    return {f"{stem}/{key}": (labels.get(key), found) for key, found in images.items()}


def _parquet(path: Path, form: str) -> None:
    files = [f"{n}.png" for n in range(_COUNT)]
    column: Any = pngs() if form == "bytes" else files
    if form == "struct":
        column = [{"bytes": data, "path": None} for data in pngs()]
    table = pa.table({"id": [f"i{n}" for n in range(_COUNT)], "image": column, "label": _LABELS})
    pq.write_table(table, path, row_group_size=4, write_page_checksum=True)


def _read_parquet(path: Path) -> Items:
    found = {}
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for row in file.read().to_pylist():
            image = row["image"]
            if isinstance(image, str):
                image = (path.parent / image).read_bytes()
            elif isinstance(image, dict):
                image = image["bytes"]
            found[row["id"]] = (row["label"], _sum(image))
    return found


def _texts(values: list[Any]) -> list[str]:
    return [value or "" for value in values]


def _hdf5(path: Path, form: str) -> None:
    with h5py.File(path, "w") as file:
        if form == "encoded":
            images = file.create_dataset("images", (_COUNT,), h5py.vlen_dtype(np.uint8))
            for number, data in enumerate(pngs()):
                images[number] = np.frombuffer(data, np.uint8)
        else:
            packed = {"chunks": (2, _SIDE, _SIDE, 3), "compression": "gzip", "fletcher32": True}
            file.create_dataset("images", data=pixels(), **(packed if form == "packed" else {}))
        kind = h5py.string_dtype()
        file.create_dataset("ids", data=[f"i{n}" for n in range(_COUNT)], dtype=kind)
        file.create_dataset("labels", data=_texts(_LABELS), dtype=kind)


def _read_hdf5(path: Path) -> Items:
    with h5py.File(path, "r", locking=False) as file:
        ids, labels = file["ids"].asstr()[:], file["labels"].asstr()[:]
        images = [bytes(i.tobytes()) for i in file["images"][:]]
        rows = zip(ids, labels, images, strict=True)
        return {i: (label or None, _sum(data)) for i, label, data in rows}


def _npz(path: Path, save: Callable[..., None]) -> None:
    ids = np.array([f"i{n}" for n in range(_COUNT)])
    save(path, images=pixels(), ids=ids, labels=np.array(_texts(_LABELS)))


def _read_npz(path: Path) -> Items:
    with np.load(path) as file:
        rows = zip(file["ids"], file["labels"], file["images"], strict=True)
        return {str(i): (str(label) or None, _sum(data)) for i, label, data in rows}


def _read_npy(path: Path) -> Items:
    return {str(n): (None, _sum(data)) for n, data in enumerate(np.load(path))}


def _text_rows(path: Path) -> list[dict[str, Any]]:
    return [{"id": f"i{n}", "uri": f"{n}.png", "label": label} for n, label in enumerate(_LABELS)]


def _csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "uri", "label"])
        writer.writeheader()
        writer.writerows(_text_rows(path))


def _rows_read(path: Path, rows: Any) -> Items:
    found = {}
    for row in rows:
        image = path.parent / row["uri"]
        content = _sum(image.read_bytes()) if image.is_file() else ""
        found[row["id"]] = (row.get("label") or None, content)
    return found


def _read_csv(path: Path) -> Items:
    with path.open(newline="", encoding="utf-8") as file:
        return _rows_read(path, csv.DictReader(file, strict=True))


def _read_jsonl(path: Path) -> Items:
    return _rows_read(path, [json.loads(line) for line in path.read_text().splitlines() if line])


Kind = tuple[str, Callable[[Path], None], Callable[[Path], Items]]
KINDS: list[Kind] = [
    ("stored.zip", lambda p: _zip(p, zipfile.ZIP_STORED), _read_zip),
    ("deflated.zip", lambda p: _zip(p, zipfile.ZIP_DEFLATED), _read_zip),
    ("plain.tar", lambda p: _tar(p, "w"), _read_tar),
    ("labelled.tar", lambda p: _tar(p, "w", sides=True), _read_tar),
    ("packed.tar.gz", lambda p: _tar(p, "w:gz"), _read_tar),
    ("bytes.parquet", lambda p: _parquet(p, "bytes"), _read_parquet),
    ("struct.parquet", lambda p: _parquet(p, "struct"), _read_parquet),
    ("uris.parquet", lambda p: _parquet(p, "uris"), _read_parquet),
    ("stack.h5", lambda p: _hdf5(p, "stack"), _read_hdf5),
    ("packed.h5", lambda p: _hdf5(p, "packed"), _read_hdf5),
    ("encoded.h5", lambda p: _hdf5(p, "encoded"), _read_hdf5),
    ("stored.npz", lambda p: _npz(p, np.savez), _read_npz),
    ("packed.npz", lambda p: _npz(p, np.savez_compressed), _read_npz),
    ("stack.npy", lambda p: np.save(p, pixels()), _read_npy),
    ("table.csv", _csv, _read_csv),
    ("table.jsonl", lambda p: p.write_text("\n".join(map(json.dumps, _text_rows(p)))), _read_jsonl),
]


def _images_beside(folder: Path) -> None:
    for number, data in enumerate(pngs()):
        (folder / f"{number}.png").write_bytes(data)


@lru_cache(maxsize=1)
def originals(folder: Path) -> dict[str, tuple[bytes, Items]]:
    """Write each kind, and the images that tables name; return their bytes and what is in them."""
    _images_beside(folder)
    found = {}
    for name, write, read in KINDS:
        write(folder / name)
        found[name] = (folder / name).read_bytes(), read(folder / name)
    return found


def outcome(folder: Path, case: int) -> dict[str, Any]:
    """Return what has become of a case: its `state`, and a `detail` if that is not a good one."""
    name, _, read = KINDS[case % len(KINDS)]
    whole, before = originals(folder)[name]
    path = folder / str(case) / name  # libraries remember files by name
    path.parent.mkdir()
    _images_beside(path.parent)
    damage, data = damaged(whole, case)
    path.write_bytes(data)
    about = {"kind": name, "damage": damage}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            items = _ours(path)
    except RaypipeError as error:
        return about | {"state": _said("refused", str(error)), "detail": str(error)}
    except Exception:
        return about | {"state": "trace", "detail": traceback.format_exc(limit=-6)}
    told = "give no labels" in said.getvalue()
    return about | _compared(items, before, _independent(read, path), told)


def _said(state: str, message: str) -> str:
    return state if len(message.splitlines()) == 1 else "several lines"


def _ours(path: Path) -> dict[str, tuple[str | None, str] | None]:
    """List and read as raypipe does; None stands for a reject."""
    table = listed(path)
    found: dict[str, tuple[str | None, str] | None] = {}
    for row in table.to_pylist():
        found[row["id"]] = None
        try:
            data = read_item(row["uri"], 10**6)
            decode(data, 10**6)
        except RejectedItem:
            continue
        content = np.load(io.BytesIO(data)) if data.startswith(b"\x93NUMPY") else data
        found[row["id"]] = (row["label"], _sum(content))
    return found


def _independent(read: Callable[[Path], Items], path: Path) -> Items | None:
    try:
        return read(path)
    except (Exception, zlib.error):
        return None


def _compared(
    items: dict[str, tuple[str | None, str] | None],
    before: Items,
    now: Items | None,
    told: bool,
) -> dict[str, Any]:
    """Say whether all is as it was, or as another reader has it, but for rejects.

    `told`: whether it was said that labels are missing.
    """
    if items == before:
        return {"state": "same"}
    if told:
        items = {i: found and (before.get(i, found)[0], found[1]) for i, found in items.items()}
    odd = {
        item: found
        for item, found in items.items()
        if found is not None and found not in (before.get(item), (now or {}).get(item))
    }
    # What another reader of a whole file has must be there; else, what was there before, or
    # rejects that tell of it by names that nobody gave.
    missing = sorted((before if now is None else now).keys() - items.keys())
    missing = missing[len([i for i in items if items[i] is None and i not in before]) :]
    if odd or missing:
        return {"state": "differs", "detail": f"{odd=} {missing=} {now=} {items=}"}
    return {"state": "rejects"}


if __name__ == "__main__":
    serve(outcome)
