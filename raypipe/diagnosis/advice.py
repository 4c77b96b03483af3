"""What to do about a limit, and the command to use."""

from __future__ import annotations

import math
import shlex
from typing import Any

from raypipe.config import DoctorConfig, ExtractConfig
from raypipe.config.types import position
from raypipe.diagnosis.findings import Findings
from raypipe.diagnosis.rates import cluster_shape, images_per_second, limit

__all__ = ["advice", "command"]

#: A GPU whose rate of this network is unknown: cores are named for this many images per second.
_EXAMPLE_RATE = 1000
_CROWDED = 0.6

_HELP = {
    "wait": "storage is what to improve: a copy on local disks, or shards (raypipe pack), which "
    "are read in long runs",
    "read": "what stores or serves the images is what to improve; raypipe pack makes shards, which "
    "are read in long runs",
    "decode": "more cores, or images stored smaller, make it faster; a GPU would not",
    "forward": "a GPU, more cores or nodes, or a smaller --size make it faster",
    "write": "an --out on faster storage, --dtype float16 or a pooled layer (--layer NODE:avg) "
    "make it faster",
    "put": "a smaller --size or more cores make it faster",
    "get": "GPUs on the nodes that decode make it faster",
    "to_device": "a smaller --size makes it faster",
}


def advice(findings: Findings, *, quiet: bool) -> list[str]:
    """Return what would help, a line each, most helpful first.

    Args:
        findings: what was measured.
        quiet: whether nothing else ran on the machine.
    """
    found = limit(findings.costs, findings.pool)
    help_text = _HELP[found.step]
    if findings.pool.gpus and found.step == "forward":
        help_text = "more GPUs, or a smaller --size, make it faster"
    if findings.pool.gpus and found.step == "decode":
        help_text = "more cores, images stored smaller, or --gpu-decode make it faster"
    crowd = _about_crowd(findings) if quiet else []
    return [
        help_text,
        *_about_cores(findings),
        *_about_storage(findings),
        *crowd,
        *_about_rejects(findings),
    ]


def command(config: DoctorConfig, changed: dict[str, Any]) -> str:
    """Return the command to extract with: the options that were given, and those to change."""
    fields = ExtractConfig.model_fields
    given = {name: getattr(config, name) for name in config.model_fields_set if name in fields}
    chosen = {"out": config.out or "STORE"}
    chosen |= {name: given[name] for name in fields if name in given and name not in chosen}
    words = ["raypipe", "extract", config.source or "SOURCE"]
    for name, value in ({n: v for n, v in chosen.items() if n not in changed} | changed).items():
        if not position(fields[name]):
            words += _flag(name, value)
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is None or (value is False and ExtractConfig.model_fields[name].annotation is bool):
        return []  # as it is without the flag
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, tuple):
        return [word for one in value for word in (flag, str(one))]
    return [flag, str(value)]


def _about_cores(findings: Findings) -> list[str]:
    costs, pool = findings.costs, findings.pool
    shape = cluster_shape(costs, pool)
    if shape is None:
        rate = 1 / costs.core
        cores = math.ceil(_EXAMPLE_RATE / rate)
        return [
            f"for GPUs: a core decodes {rate:,.0f} images/s, so a GPU that does {_EXAMPLE_RATE:,} "
            f"images/s of this network needs {cores} cores"
        ]
    line = f"this network needs {shape.cores_per_gpu:.1f} cores per GPU"
    if shape.cores_missing:
        line += f"; add {shape.cores_missing} cores, as nodes without GPUs if you like"
    return [line]


def _about_storage(findings: Findings) -> list[str]:
    cold, rest = findings.reading.cold, findings.costs.whole - findings.costs.wait
    if cold is None or cold < rest:
        return []
    return [
        f"to read a file that is not cached takes {1e3 * cold:.1f} ms, all else {1e3 * rest:.1f} "
        "ms: a source larger than memory is read at that pace"
    ]


def _about_crowd(findings: Findings) -> list[str]:
    each = images_per_second(findings.costs, findings.pool) / findings.pool.replicas
    if findings.alone is None or each >= _CROWDED * findings.alone:
        return []
    return [
        f"one replica alone does {findings.alone:,.0f} images/s, among the others {each:,.0f}: "
        "they share cores or memory; try half of them with --actors"
    ]


def _about_rejects(findings: Findings) -> list[str]:
    if not findings.rejects:
        return []
    return [
        f"{findings.rejects} of {findings.reading.images} sampled images are rejects "
        f"({findings.message})"
    ]
