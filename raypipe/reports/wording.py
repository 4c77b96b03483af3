"""A spec in words."""

from __future__ import annotations

from math import log1p
from typing import Any

from raypipe.config.sides import measured
from raypipe.spec import Augment, Output, Preprocess, Spec

#: Pairs of a name and what is to be said of it.
Facts = list[tuple[str, str]]

#: Errors in a cell that give it its full colour, where no cell has more.
_FULL = 10
_POOLS = {
    "avg": "averaged over positions",
    "max": "largest value over positions",
    "flatten": "flattened",
    "flatten-hwc": "flattened in the order height, width, channels",
    "none": "as it is",
    "hwc": "as it is, channels last",
    "argmax": "number of the largest value",
    "cls": "its class token",
    "patches": "averaged over patches",
    "tokens": "as tokens",
}


def grouped(number: int) -> str:
    """Return a whole number with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u202f")


def many(count: int, one: str, more: str = "") -> str:
    """Return a count, for a page, with its noun."""
    return f"{grouped(count)} {one if count == 1 else more or one + 's'}"


def some(shown: int, count: int, one: str, more: str = "") -> str:
    """Return how many there are, or how many of them are shown."""
    what = many(count, one, more)
    return (
        f"all {what}"
        if 1 < count <= shown
        else what
        if shown >= count
        else (f"{grouped(shown)} of {what}")
    )


def left_out(metrics: dict[str, Any]) -> Facts:
    """Return what --exclude has left out, if anything was."""
    found = metrics.get("excluded")
    return [("left out", f"{many(found['images'], 'image')}, by {found['file']}")] if found else []


def shade(count: int, most: int) -> float:
    """Return how strong the colour of a cell is, 0 to 1, by orders of magnitude: 1 and 35 differ,
    beside 1,000 as well.
    """
    return log1p(count) / log1p(max(most, _FULL))


def spec_facts(spec: Spec, provenance: dict[str, Any]) -> Facts:
    """Return what features are, line by line.

    Args:
        spec: theirs.
        provenance: where backbone and weights came from, as a store keeps it.
    """
    weights = str(provenance.get("weights", "")) or "not recorded"
    facts = [
        ("backbone", str(provenance.get("backbone", spec.backbone))),
        ("weights", f"{weights} (sha256 {spec.weights_sha256[:12]}…)"),
        *((f"column {output.column}", _layer(output)) for output in spec.outputs),
        ("preprocessing", _preprocess(spec.preprocess)),
    ]
    if spec.augment is not None:
        facts.append(("augmented views", _augment(spec.augment)))
    facts += [
        ("precision", f"computed in {spec.precision}, stored as {spec.dtype}"),
        ("fingerprint", spec.fingerprint),
    ]
    return facts


def _layer(output: Output) -> str:
    return f"the output of {output.layer}, {_POOLS[output.pool]}"


def _preprocess(plan: Preprocess) -> str:
    steps = ["EXIF orientation ignored"] if plan.orientation == "ignore" else []
    if plan.crop:
        rounded = ", rounded to even" if plan.crop_rounding == "even" else ""
        steps.append(f"centre crop of {plan.crop} × {plan.crop}{rounded}")
    smooth = "" if plan.antialias else ", not antialiased"
    by = ", by Pillow" if plan.resampler == "pillow" else ""
    how = f"({plan.interpolation}{smooth}{by})"
    if plan.resize == "squash":
        steps.append(f"resized to {measured(plan.resize_to or plan.size)} {how}")
    elif isinstance(plan.resize_to, tuple):
        aim = "fit into" if plan.resize == "border" else "cover"
        steps.append(f"resized in proportion, to {aim} {measured(plan.resize_to)} {how}")
    else:
        which = "longer" if plan.resize == "border" else "shorter"
        steps.append(f"{which} side resized to {plan.resize_to} {how}")
    if plan.resize == "border":
        steps.append(f"filled up with the mean colour to {measured(plan.size)}")
    elif plan.resize == "shorter" or plan.resize_to:
        steps.append(f"centre crop of {measured(plan.size)}")
    means, stds = (", ".join(f"{v:.4g}" for v in values) for values in (plan.mean, plan.std))
    steps.append(f"{plan.channels.upper()}, less {means}, divided by {stds}")
    if plan.scaled:
        steps.append("large JPEGs decoded at a part of their size")
    if plan.gpu_decoded:
        steps.append("plain JPEGs decoded and resized by GPUs")
    return "; ".join(steps)


def _augment(augment: Augment) -> str:
    changes = [
        f"rotation up to {augment.rotate:g}°" if augment.rotate else "",
        f"shift up to {augment.shift:.0%}" if augment.shift else "",
        f"shear up to {augment.shear:g} rad" if augment.shear else "",
        f"zoom within 1 ± {augment.zoom:g}" if augment.zoom else "",
        "mirrored half of the time" if augment.flip else "",
    ]
    what = ", ".join(change for change in changes if change)
    what += ", in fractions of pixel values" if augment.float_views else ""
    kind = "more" if augment.original else "in place"
    return f"{augment.views} {kind} of each image: {what} (seed {augment.seed})"
