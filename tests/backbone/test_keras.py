"""Networks of keras.applications against Keras itself, from the files that it saves."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import raypipe
from raypipe.backbone import restore
from raypipe.backbone.keras_networks.networks import network
from raypipe.backbone.layers import list_layers
from raypipe.backbone.libraries import keras as library
from raypipe.backbone.libraries import library_of
from raypipe.backbone.loading import load
from raypipe.backbone.registry import find
from raypipe.backbone.weights import WeightsUnavailableError
from raypipe.errors import UsageError
from raypipe.images.preprocessing import resolve_preprocess
from tests.backbone import keras_networks as nets
from tests.backbone.comparing import features, images
from tests.backbone.keras_networks import (
    ENDINGS,
    MAKERS,
    assert_close,
    assert_same_layers,
    given,
    keras,
    made,
    saved,
    state_of,
)
from tests.backbone.test_descriptions import configured, network_input
from tests.conftest import TINY
from tests.images.test_preprocess_parity import photograph

LARGE = ("xception", "inception_v3")
SOME = [e if e == ".keras" else pytest.param(e, marks=pytest.mark.long) for e in ENDINGS]


@pytest.fixture(scope="module")
def mobilenet() -> Any:
    return made("mobilenet", 64, classes=7)


@pytest.mark.parametrize(
    ("name", "size", "ending"),
    [
        ("vgg16", 37, ".h5"),
        ("resnet50", 33, ".weights.h5"),
        ("xception", 71, ".keras"),
        pytest.param("inception_v3", 75, ".weights.h5", marks=pytest.mark.long),
    ],
)
def test_every_layer_gives_what_keras_gives(
    tmp_path: Path, name: str, size: int, ending: str
) -> None:
    model = made(name)
    assert_same_layers(name, saved(model, tmp_path / f"w{ending}"), model, size)


@pytest.mark.parametrize("ending", SOME)
def test_every_layer_with_a_top(tmp_path: Path, mobilenet: Any, ending: str) -> None:
    path = saved(mobilenet, tmp_path / f"w{ending}")
    assert_same_layers("mobilenet", path, mobilenet, 64)
    some = dict(list(nets.layers(mobilenet).items())[::9])
    x = images(64)
    cut = restore(load("keras/mobilenet", path, tuple(f"{n}:none" for n in some), size=64))(x)
    for layer, right in zip(some, given(mobilenet, list(some.values()), x), strict=True):
        assert_close(cut[layer], right, layer)
    loaded = load("keras/mobilenet", path, ("predictions",), size=64)
    assert dict(loaded.source.arguments) == {"classes": 7}
    assert loaded.network is not None
    assert b"raypipe" not in loaded.network  # replicas get torch's own modules


@pytest.mark.long
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", MAKERS)
def test_every_layer_at_the_usual_size(tmp_path: Path, name: str, ending: str) -> None:
    size = 299 if name in LARGE else 224
    model = made(name, size, classes=1000)
    path = saved(model, tmp_path / f"w{ending}")
    assert_same_layers(name, path, model, size)
    x = images(size)
    head = model.get_layer("conv_preds" if name == "mobilenet" else "predictions")
    before = head.input._keras_history[0]
    right = given(model, [before], x)[0].flatten(1)
    assert_close(features(load(f"keras/{name}", path), x)["features"], right)
    del model
    smaller = made(name, seed=1)
    assert_same_layers(name, saved(smaller, tmp_path / f"v{ending}"), smaller, 97)


def test_the_embedding_is_decided_by_the_file(tmp_path: Path, mobilenet: Any) -> None:
    x = images(64)
    found = load("keras/mobilenet", saved(mobilenet, tmp_path / "w.keras"), size=64)
    assert found.layers == ("global_average_pooling2d",)
    pooled = nets.layers(mobilenet)["global_average_pooling2d"]
    assert_close(features(found, x)["features"], given(mobilenet, [pooled], x)[0].flatten(1))
    assert list_layers("keras/vgg16").embedding == "fc2"
    model = made("vgg16")
    path = saved(model, tmp_path / "v.h5")
    found = load("keras/vgg16", path, size=64)
    right = given(model, [model.get_layer("block5_pool")], x)[0].mean((2, 3))
    assert_close(features(found, x)["features"], right)
    with pytest.raises(UsageError, match=r"lacks 2 of 28 tensors: fc1\.linear\.weight, "):
        load("keras/vgg16", path, ("fc1",))


def forget_names(path: Path, *, word: str = "layers") -> str:
    """Make a file as Keras 3.0 or, with another word, Keras 2.13 wrote it: without names."""
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, node: node.attrs.pop("name", None) and None)
        if word != "layers":
            file.move("layers", word)
    return str(path)


@pytest.mark.parametrize("name", [pytest.param("xception", marks=pytest.mark.long), "inception_v3"])
def test_layers_of_a_late_session_and_of_older_files(tmp_path: Path, name: str) -> None:
    """Numbers in names begin anywhere, and older files have none of the names."""
    keras.layers.Conv2D(1, 1)
    keras.layers.BatchNormalization()
    model = made(name, seed=1)
    assert not any(layer.name == "conv2d" for layer in model.layers)
    head = keras.layers.BatchNormalization()(keras.layers.Dense(5)(model.output))
    longer = keras.Model(model.input, head)
    path = Path(saved(longer, tmp_path / "w.weights.h5"))
    assert_same_layers(name, str(path), model, 75)
    right = network_state(name, path)
    assert_equal(network_state(name, Path(saved(longer, tmp_path / "w.h5"))), right)
    for word in ("layers", "_layer_checkpoint_dependencies"):
        forget_names(path, word=word)
        assert_equal(network_state(name, path), right)


def network_state(name: str, path: Path) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        known = network(name, None).state_dict()
    return {key: value for key, value in state_of(name, path).items() if key in known}


def assert_equal(found: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert found.keys() == right.keys()
    assert all(torch.equal(found[layer], value) for layer, value in right.items())


@pytest.mark.parametrize("ending", SOME)
def test_a_network_within_a_network(tmp_path: Path, ending: str) -> None:
    inner = made("mobilenet", 64, seed=3)
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    path = saved(keras.Sequential([inner, *head]), tmp_path / f"w{ending}")
    x = images(64)
    found = features(load("keras/mobilenet", path, size=64), x)["features"]
    assert_close(found, given(inner, [inner.layers[-1]], x)[0].mean((2, 3)))
    other = made("mobilenet", 64, seed=4, name="other")
    entry = keras.Input((64, 64, 3))
    both = keras.Model(entry, keras.layers.add([inner(entry), other(entry)]))
    with pytest.raises(UsageError, match=r"holds tensors of the network 2 times, under ") as error:
        load("keras/mobilenet", saved(both, tmp_path / f"v{ending}"))
    assert "\n" not in str(error.value)


def test_other_networks_are_refused(tmp_path: Path, mobilenet: Any) -> None:
    longer = keras.applications.ResNet101(weights=None, include_top=False)
    for ending in (".h5", ".weights.h5"):
        path = saved(longer, tmp_path / f"w{ending}")
        words = r"another network than keras/resnet50: .* it has conv4_block\d+_._(conv|bn), "
        with pytest.raises(UsageError, match=words) as error:
            load("keras/resnet50", path)
        assert "\n" not in str(error.value)
    path = forget_names(tmp_path / "w.weights.h5")
    with pytest.raises(UsageError, match="lacks|another network"):  # by its shapes
        load("keras/resnet50", path)
    path = saved(mobilenet, tmp_path / "m.keras")
    with pytest.raises(UsageError, match=r"lacks 4 of 4 tensors.*; it has conv"):
        load("keras/vgg16", path, ("block1_pool",))
    narrow = made("mobilenet", 64, alpha=0.5)
    with pytest.raises(UsageError, match=r"does not fit: conv1\.window\.weight \(16, 3, 3, 3\) in"):
        load("keras/mobilenet", saved(narrow, tmp_path / "n.h5"))


def test_what_is_no_file_of_keras(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(b"nothing")
    for backbone in (TINY, "resnet50"):
        with pytest.raises(UsageError, match=r"is for --backbone keras/NAME; .* takes \.safetens"):
            load(backbone, str(path))
    cases: dict[str, Any] = {
        "neither HDF5 nor a .keras archive": lambda: path.write_bytes(b"nothing"),
        "without model.weights.h5": lambda: zipfile.ZipFile(path, "w").close(),
        "holds no layers with weights": lambda: h5py.File(path, "w").close(),
    }
    for words, make in cases.items():
        make()
        with pytest.raises(UsageError, match=words) as error:
            load("keras/vgg16", str(path))
        assert "\n" not in str(error.value)
    whole = Path(saved(made("mobilenet", 64), tmp_path / "m.h5"))
    path.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(UsageError, match="cannot read"):
        load("keras/mobilenet", str(path))


def test_a_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mobilenet: Any) -> None:
    """A file where it would have been downloaded to; its checksum counts, where Keras has one."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked: list[str] = []

    def fail(url: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsUnavailableError, match=r"no route.*FILE \(\.keras or ") as error:
        load("keras/resnet50", "DEFAULT")
    assert "\n" not in str(error.value)
    where = (
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50_weights_tf_"
    )
    assert asked == [f"{where}dim_ordering_tf_kernels.h5"]
    folder = tmp_path / "checkpoints"
    model = made("mobilenet", 64, classes=1000)
    saved(model, folder / "mobilenet_1_0_224_tf.h5")
    x = images(64)
    loaded = load("keras/mobilenet", "imagenet", ("conv_pw_13_relu",), size=64)
    right = given(model, [model.get_layer("conv_pw_13_relu")], x)[0].mean((2, 3))
    assert_close(features(loaded, x)["features"], right)
    model = made("vgg16")
    path = folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    saved(model, path)
    with pytest.raises(WeightsUnavailableError, match="no route"):  # another checksum: once more
        load("keras/vgg16", "imagenet_notop", size=64)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(library._FILES, "vgg16", ("", md5))
    loaded = load("keras/vgg16", "imagenet_notop", size=64)
    assert dict(loaded.source.arguments) == {"include_top": False}
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda _, to, **__: saved(model, Path(to))
    )
    monkeypatch.setitem(library._FILES, "vgg16", ("6434", md5))
    with pytest.raises(WeightsUnavailableError, match="another checksum than 6434"):
        load("keras/vgg16", "DEFAULT", size=64)
    assert not (folder / "vgg16_weights_tf_dim_ordering_tf_kernels.h5").exists()


@pytest.mark.parametrize("name", MAKERS)
def test_preprocessing_is_that_of_keras(tmp_path: Path, name: str) -> None:
    source = find(f"keras/{name}")
    trained = next(iter(library_of(source).descriptions(source))).trained
    assert trained is not None
    module = getattr(keras.applications, name)
    assert trained.size == (299 if name in LARGE else 224)
    assert resolve_preprocess(configured(), trained) == trained
    for size in ((640, 427), (100, 333)):
        image = photograph(size)
        image.save(tmp_path / "photo.png")
        pixels = keras.utils.load_img(tmp_path / "photo.png", target_size=(trained.size,) * 2)
        right = module.preprocess_input(keras.utils.img_to_array(pixels))
        np.testing.assert_allclose(network_input(image, trained), right, atol=1e-5)


def test_an_extraction_gives_what_predict_gives(
    tmp_path: Path, ray_session: None, mobilenet: Any
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, size in enumerate(((64, 64), (90, 200), (333, 80))):
        photograph(size).save(folder / f"{i}.png")
    store = raypipe.extract(
        str(folder),
        out=str(tmp_path / "store"),
        backbone="keras/mobilenet",
        weights=saved(mobilenet, tmp_path / "w.keras"),
        layer=("predictions",),
        size=64,
        precision="fp32",
        actors="1",
    )
    kept = store.to_numpy()
    paths = [folder / name for name in kept.ids]
    images = [keras.utils.load_img(path, target_size=(64, 64)) for path in paths]
    pixels = np.stack([keras.utils.img_to_array(image) for image in images])
    right = mobilenet.predict(keras.applications.mobilenet.preprocess_input(pixels), verbose=0)
    np.testing.assert_allclose(kept.features, right, atol=1e-5)


def test_names_that_do_not_do() -> None:
    with pytest.raises(UsageError, match=r"there are vgg16, .*'keras/vgg61'; did you mean vgg1"):
        load("keras/vgg61", "random")
    with pytest.raises(UsageError, match=r"has imagenet, imagenet_notop, random, or give a file"):
        load("keras/vgg16", "IMAGENET1K_V1")
