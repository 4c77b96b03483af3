"""The same source by another way is no other source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raypipe.config import ExtractConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.flow.ingest import bring_up_to_date, check_same_source, find_missing
from raypipe.rows.listing import Listing
from raypipe.sources import open_source
from raypipe.spec import Spec
from raypipe.storage import FolderStorage
from raypipe.store.coverage import publish
from raypipe.store.identity import create_store, record_source
from raypipe.store.snapshot import numbers
from tests.support.sources import csv_of
from tests.support.stores import make_spec, write

SPEC = make_spec()


def check(storage: FolderStorage, source: object, **options: Any) -> None:
    """Check a source against a store, which is made of it if there is none."""
    config = ExtractConfig(source=str(source), out=str(storage.folder), **options)
    opened = open_source(config)
    with Listing(opened.list()) as listing:
        if not storage.exists("spec.json"):
            _make(storage, SPEC, opened.uri, listing)
        plan = find_missing(config, storage, SPEC, listing)[2]
    check_same_source(config, storage, opened.uri, plan)


def _make(storage: FolderStorage, spec: Spec, source: str, listing: Listing) -> None:
    create_store(storage, spec, {"source": source})
    (batch,) = listing.batches()
    items = pa.Table.from_batches([batch])
    publish(storage, spec.fingerprint, tuple(write(storage, spec, "u", items, "parquet")))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "drive" / "photos"
    folder.mkdir(parents=True)
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(name.encode())
    return folder


@pytest.fixture
def storage(photos: Path, tmp_path: Path) -> FolderStorage:
    storage = FolderStorage(tmp_path / "store")
    check(storage, photos)
    (photos / "a.jpg").write_bytes(b"changed")
    (photos / "b.jpg").unlink()
    (photos / "d.jpg").write_bytes(b"new")
    return storage


def test_the_same_place(storage: FolderStorage, photos: Path, tmp_path: Path) -> None:
    """A trailing slash, dots, a link to it or above it, a URI: images may change and go."""
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "above").symlink_to(tmp_path / "drive")
    dotted = f"{photos}/../photos"
    for source in (f"{photos}/", dotted, tmp_path / "link", tmp_path / "above" / "photos"):
        check(storage, source)
    check(storage, f"file://{photos}")


def test_it_has_grown_and_moved(photos: Path, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "store")
    check(storage, photos)
    (photos / "d.jpg").write_bytes(b"new")
    check(storage, photos.rename(tmp_path / "elsewhere"))


def test_some_of_it(photos: Path, tmp_path: Path) -> None:
    """Without --prune, what is not there stays."""
    storage = FolderStorage(tmp_path / "store")
    check(storage, photos)
    elsewhere = photos.rename(tmp_path / "elsewhere")
    (elsewhere / "c.jpg").unlink()
    (elsewhere / "d.jpg").write_bytes(b"new")
    check(storage, elsewhere)
    with pytest.raises(UsageError, match="leave behind 1 of its rows; give --moved"):
        check(storage, elsewhere, prune=True)


def test_another_source(storage: FolderStorage, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="leave behind 3 of its rows; give --moved"):
        check(storage, other)
    check(storage, other, moved=True)


def test_objects_by_another_endpoint(s3: str, client: Any, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "store")
    for key in "ab":
        client.put_object(Bucket="photos", Key=f"in/{key}.jpg", Body=b"x")
    query = f"?endpoint_override={s3}&scheme=http"
    check(storage, f"s3://photos/in{query}")
    client.put_object(Bucket="photos", Key="in/a.jpg", Body=b"changed")
    check(storage, f"s3://photos/in/{query}")


def test_a_table_whose_drive_is_gone(photos: Path, tmp_path: Path) -> None:
    """All of its rows would be rejects; the store stays as it is."""
    table = csv_of(tmp_path / "t.csv", [{"uri": f"drive/photos/{name}.jpg"} for name in "abc"])
    storage = FolderStorage(tmp_path / "store")
    check(storage, table)
    photos.rename(tmp_path / "elsewhere")
    config = ExtractConfig(source=str(table), out=str(storage.folder))
    source = open_source(config)
    with (
        Listing(source.list()) as listing,
        pytest.raises(RaypipeError, match=r"not one of 3 files is there, as /.*a\.jpg; no"),
    ):
        bring_up_to_date(config, storage, SPEC, source.uri, listing, lambda _: iter(()))
    assert numbers(storage) == [1]


def test_a_place_is_kept_also_where_nothing_has_changed(photos: Path, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "store")
    check(storage, photos)
    before = storage.read("spec.json")
    elsewhere = photos.rename(tmp_path / "elsewhere")
    config = ExtractConfig(source=str(elsewhere), out=str(storage.folder), moved=True)
    source = open_source(config)
    with Listing(source.list()) as listing:
        bring_up_to_date(config, storage, SPEC, source.uri, listing, lambda _: iter(()))
    assert (numbers(storage), storage.read("spec.json")) == ([1], before)
    (elsewhere / "a.jpg").write_bytes(b"changed")
    check(storage, elsewhere)
    storage.put("source.json", b"{")
    with pytest.raises(RaypipeError, match="source.json is damaged; remove it"):
        check(storage, elsewhere)


def test_what_has_changed_and_gone_is_counted(photos: Path, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "store")
    check(storage, photos)
    (photos / "a.jpg").unlink()

    def notes(**options: Any) -> list[str]:
        config = ExtractConfig(source=str(photos), out=str(storage.folder), **options)
        source = open_source(config)
        with Listing(source.list()) as listing:
            done = bring_up_to_date(config, storage, SPEC, source.uri, listing, lambda _: iter(()))
        return done.notes

    assert notes() == ["1 image is gone; --prune drops its rows"]
    (photos / "b.jpg").unlink()
    assert notes() == ["2 images are gone; --prune drops their rows"]
    assert notes(prune=True) == ["2 images are gone; their rows are dropped"]
    (photos / "c.jpg").write_bytes(b"changed")
    assert notes() == ["1 image has changed since"]


def test_rows_finished_earlier_are_of_the_other_source_as_well(
    photos: Path, tmp_path: Path
) -> None:
    """They lie there still, in partitions that no snapshot lists any more."""
    storage = FolderStorage(tmp_path / "store")
    check(storage, photos)
    other = tmp_path / "other"
    other.mkdir()
    for name in "abc":
        (other / f"{name}.jpg").write_bytes(name.encode() * 2)
    with Listing(open_source(ExtractConfig(source=str(other), out="s")).list()) as listing:
        (batch,) = listing.batches()
        publish(
            storage,
            SPEC.fingerprint,
            tuple(write(storage, SPEC, "v", pa.Table.from_batches([batch]), "parquet")),
        )
    record_source(storage, str(other))
    with pytest.raises(UsageError, match=r"was made from .*other; .* 3 of its rows; give --moved"):
        check(storage, photos)
    check(storage, photos, moved=True)
