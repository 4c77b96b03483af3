"""HDF5 partitions that no snapshot lists: nothing opens them before they are known to be whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import pytest

from raypipe.errors import RaypipeError
from raypipe.rows.listing import Listing
from raypipe.storage import FolderStorage
from raypipe.store import hdf5, seals
from raypipe.store.adoption import adopt
from raypipe.store.compaction import compact
from raypipe.store.coverage import cover
from raypipe.store.hdf5 import encode_pieces
from raypipe.store.partition import existing_unit, read_metadata
from raypipe.store.seals import pieces_of, seal_in
from raypipe.store.snapshot import newest
from tests.support.stores import items_of, make_spec, make_store, write

SPEC = make_spec()
NAME = "data/part-0123456789abcdef0123456789abcdef.h5"
UNIT = NAME[10:-3]
ITEMS = items_of([*(f"a/{i}" for i in range(9)), "b!"])


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    found = FolderStorage(tmp_path)
    write(found, SPEC, UNIT, ITEMS, "hdf5")
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that HDF5's library opens in this process."""
    found: list[Path] = []
    real = h5py.File

    def open_file(name: Any, mode: str, **options: Any) -> Any:
        if mode == "r":
            found.append(name)
        return real(name, mode, **options)

    monkeypatch.setattr(hdf5.h5py, "File", open_file)
    return found


def adopted(storage: FolderStorage) -> int:
    """Return how many rows an ingest would take over."""
    found = adopt(storage, cover(storage, ()), Listing(ITEMS.to_batches()), SPEC.fingerprint)
    return sum(part.rows for part in found.parts if part.is_data)


def damages(data: bytes) -> list[bytes]:
    """Flipped bits, zeroed heaps and ends, all behind the file's own few texts or before them."""
    chance, found = random.Random(0), [data[: len(data) // 2]]
    texts = data.index(SPEC.fingerprint.encode())
    for _ in range(40):
        at, length = chance.randrange(len(data)), chance.choice([1, 8, 64])
        if not texts - 100 < at < texts + 400:
            broken = bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + length])
            found.append(data[:at] + broken + data[at + length :])
    heaps = (data.index(b"GCOL"), data.rindex(b"GCOL"))
    return [*found, *(data[: at + 8] + bytes(8) + data[at + 16 :] for at in heaps)]


def test_what_is_damaged_is_not_opened(
    storage: FolderStorage, opened: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, all_damages = storage.read(NAME), 0
    for broken in damages(data)[1:]:
        storage.put(NAME, broken)
        assert adopted(storage) == 0
        with pytest.raises(RaypipeError, match="is damaged or none of raypipe's"):
            existing_unit(storage, UNIT, "hdf5")
        all_damages += 1
    assert (opened, all_damages > 30) == ([], True)
    assert capsys.readouterr().err.count("is damaged, and no snapshot lists it") == all_damages
    storage.put(NAME, data)
    assert adopted(storage) == 9
    assert len(existing_unit(storage, UNIT, "hdf5")) == 2


def test_a_damaged_merged_file_is_not_opened(tmp_path: Path, opened: list[Path]) -> None:
    units = [items_of([f"a/{i}"]) for i in range(3)]
    storage, _ = make_store(tmp_path / "store", units, SPEC, "hdf5")
    merged = compact(storage, SPEC, "hdf5", 10**8).after
    storage.delete(f"snapshots/{merged.number:08d}.json")  # killed before it was published
    (name,) = (part.file.path for part in merged.parts)
    data = storage.read(name)
    storage.put(name, data[:-40] + bytes(40))
    opened.clear()
    assert name not in {
        part.file.path for part in compact(storage, SPEC, "hdf5", 10**8).after.parts
    }
    assert storage.folder is not None
    assert storage.folder / name not in opened


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_one_without_a_seal_is_gone_through_apart(
    where: str, storage: FolderStorage, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 0.1.0 wrote them, or where the texts of its attributes stand elsewhere."""
    table = hdf5.read_table(storage.open(NAME), None)
    metadata = read_metadata(storage, NAME)
    assert metadata is not None
    about = {
        "raypipe.fingerprint": SPEC.fingerprint,
        "raypipe.unit": UNIT,
        "raypipe.rejects": metadata.rejects,
    }
    storage.put(NAME, encode_pieces(table.schema, [table], len(table), about))
    if where == "bucket":
        real = storage.open
        monkeypatch.setattr(FolderStorage, "open", lambda _, name: real(name).open("rb"))
    assert seal_in(pieces_of(storage, NAME), UNIT) is None
    assert adopted(storage) == 9
    looked_at: list[str] = []

    def hangs(paths: list[str]) -> tuple[str, str]:
        looked_at.extend(paths)
        return paths[0], "HDF5 does not get on with it"

    monkeypatch.setattr(seals, "stuck_in", hangs)
    opened.clear()
    assert adopted(storage) == 0
    assert ([Path(path).suffix for path in looked_at], opened) == ([".h5"], [])


def test_the_seal_is_found_in_files_of_every_size(tmp_path: Path) -> None:
    """In one piece or across two; with names that look like one."""
    for count in (0, 1, 40, 3000):
        storage = FolderStorage(tmp_path / str(count))
        names = [f"{i:064x}" for i in range(count)]
        write(storage, SPEC, UNIT, items_of([*names, "b!"][: count + 1]), "hdf5")
        metadata = read_metadata(storage, NAME)
        assert metadata is not None
        expected = (SPEC.fingerprint, metadata.seal)
        data = storage.read(NAME)
        assert seal_in(pieces_of(storage, NAME), UNIT) == expected
        at = data.index(metadata.seal.encode())
        assert seal_in([data[: at + 9], data[at + 9 :]], UNIT) == expected
        assert newest(storage, SPEC.fingerprint).parts == ()
