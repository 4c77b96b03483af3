"""What is said about a measurement: for people, the conclusion first, and for programs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

from raypipe.config import DoctorConfig
from raypipe.diagnosis.advice import advice
from raypipe.diagnosis.machine import Machine, warnings
from raypipe.diagnosis.measure import Measured
from raypipe.diagnosis.rates import OTHER, Rates
from raypipe.spec import Spec

_MORE_NODES = 4
_NOISE = 0.1
#: Units of pixels that wait for each GPU, beside those that cores are decoding.
_WAITING_UNITS = 4
_NEGLIGIBLE = 0.0005
#: Below so many seconds, lengths of time are told in these units: of seconds, and of each other.
_LENGTHS = {
    600: (1, 60, "min", "s"),
    48 * 3600: (60, 60, "h", "min"),
    math.inf: (3600, 24, "d", "h"),
}
_WORDS = {
    "read": ("Reading limits", "read"),
    "decode": ("Decoding limits", "decode"),
    "compute": ("The network limits", "network"),
    "write": ("Writing limits", "write"),
    OTHER: ("Handing over limits", "between units"),
}


def report(
    config: DoctorConfig,
    spec: Spec,
    measured: Measured,
    machines: list[Machine],
    *,
    images: int,
    start: float,
    others: float,
) -> tuple[dict[str, Any], str]:
    """Return the summary and the text.

    Args:
        config: the options.
        spec: what the features are.
        measured: the short extraction.
        machines: the nodes.
        images: how many to estimate for.
        start: seconds until the first features were there.
        others: share of this machine's time that other processes took before.
    """
    rate, price = measured.rates.steady, config.price
    estimates = estimate(images, rate, nodes=len(machines), start=start, price=price)
    summary: dict[str, Any] = {
        **_figures(measured),
        "precision": spec.precision,
        "images": images,
        "price": price,
        "estimates": estimates,
        "start_seconds": round(start, 1),
        "advice": advice(measured, images, start),
        "warnings": _warnings(measured, spec, machines, others),
        "nodes": [asdict(machine) for machine in machines],
    }
    kinds = Counter(map(str, machines))
    lines = [
        summary["conclusion"],
        "",
        *_table(measured.rates),
        _sampled(measured, spec),
        "",
        _outlook(images, estimates, price),
        "",
        *(f"- {one}" for one in summary["advice"]),
        *(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items()),
        *(f"! {one}" for one in summary["warnings"]),
    ]
    return summary, "\n".join(lines)


def _figures(measured: Measured) -> dict[str, Any]:
    rates, replicas, cost = measured.rates, measured.replicas, measured.cost
    return {
        "conclusion": _conclusion(rates),
        "images_per_second": round(rates.steady, 2),
        "limit": asdict(rates.limit()),
        "seconds_per_image": rates.seconds,
        "pool": asdict(measured.pool),
        "device": replicas.device,
        "batch_size": replicas.batch_size,
        "compiled": replicas.compiled,
        "cores_per_gpu": rates.cores_per_gpu(),
        "cores_missing": rates.cores_missing(),
        "sampled": {"images": cost.items, "rejects": cost.items - cost.images},
        "unit": measured.unit,
        "bytes_read": cost.bytes_read,
    }


def _sampled(measured: Measured, spec: Spec) -> str:
    replicas = measured.replicas
    return (
        f"measured on {measured.cost.items:,} images, {measured.unit} at a time, with "
        f"{replicas.in_words}, in {spec.precision}, batches of {replicas.batch_size}"
    )


def _conclusion(rates: Rates) -> str:
    found, rate = rates.limit(), _rate(rates.steady)
    without = f" ({_rate(found.without)} without it)" if found.without else ""
    subject = _WORDS[found.step][0]
    if not rates.pool.gpus:
        return f"{subject}: {found.share:.0%} of each core's time, at {rate} images/s{without}."
    idle = "cores" if found.step in rates.pool.device else "GPUs"
    return f"{subject}: {rate} images/s{without}, and the {idle} idle {found.idle:.0%} of the time."


def _table(rates: Rates) -> list[str]:
    """Return a line per step: the rate of one core or GPU, and the share of its time."""
    device = rates.pool.device if rates.pool.gpus else ()
    lines = [f"{'step':<20}{'images/s':>10}{'share':>8}"]
    for step, (_, name) in _WORDS.items():
        if (share := rates.shares[step]) >= _NEGLIGIBLE:
            whose, rate = "GPU" if step in device else "core", _rate(1 / rates.seconds[step])
            lines.append(f"{name:<20}{rate:>10}{share:>8.1%}  of a {whose}")
    return lines


def estimate(
    images: int, rate: float, *, nodes: int, start: float, price: float | None
) -> list[dict[str, Any]]:
    """Return what so many images take, on the nodes that were measured and on more of them.

    Replicas do not wait for each other, so the rate grows with them.

    Args:
        images: how many.
        rate: images per second of the nodes that were measured.
        nodes: how many that were.
        start: seconds until the first features are there.
        price: cost of one node for an hour; None where it is not known.
    """
    found = []
    for count in (nodes, nodes * _MORE_NODES):
        seconds = start + images * nodes / (rate * count)
        cost = None if price is None else price * count * seconds / 3600
        found.append({"nodes": count, "seconds": seconds, "cost": cost})
    return found


def _outlook(images: int, estimates: list[dict[str, Any]], price: float | None) -> str:
    """Return how long so many images take, on these nodes and on more of them."""
    parts = []
    for one in estimates:
        where = "1 node" if one["nodes"] == 1 else f"{one['nodes']} such nodes"
        cost = "" if one["cost"] is None else f" (cost {one['cost']:,.2f})"
        parts.append(f"{where} {duration(one['seconds'])}{cost}")
    at = "" if price is None else f", at {price:g} per node-hour"
    return f"{images:,} images: {'; '.join(parts)}{at}"


def duration(seconds: float) -> str:
    """Return a length of time as people write it: `48 s`, `18 min`, `1 h 12 min`, `4 d 15 h`."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    unit, ratio, *names = next(how for below, how in _LENGTHS.items() if seconds < below)
    parts = zip(divmod(round(seconds / unit), ratio), names, strict=True)
    return " ".join(f"{number} {name}" for number, name in parts if number)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _warnings(measured: Measured, spec: Spec, machines: list[Machine], others: float) -> list[str]:
    """Return what makes the machines slow."""
    found = []
    if others > _NOISE:
        found.append(
            f"other processes took {others:.0%} of this machine before: alone, it would be faster"
        )
    unit = spec.pixel_bytes * measured.unit
    for machine in machines:
        gpus = len(machine.gpus) if measured.pool.gpus else 0
        waiting = _WAITING_UNITS * gpus + machine.cpus if gpus else 0
        found += warnings(machine, waiting * unit)
    return list(dict.fromkeys(found))
