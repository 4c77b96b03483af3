"""Networks of transformers, through the same loading as a user's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import raypipe
from raypipe.backbone.layers import list_layers
from raypipe.backbone.loading import feature_shapes, load, load_again
from raypipe.backbone.registry import find
from raypipe.config.sides import Sides, both
from raypipe.errors import UsageError
from raypipe.images.preprocessing import resolve_preprocess
from raypipe.spec import Preprocess, Spec
from tests.backbone.comparing import as_seen, cosine, embedded, entering, features, images
from tests.backbone.hub import FAMILIES, SIDE, SQUARE, TINY_VIT, saved
from tests.backbone.test_descriptions import SIZES, configured, network_input
from tests.images.test_preprocess_parity import photograph

#: What runs with each change; the rest with `make test-long`.
FAST = {"clip", "siglip", "dinov2-registers", "vit-classifier", "convnext"}


def slow_but(quick: set[str], values: Iterable[Any]) -> list[Any]:
    return [v if v in quick else pytest.param(v, marks=pytest.mark.long) for v in values]


@torch.inference_mode()
def expected(family: str, model: Any, x: Tensor) -> Tensor:
    """What the library itself calls the feature."""
    if hasattr(model, "get_image_features"):
        return model.get_image_features(pixel_values=x).pooler_output
    if family == "vit-classifier":  # has no pooled feature
        return entering(model, "classifier", x)
    if family == "clip-projected":
        return model(pixel_values=x).image_embeds
    whole = model.base_model if family.endswith("classifier") else model
    whole = model.base_model if type(model).__name__.endswith("Classification") else whole
    return whole(pixel_values=x).pooler_output.flatten(1)


@pytest.mark.parametrize("family", slow_but(FAST, FAMILIES))
def test_a_folder_gives_the_librarys_feature(tmp_path: Path, family: str) -> None:
    model, processor = saved(tmp_path, family)
    loaded = load(f"hf/{tmp_path}", "DEFAULT")
    assert loaded.trained is not None
    assert loaded.trained.size == SIDE
    assert not any("text" in name for name in loaded.state)
    x = as_seen(images(SIDE))
    right = expected(family, model, x)
    found = features(loaded, x)["features"]
    assert found.shape == right.shape
    assert cosine(found, right) >= 0.9999
    assert cosine(embedded(loaded, x, "fp32"), right) >= 0.9999
    assert cosine(embedded(loaded, x, "bf16"), right) >= 0.99
    assert_prepared_as(processor, loaded.trained)
    listed = list_layers(f"hf/{tmp_path}")
    assert listed.embedding == "embedding" or family == "vit-classifier"
    assert len(listed.nodes) > 10


def assert_prepared_as(processor: Any, preprocess: Preprocess) -> None:
    assert resolve_preprocess(configured(), preprocess) == preprocess
    for size in SIZES:
        if max(size) > 16 * min(size) and preprocess.resize == "shorter":
            continue  # cut around its centre before it is scaled
        image = photograph(size)
        right = processor(images=image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        difference = np.abs(network_input(image, preprocess) - right) * preprocess.std
        assert difference.max() <= 1.001, size  # of 255


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
        ("LevitImageProcessor", {}),
        ("MobileNetV2ImageProcessor", {}),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}),  # in BGR order
        ("PvtImageProcessor", {}),
        ("SegformerImageProcessor", {"size": {"height": 96, "width": 96}}),
        ("BlipImageProcessor", {"size": {"height": 96, "width": 96}}),
        ("ChineseCLIPImageProcessor", {}),
        ("DeiTImageProcessor", {}),
        ("ViTImageProcessor", {"do_normalize": False}),
        ("ViTImageProcessor", {"size": {"height": 96, "width": 48}}),
        ("DeiTImageProcessor", {"crop_size": {"height": 96, "width": 48}}),
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 80}, "crop_size": {"height": 48, "width": 72}},
        ),
        ("ViTImageProcessor", {"do_rescale": False}),
        ("ViTImageProcessor", {"do_flip_channel_order": True}),  # which it ignores
        ("ViTImageProcessor", {"resample": 1}),
        ("SiglipImageProcessor", {"resample": 0, "size": {"height": 50, "width": 50}}),
    ],
)
def test_other_processors(kind: str, given: dict[str, Any]) -> None:
    from raypipe.backbone.libraries.processors import preprocess_of

    processor = getattr(hf, kind)(**given)
    assert_prepared_as(processor, preprocess_of("hf/x", processor))


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        ("EfficientNetImageProcessor", {}, "is not known here"),
        ("Siglip2ImageProcessor", {}, "is not known here"),
        ("ViTImageProcessor", {"do_resize": False}, "does not resize"),
        ("ViTImageProcessor", {"image_mean": 0.5}, "is not understood: 'float' object"),
        ("ViTImageProcessor", {"resample": "bicubic"}, "is not understood: invalid literal"),
        ("SiglipImageProcessor", {"rescale_factor": 0}, "is not understood: .*division by zero"),
        ("ViTImageProcessor", {"do_center_crop": True}, "is not understood"),
        (
            "BlipImageProcessor",
            {"do_pad": True, "pad_size": {"height": 400, "width": 400}},
            "surrounds images to .*400",
        ),
        ("ViTImageProcessor", {"resample": 4}, "resamples with Pillow's filter 4"),
        ("CLIPImageProcessor", {"do_center_crop": False}, "makes images of .*shortest_edge"),
        (
            "CLIPImageProcessor",
            {"size": {"shortest_edge": 64}, "crop_size": {"height": 80, "width": 80}},
            "cuts 80 pixels out of 64",
        ),
    ],
)
def test_preprocessing_that_cannot_be_reproduced(
    kind: str, given: dict[str, Any], why: str
) -> None:
    from raypipe.backbone.libraries.processors import preprocess_of

    with pytest.raises(UsageError, match=f"of hf/x cannot be reproduced: its {kind} {why}"):
        preprocess_of("hf/x", getattr(hf, kind)(**given))


@pytest.mark.parametrize(
    ("family", "layer", "prefix"),
    [
        ("dinov2", "layernorm", 1),
        ("dinov2-registers", "layernorm", 5),
        ("dinov3", "norm", 5),
        ("deit", "layernorm", 2),
        ("vit-classifier", "vit.layernorm", 1),
    ],
)
def test_tokens(tmp_path: Path, family: str, layer: str, prefix: int) -> None:
    model, _ = saved(tmp_path, family)
    x = images(SIDE)
    seen: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2].clone()))
    with torch.inference_mode():
        model(pixel_values=x)
    hook.remove()
    right = {"cls": seen[0][:, 0], "patches": seen[0][:, prefix:].mean(1), "tokens": seen[0]}
    for pool, value in right.items():
        loaded = load(f"hf/{tmp_path}", "DEFAULT", (f"{layer}:{pool}",))
        torch.testing.assert_close(features(loaded, x)["features"], value)


def test_no_class_token_is_made_up(tmp_path: Path) -> None:
    saved(tmp_path, "siglip")
    with pytest.raises(UsageError, match="the network has no class token"):
        load(f"hf/{tmp_path}", "DEFAULT", ("vision_model.post_layernorm:cls",))


@pytest.mark.parametrize("size", [96, (96, 48)])
@pytest.mark.parametrize(
    "family",
    slow_but({"vit", "clip"}, ["vit", "clip", "siglip", "dinov2", "dinov3", "convnext"]),
)
def test_other_sizes(tmp_path: Path, family: str, size: Sides) -> None:
    model, _ = saved(tmp_path, family)
    loaded = load(f"hf/{tmp_path}", "DEFAULT", size=size)
    height, width = both(size)
    x = images(96)[:, :, :height, :width]
    more = {} if family.startswith("dinov") else {"interpolate_pos_encoding": True}
    with torch.inference_mode():
        if hasattr(model, "get_image_features"):
            right = model.get_image_features(pixel_values=x, **more).pooler_output
        elif family == "convnext":
            right = model.base_model(pixel_values=x).pooler_output
        else:
            right = model(pixel_values=x, **more).pooler_output
    assert cosine(features(loaded, x)["features"], right) >= 0.9999


def test_a_folder_of_the_hub_without_network(tmp_path: Path) -> None:
    """As huggingface_hub leaves it: a snapshot, and which one `main` is."""
    repository = tmp_path / "hub" / "models--someone--tiny-dino"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    saved(snapshot, "dinov2")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    code = (
        "from raypipe.backbone.loading import load; b = load('hf/someone/tiny-dino', 'DEFAULT');"
        "print(b.source.name, b.trained.size, len(b.state))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[:2] == ["hf/someone/tiny-dino", str(SIDE)]
    assert "Loading weights" not in done.stderr
    absent = [sys.executable, "-m", "raypipe", "layers", "hf/someone/other"]
    refused = subprocess.run(absent, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "transformers cannot load hf/someone/other" in refused.stderr


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, "vit")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"cannot load hf/.*safetensors"):
        load(f"hf/{tmp_path}", "DEFAULT")


def test_foreign_code_is_never_run(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match="--backbone: transformers cannot load hf/"):
        find(f"hf/{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_image_network(tmp_path: Path) -> None:
    hf.BertConfig(hidden_size=8, num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"\(bert\) is no network of transformers that takes im"):
        find(f"hf/{tmp_path}")
    with pytest.raises(UsageError, match="--backbone: no folder at '/absent/folder'; give hf/ID"):
        find("hf//absent/folder")
    with pytest.raises(UsageError, match="transformers cannot load hf/"):
        find(f"hf/{tmp_path.parent}")


def test_a_folder_without_a_processor(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match="transformers cannot load hf/.*image processor"):
        load(f"hf/{tmp_path}", "DEFAULT")


def test_tensors_that_a_folder_lacks(tmp_path: Path) -> None:
    """transformers would draw them at random, and only warn."""
    model, _ = saved(tmp_path, "vit")
    state = {n: v.contiguous() for n, v in model.state_dict().items() if "pooler" not in n}
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks 2 of \d+ tensors: pooler\.dense"):
        load(f"hf/{tmp_path}", "DEFAULT")


def test_other_weights(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, "vit")
    with pytest.raises(UsageError, match="give DEFAULT .*, random or a file; got 'V2'"):
        load(f"hf/{tmp_path}", "V2")
    path = tmp_path / "own.pth"
    torch.save({"model": {f"module.{n}": v for n, v in model.state_dict().items()}}, path)
    x = images(SIDE)
    one, other = (load(f"hf/{tmp_path}", weights) for weights in ("DEFAULT", str(path)))
    torch.testing.assert_close(features(one, x), features(other, x))
    assert load(f"hf/{tmp_path}", "random", seed=1).weights_sha256 != one.weights_sha256


def test_a_moved_folder_is_the_same_and_a_changed_one_is_not(tmp_path: Path) -> None:
    before = tmp_path / "tiny"
    saved(before, "vit")
    loaded = load(f"hf/{before}", "DEFAULT")
    spec = Spec(
        backbone=loaded.source.name,
        source_sha256=loaded.source.sha256,
        weights_sha256=loaded.weights_sha256,
        outputs=loaded.outputs,
        preprocess=loaded.trained or Preprocess(),
    )
    made = {"backbone": f"hf/{before}", "weights": "DEFAULT", "seed": 0}
    after = tmp_path / "elsewhere" / "tiny"
    shutil.move(before, after)
    again = load_again(spec, made, loaded.outputs, backbone=f"hf/{after}")
    assert again.source.name == loaded.source.name == "hf/tiny"
    config = json.loads((after / "config.json").read_text())
    (after / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.5}))
    with pytest.raises(UsageError, match="--backbone: not what the features were made with"):
        load_again(spec, made, loaded.outputs, backbone=f"hf/{after}")


def test_an_extraction(tmp_path: Path, ray_session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lands in the store is what processor and model give when called as documented."""
    model, processor = saved(tmp_path / "net", "dinov2-registers")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in enumerate([(120, 80), (81, 122), (65, 64)]):
        photograph(size).save(photos / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    store = raypipe.extract(
        str(photos), out=str(tmp_path / "store"), backbone="hf/net/", label="none"
    )
    assert store.provenance["backbone"] == f"hf/{tmp_path / 'net'}"  # found from other folders, too
    data = store.to_numpy()
    for name, row in zip(data.ids, data.features, strict=True):
        image = Image.open(photos / str(name))
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right = model(**processor(images=image, return_tensors="pt")).pooler_output
        assert cosine(torch.from_numpy(row)[None], right) >= 0.9999


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"model_type": "hgnet_v2", "architectures": ["HGNetV2ForImageClassification"]},
         "no pooled feature of HGNetV2ForImageClassification"),
        ({"model_type": "videomae", "hidden_size": 33, "num_attention_heads": 2},
         "transformers cannot load"),
    ],
)  # fmt: skip
def test_configurations_that_do_not_do(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(said))
    hf.ViTImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=words):
        feature_shapes(load(f"hf/{tmp_path}", "random"), SIDE, "float32")


def test_a_classifier_of_timm_has_its_own_name(tmp_path: Path) -> None:
    hf.TimmWrapperConfig(architectures=["TimmWrapperForImageClassification"]).save_pretrained(
        tmp_path
    )
    with pytest.raises(UsageError, match="is a model of timm; give timm/NAME"):
        find(f"hf/{tmp_path}")


def test_an_architecture_of_another_configuration_is_not_built(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, "vit")
    config = json.loads((tmp_path / "config.json").read_text())
    other = {"architectures": ["ResNetForImageClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config | other))
    x = images(SIDE)
    found = features(load(f"hf/{tmp_path}", "DEFAULT"), x)["features"]
    assert cosine(found, expected("vit", model, x)) >= 0.9999


def test_nobodys_home_folder() -> None:
    with pytest.raises(UsageError, match="--backbone: '~nobody-of-that-name/x'"):
        find("hf/~nobody-of-that-name/x")


def test_layers_of_a_network_without_a_feature(tmp_path: Path) -> None:
    hf.IJepaModel(hf.IJepaConfig(**TINY_VIT)).save_pretrained(tmp_path)
    hf.ViTImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    listed = list_layers(f"hf/{tmp_path}")
    assert not listed.embedding
    assert "no pooled feature of IJepaModel" in listed.unclear
    assert listed.nodes
