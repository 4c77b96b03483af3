"""Archives: what is unsafe or damaged is named, and never read."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from raypipe.config import ExtractConfig
from raypipe.errors import RaypipeError, RejectedItem, RejectReason, UsageError
from raypipe.sources import open_source, read_item
from tests.support.sources import CAP, contents, ids, labels, listed, tar_of, zip_of


def rejected(source: Path) -> dict[str, tuple[RejectReason, str]]:
    table, found = listed(source), {}
    for item, uri in zip(table["id"].to_pylist(), table["uri"].to_pylist(), strict=True):
        try:
            read_item(uri, CAP)
        except RejectedItem as reject:
            found[item] = (reject.reason, reject.message)
    return found


def etags(source: Path) -> dict[str, str]:
    table = listed(source)
    return dict(zip(table["id"].to_pylist(), table["etag"].to_pylist(), strict=True))


def test_samples_of_a_shard(tmp_path: Path) -> None:
    members = {
        "./a/1.jpg": b"1",
        "./a/1.cls": b"7\n",
        "a/2.JPG": b"2",
        "a/2.json": json.dumps({"label": "two", "split": "val"}).encode(),
        "3.left.png": b"3l",
        "3.right.png": b"3r",
        "3.cls": b"x",
        "4.json": b"{}",  # no image: no item
        "notes": b"",
        "._5.jpg": b"what a Mac leaves behind",
        "6.jpg": b"6",
        "6.json": json.dumps({"id": "my/six.jpg", "cls": 6, "kind": "k"}).encode(),
    }
    source = tar_of(tmp_path / "s.tar", members)
    assert labels(source) == {
        "s/a/1": "7",
        "s/a/2": "two",
        "s/3.left.png": "x",
        "s/3.right.png": "x",
        "my/six.jpg": "6",
    }
    assert contents(source)["s/3.right.png"] == b"3r"
    assert listed(source, split="column")["split"].to_pylist()[1] == "val"
    assert labels(source, label_column="kind")["my/six.jpg"] == "k"


def test_members_of_a_sample_need_not_be_adjacent(tmp_path: Path) -> None:
    members = {"1.jpg": b"1", "2.jpg": b"2", "1.cls": b"a", "2.cls": b"b"}
    assert labels(tar_of(tmp_path / "s.tar", members)) == {"s/1": "a", "s/2": "b"}


def test_labels_that_cannot_be_read_are_said_and_take_no_image_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = {"1.jpg": b"1", "1.json": b"{", "2.jpg": b"2", "2.cls": b"caf\xe9", "3.jpg": b"3"}
    source = tar_of(tmp_path / "s.tar", {**members, "3.cls": b"c", "4.jpg": b"4", "4.json": b"[]"})
    assert labels(source) == {"s/1": None, "s/2": None, "s/3": "c", "s/4": None}
    assert not rejected(source)
    said = capsys.readouterr().err
    assert "3 .cls and .json members" in said
    selected = open_source(ExtractConfig(source=str(source), out="o"))
    list(selected.list())
    assert selected.labels_not_found == {"a .cls or .json member that cannot be read": 3}
    assert "give no labels, as member '1.json' of" in said


def test_archives_of_windows_have_folders(tmp_path: Path) -> None:
    members = {"cat\\": b"", "cat\\1.png": b"1", "dog\\small\\2.png": b"2"}
    source = zip_of(tmp_path / "z.zip", members)
    assert labels(source) == {"cat/1.png": "cat", "dog/small/2.png": "small"}
    assert contents(source) == {"cat/1.png": b"1", "dog/small/2.png": b"2"}
    shard = tar_of(tmp_path / "s.tar", members)
    assert labels(shard, label="folder") == {"s/cat/1": "cat", "s/dog/small/2": "small"}
    assert contents(shard) == {"s/cat/1": b"1", "s/dog/small/2": b"2"}


def test_unsafe_members_of_a_shard(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, kind in [
            ("/etc/passwd.jpg", tarfile.REGTYPE),
            ("a/../../up.jpg", tarfile.REGTYPE),
            ("link.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("device.jpg", tarfile.CHRTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
            ("good.jpg", tarfile.REGTYPE),
            ("good.jpg", tarfile.REGTYPE),
            ("folder", tarfile.DIRTYPE),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"data"))
    found = rejected(tmp_path / "s.tar")
    assert set(found) == {
        "s//etc/passwd.jpg",
        "s/a/../../up.jpg",
        "s/link.jpg",
        "s/hard.jpg",
        "s/device.jpg",
        "s/pipe.jpg",
        "s/good.jpg#2",
    }
    assert all(reason is RejectReason.UNREADABLE for reason, _ in found.values())
    assert "unsafe name" in found["s//etc/passwd.jpg"][1]
    assert "link" in found["s/link.jpg"][1]
    assert len(listed(tmp_path / "s.tar")) == 8


def test_unsafe_members_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("../up.jpg", "/abs.jpg", "a\\..\\..\\up.jpg", "ok/1.jpg", ".hidden/2.jpg"):
            archive.writestr(name, name)
        archive.writestr("__MACOSX/ok/._1.jpg", "")
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("lzma.jpg", "x", zipfile.ZIP_LZMA)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("ok/1.jpg", "another")
    found = rejected(tmp_path / "z.zip")
    assert set(found) == {
        "../up.jpg",
        "/abs.jpg",
        "a\\..\\..\\up.jpg",
        "link.jpg",
        "lzma.jpg",
        "ok/1.jpg#2",
    }
    assert "2 times" in found["ok/1.jpg#2"][1]
    first = next(u for u in listed(tmp_path / "z.zip")["uri"].to_pylist() if "!/ok/1.jpg" in u)
    assert read_item(first, CAP) == b"ok/1.jpg"


def test_encrypted_member(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {"1.jpg": b"1", "2.jpg": b"2"})
    data = bytearray(source.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    source.write_bytes(data)
    found = rejected(source)
    assert list(found) == ["2.jpg"]
    assert "encrypted" in found["2.jpg"][1]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_methods(method: int, tmp_path: Path) -> None:
    images = {"empty.jpg": b"", "a.jpg": os.urandom(9999), "b.jpg": b"x" * 9999}
    with zipfile.ZipFile(tmp_path / "z.zip", "w", method) as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    assert contents(tmp_path / "z.zip") == dict(sorted(images.items()))


def test_damage_inside_a_zip_concerns_one_item(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {"1.jpg": os.urandom(999), "2.jpg": b"2"})
    data = bytearray(source.read_bytes())
    data[500] ^= 1
    source.write_bytes(data)
    found = rejected(source)
    assert found.keys() == {"1.jpg"}
    assert found["1.jpg"][0] is RejectReason.DAMAGED


def test_bombs(tmp_path: Path) -> None:
    huge = 2**28
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", bytes(huge))
        archive.writestr("liar.jpg", bytes(10**6))
    data = (tmp_path / "z.zip").read_bytes()
    says = (10**6).to_bytes(4, "little")
    (tmp_path / "z.zip").write_bytes(data.replace(says, (10).to_bytes(4, "little")))
    found = rejected(tmp_path / "z.zip")
    assert found["bomb.jpg"][0] is RejectReason.TOO_LARGE
    assert found["liar.jpg"][0] is RejectReason.DAMAGED
    with (tmp_path / "s.tar").open("wb") as file:
        member = tarfile.TarInfo("bomb.jpg")
        member.size = 2**33
        file.write(member.tobuf())
        file.truncate(2**33 + 2048)  # takes no space
    assert rejected(tmp_path / "s.tar")["s/bomb"][0] is RejectReason.TOO_LARGE


def test_header_bomb(tmp_path: Path) -> None:
    member = tarfile.TarInfo("long")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**30
    with gzip.open(tmp_path / "s.tar.gz", "wb") as file:
        file.write(member.tobuf())
    with pytest.raises(RaypipeError, match="damaged at byte 0: a header of 1073741824 bytes"):
        listed(tmp_path / "s.tar.gz")


def three(path: Path, mode: str = "w") -> Path:
    return tar_of(path, {f"{i}.jpg": os.urandom(3000) for i in range(3)}, mode)


@pytest.mark.parametrize(("cut", "at"), [(2000, 0), (3700, 3584), (3584, 3584), (0, 0)])
def test_shard_cut_short(cut: int, at: int, tmp_path: Path) -> None:
    source = three(tmp_path / "s.tar")
    os.truncate(source, cut)
    with pytest.raises(RaypipeError, match=rf"shard '.*s\.tar' is damaged at byte {at or ''}"):
        listed(tmp_path / "s.tar")


def test_broken_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    source = three(tmp_path / "s.tar")
    data = bytearray(source.read_bytes())
    data[3584 + 150] ^= 7
    source.write_bytes(data)
    with pytest.raises(RaypipeError, match=r"s\.tar' is damaged at byte 3584: bad checksum"):
        listed(source)


def test_compressed_shard_cut_short(tmp_path: Path) -> None:
    source = three(tmp_path / "s.tar.gz", "w:gz")
    os.truncate(source, source.stat().st_size - 2000)
    with pytest.raises(RaypipeError, match=r"s\.tar\.gz' is damaged"):
        listed(source)


def test_zip_cut_short(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {"1.jpg": os.urandom(999)})
    os.truncate(source, 800)
    with pytest.raises(RaypipeError, match=r"archive '.*z\.zip' is damaged or cut short"):
        listed(source)


def test_joined_shards_are_read_to_the_end(tmp_path: Path) -> None:
    parts = [tar_of(tmp_path / n, {f"{n}.jpg": b"x"}).read_bytes() for n in "ab"]
    (tmp_path / "s.tar").write_bytes(b"".join(parts))
    assert ids(tmp_path / "s.tar") == ["s/a", "s/b"]


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_replaced_shard_is_noticed(name: str, tmp_path: Path) -> None:
    mode = "w:gz" if name.endswith("gz") else "w"
    source = tar_of(tmp_path / name, {"1.jpg": b"old", "2.jpg": b"same"}, mode)
    before, old = etags(source), listed(source)["uri"].to_pylist()
    assert read_item(old[0], CAP) == b"old"
    tar_of(source, {"0.jpg": b"new!!", "1.jpg": b"changed"}, mode)
    assert contents(source) == {"s/0": b"new!!", "s/1": b"changed"}
    assert etags(source)["s/1"] != before["s/1"]
    with pytest.raises(RejectedItem, match="has changed since it was listed"):
        read_item(old[0], CAP)


def test_replaced_zip_is_noticed(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "z.zip", {"1.jpg": b"old", "2.jpg": b"same"})
    before, old = etags(source), listed(source)["uri"].to_pylist()
    assert read_item(old[0], CAP) == b"old"
    zip_of(source, {"1.jpg": b"new", "2.jpg": b"same"})
    after = etags(source)
    assert after["1.jpg"] != before["1.jpg"]
    assert after["2.jpg"] == before["2.jpg"]
    assert contents(source)["1.jpg"] == b"new"
    with pytest.raises(RejectedItem, match="has changed since it was listed"):
        read_item(old[0], CAP)


def test_compressed_shard_read_backwards(tmp_path: Path) -> None:
    images = {f"{i}.jpg": zlib.compress(bytes([i]) * 5000) for i in range(9)}
    source = tar_of(tmp_path / "s.tgz", images, "w:gz")
    uris = listed(source)["uri"].to_pylist()
    for i in (7, 2, 8, 0):
        assert read_item(uris[i], CAP) == images[f"{i}.jpg"]


def test_archive_that_is_gone(tmp_path: Path) -> None:
    source = tar_of(tmp_path / "s.tar", {"1.jpg": b"1"})
    uri = listed(source)["uri"][0].as_py()
    source.unlink()
    with pytest.raises(RejectedItem, match="No such file") as found:
        read_item(uri, CAP)
    assert found.value.reason is RejectReason.UNREADABLE


def test_labels_asked_for_that_no_sample_has(tmp_path: Path) -> None:
    source = tar_of(tmp_path / "s.tar", {"1.jpg": b"1"})
    assert labels(source) == {"s/1": None}
    with pytest.raises(UsageError, match="--label column: no sample of .* has a .cls"):
        labels(source, label="column")
