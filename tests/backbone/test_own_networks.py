"""Networks of one's own: what they compute, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import get_graph_node_names

from raypipe.backbone.cutting.tracing import as_forward, trace
from raypipe.backbone.cutting.untouched import EarlyExit
from raypipe.backbone.layers import list_layers
from raypipe.backbone.loading import feature_shapes, load
from raypipe.backbone.registry import build, find
from raypipe.backbone.truncate import truncate
from raypipe.errors import UsageError
from tests.backbone.comparing import (
    as_seen,
    cosine,
    embedded,
    entering,
    features,
    images,
    leaving,
    own,
)
from tests.backbone.hub import saved


def untouched(name: str, seed: int = 0) -> nn.Module:
    """The network with the weights that `random` gives."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(find(own(name)))


@pytest.mark.parametrize("name", ["clamp", "mul", "view", "relu", "item", "plain"])
def test_the_input_of_the_classifier_is_what_the_network_computes(name: str) -> None:
    x = images(64)
    found = features(load(own(name), "random"), x)["features"]
    torch.testing.assert_close(found, entering(untouched(name), "fc", x))


@pytest.mark.parametrize("name", ["clamp", "mul", "view", "relu", "item"])
def test_a_layer_behind_statements_in_place(name: str) -> None:
    x = images(64)
    found = features(load(own(name), "random", ("b",)), x)["features"]
    torch.testing.assert_close(found, leaving(untouched(name), "b", x).mean((2, 3)))


@pytest.mark.parametrize("name", ["plain", "encoder", "item", "repeated", "repeated_branching"])
def test_layers_are_listed(name: str) -> None:
    found = list_layers(own(name), 64)
    assert found.nodes
    assert not found.unclear


@pytest.mark.parametrize("name", ["repeated", "repeated_branching"])
def test_the_calls_of_a_module_have_names(name: str) -> None:
    x = images(16)
    loaded = load(own(name), "random", ("block", "block_1"))
    found = features(loaded, x)
    for call, column in enumerate(("block", "block_1")):
        expected = leaving(untouched(name), "block", x, call).mean((2, 3))
        torch.testing.assert_close(found[column], expected)


def test_layers_within_a_module_of_torch() -> None:
    x = images(32)
    found = features(load(own("encoder"), "random", ("enc.layers.0.norm1",)), x)["features"]
    model = untouched("encoder")
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        expected = leaving(model, "enc.layers.0.norm1", x).mean(1)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    torch.testing.assert_close(found, expected)


def test_a_headless_transformer_gives_its_class_token() -> None:
    x = images(32)
    found = features(load(own("headless_vit"), "random", size=32), x)["features"]
    with torch.inference_mode():
        expected = untouched("headless_vit")(x)
    assert found.shape == (2, 16)
    torch.testing.assert_close(found, expected)


def test_an_output_of_several_heads_is_refused_with_candidates() -> None:
    with pytest.raises(UsageError, match=r"candidates: .*o.*\) *; name a layer") as found:
        load(own("heads"), "random")
    assert "one" in str(found.value)
    assert "other" in str(found.value)
    assert load(own("heads"), "random", ("conv",)).layers == ("conv",)
    assert "candidates" in list_layers(own("heads"), 32).unclear


def test_noise_in_evaluation_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"own\.py:noisy gives another result .* each time"):
        load(own("noisy"), "random", ("logits",))
    assert load(own("noisy"), "random", ("conv",)).layers == ("conv",)  # in front of the noise


@pytest.mark.parametrize("kind", ["method", "operator", "view"])
def test_work_in_place_on_the_input_is_refused_by_name(kind: str) -> None:
    with pytest.raises(UsageError, match=r"changes its input in place .* `x = x \* 2`"):
        load(own(f"input_{kind}"), "random")


def test_a_network_that_wants_more_than_images_is_not_blamed_on_the_size() -> None:
    with pytest.raises(UsageError, match=r"^--backbone: .* other arguments than .* 'text'"):
        feature_shapes(load(own("two_inputs"), "random", ("logits",)), 32, "float32")
    with pytest.raises(UsageError, match=r"^--backbone: .* other arguments than .* 'text'"):
        list_layers(own("two_inputs"), 32)


def test_an_operator_that_is_called_wrong_is_told_in_its_words() -> None:
    with pytest.raises(UsageError, match=r"cannot process a 32×32 image: conv2d\(\) received"):
        feature_shapes(load(own("wrong_call"), "random", ("logits",)), 32, "float32")


def test_a_number_per_image_is_no_feature() -> None:
    with pytest.raises(UsageError, match=r"no features per image \(for one image: shape \(1,\)\)"):
        feature_shapes(load(own("scores"), "random", ("logits",)), 32, "float32")


def test_batch_norm_without_statistics_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"other images of its batch, .* statistics \(norm\)"):
        load(own("company"), "random")
    assert load(own("company"), "random", ("conv",)).layers == ("conv",)


def test_a_graph_that_computes_something_else_is_not_used() -> None:
    """A network that asks torch.fx whether it is being traced, and then does something else."""

    class Sly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            traced = isinstance(x, torch.fx.Proxy)
            return self.fc((x + 1 if traced else x).mean((2, 3)))

    from raypipe.backbone.cutting.cut import cut
    from raypipe.backbone.libraries import BackboneSource
    from raypipe.backbone.outputs import parse_outputs

    source = BackboneSource("file", "sly.py:sly", "sly.py:sly")
    model = Sly().eval()
    found = cut(source, model, parse_outputs((), "avg"), 16)
    found.verify(16)
    assert isinstance(found.network, EarlyExit)
    x = images(16)
    with torch.inference_mode():
        torch.testing.assert_close(found.network(x)["embedding"], x.mean((2, 3)))
    named = cut(source, model, parse_outputs(("mean",), "avg"), 16)
    with pytest.raises(UsageError, match="node 'mean' of sly.py:sly, torch.fx rewrites"):
        named.verify(16)


def test_statements_are_kept_in_the_graph() -> None:
    model = untouched("clamp")
    assert isinstance(truncate(model, ("b",)), torch.fx.GraphModule)


def test_the_name_of_a_module_that_ends_in_a_number() -> None:
    """torchvision's tracing takes the number for that of a call, and names another module so."""
    loaded = load(own("numbered"), "random", ("one=conv_1:none", "two=conv_2:none"), size=32)
    x = images(32)
    found = features(loaded, x)
    assert found["one"].shape[1:] == (4, 32, 32)
    assert found["two"].shape[1:] == (5, 32, 32)


@pytest.mark.parametrize("name", ["twice", "twice_branching"])
def test_a_layer_whose_second_call_gives_the_output_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"candidates: fc_1\)"):
        load(own(name), "random", size=32)
    assert "fc_1" in list_layers(own(name), 32).unclear


@pytest.mark.parametrize(
    "name", ["named", "named_branching", "derived", "derived_branching", "compiled", "forgetful"]
)
def test_the_classifier_may_be_called_and_made_in_any_way(name: str) -> None:
    x = images(32)
    model = untouched(name)
    model = getattr(model, "_orig_mod", model)
    seen: list[torch.Tensor] = []
    model.fc.register_forward_pre_hook(
        lambda _module, args, named: seen.append([*args, *named.values()][0]), with_kwargs=True
    )
    with torch.inference_mode():
        model(x)
    torch.testing.assert_close(features(load(own(name), "random", size=32), x)["features"], seen[0])


@pytest.mark.parametrize("name", ["counting", "counting_branching"])
def test_a_network_that_changes_itself_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"gives another result for the same image each time"):
        load(own(name), "random", size=32)


@pytest.mark.parametrize("name", ["drawn_attribute", "drawn_list", "drawn_buffer"])
def test_numbers_that_no_weights_hold_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=r"has other values in drawn each time it is built"):
        load(own(name), "random", size=32)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scripted", "compiled by torch.jit"),
        ("exported", "cannot be put into evaluation mode"),
        ("lazy", "returns lazy modules, whose weights have no shapes"),
        ("quantised", "weights that are no tensors"),
        ("without_values", "is built without values; give a file"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_networks_whose_weights_cannot_be_exchanged(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        load(own(name), "random", size=32)
    assert "\n" not in str(error.value)


def test_complex_numbers_are_refused() -> None:
    loaded = load(own("spectrum"), "random", ("fft_fft:flatten",), size=32)
    with pytest.raises(UsageError, match="node 'fft_fft' gives complex numbers"):
        feature_shapes(loaded, 32, "float32")


def test_a_second_call_is_not_the_first_of_another_run(tmp_path: Path) -> None:
    """Beside the embedding, the network is run once more."""
    saved(tmp_path, "vit")
    with pytest.raises(UsageError, match="never reaches layernorm_1"):
        load(f"hf/{tmp_path}", "DEFAULT", ("embedding", "layernorm_1"))


def test_an_untraced_network_finds_the_version_of_its_weights() -> None:
    loaded = load(own("versioned"), "random")
    assert not loaded.rewritten
    x = images(64)
    right = entering(untouched("versioned"), "fc", x)
    torch.testing.assert_close(features(loaded, x)["features"], right)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "swin_t", "vit_b_32", "googlenet"])
def test_nodes_have_torchvisions_names(name: str) -> None:
    model = build(replace(find(name), arguments=(("num_classes", 7),)), blank=True)
    graph = trace(model)
    assert graph is not None
    with as_forward(model, None):
        _, theirs = get_graph_node_names(model, suppress_diff_warning=True)
    modules = dict(model.named_modules())  # a module's own name is not numbered anew
    pairs = zip(graph.names, theirs, strict=True)
    assert all(ours == name or ours in modules for ours, name in pairs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_with_a_buffer_of_five_axes_is_made_ready(precision: str) -> None:
    x = as_seen(images(64))
    found = embedded(load(own("windows"), "random"), x, precision)
    assert cosine(found, entering(untouched("windows"), "fc", x)) >= 0.999
