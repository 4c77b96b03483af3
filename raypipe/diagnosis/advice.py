"""What to do about a limit, a line each."""

from __future__ import annotations

import math

from raypipe.diagnosis.measure import Measured
from raypipe.diagnosis.rates import Rates
from raypipe.display import counted

#: A GPU whose rate of this network is unknown: cores are named for this many images per second.
_EXAMPLE_RATE = 1000

_HELP = {
    "read": "what stores or serves the images is what to improve: a copy on local disks, or shards "
    "(raypipe pack), which are read in long runs",
    "decode": "more cores, --scaled-decode for large JPEGs, or images stored smaller make it "
    "faster; a GPU would not",
    "compute": "a GPU, more cores or nodes, or a smaller --size make it faster",
    "write": "an --out on faster storage, --dtype float16 or a pooled layer (--layer NODE:avg) "
    "make it faster",
    "other": "processes wait between units: for a core that something else takes, or to hand over",
}
_HELP_WITH_GPUS = _HELP | {
    "decode": "more cores, images stored smaller, or --gpu-decode make it faster",
    "compute": "more GPUs, or a smaller --size, make it faster",
    "other": "handing pixels over limits: a larger object store (--object-store-memory), and "
    "GPUs on the nodes that decode, make it faster",
}


def advice(measured: Measured, images: int, start: float) -> list[str]:
    """Return what would help, most helpful first.

    Args:
        measured: the short extraction.
        images: of the extraction to come.
        start: seconds until the first of them was there.
    """
    rates, pool = measured.rates, measured.pool
    step = rates.limit().step
    first = (_HELP_WITH_GPUS if pool.gpus else _HELP)[step]
    if step == "decode" and pool.decoding:
        first = "more GPUs, or images stored smaller, make it faster"
    lines = [first, _about_cores(rates)]
    if start > images / rates.steady:
        share = start / (start + images / rates.steady)
        lines.append(f"starting takes {share:.0%} of the time: once for however many images")
    if rejects := measured.cost.rejects:
        reasons = ", ".join(f"{count} × {name}" for name, count in rejects.items())
        of_all = f"{sum(rejects.values())} of {counted(measured.cost.items, 'sampled image')}"
        lines.append(f"rejects: {of_all} ({reasons})")
    return lines


def _about_cores(rates: Rates) -> str:
    needed, missing = rates.cores_per_gpu(), rates.cores_missing()
    if needed is None:
        return (
            f"for GPUs: a core decodes {1 / rates.core:,.0f} images/s, so a GPU that does "
            f"{_EXAMPLE_RATE:,} images/s of this network needs "
            f"{math.ceil(_EXAMPLE_RATE * rates.core)} cores"
        )
    more = f"; add {missing} cores, as nodes without GPUs if you like" if missing else ""
    return f"this network needs {needed:.1f} cores per GPU{more}"
