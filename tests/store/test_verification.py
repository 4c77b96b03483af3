"""`verify` finds what is damaged, `repair` takes it out, and the next run makes it again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import raypipe
from raypipe.cli.command import add_command, execute, new_app
from raypipe.config import ExportConfig, RepairConfig, VerifyConfig
from raypipe.errors import RaypipeError
from raypipe.jobs import repair as repair_job
from raypipe.jobs import verify as verify_job
from raypipe.storage import FolderStorage, Storage, open_storage
from raypipe.store.coverage import publish
from raypipe.store.identity import create_store
from raypipe.store.partition import Format
from raypipe.store.reader import StoreReader
from raypipe.store.retention import expire
from raypipe.store.snapshot import newest
from raypipe.store.verification import repair, verify
from tests.store import test_store
from tests.store.test_store import OTHER, SPEC, content, run
from tests.support.stores import items_of, make_spec, write

storage = test_store.storage
UNITS = [["a/0", "a/1", "x!"], ["b/0", "b/1"], ["c/0"]]


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    request.getfixturevalue("client")
    address = request.getfixturevalue("s3")
    return f"s3://photos/verified?endpoint_override={address}&scheme=http"


def fill(place: str, form: Format) -> Storage:
    storage, spec = open_storage(place), make_spec()
    create_store(storage, spec, {"source": "test"}, form)
    parts = [
        part
        for i, names in enumerate(UNITS)
        for part in write(storage, spec, f"u{i}", items_of(names), form)
    ]
    publish(storage, spec.fingerprint, tuple(parts))
    return storage


def flip(storage: Storage, name: str) -> None:
    data = bytearray(storage.read(name))
    data[len(data) // 2] ^= 4
    storage.put(name, bytes(data))


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_what_is_damaged_is_named_and_taken_out(place: str, form: Format) -> None:
    storage = fill(place, form)
    before = newest(storage, make_spec().fingerprint)
    whole = verify_job.run(VerifyConfig(store=place))
    assert (whole.exit_code, whole.summary["damaged"], whole.summary["files"]) == (0, {}, 4)
    assert whole.summary["bytes"] == sum(part.file.bytes for part in before.parts)
    assert repair_job.run(RepairConfig(store=place)).summary["snapshot"] == 1

    flipped, gone, rejects = before.data[0].file, before.data[1].file, before.rejected[0].file
    flip(storage, flipped.path)
    flip(storage, rejects.path)
    storage.delete(gone.path)
    found = verify_job.run(VerifyConfig(store=place))
    assert found.exit_code == 1
    assert set(found.summary["damaged"]) == {flipped.path, gone.path, rejects.path}
    assert found.summary["damaged"][gone.path] == "is missing"
    assert all(name in found.text for name in found.summary["damaged"])

    done = repair_job.run(RepairConfig(store=place)).summary
    assert (done["snapshot"], done["rows"]) == (2, 1)
    assert (done["rows_taken_out"], done["rejects_taken_out"]) == (4, 1)
    assert StoreReader(place).to_numpy().ids.tolist() == ["c/0"]
    assert raypipe.verify(place) == {}
    assert set(raypipe.verify(place, every=True)) == {flipped.path, gone.path, rejects.path}
    assert set(raypipe.verify(place, snapshot=1)) == {flipped.path, gone.path, rejects.path}


def test_the_next_run_makes_it_again(storage: FolderStorage) -> None:
    versions = {"a": "1", "b!": "1"}
    run(storage, versions)
    run(storage, versions | {"c": "1"})
    names = [part.file.path for part in newest(storage, SPEC.fingerprint).parts if part.rows]
    for name in (names[0], *storage.list("rejects")):
        flip(storage, name)
    taken = repair(storage, SPEC)
    assert taken.after.rows + taken.after.rejects == 1
    expire(storage, keep=10, grace=0)  # older snapshots list the files: they stay, and their notes
    run(storage, versions | {"c": "1"})
    assert content(storage) == versions | {"c": "1"}
    assert verify(storage).damaged == {}
    expire(storage, keep=1, grace=0)
    assert not set(taken.damaged) & {*storage.list("data"), *storage.list("rejects")}
    assert storage.list("expired") == []
    assert content(storage) == versions | {"c": "1"}


def test_a_spec_that_was_edited(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    there = json.loads(storage.read("spec.json"))
    edited = there | {"spec": OTHER.model_dump(mode="json")}
    storage.put("spec.json", json.dumps(edited).encode())
    assert set(verify(storage).damaged) == {"spec.json", "snapshots/00000001.json"}
    with pytest.raises(RaypipeError, match="of different features"):
        publish(storage, OTHER.fingerprint, ())
    with pytest.raises(RaypipeError, match="of different features"):
        StoreReader(storage.uri)


def test_a_lost_spec_is_not_replaced_by_another(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    before = storage.read("spec.json")
    storage.delete("spec.json")
    with pytest.raises(RaypipeError, match="of different features"):
        create_store(storage, OTHER, {"source": "test"})
    assert not storage.exists("spec.json")
    create_store(storage, SPEC, {"source": "test"})
    assert storage.read("spec.json") == before


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
def test_a_partition_of_another_spec(storage: FolderStorage, form: Format) -> None:
    run(storage, {"a": "1"})
    name = storage.list("data")[0]
    other = write(storage, OTHER, "other", items_of(["b"]), form)[0].file
    content = json.loads(storage.read("snapshots/00000001.json"))
    del content["sha256"]  # as in those that were written before there was one
    content["partitions"].append(vars(other) | {"dropped": []})
    storage.put("snapshots/00000001.json", json.dumps(content).encode())
    assert verify(storage).damaged == {other.path: "holds features of another spec"}
    assert [part.file.path for part in repair(storage, SPEC).after.parts] == [name]


def test_a_snapshot_that_is_no_json(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    storage.put("snapshots/00000001.json", b"{")
    assert set(verify(storage).damaged) == {"snapshots/00000001.json"}
    with pytest.raises(RaypipeError, match=r"00000001\.json is damaged"):
        StoreReader(storage.uri)


def test_a_flipped_bit_of_a_snapshot(storage: FolderStorage) -> None:
    run(storage, {"a": "1", "b": "1"})
    run(storage, {"a": "2"})
    name = "snapshots/00000002.json"
    data, before, refused = storage.read(name), content(storage), 0
    for at in range(0, len(data), 9):
        storage.put(name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert content(storage) == before
        except RaypipeError:
            refused += 1
    assert refused > len(data) // 9 - 10  # all but those in the checksum's own name


def test_a_snapshot_that_counts_a_row_twice(storage: FolderStorage) -> None:
    run(storage, {"a": "1"})
    listed = json.loads(storage.read("snapshots/00000001.json"))
    del listed["sha256"]
    listed["partitions"].append(dict(listed["partitions"][0]))
    storage.put("snapshots/00000001.json", json.dumps(listed).encode())
    with pytest.raises(RaypipeError, match="it counts rows of data/.* twice"):
        StoreReader(storage.uri)
    assert set(verify(storage).damaged) == {"snapshots/00000001.json"}
    listed["partitions"][1] |= {"dropped": [0]}
    storage.put("snapshots/00000001.json", json.dumps(listed).encode())
    assert content(storage) == {"a": "1"}


@pytest.mark.parametrize("form", ["parquet", "hdf5"])
@pytest.mark.parametrize("to", ["hdf5", "npy", "csv"])
def test_flipped_data_is_not_exported(
    tmp_path: Path, form: Format, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = fill(str(tmp_path / "store"), form)
    name = newest(storage, make_spec().fingerprint).data[1].file.path
    flip(storage, name)
    place = tmp_path / "out"
    place.mkdir()
    app = new_app()
    add_command(app, "export", ExportConfig)
    suffix = {"hdf5": "h5"}.get(to, to)
    arguments = ["export", storage.uri, "--to", to, "--out", str(place / f"x.{suffix}")]
    assert execute(app, arguments) == 1
    complaint = capsys.readouterr().err
    assert f"{name} is damaged" in complaint
    assert "Traceback" not in complaint
    assert list(place.iterdir()) == []


def test_several_expire_at_once(storage: FolderStorage) -> None:
    for version in "123456":
        run(storage, {"a": version})
    command = [sys.executable, "-m", "raypipe", "expire", storage.uri, "--keep", "1"]
    command += ["--grace", "0"]
    calls = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    said = [call.communicate()[1].decode() for call in calls]
    assert [call.returncode for call in calls] == [0, 0, 0], said
    assert content(storage) == {"a": "6"}
    expire(storage, keep=1, grace=0)
    assert len(storage.list("data")) == 1
    assert storage.list("expired") == []
