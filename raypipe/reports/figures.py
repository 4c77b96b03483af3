"""Pictures of results, drawn without a display."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from raypipe.display import printable

_DPI = 120


def confusion_picture(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str, path: Path
) -> None:
    """Draw a confusion matrix: rows are the true classes, columns the predicted ones."""
    counts = np.asarray(matrix)
    many = len(classes) > 30
    side = 3 + 0.42 * min(len(classes), 40)
    figure = Figure(figsize=(side + 1, side), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label("share of the true class")
    if not many:
        ticks = range(len(classes))
        names = [printable(name) for name in classes]
        axes.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, names)
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_parse_math(False)  # a class may be called `$5`
        _write_counts(axes, counts, share)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    _save(figure, path)


def _write_counts(axes: Any, counts: npt.NDArray[np.int64], share: npt.NDArray[Any]) -> None:
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)


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
    figure.suptitle(printable(title), fontsize=10).set_parse_math(False)
    _save(figure, path)


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
    axes.legend(fontsize=9)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], title: str, path: Path
) -> None:
    """Draw rows of thumbnails, each with a caption in front."""
    longest = max((len(images) for _, images in rows), default=1)
    figure = Figure(
        figsize=(1.8 + 0.8 * longest, 0.6 + 0.8 * len(rows)), dpi=_DPI, layout="constrained"
    )
    grid = figure.subplots(len(rows), longest, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for line, (caption, images) in zip(grid, rows, strict=True):
        shown = printable(caption, keep="\n")
        text = line[0].text(-0.15, 0.5, shown, ha="right", va="center", fontsize=8)
        text.set(transform=line[0].transAxes, parse_math=False)
        for axes, image in zip(line, images, strict=False):
            axes.imshow(image, cmap="gray")
    figure.suptitle(printable(title), fontsize=10).set_parse_math(False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """Write a picture; a letter that the font lacks is a box in it, and no line on a terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path)
