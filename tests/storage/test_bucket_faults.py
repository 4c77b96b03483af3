"""Faults of a bucket, at each request: of all kinds of sources in it, and of a store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import raypipe
from raypipe.errors import MAY_PASS, RaypipeError, RejectedItem, RejectReason
from raypipe.sources import buckets
from raypipe.sources.ahead import read_items
from raypipe.sources.content import _forget
from raypipe.sources.servers import after_a_pause, forget_failures
from raypipe.storage import bucket, open_storage
from raypipe.storage.objects import Patience
from tests.support.proxy import Fault, Proxy, proxied
from tests.support.sources import CAP, csv_of, listed, parquet_of, tar_of, zip_of
from tests.support.stores import fill, items_of, make_spec

QUICK = Patience(connect=1, answer=0.3, tries=3, total=3)
IMAGES = {f"{i:02}.jpg": bytes([i]) * 3000 for i in range(12)}
FAULTS: tuple[Fault, ...] = (500, 503, 429, "reset", "cut", "stuck")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (bucket, buckets):
        monkeypatch.setattr(module, "PATIENCE", QUICK)
    forget_failures()
    yield
    forget_failures()


def at(address: str, key: str) -> str:
    return f"s3://photos/{key}?endpoint_override={address}&scheme=http"


def _uris(address: str) -> dict[str, list[str]]:
    return {"id": list(IMAGES), "uri": [at(address, f"one/{name}") for name in IMAGES]}


def _rows(address: str) -> list[dict[str, str]]:
    columns = _uris(address)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_BYTES = {"id": list(IMAGES), "image": list(IMAGES.values())}
KINDS: dict[str, Callable[[Path, str], Any]] = {
    "one": lambda _path, _address: None,
    "a.tar": lambda path, _address: tar_of(path, IMAGES),
    "a.tar.gz": lambda path, _address: tar_of(path, IMAGES, "w:gz"),
    "a.zip": lambda path, _address: zip_of(path, IMAGES),
    "bytes.parquet": lambda path, _address: parquet_of(path, _BYTES, row_group_size=5),
    "uris.parquet": lambda path, address: parquet_of(path, _uris(address)),
    "list.csv": lambda path, address: csv_of(path, _rows(address)),
}
_BY_KIND = {
    **dict.fromkeys(("one", "a.tar.gz", "bytes.parquet"), FAULTS),
    **dict.fromkeys(("a.tar", "a.zip", "uris.parquet", "list.csv"), (503, "cut")),
}
_REST = [(kind, fault) for kind, faults in _BY_KIND.items() for fault in faults]
_QUICK = ("bytes.parquet", 503)
CASES = [pytest.param(*one, marks=() if one == _QUICK else pytest.mark.ci) for one in _REST]


class Faulty:
    """A server with a source, whose answers fail so many times when it is told to."""

    def __init__(self, proxy: Proxy, kind: str) -> None:
        self.source, self.left, self.fault = at(proxy.address, kind), 0, None
        proxy.fault = self

    def __call__(self, method: str, _path: str, _number: int) -> Fault:
        if self.left <= 0 or (method == "HEAD" and self.fault in ("cut", "stuck")):
            return None
        self.left -= 1
        return self.fault

    def fail(self, fault: Fault, times: int = 10**6) -> None:
        self.fault, self.left = fault, times
        _forget()
        buckets._etag_now.cache_clear()


@contextlib.contextmanager
def faulty(kind: str, s3: str, client: Any, folder: Path) -> Iterator[Faulty]:
    for name, data in IMAGES.items():
        client.put_object(Bucket="photos", Key=f"one/{name}", Body=data)
    with proxied(s3) as proxy:
        KINDS[kind](folder / kind, proxy.address)
        if kind != "one":
            client.put_object(Bucket="photos", Key=kind, Body=(folder / kind).read_bytes())
        yield Faulty(proxy, kind)


def read(items: pa.Table) -> list[bytes | RejectedItem]:
    return list(read_items(items, CAP))


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_a_source_in_a_bucket(
    kind: str, fault: Fault, s3: str, client: Any, tmp_path: Path
) -> None:
    """A fault that passes costs nothing; one that does not, an image that the next run tries."""
    with faulty(kind, s3, client, tmp_path) as server:
        items = listed(server.source)
        server.fail(fault, times=2)
        assert listed(server.source) == items
        server.fail(fault, times=2)
        assert read(items) == list(IMAGES.values())
        server.fail(fault)
        found = read(items.slice(0, 3))
        assert all(isinstance(one, RejectedItem) and one.reason in MAY_PASS for one in found)
        with pytest.raises(RaypipeError, match="s3://photos/.* did not answer") as ended:
            listed(server.source)
        assert (ended.value.exit_code, "\n" in str(ended.value)) == (1, False)
        server.fail(None)
        forget_failures()
        assert read(items) == list(IMAGES.values())


def test_an_object_is_deleted_while_it_is_read(s3: str, client: Any, tmp_path: Path) -> None:
    for kind in ("a.tar", "a.tar.gz", "bytes.parquet"):
        with faulty(kind, s3, client, tmp_path) as server:
            items = listed(server.source)
            client.delete_object(Bucket="photos", Key=kind)
            _forget()
            reasons = {one.reason.value for one in read(items) if isinstance(one, RejectedItem)}
            assert reasons == {"changed"}


def test_a_listing_goes_on_where_it_broke_off(
    s3: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed is not listed again, nor left out."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    monkeypatch.setattr("raypipe.storage.keys._LISTED", 5)
    names = [f"{number:02}.jpg" for number in range(23)]
    for name in names:
        client.put_object(Bucket="photos", Key=f"many/{name}", Body=b"x")
    with proxied(s3, lambda _m, _p, number: "cut" if number % 3 else None) as proxy:
        assert list(buckets.names_below(at(proxy.address, "many"))) == names
        assert proxy.number >= 3 * 5


def test_a_file_in_turn_is_not_waited_for_by_each_of_its_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody asks for as long as the last one waited in vain, and then somebody does."""
    clock, asked = [0.0], []
    monkeypatch.setattr("raypipe.sources.servers.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def down() -> bytes:
        asked.append(clock[0])
        clock[0] += 40
        raise RejectedItem(RejectReason.UNAVAILABLE, "no answer")

    for _ in range(100):
        with pytest.raises(RejectedItem, match="no answer"):
            after_a_pause("s3://b/t.parquet", down)
        clock[0] += 1
    assert asked == [0.0, 80.0, 160.0]
    assert after_a_pause("s3://b/other.parquet", lambda: b"x") == b"x"


@pytest.mark.ci
@pytest.mark.parametrize("form", ["parquet", "hdf5"])
@pytest.mark.parametrize("fault", [503, "reset", "cut"])
def test_a_store_in_a_bucket(form: Any, fault: Fault, s3: str, client: Any) -> None:
    """Snapshot, partitions and rejects, of which every other answer fails; then all do."""
    units = [items_of([f"a/{unit}{i}" for i in range(3)] + [f"bad{unit}!"]) for unit in range(2)]
    fill(open_storage(at(s3, "store")), units, make_spec(), form)
    whole = raypipe.open(at(s3, "store"))
    heads = fault != "cut"
    with proxied(
        s3, lambda method, _p, number: fault if number % 2 and (heads or method == "GET") else None
    ) as proxy:
        store = raypipe.open(at(proxy.address, "store"))
        assert store.to_arrow().equals(whole.to_arrow())
        assert store.rejects().equals(whole.rejects())
        assert raypipe.open(at(proxy.address, "store"), 1).snapshot == whole.snapshot
        proxy.fault = lambda method, *_: fault if heads or method == "GET" else None
        for ask in (
            lambda: raypipe.open(at(proxy.address, "store")),
            store.to_numpy,
            store.rejects,
        ):
            with pytest.raises(RaypipeError, match="s3://photos/store.* did not answer") as ended:
                ask()
            assert (ended.value.exit_code, "\n" in str(ended.value)) == (1, False)


@pytest.mark.ci
def test_writes_whose_answers_break_off(s3: str, client: Any) -> None:
    """Also those of many requests, and deletions, which its client does not make again."""
    large = np.random.default_rng(0).bytes(11 * 2**20)
    for fault in ("cut", "reset"):
        with proxied(s3, lambda _m, _p, number, f=fault: f if number % 3 == 1 else None) as proxy:
            storage = open_storage(at(proxy.address, "store"))
            storage.put("a", b"1")
            storage.put("b", large)
            assert storage.create("c", b"3")
            assert (storage.read("a"), storage.read("b") == large) == (b"1", True)
            for name in storage.list(""):
                storage.delete(name)
            assert storage.list("") == []


@pytest.mark.ci
@pytest.mark.parametrize("first", [0, 1])
def test_refusals_that_break_off(first: int, s3: str, client: Any) -> None:
    """That there is none is said in a body too, half of which says nothing."""
    client.put_object(Bucket="photos", Key="store/a", Body=b"1")
    cut = lambda _m, _p, number: "cut" if number % 2 == first else None  # noqa: E731
    with proxied(s3, cut) as proxy:
        storage = open_storage(at(proxy.address, "store"))
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                storage.read("none")
            assert storage.read("a") == b"1"
            with pytest.raises(RejectedItem) as told:
                buckets.read_object(at(proxy.address, "store/none"), 10)
            assert told.value.reason is RejectReason.UNREADABLE
            assert not storage.create("a", b"2")


def test_a_conflict_of_two_writes(s3: str, client: Any) -> None:
    """S3 answers 409 while another upload of that name is under way, which may come to nothing."""
    with proxied(s3, lambda method, *_: 409 if method == "PUT" else None) as proxy:
        storage = open_storage(at(proxy.address, "store"))
        for ask in (storage.check_writable, lambda: storage.create("a", b"mine")):
            with pytest.raises(RaypipeError, match="s3://photos/store did not answer .409") as told:
                ask()
            assert told.value.exit_code == 1
        tries = proxy.seen["PUT"]
        proxy.fault = lambda method, _p, _n: (
            409 if method == "PUT" and proxy.seen["PUT"] == tries + 1 else None
        )
        assert storage.create("a", b"mine")
        assert not storage.create("a", b"other")
