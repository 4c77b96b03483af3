"""Render results.json as RESULTS.md: all that is there, without measuring anything.

python -m benchmarks.report
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import results
from benchmarks.extraction.field import BASE
from benchmarks.extraction.ideal import ideal_rate
from benchmarks.extraction.trace import BEGIN, END

__all__ = ["NAME", "render", "write"]

NAME = "RESULTS.md"

_INTRODUCTION = """\
# Results

Written by `benchmarks/report.py` from `results.json`; figures are medians of the rounds of one run,
and in brackets their least and largest.
"""

_DEFINITIONS = f"""\
## How extraction is measured

Every contestant is a process of its own, which gets the same images, network, weights and
preprocessing (both sides scaled to the network's size, bilinear with antialiasing). In each round
all of them run one after another, each round beginning with another one, so that a machine whose
speed changes changes it for all. Ratios are medians of the ratios within a round.

- **begins**: seconds from the launch of the process until work is under way: the time of the first
  piece of results, less what its images take one worker at the steady rate.
- **first**: seconds until the first piece of results is there. A loop's is a batch in its memory,
  raypipe's a partition of its store on disk, with many more images.
- **steady**: images per second between {BEGIN:.0%} and {END:.0%} of the images. A loop leaves a
  line per batch when it has the features; raypipe's progress is read from outside, from the time
  and the rows of each partition in its store. Workers that finish large pieces in lockstep would
  mislead a rate between two points, so each piece is spread evenly over the time its worker took
  for it (since that worker's last piece; for partitions, since as many pieces ago as there are
  replicas). It begins no sooner than every worker has finished a piece, and ends no later than one
  may have run out of work. A contestant that decodes ahead looks better in it than it is, since
  part of that work lies before.
- **whole**: images per second of the whole command, from launch to exit.
- **ideal**: what the work itself costs, measured in the same rounds without any framework:
  raypipe's own decoding and resizing of files in the page cache, and its prepared network on inputs
  that are ready, each by as many one-thread processes at once as there are cores. Its rate is
  cores / (decode + forward). That of a compiled network is what compiled contestants are compared
  with. What is compiled in the first round is found by the others in PyTorch's cache.
- **agreement**: the least cosine between a contestant's features and those of "{BASE}", over all
  images; and the same after taking off the mean feature, which networks with random weights need.
"""


_HEADINGS = {"scale": "Scale of the machinery", "gpu": "A GPU"}


def render(found: dict[str, Any]) -> str:
    """Return RESULTS.md for the content of results.json."""
    blocks = [_INTRODUCTION]
    networks = found.get("extraction", {})
    if networks:
        blocks.append("# Extraction\n")
        blocks += [_network(one) for one in networks.values()]
        blocks.append(_DEFINITIONS)
    for key, sections in found.items():
        if key != "extraction":
            blocks.append(f"# {_HEADINGS.get(key, key.capitalize())}\n")
            blocks += [section(one) for one in sections]
    return "\n".join(blocks)


def write(folder: Path = results.FOLDER) -> None:
    """Render a folder's results beside them."""
    (folder / NAME).write_text(render(results.load(folder)))


def section(one: dict[str, Any]) -> str:
    """Render a section: `title`, and `text` (Markdown) and `table` (rows, head first) if any."""
    parts = [f"## {one['title']}", one.get("text", "").strip(), table(one.get("table", []))]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Sequence[Sequence[object]]) -> str:
    """Render rows, the head first, as a Markdown table."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def listed(items: dict[str, str]) -> str:
    """Render names and what is told of them as a Markdown list."""
    return "\n".join(f"- {name}: {told}" for name, told in items.items())


def _network(one: dict[str, Any]) -> str:
    images, rounds = one["images"], len(one["ideal"])
    origin = "generated JPEGs" if one.get("generated") else "JPEGs"
    about = (
        f"{images['count']} {origin} of {images['mean_bytes'] / 1000:.0f} kB on average, "
        f"{one['weights']} weights, {rounds} round{'s' * (rounds != 1)}, "
        f"{one['date']}: `{one.get('command', '')}`"
    )
    notes = "\n".join(f"- {note}" for note in one["notes"])
    contestants = [(c, _rates(c, one)) for c in one["contestants"]]
    parts = [
        f"## {one['label']}",
        about,
        listed(one["machine"]),
        table([_HEAD, *(_row(c, rates) for c, rates in contestants)]),
        "What they are:",
        table([("contestant", "what it is", "agreement"), *map(_about, one["contestants"])]),
        "The work itself, in core-milliseconds by the clock and, of these, on a core (the rest "
        "went to other programs):",
        table(_ideal(one)),
        _own(one["contestants"]),
        *(_tried(_TRIED[key], some) for key, some in one["tried"].items()),
        notes,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_TRIED = {"recipe": "Ray Data's recipe", "loop": "the best loop"}
_HEAD = ("contestant", "begins s", "first s", "steady images/s", "× plain", "× ideal", "whole")


def _rates(contestant: dict[str, Any], network: dict[str, Any]) -> dict[str, Any]:
    """Return a contestant's figures over the rounds; None where a round has no steady rate."""
    runs = contestant["runs"]
    base: list[dict[str, Any]] = next(
        (c["runs"] for c in network["contestants"] if c["name"] == BASE), []
    )
    ideal = [
        ideal_of(part, network["cores"], compiled=contestant["compiled"])
        for part in network["ideal"]
    ]
    return {
        "begins": [run["begins"] for run in runs],
        "first": [run["first"] for run in runs],
        "steady": [run["steady"] for run in runs],
        "plain": _ratios([r["steady"] for r in runs], [r["steady"] for r in base]),
        "ideal": _ratios([r["steady"] for r in runs], ideal),
        "whole": [run["images"] / run["seconds"] for run in runs],
    }


def ideal_of(part: dict[str, Any], cores: int, *, compiled: bool) -> float:
    """Return the ideal images per second of one round."""
    forward = part["compiled" if compiled else "forward"]
    return ideal_rate(part["decode"]["seconds"], forward["seconds"], cores)


def _ratios(values: list[float | None], others: list[Any]) -> list[float | None]:
    """Divide round by round."""
    pairs = zip(values, others, strict=False)
    return [value / other if value and other else None for value, other in pairs]


def _row(contestant: dict[str, Any], rates: dict[str, Any]) -> tuple[str, ...]:
    return (
        contestant["name"],
        f"{_figure(rates['begins'], 1)} {_range(rates['begins'])}".strip(),
        _figure(rates["first"], 1),
        f"{_figure(rates['steady'], 1)} {_range(rates['steady'])}".strip(),
        _figure(rates["plain"], 2),
        _figure(rates["ideal"], 2),
        _figure(rates["whole"], 1),
    )


def _about(contestant: dict[str, Any]) -> tuple[str, ...]:
    found = contestant["agreement"]
    told = f"{found['cosine']:.4f}, centred {found['centred']:.4f}" if found else "–"
    return contestant["name"], contestant["about"], told


def _ideal(one: dict[str, Any]) -> list[tuple[str, ...]]:
    parts, cores = one["ideal"], one["cores"]
    rows: list[tuple[str, ...]] = [("part", "ms per image", "on a core", "images/s of all cores")]
    names = {"decode": "read, decode and resize", "forward": "network", "compiled": "compiled"}
    for key, name in names.items():
        cost = [1000 * part[key]["seconds"] for part in parts]
        batch = f", {parts[0]['precision']}, batch {parts[0][key]['batch']}"
        rate = _figure([1000 * cores / value for value in cost], 1)
        told = f"{_figure(cost, 2)} {_range(cost, 2)}".strip()
        cpu = _figure([1000 * part[key]["cpu"] for part in parts], 2)
        rows.append((name + batch * (key != "decode"), told, cpu, rate))
    for compiled in (False, True):
        rate = _figure([ideal_of(part, cores, compiled=compiled) for part in parts], 1)
        rows.append((f"ideal{', compiled' * compiled}", "", "", rate))
    return rows


def _own(contestants: list[dict[str, Any]]) -> str:
    """What a contestant says itself of its first feature and its steady rate, beside the above."""
    lines = []
    for one in contestants:
        first = [run["own"].get("first_feature_seconds") for run in one["runs"]]
        steady = [run["own"].get("steady_images_per_second") for run in one["runs"]]
        if any(first) or any(steady):
            lines.append(
                f"- {one['name']} says of itself: first feature after {_figure(first, 1)} s, "
                f"{_figure(steady, 1)} images/s"
            )
    return "\n".join(lines)


def _tried(what: str, tried: list[tuple[dict[str, float], float]]) -> str:
    """Tell which settings were tried; the best are those that took part."""
    if len(tried) == 1:
        return ""
    names = list(tried[0][0])
    rows = [[*names, "steady images/s"]]
    rows += [[*(str(some[name]) for name in names), f"{rate:.1f}"] for some, rate in tried]
    return f"Settings tried for {what}, on fewer images:\n\n" + table(rows)


def _figure(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):.{digits}f}" if known else "–"


def _range(values: Sequence[float | None], digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    return f"({min(known):.{digits}f}–{max(known):.{digits}f})" if len(known) > 1 else ""


if __name__ == "__main__":
    write()
