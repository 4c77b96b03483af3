"""Channels, tokens and maps of any layout."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from raypipe.backbone.cutting.axes import ChannelAxes
from raypipe.backbone.cutting.tokens import described
from raypipe.backbone.layers import list_layers
from raypipe.backbone.loading import feature_shapes, load
from raypipe.errors import UsageError
from raypipe.spec import Output
from tests.backbone.comparing import features, images, leaving, own

NODE = "encoder.layers.encoder_layer_1"


@pytest.fixture(scope="module")
def swin(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    model = torchvision.models.swin_t().eval()
    path = tmp_path_factory.mktemp("swin") / "w.safetensors"
    save_file(model.state_dict(), path)
    return str(path), model


def test_maps_with_channels_last(swin: tuple[str, nn.Module]) -> None:
    path, model = swin
    x = images(64)
    right = leaving(model, "features.7", x)
    assert right.shape == (2, 2, 2, 768)
    modes = ("avg", "max", "hwc", "tokens", "patches", "flatten")
    entries = tuple(f"{mode}=features.7:{mode}" for mode in modes)
    loaded = load("swin_t", path, entries, size=64)
    found = features(loaded, x)
    expected = {
        "avg": right.mean((1, 2)),
        "max": right.amax((1, 2)),
        "hwc": right,
        "tokens": right.flatten(1, 2),
        "patches": right.mean((1, 2)),
        "flatten": right.flatten(1),
    }
    for mode in modes:
        torch.testing.assert_close(found[mode], expected[mode], rtol=1e-4, atol=1e-5)
    assert {output.channels for output in loaded.outputs[:5]} == {"last"}
    assert feature_shapes(loaded, 64, "float32")["hwc"] == ((2, 2, 768), "float32")


def test_tokens_of_a_vision_transformer() -> None:
    entries = tuple(f"{mode}={NODE}:{mode}" for mode in ("cls", "patches", "tokens", "avg"))
    loaded = load(own("small_vit"), "random", entries, size=32)
    x = images(32)
    from raypipe.backbone.registry import build

    right = leaving(build(loaded.source), NODE, x)
    found = features(loaded, x)
    torch.testing.assert_close(found["cls"], right[:, 0])
    torch.testing.assert_close(found["patches"], right[:, 1:].mean(1))
    torch.testing.assert_close(found["tokens"], right)
    torch.testing.assert_close(found["avg"], right.mean(1))


def test_register_tokens_are_no_patches() -> None:
    torch.manual_seed(0)
    name = "vit_small_patch14_reg4_dinov2"
    model = timm.create_model(name, img_size=518).eval()
    assert model.num_prefix_tokens == 5
    from raypipe.backbone.libraries import LIBRARIES
    from raypipe.backbone.outputs import pool

    timms = next(library for library in LIBRARIES if library.kind == "timm")
    assert timms.prefix_tokens(model) == 5
    axes, value = ChannelAxes(), torch.randn(2, 5 + 16, 8)
    with axes:
        value = nn.functional.layer_norm(value[:1], (8,))
    output = described(Output(column="a", layer="b", pool="patches"), value, axes, 5, 56)
    assert output.prefix == 5
    torch.testing.assert_close(pool(value, output), value[:, 5:].mean(1))


def test_patches_of_images_that_are_not_square() -> None:
    entries = tuple(f"{mode}=norm:{mode}" for mode in ("cls", "patches", "tokens"))
    loaded = load(own("grid"), "random", entries, size=(48, 32))
    x = torch.randn(2, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    from raypipe.backbone.registry import build

    right = leaving(build(loaded.source), "norm", x)
    assert right.shape == (2, 1 + 6 * 4, 16)
    found = features(loaded, x)
    torch.testing.assert_close(found["cls"], right[:, 0])
    torch.testing.assert_close(found["patches"], right[:, 1:].mean(1))
    torch.testing.assert_close(found["tokens"], right)
    shapes = feature_shapes(loaded, (48, 32), "float32")
    assert shapes["tokens"] == ((25, 16), "float32")


@pytest.mark.parametrize(
    ("size", "patches", "is_grid"),
    [
        (56, 16, True),
        (56, 24, False),
        ((48, 32), 24, True),
        ((32, 48), 24, True),
        ((48, 32), 25, False),
        ((48, 32), 16, False),
        ((224, 160), 140, True),
        ((224, 160), 141, False),
        ((1024, 768), 64 * 48, True),
        ((48, 32), 0, False),
    ],
)
def test_patches_form_a_grid_of_the_image_s_aspect(size: Any, patches: int, is_grid: bool) -> None:
    axes, value = ChannelAxes(), torch.randn(1, 1 + patches, 8)
    with axes:
        value = nn.functional.layer_norm(value, (8,))
    output = Output(column="a", layer="b", pool="patches")
    if is_grid:
        assert described(output, value, axes, 1, size).prefix == 1
        return
    with pytest.raises(UsageError, match=f"its {1 + patches} tokens are not 1 and those of a"):
        described(output, value, axes, 1, size)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("getitem_5:cls", "gives one vector of 16 per image, no tokens"),
        (f"{NODE}:hwc", "gives 17 × 16, no map; use tokens"),
        ("conv_proj:cls", "gives a map .16 × 4 × 4., without a class token"),
    ],
)
def test_tokens_that_are_none_are_refused(entry: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"cannot be had: .*{words}"):
        load(own("small_vit"), "random", (entry,), size=32)


def test_an_axis_that_cannot_be_known_is_refused(tmp_path: object) -> None:
    with pytest.raises(UsageError, match="says nothing of its tokens|cannot be had: the network"):
        load(own("encoder"), "random", ("enc:patches",), size=32)
    from pathlib import Path

    file = Path(str(tmp_path)) / "net.py"
    file.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n        return x.unfold(2, 4, 4).sum(1) * 2\n"
        "def build():\n    return Net()\n"
    )
    with pytest.raises(UsageError, match="holds channels cannot be known"):
        load(f"{file}:build", "random", ("mul:avg",), size=16)
    assert load(f"{file}:build", "random", ("mul:flatten",), size=16).outputs[0].channels is None


def test_axes_are_followed_through_what_moves_them() -> None:
    axes, x = ChannelAxes(), torch.randn(1, 3, 8, 8)
    conv, norm = nn.Conv2d(3, 6, 1), nn.LayerNorm(6)
    with axes, torch.inference_mode():
        maps = conv(x)
        tokens = maps.flatten(2).transpose(1, 2)
        normed = norm(tokens)
        windows = normed.view(1, 4, 2, 8, 6).permute(0, 1, 3, 2, 4).reshape(4, 16, 6)
        back = normed.transpose(1, 2).reshape(1, 6, 8, 8)
        halves = back.chunk(2, dim=3)
        joined = torch.cat(halves, dim=2)
        kept = joined + 1
    assert [axes.of(v) for v in (maps, tokens, normed, windows)] == [1, 2, 2, 2]
    assert [axes.of(v) for v in (back, halves[1], joined, kept)] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["vit_b_32", "shufflenet_v2_x0_5"])
def test_layers_say_where_channels_are(name: str) -> None:
    found = list_layers(name)
    by_name = {node.name: node for node in found.nodes}
    assert by_name[found.embedding].channels == 0
    wide = [node for node in found.nodes if len(node.shape) == 3 and node.shape[0] > 16]
    assert wide
    assert {node.channels for node in wide if node.shape[1] == node.shape[2]} == {0}
    tokens = [node for node in found.nodes if node.shape == (50, 768)]
    assert {node.channels for node in tokens} <= {1}
