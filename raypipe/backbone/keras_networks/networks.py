"""Six networks of keras.applications, layer by layer.

https://github.com/keras-team/keras/tree/v3.3.3/keras/src/applications
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from raypipe.backbone.keras_networks.inception import inception_v3
from raypipe.backbone.keras_networks.sketch import IMAGE, KerasNetwork, Sketch

#: Epsilon of ResNet's batch norms.
_EPSILON = 1.001e-5

_VGG_CHANNELS = (64, 128, 256, 512, 512)
#: Filters of MobileNet's blocks, and whether they halve the image.
_MOBILENET = (
    (64, False), (128, True), (128, False), (256, True), (256, False), (512, True),
    *[(512, False)] * 5, (1024, True), (1024, False),
)  # fmt: skip


def vgg16(sketch: Sketch, classes: int | None) -> KerasNetwork:
    """Return VGG16, with a top of so many classes or, for None, without."""
    return _vgg(sketch, (2, 2, 3, 3, 3), classes)


def vgg19(sketch: Sketch, classes: int | None) -> KerasNetwork:
    """Return VGG19, with a top of so many classes or, for None, without."""
    return _vgg(sketch, (2, 2, 4, 4, 4), classes)


def _vgg(s: Sketch, counts: tuple[int, ...], classes: int | None) -> KerasNetwork:
    x = IMAGE
    for block, (count, channels) in enumerate(zip(counts, _VGG_CHANNELS, strict=True), 1):
        for number in range(1, count + 1):
            x = s.conv_relu(x, channels, f"block{block}_conv{number}")
        x = s.max_pool(x, 2, f"block{block}_pool")
    if classes is None:
        s.global_average(x)
        return s.network()
    x = s.flatten(x, 7 * 7, "flatten")
    x = s.dense(x, 4096, "fc1", nn.ReLU())
    return _top(s, s.dense(x, 4096, "fc2", nn.ReLU()), classes)


def _top(s: Sketch, x: str, classes: int) -> KerasNetwork:
    return s.network(s.dense(x, classes, "predictions", nn.Softmax(-1)))


def resnet50(s: Sketch, classes: int | None) -> KerasNetwork:
    """Return ResNet-50, with a top of so many classes or, for None, without.

    Blocks that halve the image do so in their first convolution; torchvision's in the second.
    """
    x = s.pad(IMAGE, (3, 3), "conv1_pad")
    x = s.norm(s.conv(x, 64, 7, "conv1_conv", stride=2), "conv1_bn", _EPSILON)
    x = s.pad(s.relu(x, "conv1_relu"), (1, 1), "pool1_pad")
    x = s.max_pool(x, 3, "pool1_pool")
    for stack, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(1, blocks + 1):
            halves = block == 1 and stack > 2
            x = _residual(s, x, filters, f"conv{stack}_block{block}", block == 1, 1 + halves)
    x = s.global_average(x, "avg_pool")
    return s.network() if classes is None else _top(s, x, classes)


def _residual(s: Sketch, x: str, filters: int, name: str, projects: bool, stride: int) -> str:
    def convolution(x: str, number: int, filters: int, size: int = 1, stride: int = 1) -> str:
        x = s.conv(x, filters, size, f"{name}_{number}_conv", stride=stride, padding=size // 2)
        return s.norm(x, f"{name}_{number}_bn", _EPSILON)

    shortcut = convolution(x, 0, 4 * filters, stride=stride) if projects else x
    x = s.relu(convolution(x, 1, filters, stride=stride), f"{name}_1_relu")
    x = s.relu(convolution(x, 2, filters, 3), f"{name}_2_relu")
    return s.relu(s.add(shortcut, convolution(x, 3, 4 * filters), f"{name}_add"), f"{name}_out")


def mobilenet(s: Sketch, classes: int | None) -> KerasNetwork:
    """Return MobileNet of full width, with a top of so many classes or, for None, without."""
    x = s.norm(s.conv_half(IMAGE, 32, "conv1"), "conv1_bn")
    x = s.relu(x, "conv1_relu", most=6)
    for block, (filters, halves) in enumerate(_MOBILENET, 1):
        if halves:
            x = s.pad(x, (0, 1), f"conv_pad_{block}")
        step = {"stride": 2} if halves else {"padding": 1}
        x = s.norm(s.depthwise(x, f"conv_dw_{block}", **step), f"conv_dw_{block}_bn")
        x = s.relu(x, f"conv_dw_{block}_relu", most=6)
        x = s.norm(s.conv(x, filters, 1, f"conv_pw_{block}", bias=False), f"conv_pw_{block}_bn")
        x = s.relu(x, f"conv_pw_{block}_relu", most=6)
    if classes is None:
        s.global_average(x)
        return s.network()
    x = s.other(s.global_average(x, keeps=True), "dropout", nn.Dropout(0.001), "dropout")
    x = s.other(s.conv(x, classes, 1, "conv_preds"), "reshape", nn.Flatten(), "reshape_2")
    s.other(x, "activation", nn.Softmax(-1), "predictions")
    return s.network("conv_preds")


def xception(s: Sketch, classes: int | None) -> KerasNetwork:
    """Return Xception, with a top of so many classes or, for None, without."""
    x = s.norm(s.conv(IMAGE, 32, 3, "block1_conv1", stride=2, bias=False), "block1_conv1_bn")
    x = s.relu(x, "block1_conv1_act")
    x = s.norm(s.conv(x, 64, 3, "block1_conv2", bias=False), "block1_conv2_bn")
    x = s.relu(x, "block1_conv2_act")
    for block, count in ((2, 128), (3, 256), (4, 728)):
        x = _halving(s, x, block, (count, count))
    for block in range(5, 13):
        before = x
        for number in (1, 2, 3):
            x = s.relu(x, f"block{block}_sepconv{number}_act")
            x = _separable(s, x, 728, f"block{block}_sepconv{number}")
        x = s.add(x, before)
    x = _halving(s, x, 13, (728, 1024))
    for number, filters in ((1, 1536), (2, 2048)):
        x = _separable(s, x, filters, f"block14_sepconv{number}")
        x = s.relu(x, f"block14_sepconv{number}_act")
    x = s.global_average(x, "avg_pool")
    return s.network() if classes is None else _top(s, x, classes)


def _separable(s: Sketch, x: str, filters: int, name: str) -> str:
    return s.norm(s.separable(x, filters, name), f"{name}_bn")


def _halving(s: Sketch, x: str, block: int, filters: tuple[int, int]) -> str:
    residual = s.norm(s.conv(x, filters[1], 1, stride=2, bias=False))
    for number, count in enumerate(filters, 1):
        name = f"block{block}_sepconv{number}"
        if (block, number) != (2, 1):  # its input has been through one
            x = s.relu(x, f"{name}_act")
        x = _separable(s, x, count, name)
    return s.add(s.max_pool_half(x, f"block{block}_pool"), residual)


NETWORKS: dict[str, Callable[[Sketch, int | None], KerasNetwork]] = {
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet50": resnet50,
    "mobilenet": mobilenet,
    "xception": xception,
    "inception_v3": inception_v3,
}


def network(name: str, classes: int | None = 1000) -> KerasNetwork:
    """Build a network by name, with a top of so many classes or, for None, without."""
    return NETWORKS[name](Sketch(), classes)
