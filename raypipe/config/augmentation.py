"""Options of augmentation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raypipe.config.shared import JobConfig
from raypipe.config.types import option


class AugmentConfig(JobConfig):
    """Random views of each image."""

    augment: Annotated[int, Field(ge=0, le=1000), option("Augmentation")] = 0
    """Augmented views of each image, beside the image itself."""
    original: Annotated[bool, option("Augmentation")] = True
    """Also the image itself, as view 0. With `--no-original`, random views are all there is, and
    the first of them stands for the image, as in a pass of Keras's `ImageDataGenerator`."""
    rotate: Annotated[float, Field(ge=0, le=180), option("Augmentation")] = 0.0
    """Rotate by up to so many degrees either way."""
    shift: Annotated[float, Field(ge=0, lt=1), option("Augmentation")] = 0.0
    """Shift by up to this share of height and width."""
    shear: Annotated[float, Field(ge=0, lt=1.5), option("Augmentation")] = 0.0
    """Shear by up to this angle, in radians (11.5° are 0.2)."""
    zoom: Annotated[float, Field(ge=0, lt=1), option("Augmentation")] = 0.0
    """Zoom height and width each by a factor within 1 ± this."""
    flip: Annotated[bool, option("Augmentation")] = False
    """Mirror half of the views."""
    float_views: Annotated[bool, option("Augmentation")] = False
    """Views keep the fractions of pixel values that interpolation gives, as Keras's do, instead of
    whole numbers; takes four times the memory."""
