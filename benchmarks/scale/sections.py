"""What a part of the benchmark has found, as a title, a text and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Section", "readable", "save", "slope"]


@dataclass(frozen=True)
class Section:
    """One table with its explanation.

    Attributes:
        title: of the section.
        text: what was measured, and slopes; Markdown.
        head: names of the columns.
        rows: the cells, as text.
    """

    title: str
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        table = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([f"── {self.title}", self.text, *table, ""])

    def to_dict(self) -> dict[str, Any]:
        """Return what the file of results holds; the table's first row is its head."""
        rows = [list(row) for row in (self.head, *self.rows)]
        return {"title": self.title, "text": self.text, "table": rows}


def save(sections: Sequence[Section], path: Path) -> None:
    """Put the sections into a file of results under the key `scale`; others stay."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found["scale"] = [section.to_dict() for section in sections]
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope in the logarithms: 1 where the cost grows like the size."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def readable(value: float, digits: int = 3) -> str:
    """Return a number with so many digits that count, and thousands apart."""
    if value and abs(value) < 10 ** (digits - 1):
        return f"{value:.{digits}g}"
    return f"{value:,.0f}"
