"""Puts together what is said about the findings: for people, and for machines."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from raypipe.config import DoctorConfig
from raypipe.diagnosis import wording
from raypipe.diagnosis.advice import advice, command
from raypipe.diagnosis.findings import Findings
from raypipe.diagnosis.machine import warnings
from raypipe.diagnosis.rates import (
    better_batch,
    cluster_shape,
    estimate,
    images_per_second,
    knee,
    limit,
)

__all__ = ["report"]

_MORE_NODES = 4
_NOISE = 0.1
#: Units of pixels that wait for each GPU, beside those that cores are decoding.
_WAITING_UNITS = 4

Shapes = dict[str, tuple[tuple[int, ...], str]]


def report(
    findings: Findings, config: DoctorConfig, images: int, shapes: Shapes, others: float
) -> tuple[dict[str, Any], str]:
    """Return the summary and the text.

    Args:
        findings: what was measured.
        config: the options.
        images: how many to estimate for.
        shapes: of each column's features, with their type.
        others: share of this machine's time that other processes took before.
    """
    batch = better_batch(findings.batches, findings.batch_size, findings.costs, findings.pool)
    rate = batch[1] if batch else images_per_second(findings.costs, findings.pool)
    changed = {"batch_size": batch[0]} if batch else {}
    estimates = [
        estimate(
            images,
            rate,
            nodes=len(findings.nodes),
            times=times,
            start=findings.start,
            price=config.price,
        )
        for times in (1, _MORE_NODES)
    ]
    warned = _warnings(findings, others)
    line = command(config, changed)
    lines = advice(findings, quiet=others <= _NOISE)
    summary = {
        **_figures(findings, shapes),
        "conclusion": wording.conclusion(findings),
        "use": changed,
        "command": line,
        "images_per_second_then": round(rate, 2),
        "images": images,
        "estimates": [asdict(one) for one in estimates],
        "price": config.price,
        "advice": lines,
        "warnings": warned,
    }
    text = [
        wording.conclusion(findings),
        "",
        *wording.table(findings),
        wording.transfers(findings),
        "",
        f"Use: {line}",
        *([f"     which makes {wording.rate_text(rate)} images/s"] if batch else []),
        wording.outlook(images, estimates, config.price),
        "",
        *(f"- {one}" for one in lines + wording.arithmetic(findings)),
        *(f"{wording.hardware(node)}" for node in findings.nodes),
        *(f"! {one}" for one in warned),
    ]
    return summary, "\n".join(text)


def _figures(findings: Findings, shapes: Shapes) -> dict[str, Any]:
    """Return everything that was measured and follows from it, for machines."""
    costs, pool = findings.costs, findings.pool
    found, shape = limit(costs, pool), cluster_shape(costs, pool)
    reading = findings.reading
    return {
        "images_per_second": round(images_per_second(costs, pool), 2),
        "limit": asdict(found),
        "seconds_per_image": asdict(costs),
        "steps_images_per_second": {
            step: round(1 / seconds, 1) for step, seconds in asdict(costs).items() if seconds > 0
        },
        "pool": asdict(pool),
        "batch_size": findings.batch_size,
        "batch_sizes": {str(size): round(rate, 1) for size, rate in findings.batches.items()},
        "knee": knee(findings.batches) if findings.batches else None,
        "precision": findings.precision,
        "precisions": [asdict(one) for one in findings.precisions],
        "cores_per_gpu": shape and round(shape.cores_per_gpu, 2),
        "cores_missing": shape and shape.cores_missing,
        "decode_images_per_core_second": round(1 / costs.core, 1),
        "reading": asdict(reading),
        "read_bytes_per_second": _per_second(reading.bytes / reading.images, reading.cold),
        "write_bytes_per_second": _per_second(_row_bytes(shapes), costs.write),
        "features": {column: list(shape) for column, (shape, _) in shapes.items()},
        "object_store": asdict(findings.transfer),
        "replica_alone_images_per_second": findings.alone,
        "replica_memory": findings.replica_memory,
        "start_seconds": round(findings.start, 1),
        "sampled": {"images": reading.images, "rejects": findings.rejects},
        "unit": findings.unit,
        "nodes": [asdict(node) for node in findings.nodes],
        "object_store_bytes": findings.store,
    }


def _per_second(size: float, seconds: float | None) -> float | None:
    return size / seconds if seconds else None


def _row_bytes(shapes: Shapes) -> int:
    return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in shapes.values())


def _warnings(findings: Findings, others: float) -> list[str]:
    """Return what makes the machines slow."""
    found = []
    if others > _NOISE:
        found.append(
            f"other processes took {others:.0%} of this machine before: alone, it would be faster"
        )
    for node in findings.nodes:
        waiting = _WAITING_UNITS * node.replicas + node.cpus if findings.pool.gpus else 0
        found += warnings(
            node.machine,
            cpus=node.cpus,
            replicas=node.replicas,
            replica_memory=findings.replica_memory,
            store=findings.store,
            in_flight=waiting * findings.unit * findings.pixel_bytes,
        )
    return list(dict.fromkeys(found))
