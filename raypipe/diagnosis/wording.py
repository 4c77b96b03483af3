"""What people read: the conclusion first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from raypipe.diagnosis.findings import Findings, Node
from raypipe.diagnosis.rates import DEVICE_STEPS, Estimate, images_per_second, limit
from raypipe.memory import readable

__all__ = [
    "arithmetic",
    "conclusion",
    "duration",
    "hardware",
    "outlook",
    "rate_text",
    "table",
    "transfers",
]

_WORDS = {
    "wait": ("Storage limits", "wait for storage"),
    "read": ("Reading limits", "read"),
    "decode": ("Decoding limits", "decode"),
    "put": ("The object store limits", "to object store"),
    "get": ("The object store limits", "from object store"),
    "to_device": ("The way to the GPUs limits", "to GPU"),
    "forward": ("The network limits", "network"),
    "write": ("Writing limits", "write"),
}
_NEGLIGIBLE = 0.0005


def conclusion(findings: Findings) -> str:
    """Return the one sentence that matters."""
    costs, pool = findings.costs, findings.pool
    found = limit(costs, pool)
    rate = rate_text(images_per_second(costs, pool))
    without = f" ({rate_text(found.without)} without it)" if found.without else ""
    subject = _WORDS[found.step][0]
    if not pool.gpus:
        return f"{subject}: {found.share:.0%} of each core's time, at {rate} images/s{without}."
    idle = "cores" if found.step in DEVICE_STEPS else "GPUs"
    return f"{subject}: {rate} images/s{without}, and the {idle} idle {found.idle:.0%} of the time."


def table(findings: Findings) -> list[str]:
    """Return a line per step: the rate of one core or GPU, and the share of its time."""
    costs, seconds = findings.costs, asdict(findings.costs)
    lines = [f"{'step':<20}{'images/s':>10}{'share':>8}"]
    for step, (_, name) in _WORDS.items():
        whose, side = "core", costs.core if findings.pool.gpus else costs.whole
        if findings.pool.gpus and step in DEVICE_STEPS:
            whose, side = "GPU", costs.device
        share = seconds[step] / side
        if share >= _NEGLIGIBLE:
            rate = rate_text(1 / seconds[step])
            lines.append(f"{name:<20}{rate:>10}{share:>8.1%}  of a {whose}")
    return lines


def hardware(nodes: Iterable[Node]) -> list[str]:
    """Return a line for each kind of machine."""
    kinds = Counter(f"{node.machine}; {_replicas(node.replicas)}" for node in nodes)
    return [f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items()]


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def outlook(images: int, estimates: list[Estimate], price: float | None) -> str:
    """Return how long so many images take, on these nodes and on more of them."""
    parts = []
    for one in estimates:
        where = "1 node" if one.nodes == 1 else f"{one.nodes} such nodes"
        cost = "" if one.cost is None else f" (cost {one.cost:,.2f})"
        parts.append(f"{where} {duration(one.seconds)}{cost}")
    at = "" if price is None else f", at {price:g} per node-hour"
    return f"{images:,} images: {'; '.join(parts)}{at}"


def duration(seconds: float) -> str:
    """Return a length of time as people write it: `48 s`, `18 min`, `1 h 12 min`, `4 d 15 h`."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    if seconds < 10 * 60:
        return _two(round(seconds), 60, "min", "s")
    if seconds < 48 * 3600:
        return _two(round(seconds / 60), 60, "h", "min")
    return _two(round(seconds / 3600), 24, "d", "h")


def _two(count: int, ratio: int, large: str, small: str) -> str:
    whole, rest = divmod(count, ratio)
    parts = [f"{number} {unit}" for number, unit in ((whole, large), (rest, small)) if number]
    return " ".join(parts)


def rate_text(rate: float) -> str:
    """Return a rate with three digits."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def arithmetic(findings: Findings) -> list[str]:
    """Return a line for each arithmetic but the chosen one."""
    return [
        f"{one.name} instead of {findings.precision}: network at {one.times:.2g} times the rate, "
        f"features with a cosine of at least {one.cosine:.4f}"
        for one in findings.precisions
    ]


def transfers(findings: Findings) -> str:
    """Return a line about the object store."""
    used = "" if findings.pool.gpus else " (no pixels pass it without GPUs)"
    put, get = readable(findings.transfer.put), readable(findings.transfer.get)
    return f"object store {readable(findings.store)}, {put}/s in, {get}/s out{used}"
