"""Inception v3 of keras.applications, layer by layer.

https://github.com/keras-team/keras/blob/v3.3.3/keras/src/applications/inception_v3.py
"""

from __future__ import annotations

from typing import Any

from torch import nn

from raypipe.backbone.keras_networks.sketch import IMAGE, KerasNetwork, Sketch

#: A convolution: its filters, and height and width of its window.
_Conv = tuple[int, int, int]


def inception_v3(s: Sketch, classes: int | None) -> KerasNetwork:
    """Return Inception v3, with a top of so many classes or, for None, without."""
    x = _conv(s, IMAGE, (32, 3, 3), padding=0, stride=2)
    x = _conv(s, x, (32, 3, 3), padding=0)
    x = s.max_pool(_conv(s, x, (64, 3, 3)), 3)
    x = _conv(s, x, (80, 1, 1), padding=0)
    x = s.max_pool(_conv(s, x, (192, 3, 3), padding=0), 3)
    for number, pooled in enumerate((32, 64, 64)):
        x = _mixed(s, x, f"mixed{number}", pooled, *_SMALL)
    x = _halving(s, x, "mixed3", [(384, 3, 3)], [(64, 1, 1), (96, 3, 3), (96, 3, 3)])
    for number, inner in enumerate((128, 160, 160, 192), 4):
        x = _mixed(s, x, f"mixed{number}", 192, *_wide(inner))
    first = [(192, 1, 1), (320, 3, 3)]
    x = _halving(s, x, "mixed8", first, [(192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)])
    for number in (9, 10):
        x = _last(s, x, number)
    x = s.global_average(x, "avg_pool")
    if classes is None:
        return s.network()
    return s.network(s.dense(x, classes, "predictions", nn.Softmax(-1)))


_SMALL: tuple[list[_Conv], ...] = (
    [(64, 1, 1)],
    [(48, 1, 1), (64, 5, 5)],
    [(64, 1, 1), (96, 3, 3), (96, 3, 3)],
)


def _wide(inner: int) -> tuple[list[_Conv], ...]:
    return (
        [(192, 1, 1)],
        [(inner, 1, 1), (inner, 1, 7), (192, 7, 1)],
        [(inner, 1, 1), (inner, 7, 1), (inner, 1, 7), (inner, 7, 1), (192, 1, 7)],
    )


def _conv(s: Sketch, x: str, conv: _Conv, padding: int | None = None, stride: int = 1) -> str:
    """Add a convolution, a batch norm and an activation; padding is `same` unless it is given."""
    filters, height, width = conv
    around: Any = (height // 2, width // 2) if padding is None else padding
    x = s.conv(x, filters, (height, width), padding=around, stride=stride, bias=False)
    return s.relu(s.norm(x))


def _chain(s: Sketch, x: str, convs: list[_Conv]) -> str:
    for conv in convs:
        x = _conv(s, x, conv)
    return x


def _mixed(s: Sketch, x: str, name: str, pooled: int, *branches: list[_Conv]) -> str:
    ends = [_chain(s, x, branch) for branch in branches]
    ends.append(_conv(s, s.average_pool(x), (pooled, 1, 1)))
    return s.concatenate(ends, name)


def _halving(s: Sketch, x: str, name: str, *branches: list[_Conv]) -> str:
    ends = []
    for branch in branches:
        before = _chain(s, x, branch[:-1])
        ends.append(_conv(s, before, branch[-1], padding=0, stride=2))
    return s.concatenate([*ends, s.max_pool(x, 3)], name)


def _last(s: Sketch, x: str, number: int) -> str:
    first = _conv(s, x, (320, 1, 1))
    middle = _conv(s, x, (384, 1, 1))
    sides = [_conv(s, middle, (384, 1, 3)), _conv(s, middle, (384, 3, 1))]
    second = s.concatenate(sides, f"mixed9_{number - 9}")
    middle = _chain(s, x, [(448, 1, 1), (384, 3, 3)])
    sides = [_conv(s, middle, (384, 1, 3)), _conv(s, middle, (384, 3, 1))]
    third = s.concatenate(sides)
    pooled = _conv(s, s.average_pool(x), (192, 1, 1))
    return s.concatenate([first, second, third, pooled], f"mixed{number}")
