"""What was listed is what is read: sources that are replaced between the two."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe import schema
from raypipe.config import LabelConfig, SourceConfig
from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.sources import open_source, read_item
from raypipe.sources.ahead import read_items
from raypipe.sources.array_files import open_arrays
from raypipe.sources.arrays import ArraySource
from raypipe.sources.buckets import open_object
from raypipe.sources.content import _forget
from raypipe.storage import ChangedError
from raypipe.storage.object_file import version_of
from tests.support.proxy import proxied
from tests.support.sources import CAP, csv_of, listed, tar_of, zip_of

COUNT = 12
IDS = [f"{i:02}.jpg" for i in range(COUNT)]

Found = dict[str, bytes | RejectedItem]


def image_of(number: int) -> bytes:
    """Bytes of one length, all different: nothing but a version tells two files apart."""
    return bytes([number]) * 3000


def stack_of(numbers: list[int]) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), n, np.uint8) for n in numbers])


def write_folder(path: Path, numbers: list[int]) -> None:
    path.mkdir(exist_ok=True)
    for name, number in zip(IDS, numbers, strict=True):
        beside = path / f".{name}"
        beside.write_bytes(image_of(number))
        beside.rename(path / name)


def write_parquet(path: Path, numbers: list[int]) -> None:
    images = [image_of(n) for n in numbers]
    # Rows in the order of the numbers: an id's place changes with its image.
    order = np.argsort(numbers)
    table = pa.table({"id": [IDS[i] for i in order], "image": [images[i] for i in order]})
    pq.write_table(table, path, row_group_size=5)


def write_hdf5(path: Path, numbers: list[int]) -> None:
    with h5py.File(path, "w") as file:
        file["images"], file["ids"] = stack_of(numbers), IDS


def members(numbers: list[int]) -> dict[str, bytes]:
    return {name: image_of(n) for name, n in zip(IDS, numbers, strict=True)}


KINDS: dict[str, Callable[[Path, list[int]], Any]] = {
    "photos": write_folder,
    "s.tar": lambda path, numbers: tar_of(path, members(numbers)),
    "s.tar.gz": lambda path, numbers: tar_of(path, members(numbers), "w:gz"),
    "s.zip": lambda path, numbers: zip_of(path, members(numbers)),
    "s.parquet": write_parquet,
    "s.h5": write_hdf5,
    "s.npz": lambda path, numbers: np.savez_compressed(path, images=stack_of(numbers), ids=IDS),
    "s.npy": lambda path, numbers: np.save(path, stack_of(numbers)),
}


def read_all(items: pa.Table) -> Found:
    return dict(zip(items["id"].to_pylist(), read_items(items, CAP), strict=True))


def number_in(data: bytes) -> int:
    """Which image it is: its last byte, as an array's first bytes are its header."""
    return data[-1]


def replace_file(kind: str, path: Path, numbers: list[int]) -> None:
    """Put another version in a file's place, by a rename."""
    if kind == "photos":
        write_folder(path, numbers)
        return
    beside = path.with_name(f"new-{path.name}")
    KINDS[kind](beside, numbers)
    beside.replace(path)


def rewrite_file(kind: str, path: Path, numbers: list[int]) -> None:
    """Write another version into the file itself, as `cp` and `rsync --inplace` do."""
    if kind == "photos":
        for name, data in members(numbers).items():
            (path / name).write_bytes(data)
        return
    beside = path.with_name(f"new-{path.name}")
    KINDS[kind](beside, numbers)
    with path.open("r+b") as file:
        file.write(beside.read_bytes())
        file.truncate()


@pytest.mark.parametrize("replace", [replace_file, rewrite_file])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read_before", [0, 4])
def test_nothing_is_read_under_another_id(
    kind: str, replace: Callable[..., None], read_before: int, tmp_path: Path
) -> None:
    path, old, new = tmp_path / kind, list(range(COUNT)), list(range(COUNT))[::-1]
    KINDS[kind](path, old)
    items = listed(path)
    truth = {item: number_in(data) for item, data in read_all(items).items()}
    assert sorted(truth.values()) == old
    _forget()
    first = read_all(items.slice(0, read_before))
    replace(kind, path, new)
    found = first | read_all(items.slice(read_before))
    for item, data in found.items():
        if isinstance(data, RejectedItem):
            assert data.reason is RejectReason.CHANGED, data
        else:
            assert number_in(data) == truth[item]
    # Listed anew, all is read, as what it is now.
    again = read_all(listed(path))
    assert not [one for one in again.values() if isinstance(one, RejectedItem)]
    if kind != "s.parquet":  # whose listing is in another order
        assert [number_in(data) for data in again.values()] == new


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gone_is_tried_again(kind: str, tmp_path: Path) -> None:
    """As on a drive that is not mounted any more: these are no rejects for good."""
    path = tmp_path / "drive" / kind
    path.parent.mkdir()
    KINDS[kind](path, list(range(COUNT)))
    items = listed(path)
    path.parent.rename(tmp_path / "elsewhere")
    reasons = {data.reason for data in read_all(items).values() if isinstance(data, RejectedItem)}
    assert reasons == {RejectReason.CHANGED}


@pytest.mark.parametrize("kind", ["s.parquet", "s.h5", "s.npz", "s.npy", "s.tar", "s.zip"])
def test_a_version_is_that_of_before_the_listing(kind: str, tmp_path: Path) -> None:
    """A container that is replaced between its opening and its listing is not read as the old."""
    path = tmp_path / kind
    KINDS[kind](path, list(range(COUNT)))
    source = open_source(LabelConfig(source=str(path)))
    replace_file(kind, path, list(range(COUNT))[::-1])
    items = pa.Table.from_batches(source.list(), schema=schema.ITEMS)
    truth = read_all(listed(path))
    for item, data in read_all(items).items():
        assert isinstance(data, RejectedItem) or data == truth[item]


def test_a_file_that_is_written_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(image_of(1))
    real = os.fstat

    def late(descriptor: int) -> os.stat_result:
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", late)
    with pytest.raises(RejectedItem, match="has changed since it was listed") as found:
        read_item(str(path), CAP)
    assert found.value.reason is RejectReason.CHANGED


def test_a_file_that_was_missing_and_came_back(tmp_path: Path) -> None:
    """Its row's etag would say that it is missing."""
    table = csv_of(tmp_path / "t.csv", [{"uri": "a.jpg"}])
    items = listed(table)
    assert items["etag"].to_pylist() == [schema.MISSING]
    (gone,) = read_all(items).values()
    assert isinstance(gone, RejectedItem)
    assert gone.reason is RejectReason.UNREADABLE
    (tmp_path / "a.jpg").write_bytes(b"x")
    (back,) = read_all(items).values()
    assert isinstance(back, RejectedItem)
    assert back.reason is RejectReason.CHANGED
    assert list(read_all(listed(table)).values()) == [b"x"]


def test_members_of_a_zip_that_is_packed_anew_stay_what_they_are(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {"1.jpg": b"one", "2.jpg": b"two"})
    before = listed(source)
    zip_of(source, {"0.jpg": b"zero", "1.jpg": b"one", "2.jpg": b"two"})
    after = listed(source)
    assert after["etag"].to_pylist()[1:] == before["etag"].to_pylist()
    shutil.copy(source, tmp_path / "copy.zip")
    assert listed(tmp_path / "copy.zip")["etag"] == after["etag"]


def test_a_damaged_member_is_told_from_an_archive_that_has_changed(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {"1.jpg": os.urandom(999), "2.jpg": b"2"})
    data = bytearray(source.read_bytes())
    data[500] ^= 1
    source.write_bytes(data)
    items = listed(source)
    first, second = read_all(items).values()
    assert isinstance(first, RejectedItem)
    assert (first.reason, second) == (RejectReason.DAMAGED, b"2")
    os.utime(source, (1, 1))
    changed = read_all(items)["1.jpg"]
    assert isinstance(changed, RejectedItem)
    assert changed.reason is RejectReason.CHANGED


@pytest.fixture
def bucket(s3: str, client: Any) -> Callable[[str], str]:
    return lambda key: f"s3://photos/{key}?endpoint_override={s3}&scheme=http"


def upload(client: Any, key: str, path: Path) -> None:
    client.put_object(Bucket="photos", Key=key, Body=path.read_bytes())


@pytest.mark.parametrize("kind", ["s.tar", "s.tar.gz", "s.zip", "s.parquet"])
def test_containers_in_a_bucket(
    kind: str, bucket: Callable[[str], str], client: Any, tmp_path: Path
) -> None:
    """Though attributes of an object are looked up once a minute only."""
    KINDS[kind](tmp_path / kind, list(range(COUNT)))
    upload(client, f"in/{kind}", tmp_path / kind)
    items = listed(bucket(f"in/{kind}"))
    truth = {item: number_in(data) for item, data in read_all(items).items()}
    _forget()
    first = read_all(items.slice(0, 4))
    KINDS[kind](tmp_path / kind, list(range(COUNT))[::-1])
    upload(client, f"in/{kind}", tmp_path / kind)
    found = first | read_all(items.slice(4))
    if kind != "s.tar.gz":  # which is so small that it has been fetched as a whole
        assert [one for one in found.values() if isinstance(one, RejectedItem)]
    for item, data in found.items():
        if isinstance(data, RejectedItem):
            assert data.reason is RejectReason.CHANGED, data
        else:
            assert number_in(data) == truth[item]


def test_a_member_of_a_zip_is_one_request(s3: str, client: Any, tmp_path: Path) -> None:
    """Also where a header has more in it than usual; then it is two."""
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        long = struct.pack("<HH", 0xABCD, 996) + bytes(996)
        for name, extra in (("é.jpg", b""), ("long.jpg", long)):
            info = zipfile.ZipInfo(name)
            info.extra = extra
            archive.writestr(info, name.encode() * 100)
    upload(client, "in/z.zip", path)
    with proxied(s3) as proxy:
        items = listed(f"s3://photos/in/z.zip?endpoint_override={proxy.address}&scheme=http")
        for row, requests in ((0, 2), (1, 1)):
            proxy.seen.clear()
            ((item, data),) = read_all(items.slice(row, 1)).items()
            assert data == item.encode() * 100
            assert proxy.seen == {"GET": requests}


def test_objects(bucket: Callable[[str], str], client: Any) -> None:
    for key in "abc":
        client.put_object(Bucket="photos", Key=f"in/{key}.jpg", Body=b"old")
    items = listed(bucket("in"))
    client.put_object(Bucket="photos", Key="in/b.jpg", Body=b"new")
    client.delete_object(Bucket="photos", Key="in/c.jpg")
    a, b, c = read_items(items, CAP, server_etags=True)
    assert a == b"old"
    assert [one.reason for one in (b, c)] == [RejectReason.CHANGED] * 2  # type: ignore[union-attr]
    assert "gone" not in str(b)
    # A table's etags are its own: they say nothing about the server's.
    assert next(read_items(items.slice(1), CAP)) == b"new"


@pytest.mark.parametrize(("found", "expected"), [('"a"', "a"), ('W/"a"', "a"), ("a-3", "a-3")])
def test_etags_are_compared_however_they_are_written(found: str, expected: str) -> None:
    entry = {"e_tag": found, "size": 1, "last_modified": datetime(2026, 1, 1, tzinfo=UTC)}
    assert version_of(entry) == expected


def test_a_store_without_etags_is_read(
    bucket: Callable[[str], str], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its listings have times in milliseconds, its answers in seconds."""
    client.put_object(Bucket="photos", Key="in/a.jpg", Body=b"x")
    real = obstore.get

    def without(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        meta = {**found.meta, "e_tag": None}
        return SimpleNamespace(meta=meta, stream=found.stream)

    monkeypatch.setattr(obstore, "get", without)
    assert read_item(bucket("in/a.jpg"), CAP, etag="19b2f0c1a7f-1") == b"x"


def test_an_object_is_replaced_while_it_is_read(s3: str, client: Any) -> None:
    client.put_object(Bucket="photos", Key="in/a", Body=bytes(3 * 2**20))
    with proxied(s3) as proxy:
        uri = f"s3://photos/in/a?endpoint_override={proxy.address}&scheme=http"
        file = open_object(uri)
        assert file.read(10) == bytes(10)
        client.put_object(Bucket="photos", Key="in/a", Body=b"1" * 3 * 2**20)
        with pytest.raises(ChangedError):
            file.read()


def test_a_zip_whose_directory_has_fewer_members_than_it_says(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {f"{i:02}.jpg": b"x" for i in range(12)})
    cut_directory(source, 10)
    shutil.copy(source, tmp_path / "z.npz")
    for path in (source, tmp_path / "z.npz"):
        with pytest.raises((RaypipeError, UsageError), match=r"has 10 members, .* says 12"):
            listed(path)


def cut_directory(path: Path, members: int) -> None:
    """Have the last record of a zip end its directory behind some members."""
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"]
    end = data.rindex(b"PK\x05\x06")
    del data[starts[members] : end]
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (end - starts[0]).to_bytes(4, "little")
    path.write_bytes(data)


def test_a_zip_whose_headers_disagree(tmp_path: Path) -> None:
    """As Python's own module, which refuses such a member, too."""
    source = zip_of(tmp_path / "z.zip", {"1.jpg": b"x" * 50, "2.jpg": b"y" * 50})
    data = source.read_bytes().replace(b"2.jpg", b"3.jpg", 1)  # the local header's
    source.write_bytes(data)
    first, second = read_all(listed(source)).values()
    assert first == b"x" * 50
    assert isinstance(second, RejectedItem)
    assert second.reason is RejectReason.DAMAGED
    assert "another name, '3.jpg'" in second.message


def test_a_shard_cut_in_the_middle_after_it_was_listed(tmp_path: Path) -> None:
    source = tar_of(tmp_path / "s.tar", members(list(range(COUNT))))
    items = listed(source)
    os.truncate(source, source.stat().st_size // 2)
    reasons = {one.reason for one in read_all(items).values() if isinstance(one, RejectedItem)}
    assert reasons == {RejectReason.CHANGED}


def test_a_table_with_fewer_rows_than_its_footer_says(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    # 1000 rows are written as the bytes d0 0f (zigzag varint), 1001 would be d2 0f.
    pq.write_table(
        pa.table({"id": [f"{i:04}" for i in range(1000)], "image": [b"x"] * 1000}),
        path,
        compression="none",
        use_dictionary=False,
    )
    data = bytearray(path.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    place = data.index(b"\xd0\x0f", footer)
    data[place] = 0xD2
    path.write_bytes(data)
    assert pq.read_metadata(path).num_rows == 1001
    with pytest.raises(RaypipeError, match="is damaged: its row groups have 1000 of 1001 rows"):
        listed(path)


def test_an_hdf5_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write_hdf5(path, list(range(COUNT)))
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(UsageError, match="truncated file"):
        listed(path)


def test_an_array_with_fewer_rows_than_its_header_says(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, stack_of(list(range(COUNT))))
    path = tmp_path / "s.npz"
    zip_of(path, {"images.npy": file.getvalue()[: -5 * 48]})
    with pytest.raises(UsageError, match="array 'images' promises .* values, but has"):
        listed(path)


@pytest.mark.parametrize("kind", ["s.parquet", "s.h5", "s.tar", "s.zip"])
def test_a_container_has_one_version_in_a_listing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is replaced between two batches: the rest would be taken for what is new."""
    monkeypatch.setattr("raypipe.sources.batches.BATCH_ROWS", 5)
    path = tmp_path / kind
    KINDS[kind](path, list(range(COUNT)))
    batches = open_source(LabelConfig(source=str(path))).list()
    first = next(batches)
    replace_file(kind, path, list(range(COUNT))[::-1])
    items = pa.Table.from_batches([first, *batches], schema=schema.ITEMS)
    truth = read_all(listed(path))
    for item, data in read_all(items).items():
        assert isinstance(data, RejectedItem) or data == truth[item]


def test_an_array_cut_short_after_it_was_opened_ends_no_process(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    np.save(path, np.arange(2**20, dtype=np.uint8).reshape(1024, 32, 32))
    opened = open_arrays("npy", str(path))
    assert np.array_equal(opened.read("", 3, 5), np.load(path)[3:5])
    os.truncate(path, 2**16)
    with contextlib.suppress(ValueError):  # mapped memory would be SIGBUS
        assert len(opened.read("", 1000, 1001)) == 0


def test_arrays_keep_the_version_they_were_opened_with(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    np.save(path, stack_of([1, 2]))
    source = ArraySource(path, SourceConfig(source=str(path)))
    os.utime(path, (1, 1))
    assert {etag for batch in source.list() for etag in batch["etag"].to_pylist()} == {source.etag}
