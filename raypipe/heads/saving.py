"""A head as JSON and named arrays, and back."""

from __future__ import annotations

from typing import Any

from raypipe.heads.calibration import Calibration
from raypipe.heads.forest import Forest
from raypipe.heads.head import Head
from raypipe.heads.linear import Linear
from raypipe.heads.mlp import Mlp
from raypipe.heads.neighbours import Neighbours
from raypipe.heads.scaling import Scaling
from raypipe.heads.scorer import Arrays, Scorer

#: The kinds of heads, by the name they are saved under.
SCORERS: dict[str, type[Scorer]] = {
    "logistic": Linear,
    "svm": Linear,
    "forest": Forest,
    "knn": Neighbours,
    "mlp": Mlp,
}


def saved_settings(head: Head) -> dict[str, Any]:
    """Return what is saved of a head as JSON."""
    calibration = head.calibration
    return {
        "kind": head.kind,
        "classes": list(head.classes),
        "spatial": head.spatial,
        "channels": head.channels,
        "scaling": head.scaling.kind,
        "scorer": head.scorer.settings(),
        "calibration": {"kind": calibration.kind, "of": calibration.of} if calibration else None,
    }


def saved_arrays(head: Head) -> Arrays:
    """Return what is saved of a head as arrays, each named `part.name`."""
    parts = {
        "scaling": {"mean": head.scaling.mean, "std": head.scaling.std},
        "scorer": head.scorer.arrays(),
        "calibration": head.calibration.arrays if head.calibration else {},
    }
    return {f"{part}.{name}": a for part, arrays in parts.items() for name, a in arrays.items()}


def restore_head(settings: dict[str, Any], arrays: Arrays) -> Head:
    """Return the head that was saved.

    Raises:
        KeyError: something is missing, or the kind of head is unknown.
    """
    calibration = settings["calibration"]
    return Head(
        classes=tuple(settings["classes"]),
        spatial=settings["spatial"],
        scaling=Scaling(settings["scaling"], **_part(arrays, "scaling")),
        scorer=SCORERS[settings["kind"]].restore(settings["scorer"], _part(arrays, "scorer")),
        calibration=Calibration(arrays=_part(arrays, "calibration"), **calibration)
        if calibration
        else None,
        channels=settings["channels"],
    )


def _part(arrays: Arrays, part: str) -> Arrays:
    prefix = f"{part}."
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
