"""Pictures of results, drawn without a display."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from raypipe.display import printable
from raypipe.reports.lettering import Lettering
from raypipe.reports.wording import shade

_DPI = 120
#: Of a contact sheet, and how many letters of its title go on an inch of it.
_LEAST_WIDTH, _LETTERS_PER_INCH = 3.4, 11
#: Lines of its title, and letters on a line of a caption.
_TITLE_LINES, _CAPTION = 4, 24
#: Classes above which neither names nor numbers would be readable.
_NAMED = 30
_RIGHT, _WRONG = colormaps["Blues"], colormaps["Oranges"]
#: The luminance on which black and white letters are as readable: 4.58 : 1.
_MIDDLE = 0.179


def confusion_picture(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str, path: Path
) -> None:
    """Draw a confusion matrix: rows are the true classes, columns the predicted ones.

    Blue is right, by share of the class; orange is wrong, by number of images.
    """
    counts = np.asarray(matrix)
    many = len(classes) > _NAMED
    side = 3 + 0.42 * min(len(classes), 40)
    letters = Lettering([*classes, title])
    with rc_context({"font.family": letters.families}):
        figure = Figure(figsize=(side + 1, side), dpi=_DPI, layout="constrained")
        axes = figure.add_subplot()
        colours = _colours(counts)
        axes.imshow(colours)
        bar = figure.colorbar(ScalarMappable(Normalize(0, 1), _RIGHT), ax=axes, shrink=0.7)
        bar.set_label("right: share of the true class")
        names = [] if many else _names(classes, letters)
        ticks = range(len(names))
        axes.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, names)
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_parse_math(False)  # a class may be called `$5`
        if not many:
            _write_counts(axes, counts, colours)
        order = " (in the order of report.txt)" if many or letters.lacking else ""
        axes.set(xlabel="predicted (orange: wrong)", ylabel=f"true{order}", title=title)
        figure.savefig(path)


def _names(classes: Sequence[str], letters: Lettering) -> list[str]:
    """Return the names as they can be drawn; where words stand for letters, with their number."""
    drawn = [letters.of(name) for name in classes]
    return [
        shown if shown == printable(name) else f"{number}: {shown}"
        for number, (name, shown) in enumerate(zip(classes, drawn, strict=True), 1)
    ]


def _colours(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the colours (K, K, 4) of the cells (K, K)."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = counts - np.diag(np.diag(counts))
    most = int(wrong.max(initial=0))
    strength = np.vectorize(lambda count: shade(count, most), otypes=[float])(wrong)
    colours = np.where((wrong > 0)[..., None], _WRONG(0.1 + 0.6 * strength), 1.0)
    np.einsum("iij->ij", colours)[:] = _RIGHT(np.diag(share))
    return colours


def _write_counts(axes: Any, counts: npt.NDArray[np.int64], colours: npt.NDArray[Any]) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        ink = "black" if _luminance(colours[row, column]) > _MIDDLE else "white"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)


def _luminance(colour: npt.NDArray[np.float64]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)[:3]
    return float(linear @ (0.2126, 0.7152, 0.0722))


def curves_picture(epochs: Sequence[dict[str, Any]], kept: int, title: str, path: Path) -> None:
    """Draw loss and accuracy by epoch, on the training and on the validation rows.

    Args:
        epochs: of each epoch `epoch`, and `loss` and `accuracy` after `train_` and `validation_`.
        kept: the epoch whose weights are the model's.
        title: of the picture.
        path: where it is written.
    """
    figure = Figure(figsize=(9, 3.8), dpi=_DPI, layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        draw_curves(axes, epochs, kept, what)
        axes.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10).set_parse_math(False)
    figure.savefig(path)


def draw_curves(
    axes: Any,
    epochs: Sequence[dict[str, Any]],
    kept: int,
    what: str,
    colours: tuple[str, str, str] = ("tab:grey", "tab:blue", "tab:orange"),
) -> None:
    """Draw loss or accuracy; the colours are of training, validation and the epoch kept."""
    numbers = [int(epoch["epoch"]) for epoch in epochs]
    for part, colour in zip(("train", "validation"), colours, strict=False):
        values = [epoch[f"{part}_{what}"] for epoch in epochs]
        axes.plot(numbers, values, color=colour, marker=".", label=part)
    axes.axvline(kept, color=colours[2], linestyle="--", label=f"kept: epoch {kept}")
    axes.set(xlabel="epoch", ylabel=what)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if what == "accuracy":
        up_to_one(axes)
    legend_above(axes, fontsize=9)


def up_to_one(axes: Any) -> None:
    """End the axis of a share at 1, whose points are drawn whole."""
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.0))
    for line in axes.lines:
        line.set_clip_on(False)


def legend_above(axes: Any, ncols: int = 3, **style: Any) -> None:
    """Put what lines mean above them, where it hides nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        frameon=False,
        ncols=ncols,
        **style,
    )


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], title: str, path: Path
) -> None:
    """Draw rows of thumbnails, each with a caption in front."""
    longest = max((len(images) for _, images in rows), default=1)
    letters = Lettering([title, *(caption for caption, _ in rows)])
    with rc_context({"font.family": letters.families}):
        width = max(1.8 + 0.8 * longest, _LEAST_WIDTH)
        lines = _wrapped(letters.of(title), int(width * _LETTERS_PER_INCH), _TITLE_LINES)
        height = 0.4 + 0.2 * len(lines) + 0.8 * len(rows)
        figure = Figure((width, height), dpi=_DPI, layout="constrained")
        grid = figure.subplots(len(rows), longest, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for line, (caption, images) in zip(grid, rows, strict=True):
            each = [_wrapped(line, _CAPTION, 2) for line in letters.of(caption).split("\n")]
            shown = "\n".join(part for parts in each for part in parts)
            text = line[0].text(-0.15, 0.5, shown, ha="right", va="center", fontsize=8)
            text.set(transform=line[0].transAxes, parse_math=False)
            for axes, image in zip(line, images, strict=False):
                axes.imshow(image, cmap="gray")
        figure.suptitle("\n".join(lines), fontsize=10).set_parse_math(False)
        figure.savefig(path)


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """Return a text as lines; one that is too long ends in a sign that it goes on."""
    lines = textwrap.wrap(text, width)
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1][:-1]}…"]
