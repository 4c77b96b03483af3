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
from raypipe.diagnosis.rates import OTHER, Estimate, Rates, estimate
from raypipe.spec import Spec

_MORE_NODES = 4
_NOISE = 0.1
#: Units of pixels that wait for each GPU, beside those that cores are decoding.
_WAITING_UNITS = 4
_NEGLIGIBLE = 0.0005
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
    rate, count = measured.rates.steady, len(machines)
    estimates = [
        estimate(images, rate, nodes=count, times=times, start=start, price=config.price)
        for times in (1, _MORE_NODES)
    ]
    summary: dict[str, Any] = {
        **_figures(measured),
        "precision": spec.precision,
        "images": images,
        "price": config.price,
        "estimates": [asdict(one) for one in estimates],
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
        _outlook(images, estimates, config.price),
        "",
        *(f"- {one}" for one in summary["advice"]),
        *(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items()),
        *(f"! {one}" for one in summary["warnings"]),
    ]
    return summary, "\n".join(lines)


def _figures(measured: Measured) -> dict[str, Any]:
    rates, replicas = measured.rates, measured.replicas
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
        "sampled": {"images": measured.items, "rejects": measured.rejects},
        "unit": measured.unit,
        "bytes_read": measured.cost.bytes_read,
    }


def _sampled(measured: Measured, spec: Spec) -> str:
    replicas, compiled = measured.replicas, ", compiled" * measured.replicas.compiled
    return (
        f"measured on {measured.items:,} images in units of {measured.unit}: {replicas.max_size} × "
        f"{replicas.device}, {spec.precision}, batches of {replicas.batch_size}{compiled}"
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


def _outlook(images: int, estimates: list[Estimate], price: float | None) -> str:
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


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _warnings(measured: Measured, spec: Spec, machines: list[Machine], others: float) -> list[str]:
    """Return what makes the machines slow."""
    found = []
    if others > _NOISE:
        found.append(
            f"other processes took {others:.0%} of this machine before: alone, it would be faster"
        )
    unit = 3 * spec.views * math.prod(spec.preprocess.shape) * measured.unit
    for machine in machines:
        gpus = len(machine.gpus) if measured.pool.gpus else 0
        waiting = _WAITING_UNITS * gpus + machine.cpus if gpus else 0
        found += warnings(machine, waiting * unit)
    return list(dict.fromkeys(found))
