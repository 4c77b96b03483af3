"""Networks made faster compute the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from raypipe.actors.embedder import Embedder
from raypipe.backbone import restore
from raypipe.backbone.hardware.compiling import compile_network
from raypipe.backbone.hardware.folding import merge_padding
from raypipe.backbone.hardware.footprint import cpu_batch_size, largest_output
from raypipe.backbone.hardware.maxpool import NonNegativeMaxPool2d, replace_max_pools
from raypipe.backbone.hardware.onednn import FusedConv2d, fuse
from raypipe.backbone.hardware.parity import least_cosine
from raypipe.backbone.hardware.precision import prepare
from raypipe.backbone.loading import load
from raypipe.errors import RaypipeError
from raypipe.flow.trial import compiling_gain, try_out
from raypipe.spec import Preprocess, Spec
from tests.conftest import TINY

SQUARE = Preprocess(size=32, resize="squash", resize_to=None, std=(255.0,) * 3)


#: By what oneDNN itself says: with AVX2 alone it has no convolution in bfloat16.
HAS_BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU has no arithmetic in bfloat16")
FUSED_TYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bf16)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def traced(model: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(model.eval().requires_grad_(False))


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).to(memory_format=torch.channels_last)


def fused_count(model: nn.Module) -> int:
    return sum(isinstance(module, FusedConv2d) for module in model.modules())


@pytest.mark.parametrize(
    "activation",
    [
        nn.Identity(),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.Hardtanh(-0.5, 0.25),
        nn.Hardswish(),
        nn.SiLU(),
        nn.GELU(),
        nn.GELU(approximate="tanh"),
        nn.LeakyReLU(0.2),
        nn.Sigmoid(),
        nn.ELU(),  # oneDNN has no such operator: it stays behind
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", FUSED_TYPES)
def test_convolution_and_activation(activation: nn.Module, dtype: torch.dtype) -> None:
    layers = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, stride=2), activation)
    model = traced(layers).to(dtype).to(memory_format=torch.channels_last)
    x = image(2, 8, 11, 9).to(dtype)
    expected = model(x.clone())
    fused = fuse(model, dtype)
    assert fused_count(fused) == 1
    assert any(isinstance(m, nn.ELU) for m in fused.modules()) == isinstance(activation, nn.ELU)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(fused(x), expected, atol=tolerance, rtol=tolerance)


class Residual(nn.Module):
    def __init__(self, add: Callable[[Any, Any], Any], *, activate: bool = True) -> None:
        super().__init__()
        self.one, self.two = (
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
        )
        self.short = nn.Conv2d(8, 8, 1)
        self.add, self.relu = add, nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.two(self.relu(self.one(x)))
        return self.relu(self.add(y, self.short(x))) + 1


def add_in_place(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a += b
    return a


@pytest.mark.parametrize("activate", [True, False])
@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: a + b,
        lambda a, b: b + a,
        torch.add,
        add_in_place,
        lambda a, b: a + b.mean((2, 3), keepdim=True),  # broadcast
        lambda a, b: a + 1,
        lambda a, b: a + a,
        lambda a, b: torch.add(a, b, alpha=2),
    ],
)
def test_sums(add: Callable[[Any, Any], Any], activate: bool) -> None:
    model = traced(Residual(add, activate=activate)).to(memory_format=torch.channels_last)
    x = image(2, 8, 6, 5)
    expected = model(x.clone())
    fused = fuse(model, torch.float32)
    assert fused_count(fused) >= 2
    torch.testing.assert_close(fused(x), expected, atol=1e-5, rtol=1e-5)


class Twice(nn.Module):
    """One convolution called twice, and one whose output is needed by two."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.forked = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.forked(F.relu(self.shared(F.relu(self.shared(x)))))
        return F.relu(y) - y


def test_what_is_needed_twice_is_kept() -> None:
    model = traced(Twice()).to(memory_format=torch.channels_last)
    x = image(2, 4, 6, 6)
    expected = model(x)
    torch.testing.assert_close(fuse(model, torch.float32)(x), expected)
    assert not fuse(traced(Twice()), torch.float16)(x).isnan().any()  # left as it is
    assert fuse(nn.Conv2d(3, 3, 1), torch.float32).__class__ is nn.Conv2d  # not traced


@pytest.mark.parametrize("dtype", FUSED_TYPES)
@pytest.mark.parametrize("groups", [1, 16])
def test_weights_are_put_in_order_once_for_inputs_of_any_size(
    groups: int, dtype: torch.dtype
) -> None:
    layer = nn.Conv2d(16, 32, 3, padding=1, groups=groups).requires_grad_(False)
    layer = layer.to(dtype).to(memory_format=torch.channels_last)
    fused, other = FusedConv2d(deepcopy(layer)), FusedConv2d(layer)
    x = image(4, 16, 9, 9).to(dtype)
    plain = torch.ops.mkldnn._convolution_pointwise(
        x, layer.weight, layer.bias, *other.shape, *other.activation
    )
    assert torch.equal(fused(x), plain)  # to the bit
    ordered = fused.weight
    for shape in ((4, 16, 9, 9), (2, 16, 9, 9), (1, 16, 30, 5)):
        x = image(*shape).to(dtype)
        expected = layer(x)
        for found, wanted in ((fused(x), expected), (fused(x, expected), expected + expected)):
            torch.testing.assert_close(found, wanted, atol=0.02, rtol=0.02)
        assert fused.weight is ordered
        assert ordered.is_mkldnn


@pytest.mark.skipif(HAS_BF16, reason="this CPU has arithmetic in bfloat16")
def test_what_a_cpu_cannot_compute_stays_as_it_is() -> None:
    layers = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2))
    model = traced(layers).to(torch.bfloat16).to(memory_format=torch.channels_last)
    x = image(2, 8, 11, 9).bfloat16()
    expected = model(x)
    kept = replace_max_pools(fuse(model, torch.bfloat16), torch.bfloat16)
    assert fused_count(kept) == 0
    assert torch.equal(kept(x), expected)


@needs_bf16
@pytest.mark.parametrize("inside", [nn.ReLU(), nn.ReLU6(), nn.Sigmoid()], ids=str)
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2),
        nn.MaxPool2d((2, 3), (1, 2), (0, 1)),
        nn.MaxPool2d(5, 1, 2),
        nn.MaxPool2d(1, 3),
        nn.MaxPool2d((1, 13)),
    ],
    ids=str,
)
def test_max_pooling_as_integers(pool: nn.MaxPool2d, inside: nn.Module) -> None:
    model = traced(nn.Sequential(nn.Conv2d(3, 8, 3), inside, pool, nn.ReLU()))
    model = model.to(torch.bfloat16).to(memory_format=torch.channels_last)
    fused = fuse(model, torch.bfloat16)
    inputs = [image(2, 3, *sides).bfloat16() for sides in ((16, 15), (21, 36))]
    expected = [fused(x) for x in inputs]
    fast = replace_max_pools(fused, torch.bfloat16)
    assert any(isinstance(m, NonNegativeMaxPool2d) for m in fast.modules())
    assert not any(isinstance(m, nn.MaxPool2d) for m in fast.modules())
    for x, wanted in zip(inputs, expected, strict=True):
        torch.testing.assert_close(fast(x), wanted, atol=0, rtol=0)
        assert fast(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("activation", "pool"),
    [
        (nn.Hardtanh(-1.0, 1.0), nn.MaxPool2d(2)),
        (nn.GELU(), nn.MaxPool2d(2)),
        (nn.Identity(), nn.MaxPool2d(2)),
        (nn.ReLU(), nn.MaxPool2d(3, dilation=2)),
        (nn.ReLU(), nn.MaxPool2d(3, ceil_mode=True)),
        (nn.ReLU(), nn.MaxPool2d(2, padding=1)),
    ],
    ids=str,
)
def test_max_pooling_that_stays(activation: nn.Module, pool: nn.MaxPool2d) -> None:
    model = traced(nn.Sequential(nn.Conv2d(3, 8, 3), activation, pool)).to(torch.bfloat16)
    model = replace_max_pools(fuse(model, torch.bfloat16), torch.bfloat16)
    assert any(isinstance(m, nn.MaxPool2d) for m in model.modules())


@pytest.mark.parametrize(
    ("padding", "options", "merged"),
    [
        ((1, 1, 1, 1), {}, True),
        ((2, 2, 1, 1), {"padding": (1, 0)}, True),
        ((0, 1, 0, 1), {"stride": 2}, True),
        ((3, 1, 0, 2), {"stride": 2, "groups": 4}, True),
        ((1, 1, 1, 1), {"dilation": 2}, True),
        ((0, 1, 0, 1), {"dilation": 2}, False),
        ((-1, 1, 0, 0), {}, False),
        ((1, 1, 1, 1), {"padding": "same"}, False),
        ((1, 1, 1, 1), {"padding": 1, "padding_mode": "reflect"}, False),
    ],
)
def test_padding_is_merged(
    padding: tuple[int, int, int, int], options: dict[str, Any], merged: bool
) -> None:
    layers = nn.Sequential(nn.ZeroPad2d(padding), nn.Conv2d(4, 8, 3, **options))
    for uneven in (False, True):
        model = merge_padding(traced(deepcopy(layers)), uneven=uneven)
        for height, width in ((12, 12), (11, 14)):
            x = image(2, 4, height, width)
            torch.testing.assert_close(model(x), layers(x), atol=1e-5, rtol=1e-5)
    assert any(isinstance(m, nn.ZeroPad2d) for m in model.modules()) != merged


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_whole_networks(name: str) -> None:
    loaded = load(name, "random")
    x = image(2, 3, 64, 64)
    with torch.inference_mode():
        expected = restore(loaded)(x)[
            "features" if "features" in loaded.layers else loaded.layers[0]
        ]
        fast = prepare(restore(loaded), "fp32", "cpu")
        assert fused_count(fast) > 10
        assert not any(isinstance(m, nn.ReLU) for m in fast.modules())
        found = next(iter(fast(x).values()))
    assert least_cosine(expected, found) > 0.99999


def make(precision: str = "fp32") -> tuple[Any, Spec]:
    loaded = load(TINY, "random", ("block2",))
    spec = Spec(
        backbone="tiny",
        weights_sha256=loaded.weights_sha256,
        outputs=loaded.outputs,
        preprocess=SQUARE,
        precision=precision,  # type: ignore[arg-type]
    )
    return loaded, spec


def pixels(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_images_as_they_come() -> None:
    embedder = Embedder(*make(), batch_size=8)
    images = pixels(21)
    expected = embedder(images)["features"]
    np.testing.assert_array_equal(embedder.stream(iter(images))["features"], expected)
    assert embedder.stream([])["features"].shape == (0, 16)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory")]
)
def test_batches_are_halved_where_memory_ends(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pixels(21)
    expected = Embedder(*make(), batch_size=2)(images)["features"]
    embedder = Embedder(*make(), batch_size=16)
    fits = 3

    def limited(x: torch.Tensor, run: Any = embedder.model) -> Any:
        if len(x) > fits:
            raise error
        return run(x)

    embedder.model = limited  # type: ignore[assignment]
    for found in (embedder(images), embedder.stream(images)):
        np.testing.assert_array_equal(found["features"], expected)
    assert embedder.batch_size == 2
    fits = 0
    with pytest.raises(RaypipeError, match="one image does not fit in the memory of cpu"):
        embedder(images)
    monkeypatch.setattr(embedder, "model", lambda x: x.nonsense)
    with pytest.raises(AttributeError):
        embedder(images)


@pytest.mark.ci
def test_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    loaded, spec = make("bf16")
    plain = Embedder(loaded, spec, batch_size=4)(pixels(6))
    compiled = Embedder(loaded, spec, batch_size=4, compiled=True)(pixels(6))
    assert compiling_gain(loaded, spec, device="cpu", batch_size=4) > 0
    cosine = least_cosine(*(torch.from_numpy(found["features"]) for found in (plain, compiled)))
    assert cosine > 0.999


def test_a_network_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8)

    def fails(*_: Any) -> Any:
        raise RuntimeError("no compiler\nmore lines")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    message = r"cannot be compiled here \(RuntimeError: no compiler\); give --compile off"
    with pytest.raises(RaypipeError, match=message):
        compile_network(model, x)
    wrong = {"a": torch.tensor([[1.0, 0.0]])}, {"a": torch.tensor([[0.0, 1.0]])}
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda _: wrong[1])
    with pytest.raises(RaypipeError, match="layer a gives something else"):
        compile_network(lambda _: wrong[0], x)  # type: ignore[arg-type]


def test_batch_size_of_a_cpu() -> None:
    loaded, spec = make()
    assert largest_output(restore(loaded), 32) == max(
        module.numel() for module in [*_outputs(restore(loaded))]
    )
    assert cpu_batch_size(loaded, spec) == 32
    large = spec.model_copy(update={"preprocess": SQUARE.model_copy(update={"size": 1024})})
    assert cpu_batch_size(loaded, large) == 4
    looks = load(TINY.replace(":tiny", ":branching"), "random", ("block2",))
    assert cpu_batch_size(looks, spec) == 32  # though it looks at values


_FAULTS = """
import resource, sys, threading
import torch
from raypipe.memory import keep_freed

if sys.argv[1] == "kept":
    keep_freed()

def layers():
    held = None
    for megabytes in (25, 25, 12, 12, 6, 6, 3):
        held = torch.ones(megabytes * 2**20, dtype=torch.uint8)

def work():
    for _ in range(3):
        layers()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        layers()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)  # Ray calls a replica in one
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
def test_memory_that_is_freed_is_kept_in_threads() -> None:
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert 50 * faults("kept") < faults("not")


def _outputs(model: nn.Module) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for module in model.modules():
        module.register_forward_hook(
            lambda _m, _i, out: found.append(out) if isinstance(out, torch.Tensor) else None
        )
    model(torch.zeros(1, 3, 32, 32))
    return found


def test_trying_out() -> None:
    loaded, spec = make("bf16")
    trial = try_out(loaded, spec, pixels(3))
    assert 0.99 < trial.parity["features"] <= 1
    assert trial.seconds > 0
    assert trial.batch_size is None
    sized = try_out(loaded, spec, pixels(3), find_batch_size=True)
    assert sized.batch_size in (32, 64, 128, 256, 512)


def test_least_cosine() -> None:
    a = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert least_cosine(a, 2 * a) == pytest.approx(1)
    assert least_cosine(a, a + torch.tensor([[0.0], [1.0]])) == pytest.approx(0)
    assert least_cosine(a, a * torch.nan) == -1
    assert least_cosine(a[:0], a[:0]) == 1
