"""Random views of the resized image, the same on every machine; no Ray.

The changes and the order they are applied in are those of Keras's `ImageDataGenerator`
(keras_preprocessing 1.1, `image/affine_transformations.py`). What is drawn depends on the seed, the
image's id and the view's number only: not on a worker, on the order of images, or on a library's
generator of random numbers.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raypipe.config import ExtractConfig
from raypipe.errors import UsageError
from raypipe.images import Pixels
from raypipe.spec import Augment, digest

_CHANGES = ("rotate", "shift", "shear", "zoom", "flip")


def resolve_augment(config: ExtractConfig) -> Augment | None:
    """Return the augmentation of a job, or None where there is none.

    Raises:
        UsageError: changes without views to apply them to, views without changes, or views of
            what a GPU decodes.
    """
    given = [f"--{name}" for name in _CHANGES if getattr(config, name)]
    if config.augment == 0:
        if config.float_views:
            raise UsageError(
                "--float-views is about augmented views, and --augment is 0; "
                "give the number of views with --augment N"
            )
        if not config.original:
            raise UsageError(
                "--no-original with --augment 0 would leave nothing of an image; give the number "
                "of views with --augment N"
            )
        if given:
            raise UsageError(
                f"{', '.join(given)} changes augmented views, and --augment is 0; "
                "give the number of views with --augment N"
            )
        return None
    if not given:
        raise UsageError(
            f"--augment {config.augment} without a change would give copies of each image; "
            f"give at least one of {', '.join(f'--{name}' for name in _CHANGES)}"
        )
    if config.gpu_decode:
        raise UsageError("--augment does not go with --gpu-decode: views are made by the CPU")
    same = (*_CHANGES, "original", "seed", "float_views")
    return Augment(views=config.augment, **{name: getattr(config, name) for name in same})


@dataclass(frozen=True)
class Draw:
    """What was drawn for one view: the arguments of Keras's `apply_affine_transform`."""

    theta: float
    """Angle of the rotation, in degrees."""
    tx: float
    """Shift along the height, as a share of it."""
    ty: float
    """Shift along the width, as a share of it."""
    shear: float
    """Angle of the shear, in radians: what Keras's `shear_range` meant before it meant degrees."""
    zx: float
    """Source pixels per pixel along the height: above 1 the content becomes smaller."""
    zy: float
    """Source pixels per pixel along the width."""
    mirrored: bool
    """Whether left and right are swapped, after everything else."""


def draw(augment: Augment, item_id: str, number: int) -> Draw:
    """Draw the parameters of one view, uniformly within the bounds of `augment`.

    Args:
        augment: the bounds, and the seed.
        item_id: id of the image.
        number: number of the view, from 1.
    """
    # One hash holds eight numbers of 64 bits. Each parameter has its own, so a change of one bound
    # leaves the other draws as they are.
    key = digest(str(augment.seed), item_id, str(number))
    words = np.frombuffer(hashlib.blake2b(key.encode()).digest(), dtype="<u8")
    shares = [int(word >> 11) / 2**53 for word in words]  # 53 bits are exact, and below 1
    angle, down, right, slant, tall, wide = (2 * share - 1 for share in shares[:6])
    return Draw(
        theta=augment.rotate * angle,
        tx=augment.shift * down,
        ty=augment.shift * right,
        shear=augment.shear * slant,
        zx=1 + augment.zoom * tall,
        zy=1 + augment.zoom * wide,
        mirrored=augment.flip and shares[6] < 0.5,
    )


def view(pixels: npt.NDArray[np.uint8], augment: Augment, item_id: str, number: int) -> Pixels:
    """Return one augmented view of an image.

    Args:
        pixels: (H, W, 3) uint8, as `to_pixels` returns them.
        augment: bounds of the changes, and the seed.
        item_id: id of the image.
        number: number of the view, from 1.

    Returns:
        (H, W, 3) uint8, or float32 with `float_views`.
    """
    drawn = draw(augment, item_id, number)
    height, width, _ = pixels.shape
    matrix = _matrix(drawn, height, width)
    is_same = np.array_equal(matrix, np.eye(3))
    changed: Pixels = pixels if is_same else _warp(pixels, matrix, augment.float_views)
    dtype = np.float32 if augment.float_views else np.uint8
    return np.ascontiguousarray(changed[:, ::-1] if drawn.mirrored else changed, dtype)


def _matrix(drawn: Draw, height: int, width: int) -> npt.NDArray[np.float64]:
    """(3, 3) map from a pixel's (row, column) to the point it is taken from, as Keras composes it.

    Keras_preprocessing 1.1 turns about (height/2 + 0.5, width/2 + 0.5), one pixel beyond the centre
    of the pixel grid, and so does this.
    """
    theta, shear = math.radians(drawn.theta), drawn.shear
    cos, sin = math.cos(theta), math.sin(theta)
    rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    shift = np.array([[1, 0, drawn.tx * height], [0, 1, drawn.ty * width], [0, 0, 1]])
    slant = np.array([[1, -math.sin(shear), 0], [0, math.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([drawn.zx, drawn.zy, 1.0])
    centre = np.array([[1, 0, height / 2 + 0.5], [0, 1, width / 2 + 0.5], [0, 0, 1]])
    back = np.array([[1, 0, -height / 2 - 0.5], [0, 1, -width / 2 - 0.5], [0, 0, 1]])
    composed: npt.NDArray[np.float64] = centre @ rotation @ shift @ slant @ zoom @ back
    return composed


def _warp(
    pixels: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], fractions: bool
) -> Pixels:
    """Sample bilinearly at the mapped points; points outside take the nearest border pixel.

    At 224×224 on one thread, largest error before rounding against SciPy in float64: torch 0.73 ms,
    0.005 levels; OpenCV (uint8) 0.56 ms, 0.5 levels; NumPy 2.3 ms, 0.003; SciPy (float32) 6.3 ms.
    Drawing, points and rounding included, a view takes about 2 ms. What is
    not rounded is computed in float64.
    """
    import torch
    from torch.nn import functional as F

    height, width, _ = pixels.shape
    points = np.empty((height, width, 2), np.float64 if fractions else np.float32)
    for axis, side in ((0, height), (1, width)):
        # grid_sample takes x before y, and -1 and 1 as the centres of the outermost pixels.
        row, column, offset = matrix[axis] * (2 / max(side - 1, 1))
        down = row * np.arange(height)[:, None] + (offset - 1)
        points[..., 1 - axis] = down + column * np.arange(width)
    grid = torch.from_numpy(points)[None]
    source = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().to(grid.dtype)
    sampled = F.grid_sample(
        source[None],
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    changed = sampled[0].permute(1, 2, 0)
    kept = changed.float() if fractions else changed.round_().to(torch.uint8)
    found: Pixels = kept.contiguous().numpy()
    return found
