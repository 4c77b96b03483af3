"""Sides of images in pixels: of a square, or height and width."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_SIDES = range(8, 2**16)  # JPEG knows no longer ones


def _sides(given: Any) -> int | tuple[int, int]:
    """Accept a number of pixels, a text as `256x128`, or height and width in a list."""
    is_pair = isinstance(given, list | tuple) and len(given) == 2
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", "x".join(map(str, given)) if is_pair else str(given))
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or any(side not in _SIDES for side in sides):
        raise ValueError(
            f"a side of {_SIDES[0]} to {_SIDES[-1]} pixels, or HEIGHTxWIDTH, as 224 or 256x128"
        )
    return squared(sides[0], sides[-1])


#: The side of a square, or height and width, in pixels. A square is always an int, so that what
#: was written before there were others reads and is written as it was.
Sides = Annotated[int | tuple[int, int], BeforeValidator(_sides)]


def squared(height: int, width: int) -> int | tuple[int, int]:
    """Return `Sides` of a height and a width."""
    return height if height == width else (height, width)


def both(sides: int | tuple[int, int]) -> tuple[int, int]:
    """Return the height and width that `Sides` stand for."""
    return (sides, sides) if isinstance(sides, int) else sides


def written(sides: int | tuple[int, int]) -> str:
    """Return `Sides` as an option takes them: `224`, `256x128`."""
    return str(sides) if isinstance(sides, int) else "x".join(map(str, sides))


def measured(sides: int | tuple[int, int], between: str = " × ") -> str:
    """Return `Sides` as people write them: `224 × 224`."""
    return between.join(map(str, both(sides)))
