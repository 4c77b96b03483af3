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
    Estimate,
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
    costs, pool = findings.costs, findings.pool
    batch = better_batch(findings.batches, findings.batch_size, costs, pool)
    size, rate = batch or (None, images_per_second(costs, pool))
    changed = {"batch_size": size} if size else {}
    told = {
        "conclusion": wording.conclusion(findings),
        "use": changed,
        "command": command(config, changed),
        "images_per_second_then": round(rate, 2),
        "images": images,
        "price": config.price,
        "advice": advice(findings, quiet=others <= _NOISE),
        "warnings": _warnings(findings, others),
    }
    estimates = _estimates(findings, images, rate, config.price)
    summary = {
        **_figures(findings, shapes),
        **told,
        "estimates": [asdict(one) for one in estimates],
    }
    return summary, _text(findings, told, estimates)


def _estimates(findings: Findings, images: int, rate: float, price: float | None) -> list[Estimate]:
    nodes, start = len(findings.nodes), findings.start
    return [
        estimate(images, rate, nodes=nodes, times=times, start=start, price=price)
        for times in (1, _MORE_NODES)
    ]


def _text(findings: Findings, told: dict[str, Any], estimates: list[Estimate]) -> str:
    better = f"     which makes {wording.rate_text(told['images_per_second_then'])} images/s"
    lines = [
        told["conclusion"],
        "",
        *wording.table(findings),
        wording.transfers(findings),
        "",
        f"Use: {told['command']}",
        *([better] if told["use"] else []),
        wording.outlook(told["images"], estimates, told["price"]),
        "",
        *(f"- {one}" for one in told["advice"] + wording.arithmetic(findings)),
        *wording.hardware(findings.nodes),
        *(f"! {one}" for one in told["warnings"]),
    ]
    return "\n".join(lines)


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
