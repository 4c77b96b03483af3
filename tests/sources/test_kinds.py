"""The same images give the same bytes by id, however they are kept."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from raypipe.errors import UsageError
from raypipe.sources import read_item
from tests.support.sources import (
    CAP,
    contents,
    csv_of,
    files_in,
    folder_server,
    ids,
    jsonl_of,
    labels,
    listed,
    parquet_of,
    tar_of,
    zip_of,
)

Images = dict[str, bytes]


def as_folder(folder: Path, images: Images, to: Path) -> Path:
    return folder


def as_zip(folder: Path, images: Images, to: Path) -> Path:
    return zip_of(to / "set.zip", images)


def samples(images: Images) -> Images:
    found = {}
    for name, data in images.items():
        found[f"{name.removesuffix('.png')}.png"] = data
        found[f"{name.removesuffix('.png')}.json"] = b'{"id": "%b"}' % name.encode()
        found[f"{name.removesuffix('.png')}.cls"] = name.split("/")[0].encode()
    return found


def as_tar(folder: Path, images: Images, to: Path) -> Path:
    return tar_of(to / "set.tar", samples(images))


def as_tar_gz(folder: Path, images: Images, to: Path) -> Path:
    return tar_of(to / "set.tar.gz", samples(images), "w:gz")


def as_shards(folder: Path, images: Images, to: Path) -> Path:
    (to / "shards").mkdir()
    names = list(images)
    for i in range(3):
        part = {name: images[name] for name in names[8 * i : 8 * i + 8]}
        tar_of(to / "shards" / f"s-{i:03d}.tar", samples(part))
    (to / "shards" / "README.md").write_text("not an image")
    return to / "shards"


def table(images: Images) -> dict[str, list[str]]:
    return {"id": list(images), "label": [name.split("/")[0] for name in images]}


def as_parquet_bytes(folder: Path, images: Images, to: Path) -> Path:
    columns = {**table(images), "image": list(images.values())}
    return parquet_of(to / "set.parquet", columns, row_group_size=5)


def as_hugging_face(folder: Path, images: Images, to: Path) -> Path:
    structs = [{"bytes": data, "path": "x.png"} for data in images.values()]
    return parquet_of(to / "set.parquet", {**table(images), "image": structs}, row_group_size=7)


def as_parquet_uris(folder: Path, images: Images, to: Path) -> Path:
    columns = {**table(images), "uri": [str(folder / name) for name in images]}
    return parquet_of(to / "set.parquet", columns, row_group_size=5)


def rows(images: Images, column: str, prefix: str) -> list[dict[str, str]]:
    return [{"id": name, column: f"{prefix}{name}", "label": name.split("/")[0]} for name in images]


def as_csv(folder: Path, images: Images, to: Path) -> Path:
    return csv_of(folder.parent / "set.csv", rows(images, "path", f"{folder.name}/"))


def as_tsv(folder: Path, images: Images, to: Path) -> Path:
    return csv_of(to / "set.tsv", rows(images, "uri", folder.as_uri() + "/"), "\t")


def as_jsonl(folder: Path, images: Images, to: Path) -> Path:
    return jsonl_of(to / "set.jsonl", rows(images, "image", f"{folder}/"))


KINDS = [
    as_folder,
    as_zip,
    as_tar,
    as_tar_gz,
    as_shards,
    as_parquet_bytes,
    as_hugging_face,
    as_parquet_uris,
    as_csv,
    as_tsv,
    as_jsonl,
]


@pytest.mark.parametrize("make", KINDS)
def test_same_bytes_and_labels_by_id(
    make: Callable[[Path, Images, Path], Path], photos: Path, tmp_path: Path
) -> None:
    images = files_in(photos)
    (tmp_path / "made").mkdir()
    source = make(photos, images, tmp_path / "made")
    assert len(images) == 24
    given = {"allow_outside": True}  # tables beside the folder that they name
    assert contents(source, **given) == images
    assert labels(source, **given) == {name: name.split("/")[0] for name in images}
    again = listed(source, **given)
    assert listed(source, **given).equals(again)  # the same order and etags every time


def test_http_manifest(photos: Path, tmp_path: Path) -> None:
    images = files_in(photos)
    with folder_server(photos) as url:
        manifest = csv_of(tmp_path / "set.csv", rows(images, "url", f"{url}/"))
        assert contents(manifest) == images


def test_sorted_like_a_folder(photos: Path, tmp_path: Path) -> None:
    images = files_in(photos)
    backwards = dict(reversed(images.items()))
    assert ids(zip_of(tmp_path / "set.zip", backwards)) == ids(photos)


def pixels(photos: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(photos.rglob("*.png"))])


def as_npy(images: np.ndarray, to: Path) -> Path:
    np.save(to / "set.npy", images)
    return to / "set.npy"


def as_npz(images: np.ndarray, to: Path) -> Path:
    np.savez_compressed(to / "set.npz", images=images, labels=np.arange(24) % 3)
    return to / "set.npz"


def as_hdf5(images: np.ndarray, to: Path) -> Path:
    with h5py.File(to / "set.h5", "w") as file:
        file.create_dataset("train/images", data=images, chunks=(5, *images.shape[1:]))
        file["train/labels"] = np.arange(24) % 3
    return to / "set.h5"


@pytest.mark.parametrize("make", [as_npy, as_npz, as_hdf5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_give_the_same_pixels(
    make: Callable[[np.ndarray, Path], Path], dtype: type, photos: Path, tmp_path: Path
) -> None:
    images = pixels(photos).astype(dtype) * (257 if dtype is np.uint16 else 1)
    source = make(images, tmp_path)
    found = contents(source)
    assert list(found) == [f"{i:02d}" for i in range(24)]
    assert np.array_equal(np.stack([np.load(io.BytesIO(d)) for d in found.values()]), images)
    assert all(data.startswith(b"\x93NUMPY") for data in found.values())
    expected = [None] * 24 if make is as_npy else [str(i % 3) for i in range(24)]
    assert list(labels(source).values()) == expected


def test_arrays_read_in_any_order(photos: Path, tmp_path: Path) -> None:
    images = pixels(photos)
    uris = listed(as_npz(images, tmp_path))["uri"].to_pylist()
    for i in (20, 3, 21, 0):
        assert np.array_equal(np.load(io.BytesIO(read_item(uris[i], CAP))), images[i])


def test_hdf5_with_encoded_images_ids_and_names(photos: Path, tmp_path: Path) -> None:
    images = files_in(photos)
    with h5py.File(tmp_path / "set.hdf5", "w") as file:
        encoded = file.create_dataset("images", (24,), h5py.vlen_dtype(np.uint8))
        for i, data in enumerate(images.values()):
            encoded[i] = np.frombuffer(data, np.uint8)
        file["ids"] = list(images)
        file["y"] = np.r_[-1, np.arange(1, 24) % 2]
        file["label_names"] = ["even", "odd"]
    source = tmp_path / "set.hdf5"
    assert contents(source) == images
    assert list(labels(source).values())[:4] == [None, "odd", "even", "odd"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), "type float32 and shape (4, 8, 8, 3): expected uint8"),
        (np.zeros((4, 3, 8, 8), np.uint8), "shape (4, 3, 8, 8): expected (images"),
        (np.zeros((8, 8), np.uint8), "shape (8, 8): expected (images"),
        (np.array([{}, {}], object), "holds pickled objects, which are refused"),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(UsageError, match=re.escape(message)):
        listed(tmp_path / "bad.npy")


def test_which_array(tmp_path: Path) -> None:
    part = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=part, y_train=np.array([7, 8]), x_test=part)
    with pytest.raises(UsageError, match="--image-column: which array.*x_train"):
        listed(tmp_path / "a.npz")
    chosen = {"image_column": "x_train", "label_column": "y_train"}
    assert labels(tmp_path / "a.npz", **chosen) == {"0": "7", "1": "8"}
    with pytest.raises(UsageError, match="no column 'y' in .*it has 'x_train'"):
        listed(tmp_path / "a.npz", image_column="x_train", label_column="y")


def test_recognised_by_content(tmp_path: Path) -> None:
    tar_of(tmp_path / "a", {"1.jpg": b"1"}, "w:gz")
    tar_of(tmp_path / "b", {"1.jpg": b"1"})
    zip_of(tmp_path / "c", {"d/1.jpg": b"1"})
    (tmp_path / "d").write_bytes(b"1")
    assert [ids(tmp_path / name) for name in "abcd"] == [["a/1"], ["b/1"], ["d/1.jpg"], ["d"]]


def test_patterns_of_shards(tmp_path: Path) -> None:
    for name in ("train-000", "train-001", "test-000"):
        tar_of(tmp_path / f"{name}.tar", {"1.jpg": b"1"})
    assert ids(tmp_path / "train-*.tar") == ["train-000/1", "train-001/1"]
    assert ids(tmp_path / "train-{000..001}.tar") == ["train-000/1", "train-001/1"]
    assert ids(tmp_path / "{train,test}-000.tar") == ["train-000/1", "test-000/1"]
    with pytest.raises(UsageError, match="no file at '.*train-002.tar'"):
        ids(tmp_path / "train-{000..002}.tar")


ODD = ["a b.jpg", "a!b?c#d.jpg", "100%.jpg", "ä€/日本.jpg", "x&at=1.jpg", "!/y.jpg", "q'\".jpg"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "csv"])
def test_odd_names_survive(kind: str, tmp_path: Path) -> None:
    home = tmp_path / "odd! ?#%é"
    home.mkdir()
    images = {name: name.encode() for name in ODD}
    if kind == "folder":
        for name, data in images.items():
            (home / name).parent.mkdir(exist_ok=True)
            (home / name).write_bytes(data)
        assert contents(home) == images
    elif kind == "zip":
        assert contents(zip_of(home / "a.zip", images)) == images
    elif kind == "csv":
        (home / "a").mkdir()
        for name, data in images.items():
            (home / "a" / name).parent.mkdir(exist_ok=True)
            (home / "a" / name).write_bytes(data)
        rows = [{"uri": f"a/{name}"} for name in ODD]
        assert list(contents(csv_of(home / "a.csv", rows)).values()) == list(images.values())
    else:
        source = tar_of(home / f"a.{kind}", images, "w:gz" if kind == "tar.gz" else "w")
        assert list(contents(source).values()) == list(images.values())


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_texts_of_arrays(suffix: str, tmp_path: Path) -> None:
    images = np.zeros((3, 5, 5), np.uint8)
    fixed = np.array(["café".encode(), "cafe\u0301".encode(), b""])
    found = labels(saved(tmp_path / f"t{suffix}", image=images, label=fixed))
    assert list(found.values()) == ["café", "café", None]
    numbers = np.array([1.5, np.nan, -1.0])
    found = labels(saved(tmp_path / f"n{suffix}", image=images, label=numbers))
    assert list(found.values()) == ["1.5", None, "-1"]
    wrong = np.array([b"a", b"caf\xe9", b"b"])
    source = saved(tmp_path / f"w{suffix}", image=images, label=wrong)
    with pytest.raises(UsageError, match="row 1 of array 'label' of .* no text in UTF-8"):
        labels(source)


def test_opaque_bytes_in_hdf5_are_called_so(tmp_path: Path) -> None:
    source = saved(tmp_path / "o.h5", image=np.array([np.void(b"jpeg"), np.void(b"jpg2")]))
    with pytest.raises(UsageError, match="opaque bytes.*uint8 of variable length"):
        listed(source)


@pytest.mark.parametrize("shape", [(40, 48, 3), (40, 48, 1), (40, 48, 4), (3, 40, 48), (4, 8, 9)])
def test_an_array_that_may_be_one_image_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    source = tmp_path / "one.npy"
    np.save(source, np.zeros(shape, np.uint8))
    with pytest.raises(UsageError, match=r"one image as well as a stack of .*np\.newaxis"):
        listed(source)
    with_labels = saved(
        tmp_path / "one.h5", image=np.zeros(shape, np.uint8), label=np.arange(shape[0])
    )
    assert len(listed(with_labels)) == shape[0]
    np.save(source, np.zeros((2, 40, 48), np.uint8))
    assert len(listed(source)) == 2


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("t.csv.gz", "gunzip"),
        ("t.json", "JSON lines"),
        ("t.xlsx", r"\.csv"),
        ("t.feather", r"\.parquet"),
        ("t.arrow", r"\.parquet"),
    ],
)
def test_other_tables_are_named_with_a_remedy(name: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=f"expected images, or a table.*: .*{remedy}"):
        listed(tmp_path / name)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path
