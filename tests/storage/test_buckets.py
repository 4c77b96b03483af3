"""Stores and sources in buckets, on a real S3 API."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raypipe
from raypipe.config import ClusterConfig, TrainConfig
from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.jobs import cluster, train
from raypipe.sources import buckets, read_item
from raypipe.storage import (
    BucketStorage,
    FolderStorage,
    Storage,
    bucket,
    check_not_within,
    open_storage,
    stream,
)
from raypipe.storage.objects import Patience
from tests.conftest import draw_folder, flags, options
from tests.support.proxy import Fault, proxied
from tests.support.sources import CAP, contents, files_in, ids, labels, listed, tar_of, zip_of

HASTY = Patience(connect=2, answer=5, tries=2, total=5)


def at(address: str, key: str, bucket: str = "photos") -> str:
    """A URI that says where its server is, so that Ray's workers know."""
    return f"s3://{bucket}/{key}?endpoint_override={address}&scheme=http"


def upload(client: Any, folder: Path, prefix: str) -> None:
    for name, data in files_in(folder).items():
        client.put_object(Bucket="photos", Key=f"{prefix}/{name}", Body=data)


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return FolderStorage(tmp_path)
    request.getfixturevalue("client")
    return open_storage(at(request.getfixturevalue("s3"), "some/store"))


class TestStorage:
    def test_create_succeeds_for_exactly_one(self, storage: Storage) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda i: storage.create("s/1.json", b"%d" % i), range(32)))
        assert sum(won) == 1
        assert storage.read("s/1.json") == b"%d" % won.index(True)
        assert storage.list("s") == ["s/1.json"]

    def test_files(self, storage: Storage) -> None:
        storage.check_writable()
        big = os.urandom(700_000)
        for name, data in (("d/b", b"old"), ("d/b", big), ("d/a", b""), ("d/sub/c", b"3")):
            storage.put(name, data)
        assert [name for name in storage.list("d") if name != "d/sub"] == ["d/a", "d/b"]
        assert storage.list("none") == []
        assert (storage.exists("d/a"), storage.exists("d/none")) == (True, False)
        with stream(storage.open("d/b")) as file:
            file.seek(-5, 2)
            assert file.read() == big[-5:]
            file.seek(100)
            assert file.read(3) == big[100:103]
        before = storage.stamp("d/b")
        storage.put("d/b", b"new")
        assert storage.stamp("d/b") != before
        storage.delete("d/b")
        storage.delete("d/b")
        for absent in (storage.read, storage.open, storage.stamp):
            with pytest.raises(FileNotFoundError):
                absent("d/b")


@pytest.mark.parametrize("size", [1, 2**16, 2**18])
def test_a_small_file_is_read_in_one_request(size: int, s3: str, client: Any) -> None:
    data = os.urandom(size)
    open_storage(at(s3, "store")).put("a", data)
    with proxied(s3) as proxy:
        with stream(open_storage(at(proxy.address, "store")).open("a")) as file:
            assert file.read() == data
        assert proxy.seen == {"HEAD": 1, "GET": 1}


def test_a_large_file_is_read_whole_in_one_request(s3: str, client: Any) -> None:
    data = os.urandom(2**19)
    open_storage(at(s3, "store")).put("a", data)
    with proxied(s3) as proxy:
        file = open_storage(at(proxy.address, "store")).open("a")
        assert not isinstance(file, Path)
        assert file.read() == data
        assert proxy.seen == {"HEAD": 1, "GET": 1}


class TestTrouble:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bucket, "PATIENCE", HASTY)
        monkeypatch.setattr(buckets, "PATIENCE", HASTY)

    def test_no_bucket(self, s3: str) -> None:
        with pytest.raises(UsageError, match="--out: s3://none/a: 404.*create the bucket"):
            open_storage(at(s3, "a", "none")).check_writable()
        with pytest.raises(UsageError, match="SOURCE: s3://none/a.*create the bucket"):
            ids(at(s3, "a", "none"))

    def test_wrong_uris(self, s3: str, client: Any) -> None:
        with pytest.raises(UsageError, match="--out: expected s3://bucket/prefix; got"):
            open_storage("s3://photos")
        for use in (open_storage, ids):
            with pytest.raises(UsageError, match="credentials") as found:
                use("s3://key:hush@photos/a")
            assert "hush" not in str(found.value)
        with pytest.raises(UsageError, match="SOURCE: nothing at 's3://photos/empty"):
            ids(at(s3, "empty"))

    def test_refused(self, s3: str) -> None:
        with proxied(s3, lambda *_: 403) as proxy:
            for use in (lambda uri: open_storage(uri).check_writable(), ids):
                with pytest.raises(
                    UsageError, match="403 (Forbidden|AccessDenied).*expired"
                ) as found:
                    use(at(proxy.address, "a"))
                assert "hush" not in str(found.value)

    def test_credentials_that_expire(self, s3: str, client: Any) -> None:
        """It is not for good that nothing can be read: images must not become rejects that stay."""
        client.put_object(Bucket="photos", Key="in/a.png", Body=b"x")
        with proxied(s3, lambda *_: 400) as proxy:
            with pytest.raises(UsageError, match=r"400 .*ExpiredToken.*credentials.*expired"):
                ids(at(proxy.address, "in"))
            with pytest.raises(RejectedItem, match="ExpiredToken") as found:
                read_item(at(proxy.address, "in/a.png"), CAP)
        assert found.value.reason is RejectReason.UNAVAILABLE

    def test_busy_and_gone(self, s3: str, client: Any) -> None:
        storage = open_storage(at(s3, "store"))
        storage.put("a", b"1")
        with proxied(s3, lambda _m, _p, number: 503 if number % 2 else "slow") as proxy:
            assert open_storage(at(proxy.address, "store")).read("a") == b"1"
        with proxied(s3, lambda *_: 503) as proxy:
            with pytest.raises(RaypipeError, match=r"s3://photos/store did not answer \(503"):
                open_storage(at(proxy.address, "store")).read("a")
            assert proxy.number == HASTY.tries
            with pytest.raises(RejectedItem) as found:
                read_item(at(proxy.address, "store/a"), CAP)
            assert found.value.reason is RejectReason.UNAVAILABLE
        with pytest.raises(RaypipeError, match="did not answer") as gone:
            open_storage(at(proxy.address, "store")).put("a", b"2")
        assert gone.value.exit_code == 1

    def test_an_answer_that_got_lost(self, s3: str, client: Any) -> None:
        """The first try has created the object; the second one is told that it is there."""

        def late(method: str, _path: str, number: int) -> Fault:
            return "late" if method == "PUT" and number == 1 else None

        with proxied(s3, late) as proxy:
            storage = open_storage(at(proxy.address, "store"))
            assert storage.create("a", b"mine")
            assert not storage.create("a", b"other")

    def test_a_store_without_conditions(self, s3: str, client: Any) -> None:
        with (
            proxied(s3, lambda *_: "blind") as proxy,
            pytest.raises(UsageError, match="replaces an object.*If-None-Match"),
        ):
            open_storage(at(proxy.address, "store")).check_writable()
        assert open_storage(at(s3, "store")).list("") == []


class TestSources:
    @pytest.fixture
    def photos(self, client: Any, tmp_path: Path) -> Path:
        folder = draw_folder(tmp_path / "photos", 4)
        (folder / "circle" / "odd name?%20#ä.png").write_bytes(b"odd")
        upload(client, folder, "photos")
        for key in ("photos/.hidden/a.png", "photos/circle/.DS_Store", "photos/circle/Thumbs.db"):
            client.put_object(Bucket="photos", Key=key, Body=b"x")
        for key in ("photos/", "photos/circle/", "photos/square/"):
            client.put_object(Bucket="photos", Key=key)  # as consoles make folders
        return folder

    def test_a_prefix_is_a_folder(self, s3: str, photos: Path) -> None:
        assert contents(at(s3, "photos")) == contents(photos)
        assert labels(at(s3, "photos/")) == labels(photos)
        assert ids(at(s3, "photos"), glob=("circle/*1.png",)) == ["circle/0001.png"]

    def test_an_object_that_changes_is_another_version(
        self, s3: str, photos: Path, client: Any
    ) -> None:
        before = listed(at(s3, "photos"))
        client.put_object(Bucket="photos", Key="photos/circle/0000.png", Body=b"new")
        after = listed(at(s3, "photos"))
        changed = np.flatnonzero(before["etag"].to_numpy() != after["etag"].to_numpy())
        assert before["id"].take(changed).to_pylist() == ["circle/0000.png"]

    @pytest.mark.parametrize("name", ["a-0.tar", "a-0.tar.gz", "a.zip"])
    def test_archives(self, s3: str, photos: Path, client: Any, tmp_path: Path, name: str) -> None:
        files = {name: data for name, data in files_in(photos).items() if "odd" not in name}
        path = tmp_path / name
        if name.endswith("zip"):
            zip_of(path, files)
        else:
            tar_of(path, files, "w:gz" if name.endswith("gz") else "w")
        client.put_object(Bucket="photos", Key=f"shards/{name}", Body=path.read_bytes())
        assert contents(at(s3, f"shards/{name}")) == contents(path)
        if "tar" in name:
            assert ids(at(s3, "shards")) == ids(path)
            assert ids(at(s3, "shards/a-{0..0}" + name.removeprefix("a-0"))) == ids(path)
            assert ids(at(s3, "shards/a-*")) == ids(path)

    def test_a_shard_that_is_replaced(self, s3: str, client: Any, tmp_path: Path) -> None:
        path = tar_of(tmp_path / "a.tar", {"x.png": b"one" * 100, "y.png": b"two"})
        client.put_object(Bucket="photos", Key="shards/a.tar", Body=path.read_bytes())
        uris = listed(at(s3, "shards/a.tar"))["uri"].to_pylist()
        path = tar_of(path, {"z.png": b"x" * 7})
        client.put_object(Bucket="photos", Key="shards/a.tar", Body=path.read_bytes())
        for uri in uris:
            with pytest.raises(RejectedItem, match="changed since it was listed"):
                read_item(uri, CAP)

    def test_tables(self, s3: str, photos: Path, client: Any, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = files_in(photos)
        table = pa.table({"id": list(files), "image": list(files.values())})
        pq.write_table(table, tmp_path / "t.parquet")
        client.put_object(
            Bucket="photos", Key="tables/t.parquet", Body=(tmp_path / "t.parquet").read_bytes()
        )
        assert contents(at(s3, "tables/t.parquet")) == files
        assert contents(at(s3, "tables")) == files
        rows = "uri,id\n" + "".join(f"{at(s3, f'photos/{n}')},{n}\n" for n in files if "?" not in n)
        client.put_object(Bucket="photos", Key="list.csv", Body=rows.encode())
        found = {name: data for name, data in files.items() if "?" not in name}
        assert contents(at(s3, "list.csv")) == found

    def test_arrays_are_for_disks(self, s3: str, client: Any) -> None:
        client.put_object(Bucket="photos", Key="a.npy", Body=b"1")
        with pytest.raises(UsageError, match="SOURCE: 'a.npy' is read in small pieces.*copy it"):
            ids(at(s3, "a.npy"))


def features(store: str) -> dict[str, bytes]:
    found = raypipe.open(store).to_numpy()
    return {name: row.tobytes() for name, row in zip(found.ids, found.features, strict=True)}


class TestRuns:
    @pytest.mark.ci
    def test_two_at_the_same_time(
        self, s3: str, client: Any, tmp_path: Path, ray_session: str
    ) -> None:
        photos = draw_folder(tmp_path / "photos", 30)
        upload(client, photos, "in")
        command = [sys.executable, "-m", "raypipe.cli", "extract", at(s3, "in")]
        command += ["--out", at(s3, "stores/two"), *flags(), "--json"]
        environment = os.environ | {"RAY_ADDRESS": ray_session}
        runs = [
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)
        ]
        errors = [run.communicate()[1].decode() for run in runs]
        assert [run.returncode for run in runs] == [0, 0], errors
        store = raypipe.open(at(s3, "stores/two"))
        found = store.to_numpy()
        assert len(set(found.ids)) == len(found.ids) == 90
        fresh = raypipe.extract(str(photos), out=str(tmp_path / "fresh"), **options())
        assert features(store.uri) == features(fresh.uri)


def test_other_commands_read_and_write_buckets(
    s3: str, client: Any, shape_store: str, tmp_path: Path
) -> None:
    upload(client, Path(shape_store), "shapes")
    here, there = raypipe.open(shape_store), raypipe.open(at(s3, "shapes"))
    assert isinstance(there.storage, BucketStorage)
    assert there.to_arrow().equals(here.to_arrow())
    assert there.label_counts() == here.label_counts()
    model = str(tmp_path / "model")
    raypipe.train(there.uri, out=model, head="logistic", grid=("C=1",))
    found = raypipe.predict(model, there.uri, out=at(s3, "predictions"), report=True)
    assert len(found) == 120
    page = client.get_object(Bucket="photos", Key="predictions/report.html")["Body"].read()
    assert b"<h1>Predictions" in page, re.findall(rb"<h[12][^>]*>[^<]*", page)
    raypipe.report(there.uri, out=tmp_path / "page.html")
    assert "<h1>Features of 120 images" in (tmp_path / "page.html").read_text()
    assert len(raypipe.open(at(s3, "predictions"))) == 120


def test_results_in_buckets(s3: str, client: Any, shape_store: str, tmp_path: Path) -> None:
    model, groups = at(s3, "model"), at(s3, "groups")
    config = TrainConfig(store=shape_store, out=model, grid=("C=1",), report=True)
    summary = train.run(config).summary
    assert (summary["model"], summary["report"]) == (model, f"{model}/report.html")
    here = str(tmp_path / "model")
    raypipe.train(shape_store, out=here, grid=("C=1",))
    names = {entry["Key"] for entry in client.list_objects_v2(Bucket="photos")["Contents"]}
    assert {f"model/{path.name}" for path in Path(here).glob("[!.]*")} <= names
    assert "model/report.html" in names
    assert raypipe.load_model(model).metrics["accuracy"] == summary["accuracy"]
    for name, place in (("there", model), ("here", here)):
        raypipe.predict(place, shape_store, out=str(tmp_path / f"{name}.csv"))
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    found = cluster.run(ClusterConfig(store=shape_store, out=groups, k="3"))
    assert groups in found.text
    metrics = client.get_object(Bucket="photos", Key="groups/metrics.json")["Body"].read()
    assert json.loads(metrics)["out"] == groups
    with pytest.raises(UsageError, match="MODEL: no model at 's3:..photos.none"):
        raypipe.load_model(at(s3, "none"))
    with pytest.raises(UsageError, match="--head mlp keep checkpoints in a folder"):
        train.run(TrainConfig(store=shape_store, out=model, head="mlp", workers=1))
    with pytest.raises(UsageError, match="--resume: a fit goes on from files of a folder"):
        cluster.run(ClusterConfig(store=shape_store, out=groups, k="3", resume=True))


def test_no_result_inside_a_store_in_a_bucket(s3: str, client: Any, shape_store: str) -> None:
    spec = Path(shape_store, "spec.json").read_bytes()
    client.put_object(Bucket="photos", Key="team/features/spec.json", Body=spec)
    for key in ("team/features/data", "team/features/data/a/model"):
        with pytest.raises(UsageError, match="lies inside .*team/features.*, which is a store"):
            raypipe.train(shape_store, out=at(s3, key))
    check_not_within(at(s3, "team/model"))
    check_not_within(at(s3, "team"))
