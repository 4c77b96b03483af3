"""Finding, verifying and cutting networks."""

from __future__ import annotations

import hashlib
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from raypipe.backbone import Backbone, restore
from raypipe.backbone.cutting.untouched import EarlyExit
from raypipe.backbone.hardware.folding import fold_batch_norm
from raypipe.backbone.hardware.precision import prepare, round_keeping_sums
from raypipe.backbone.layers import list_layers
from raypipe.backbone.libraries import BackboneSource, library_of
from raypipe.backbone.loading import feature_shapes, load
from raypipe.backbone.outputs import parse_outputs, pool
from raypipe.backbone.registry import build, find
from raypipe.backbone.shipping import from_bytes, to_bytes
from raypipe.backbone.truncate import truncate
from raypipe.backbone.weights import WeightsUnavailableError
from raypipe.errors import UsageError
from tests.conftest import NETWORKS, TINY

BRANCHING = f"{NETWORKS}:branching"


def reference(layers: int) -> nn.Module:
    """The first children of the small network, with the weights that seed 0 gives."""
    torch.manual_seed(0)
    model = build(find(TINY)).eval()
    return nn.Sequential(*list(model.children())[:layers])


def test_cut_gives_the_layers_output() -> None:
    x = torch.randn(2, 3, 32, 32)
    ours = restore(load(TINY, "random", ("block1", "block2")))(x)
    torch.testing.assert_close(ours["block1"], reference(1)(x))
    torch.testing.assert_close(ours["block2"], reference(2)(x))


def test_nothing_behind_the_cut_is_kept_or_computed() -> None:
    model = truncate(build(find("resnet18")), ("layer2",))
    names = [name for name, _ in model.named_modules()]
    assert "layer2.1.conv2" in names
    assert not any(name.startswith(("layer3", "layer4", "fc")) for name in names)
    assert all(
        not n.startswith(("layer3", "fc")) for n in load("resnet18", "random", ("layer2",)).state
    )


def test_untraceable_network_is_left_at_the_cut() -> None:
    model = truncate(build(find(BRANCHING)), ("block2",))
    assert isinstance(model, EarlyExit)
    x = torch.randn(1, 3, 16, 16)
    assert model(x)["block2"].shape == (1, 16, 4, 4)  # its head raises when it is reached
    shapes = feature_shapes(load(BRANCHING, "random", ("block1", "block2")), 32, "float32")
    assert shapes == {"block1": ((8,), "float32"), "block2": ((16,), "float32")}


@pytest.mark.parametrize(
    ("name", "layer", "width"),
    [
        ("resnet18", "flatten", 512),
        ("mobilenet_v3_small", "classifier.1", 1024),
        ("vit_b_16", "getitem_5", 768),
        ("swin_t", "flatten", 768),
        (TINY, "flat", 16),
    ],
)
def test_default_layer_feeds_the_classifier(name: str, layer: str, width: int) -> None:
    loaded = load(name, "random")
    assert loaded.layers == (layer,)
    size = loaded.trained.size if loaded.trained else 32
    assert feature_shapes(loaded, size, "float32") == {"features": ((width,), "float32")}


def test_random_weights_depend_on_the_seed_alone() -> None:
    one, same, other = (load(TINY, "random", seed=seed) for seed in (1, 1, 2))
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256
    for name in one.state:
        np.testing.assert_array_equal(one.state[name], same.state[name])


@pytest.mark.parametrize("kind", ["safetensors", "pth", "wrapped", "parallel", "headless"])
def test_weights_from_a_file(tmp_path: Path, kind: str) -> None:
    state = build(find(TINY)).state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "wrapped":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif kind == "parallel":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    elif kind == "headless":  # fine-tuned with another number of classes: behind the cut
        torch.save({**state, "fc.weight": torch.zeros(7, 16), "fc.bias": torch.zeros(7)}, path)
    else:
        torch.save(state, path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load(TINY, str(path), ("block2",), weights_sha256=checksum)
    assert loaded.weights_sha256 == checksum
    np.testing.assert_array_equal(loaded.state["block1.0.weight"], state["block1.0.weight"])


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.pth", tmp_path / "witness"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (witness,)  # type: ignore[return-value]

    torch.save({"x": Evil()}, path)
    with pytest.raises(UsageError, match="never executed"):
        load(TINY, str(path))
    assert not witness.exists()


def tiny_file(folder: Path, **changes: torch.Tensor | None) -> str:
    state = {**build(find(TINY)).state_dict(), **changes}
    save_file({n: v for n, v in state.items() if v is not None}, folder / "w.safetensors")
    return str(folder / "w.safetensors")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    missing = tiny_file(tmp_path, **{"block1.0.weight": None})
    with pytest.raises(UsageError, match=r"lacks 1 of .*block1\.0\.weight"):
        load(TINY, missing, ("block2",))
    wrong = tiny_file(tmp_path, **{"block1.0.weight": torch.zeros(8, 3, 5, 5)})
    with pytest.raises(UsageError, match=r"block1\.0\.weight \(8, 3, 5, 5\) instead of"):
        load(TINY, wrong, ("block2",))


def test_checksum(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--weights-sha256: .* expected " + "0" * 64):
        load(TINY, tiny_file(tmp_path), weights_sha256="0" * 64)
    with pytest.raises(UsageError, match="goes with a weights file"):
        load(TINY, "random", weights_sha256="0" * 64)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet5O", "random"), "unknown backbone 'resnet5O'.*did you mean resnet50"),
        ((TINY, "random", ("blok2",)), "no node 'blok2'.*block2"),
        ((BRANCHING, "random", ("blok2",)), "no node 'blok2'.*block2"),
        ((TINY, "random", ("block2", "block2")), "there is a column 'block2' already"),
        (("timm/resnet50.nosuchtag", "random"), "cannot build 'resnet50.nosuchtag'"),
        (("~nobody-here/net.py:tiny", "random"), "--backbone: '~nobody-here/net.py'"),
        (("resnet18", "IMAGENET1K_V7"), "has IMAGENET1K_V1, DEFAULT, random"),
        ((TINY, "DEFAULT"), "no published weights"),
        ((TINY, "/nowhere.pth"), "no file at '/nowhere.pth'"),
        ((f"{NETWORKS}:tinny", "random"), "no callable 'tinny'.*did you mean tiny"),
        ((f"{NETWORKS}:broken", "random"), r"broken\(\) fails: ValueError: no such thing"),
        ((f"{NETWORKS}:no_module", "random"), "must return a torch.nn.Module; got Tensor"),
        (("nowhere.py:tiny", "random"), "cannot read"),
        (("no.such.module:tiny", "random"), "cannot import 'no.such.module'"),
        (("timm/resnet5O", "random"), "timm has no model 'resnet5O'.*resnet50"),
    ],
)
def test_wrong_names_get_one_clear_line(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as found:
        load(*arguments)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(("size", "said"), [(100, "100×100"), ((224, 160), "224×160")])
def test_image_that_does_not_fit_the_network(
    size: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=f"^--size: .*cannot process a {said} image") as found:
        feature_shapes(load("vit_b_16", "random", size=size), size, "float32")
    assert "\n" not in str(found.value)
    assert "Traceback" not in capsys.readouterr().err


def test_published_weights_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent-cache")
    monkeypatch.setattr("os.makedirs", lambda *_a, **_k: None)
    with pytest.raises(WeightsUnavailableError, match="--weights FILE .*--weights random"):
        load("resnet18", "DEFAULT")


def test_published_weights_are_checked_and_bring_their_preprocessing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torchvision.models import ResNet18_Weights

    state = build(find("resnet18")).state_dict()
    asked = {}

    def serve(self: object, **options: object) -> dict[str, torch.Tensor]:
        asked.update(options)
        return state

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", serve)
    loaded = load("resnet18", "IMAGENET1K_V1")
    assert asked["check_hash"] is True
    assert loaded.trained is not None
    assert (loaded.trained.resize_to, loaded.trained.size) == (256, 224)


def test_module_callable_is_found_beside_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_networks.py").write_text(NETWORKS.read_text())
    monkeypatch.chdir(tmp_path)
    source = find("my_networks:tiny")
    assert source.sha256 == hashlib.sha256(NETWORKS.read_bytes()).hexdigest()
    assert isinstance(build(source), nn.Module)


def test_timm() -> None:
    loaded = load("timm/resnet10t", "random")
    assert loaded.trained is not None
    assert feature_shapes(loaded, 64, "float32") == {"features": ((512,), "float32")}


def test_pooling() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(pool(x, "avg"), x.mean((2, 3)))
    torch.testing.assert_close(pool(x, "max"), x.amax((2, 3)))
    assert pool(x, "flatten").shape == (2, 60)
    torch.testing.assert_close(pool(x, "flatten-hwc"), x.permute(0, 2, 3, 1).reshape(2, 60))
    assert pool(x, "none").shape == (2, 3, 4, 5)
    tokens = torch.randn(2, 7, 3)
    torch.testing.assert_close(pool(tokens, "avg"), tokens.mean(1))
    assert pool(torch.randn(2, 9), "avg").shape == (2, 9)
    assert pool(x.bfloat16(), "avg").dtype == torch.float32


def test_layers_are_listed_with_their_shapes() -> None:
    found = list_layers(TINY, 32)
    shapes = {node.name: node.shape for node in found.nodes}
    assert shapes["block2.2"] == (16, 8, 8)
    assert shapes["fc"] == (4,)
    assert found.embedding == "flat"


def test_embedding_does_not_depend_on_company() -> None:
    from raypipe.actors.embedder import Embedder
    from raypipe.spec import Preprocess, Spec

    loaded = load(TINY, "random", ("block2",))
    spec = Spec(
        backbone="tiny",
        weights_sha256=loaded.weights_sha256,
        outputs=loaded.outputs,
        preprocess=Preprocess(size=32, resize="squash", resize_to=None, std=(255.0,) * 3),
    )
    embedder = Embedder(loaded, spec, batch_size=8)
    images = np.random.default_rng(0).integers(0, 256, (19, 32, 32, 3), dtype=np.uint8)
    together = embedder(images)["features"]
    assert together.shape == (19, 16)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together[16:], embedder(images[16:])["features"])
    assert embedder(images[:0])["features"].shape == (0, 16)
    bf16 = Embedder(loaded, spec.model_copy(update={"precision": "bf16"}), batch_size=8)
    rough = bf16(images)["features"]
    cosine = (rough * together).sum(1) / np.linalg.norm(rough, axis=1)
    assert (cosine / np.linalg.norm(together, axis=1)).min() > 0.999
    assert Backbone is type(loaded)


def test_folded_batch_norm_computes_the_same() -> None:
    model = restore(load("resnet18", "random", ("layer1", "layer2.0.conv1")))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand_like(module.running_mean)
            module.running_var = 0.5 + torch.rand_like(module.running_var)
    x = torch.randn(2, 3, 64, 64)
    expected = model(x)
    folded = fold_batch_norm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    for layer, output in folded(x).items():
        torch.testing.assert_close(output, expected[layer], rtol=1e-4, atol=1e-4)


def test_rounding_keeps_the_sums_of_filters() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(64, 1, 3, 3, generator=generator)
    weights -= weights.mean((1, 2, 3), keepdim=True)  # taps that cancel, as in edge filters
    rounded = round_keeping_sums(weights, torch.bfloat16)
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert (rounded - weights).abs().max() < 0.02
    ours = (rounded - weights).sum((1, 2, 3)).abs().max()
    usual = (weights.bfloat16().float() - weights).sum((1, 2, 3)).abs().max()
    assert ours < usual / 4


@pytest.mark.parametrize("network", ["in_place", "in_place_branching"])
def test_a_layer_is_the_same_whatever_else_is_asked_for(network: str) -> None:
    name = f"{NETWORKS}:{network}"
    x = torch.randn(2, 3, 16, 16)
    alone = prepare(restore(load(name, "random", ("norm",))), "fp32", "cpu")(x)["norm"]
    both = prepare(restore(load(name, "random", ("norm", "last"))), "fp32", "cpu")(x)["norm"]
    assert alone.min() < 0  # what the ReLU in place would have removed
    torch.testing.assert_close(alone, both)


def test_networks_called_by_keyword() -> None:
    loaded = load(f"{NETWORKS}:in_place", "random")
    assert loaded.layers == ("mean",)
    assert feature_shapes(loaded, 16, "float32") == {"features": ((4,), "float32")}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in build(find(TINY)).state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    loaded = load(TINY, str(tmp_path / "w.safetensors"))
    assert feature_shapes(loaded, 32, "float32") == {"features": ((16,), "float32")}


def test_timm_preprocessing_that_squashes() -> None:
    trained = load("timm/resnet10t", "random").trained
    assert trained is not None
    assert trained.resize == "shorter"
    source = find("timm/dm_nfnet_f0")
    squashed = next(iter(library_of(source).descriptions(source))).trained
    assert squashed is not None
    assert (squashed.resize, squashed.size, squashed.resize_to) == ("squash", 192, 213)


def test_outputs_have_their_own_pooling_and_names() -> None:
    entries = ("block2:flatten", "maps=block1:hwc", "tops=block1:max", "class=logits:argmax")
    loaded = load(TINY, "random", entries, pool="none")
    assert loaded.layers == ("block2", "block1", "logits")
    assert feature_shapes(loaded, 32, "float16") == {
        "block2": ((16 * 8 * 8,), "float16"),
        "maps": ((16, 16, 8), "float16"),
        "tops": ((8,), "float16"),
        "class": ((), "int32"),
    }


@pytest.mark.parametrize("backbone", [TINY, BRANCHING.replace("branching", "in_place_branching")])
def test_logits_are_the_networks_own_output(backbone: str) -> None:
    loaded = load(backbone, "random", ("logits", "top=logits:argmax"), seed=3)
    full = build(find(backbone))
    full.load_state_dict({n: torch.from_numpy(v) for n, v in loaded.state.items()}, strict=False)
    x = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        expected = full(x)
        found = restore(loaded)(x)["logits"]
    torch.testing.assert_close(found, expected)
    assert pool(found, "argmax").tolist() == expected.argmax(1).tolist()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            ("block2:mean",),
            "must be one of avg, max, flatten, .*none, hwc, argmax, .*; got 'mean'",
        ),
        (("my col=block2",), "a column's name is letters"),
        (("a/b=block2",), "a column's name is letters.* --layer NAME=block2:avg"),
        (("=block2",), "expected .COLUMN=.NODE.:POOL."),
        (("id=block2",), "there is a column 'id' already"),
        (("labels=block2",), "there is a column 'labels' already"),
        (("a=block1", "a=block2"), "there is a column 'a' already"),
        (("a=:avg",), r"expected \[COLUMN=\]NODE\[:POOL\]"),
    ],
)
def test_wrong_outputs_get_one_clear_line(entries: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_outputs(entries, "avg")


def test_class_number_needs_a_vector() -> None:
    with pytest.raises(UsageError, match=r"block1:argmax needs one vector per image"):
        feature_shapes(load(TINY, "random", ("block1:argmax",)), 32, "float32")


# One of each family of torchvision's classification models, with an inner module to cut at.
FAMILIES = {
    "alexnet": "features.5",
    "convnext_tiny": "features.3",
    "densenet121": "features.denseblock2",
    "efficientnet_b0": "features.4",
    "efficientnet_v2_s": "features.3",
    "googlenet": "inception4a",
    "inception_v3": "Mixed_6a",
    "maxvit_t": "blocks.0",
    "mnasnet0_5": "layers.10",
    "mobilenet_v2": "features.7",
    "mobilenet_v3_small": "features.6",
    "regnet_x_400mf": "trunk_output.block2",
    "regnet_y_400mf": "trunk_output.block2",
    "resnet18": "layer2",
    "resnext50_32x4d": "layer2",
    "shufflenet_v2_x0_5": "stage3",
    "squeezenet1_1": "features.6",
    "swin_t": "features.3",
    "swin_v2_t": "features.3",
    "vgg11": "features.10",
    "vit_b_32": "encoder.layers.encoder_layer_5",
    "wide_resnet50_2": "layer2",
}


def send(cut: torch.nn.Module, source: BackboneSource) -> torch.nn.Module:
    """Send a network and its weights apart, as to a replica."""
    state = {name: value.clone() for name, value in cut.state_dict().items()}
    data = to_bytes(cut, set(state))
    assert data is not None
    assert len(data) < 2**20  # the weights are not in it
    there = from_bytes(data, source)
    there.load_state_dict(state, assign=True)
    return there.eval()


def test_replicas_start_without_torchvision(tmp_path: Path) -> None:
    (tmp_path / "backbone").write_bytes(pickle.dumps(load("resnet18", "random", ("layer1",))))
    code = (
        "import pickle, sys, pathlib; import raypipe.flow.pipeline, raypipe.actors.embedder\n"
        "from raypipe.backbone import restore\n"
        f"restore(pickle.loads(pathlib.Path({str(tmp_path / 'backbone')!r}).read_bytes()))\n"
        "print([name for name in ('torchvision', 'timm', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_network_with_functions_of_its_own_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\n"
        "def scale(x):\n    return x * float(x.max() > -1e9)\n"
        "torch.fx.wrap('scale')\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n        return self.conv(scale(x)).mean((2, 3))\n"
        "def build():\n    return Net()\n"
    )
    loaded = load(f"{file}:build", "random", ("logits",))
    assert loaded.network is not None
    again = pickle.loads(pickle.dumps(loaded))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(restore(again)(x)["logits"], restore(loaded)(x)["logits"])


def test_every_family_of_torchvision_is_tried() -> None:
    def family(name: str) -> str:
        return re.split(r"\d|_(?:tiny|small|base|large)|_[a-z](?:_|$)", name)[0]

    known = torchvision.models.list_models(module=torchvision.models)
    assert {family(name) for name in known} == {family(name) for name in FAMILIES}


#: Slow, or of the code of another one.
LONG = {"efficientnet_v2_s", "maxvit_t", "regnet_x_400mf", "resnext50_32x4d", "swin_v2_t"}
LONG |= {"wide_resnet50_2"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in FAMILIES],
)
def test_each_family_can_be_cut(name: str) -> None:
    model = build(find(name))
    inner, seen = FAMILIES[name], []
    hook = model.get_submodule(inner).register_forward_hook(lambda _m, _i, out: seen.append(out))
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        logits = model(x)
        hook.remove()
        layers = (inner, "logits")
        outputs = truncate(model, layers)(x)
        cut = truncate(model, (inner,))
        alone = cut(x)[inner]
        sent = send(cut, find(name))(x)[inner]
    torch.testing.assert_close(outputs["logits"], logits)
    torch.testing.assert_close(outputs[inner], seen[0])
    torch.testing.assert_close(alone, seen[0])
    assert torch.equal(sent, alone)
