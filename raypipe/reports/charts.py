"""Charts as SVG that stands in a page and takes its colours and its font."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raypipe.reports.figures import draw_curves, legend_above, up_to_one

# Matplotlib knows no CSS: these colours stand for the page's, which are light or dark.
_INK, _LINE, _BLUE, _ORANGE, _GREY = "#010101", "#020202", "#030303", "#040404", "#050505"
_COLOURS = {
    _INK: "currentColor",
    _LINE: "var(--line)",
    _BLUE: "var(--blue)",
    _ORANGE: "var(--orange)",
    _GREY: "var(--grey)",
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "raypipe",
    "font.size": 12,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.5,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 11,
}
#: Colours of clusters on the map, of which there may be any number: they repeat.
_PALETTE = (
    "#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#b6992d", "#af7aa1", "#ff9da7",
    "#9c755f", "#79706e", "#1f9ed1", "#d37295", "#8cd17d", "#b07aa1", "#499894", "#d4a6c8",
)  # fmt: skip


def reliability(bins: Sequence[dict[str, Any]]) -> str:
    """Draw how often the predicted class was right, by its probability."""
    full = [entry for entry in bins if entry["count"]]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", label="as often as it says")
        most = max(entry["count"] for entry in full)
        axes.bar(
            [(entry["lower"] + entry["upper"]) / 2 for entry in full],
            [entry["count"] / most for entry in full],
            width=0.09,
            color=_LINE,
            label=f"images (highest bar: {most})",
        )
        axes.plot(
            [entry["mean_confidence"] for entry in full],
            [entry["accuracy"] for entry in full],
            color=_BLUE,
            marker="o",
            label="this model",
        )
        axes.set(xlabel="probability of the predicted class", ylabel="share that is right")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
        legend_above(axes, ncols=2)

    points = ", ".join(f"{e['mean_confidence']:.2f}: {e['accuracy']:.2f}" for e in full)
    return _draw("reliability", f"Share of right answers by probability: {points}", draw)


def grid(name: str, entries: Sequence[dict[str, Any]], best: Any) -> str:
    """Draw the cross-validated accuracy by the values of one parameter.

    Args:
        name: the parameter's.
        entries: for each value its `params`, and `mean` and `std` of the accuracy.
        best: the value that was chosen.
    """
    values = [entry["params"][name] for entry in entries]
    means = [entry["mean"] for entry in entries]

    def draw(axes: Any) -> None:
        places = list(range(len(values)))
        below = [entry["std"] or 0 for entry in entries]
        above = [min(error, 1 - mean) for error, mean in zip(below, means, strict=True)]
        axes.errorbar(places, means, yerr=(below, above), color=_BLUE, marker="o", capsize=3)
        axes.axvline(values.index(best), color=_ORANGE, linestyle="--", label=f"chosen: {best}")
        axes.set_xticks(places, [f"{v:g}" if isinstance(v, float) else str(v) for v in values])
        axes.set(xlabel=name, ylabel="accuracy (mean ± deviation of folds)")
        up_to_one(axes)
        legend_above(axes)

    text = ", ".join(f"{v}: {m:.3f}" for v, m in zip(values, means, strict=True))
    return _draw("grid", f"Cross-validated accuracy by {name}: {text}", draw)


def curves(epochs: Sequence[dict[str, float]], kept: int, what: str) -> str:
    """Draw loss or accuracy by epoch, on the training and on the validation rows."""
    draw = partial(
        draw_curves, epochs=epochs, kept=kept, what=what, colours=(_GREY, _BLUE, _ORANGE)
    )
    return _draw(f"curves-{what}", f"Training and validation {what} by epoch", draw)


def k_figures(choices: Sequence[dict[str, float]], chosen: int, what: str) -> str:
    """Draw inertia or silhouette by the number of clusters."""
    numbers = [int(choice["k"]) for choice in choices]

    def draw(axes: Any) -> None:
        axes.plot(numbers, [choice[what] for choice in choices], color=_BLUE, marker="o")
        axes.axvline(chosen, color=_ORANGE, linestyle="--", label=f"chosen: {chosen}")
        axes.set(xlabel="number of clusters", ylabel=what)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(axes)

    text = ", ".join(f"{int(choice['k'])}: {choice[what]:.4g}" for choice in choices)
    return _draw(f"k-{what}", f"{what} by number of clusters: {text}", draw)


def histogram(counts: npt.NDArray[np.int64]) -> str:
    """Draw how many probabilities lie in each of (n,) equal parts of 0 to 1."""

    def draw(axes: Any) -> None:
        width = 1 / len(counts)
        axes.bar(
            [(number + 0.5) * width for number in range(len(counts))],
            counts,
            width=0.9 * width,
            color=_BLUE,
        )
        axes.set(xlabel="probability of the predicted class", ylabel="images", xlim=(0, 1))

    text = ", ".join(map(str, counts))
    return _draw("histogram", f"Images by probability, from 0 to 1 in tenths: {text}", draw)


def map_of(points: npt.NDArray[Any], groups: npt.NDArray[Any]) -> str:
    """Draw images as points (N, 2), coloured by group; their order in the SVG is that of `points`.

    Args:
        points: (N, 2).
        groups: (N,) number of each one's group.
    """

    def draw(axes: Any) -> None:
        colours = [_PALETTE[int(group) % len(_PALETTE)] for group in groups]
        found = axes.scatter(points[:, 0], points[:, 1], c=colours, s=22, linewidths=0, alpha=0.85)
        found.set_gid("points")
        axes.set_xticks([])
        axes.set_yticks([])

    label = f"{len(points)} images, the nearer the more alike, coloured by cluster"
    return _draw("map", label, draw, size=(9, 6))


def _draw(
    name: str, label: str, draw: Callable[[Any], None], size: tuple[float, float] = (5.4, 3.6)
) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _for_page(buffer.getvalue(), name, label)


def _for_page(svg: str, name: str, label: str) -> str:
    """Return the SVG element, in the page's colours, with ids that no other chart has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg class="chart" role="img" aria-label="{quoted}"', 1)
