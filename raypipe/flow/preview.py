"""Preview of `extract --dry-run`: what there is to do, and about how long it would take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from math import prod
from typing import Any

import numpy as np

from raypipe.cli.command import Outcome
from raypipe.config import ExtractConfig
from raypipe.flow.ingest import check_same_source, find_missing
from raypipe.flow.plan import Plan
from raypipe.memory import readable
from raypipe.rows.listing import Listing
from raypipe.spec import Spec
from raypipe.steps.pool_plan import Replicas
from raypipe.storage import Storage
from raypipe.store.identity import create_store, is_store

Shapes = dict[str, tuple[tuple[int, ...], str]]


def preview(
    config: ExtractConfig,
    storage: Storage,
    source: str,
    spec: Spec,
    listing: Listing,
    shapes: Shapes,
    look: Callable[[Plan], tuple[Replicas, float | None]],
) -> Outcome:
    """Return what a run would do; nothing is written.

    Args:
        config: the options.
        storage: where the store is, or would be.
        source: where the images come from.
        spec: what the features would be.
        listing: all items of the source.
        shapes: shape and type of one row's features, by column.
        look: runs a plan's steps for a moment; returns the replicas, and their images per second.

    Raises:
        UsageError: the store that is there has another spec, or another source.
    """
    is_there = is_store(storage.uri)
    if is_there:
        create_store(storage, spec, {}, config.format)  # compares the two
    _, _, plan = find_missing(config, storage, spec, listing)
    if is_there:
        check_same_source(config, storage, source, plan)
    row = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values())
    summary: dict[str, Any] = {
        "store": storage.uri,
        "exists": is_there,
        "items": plan.items,
        "done": plan.items - plan.pending,
        "pending": plan.pending,
        "changed": plan.changed,
        "gone": len(plan.gone),
        "units": len(plan.units),
        "unit_images": max((unit.count for unit in plan.units), default=0),
        "features": {column: list(shape) for column, (shape, _) in shapes.items()},
        "bytes": row * plan.pending * spec.views,
        "precision": spec.precision,
        "replicas": 0,
        "images_per_second": None,
        "estimated_seconds": None,
    }
    if plan.units:
        summary |= _estimate(plan, look)
    return Outcome(summary, _text(summary, config), summary)


def _estimate(plan: Plan, look: Callable[[Plan], tuple[Replicas, float | None]]) -> dict[str, Any]:
    """Try the steps on some images, and say what that comes to."""
    replicas, rate = look(plan)
    about = {"replicas": replicas.max_size, "device": replicas.device}
    if rate is None:
        return about
    seconds = round(plan.pending / rate, 1)
    return about | {"images_per_second": round(rate, 1), "estimated_seconds": seconds}


def _text(summary: dict[str, Any], config: ExtractConfig) -> str:
    there = "would be extended" if summary["exists"] else "would be created"
    shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in summary["features"].items())
    changed = f"{summary['changed']:,} of them have changed" if summary["changed"] else ""
    gone = "would be dropped" if config.prune else "would stay; --prune drops them"
    rows = [
        ("images in the source", f"{summary['items']:,}", ""),
        ("done already", f"{summary['done']:,}", ""),
        ("to do", f"{summary['pending']:,}", changed),
        ("gone from the source", f"{summary['gone']:,}", gone if summary["gone"] else ""),
        (
            "partitions to write",
            f"{summary['units']:,}",
            f"of up to {summary['unit_images']} images",
        ),
        ("features", readable(summary["bytes"]), f"{shapes} {config.dtype}, uncompressed"),
    ]
    if summary["units"]:
        what = f"{summary['device']} {summary['precision']}"
        rows += [("copies of the network", str(summary["replicas"]), what), _time(summary)]
    width = max(len(number) for _, number, _ in rows)
    lines = [f"{name:<22} {number:>{width}}  {note}".rstrip() for name, number, note in rows]
    return "\n".join([f"{summary['store']} {there} (nothing was written)", *lines])


def _time(summary: dict[str, Any]) -> tuple[str, str, str]:
    seconds = summary["estimated_seconds"]
    if seconds is None:
        return "time", "?", "none of the sampled images can be read"
    rate = summary["images_per_second"]
    return (
        "time",
        str(timedelta(seconds=max(1, round(seconds)))),
        f"at about {rate:g} images/s and without start-up; `raypipe doctor` measures it",
    )
