"""The picture of the rooms: layers as rows, imports as arrows, drawn as SVG for light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from rooms import Room, shortest

_WIDTH = 760  # of the picture, in pixels
_LEFT, _GAP, _HEIGHT, _BETWEEN, _WRAPPED = 34, 12, 38, 44, 10
_MOST_GAP, _ASIDE = 56, 110
_LETTER, _MARGIN, _LEAST = 7.6, 18, 62

_STYLE = """
.rooms { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; width: 100%; }
.rooms text { fill: var(--color-foreground-primary, currentColor); text-anchor: middle; }
.rooms .small { fill: var(--color-foreground-secondary, currentColor); font-size: 10px; }
.rooms rect { fill: var(--color-background-secondary, transparent);
  stroke: var(--color-foreground-muted, currentColor); }
.rooms .ray rect { stroke: var(--color-brand-primary, currentColor); stroke-width: 2; }
.rooms .band { fill: none; stroke: var(--color-background-border, currentColor); }
.rooms path { fill: none; stroke: var(--color-foreground-muted, currentColor); opacity: .55; }
.rooms .implied { display: none; }
.rooms marker path { fill: var(--color-foreground-muted, currentColor); stroke: none; opacity: 1; }
"""
#: What a room imports, and what imports it, while the pointer is on it.
_POINTED = """
.rooms:has(#room-{name}:hover) .of-{name}, .rooms:has(#room-{name}:hover) .to-{name} {{
  display: inline; opacity: 1; stroke-width: 2; }}
.rooms:has(#room-{name}:hover) .of-{name} {{ stroke: var(--color-brand-primary, currentColor); }}
"""


@dataclass
class _Box:
    room: Room
    left: float
    top: float
    width: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def picture(rooms: list[Room]) -> str:
    """Return the picture as an SVG element to stand within a page."""
    boxes, bands, height = _placed(rooms)
    kept = shortest(rooms)
    arrows = [
        _arrow(boxes[room.name], boxes[other], implied=(room.name, other) not in kept)
        for room in rooms
        for other in sorted(room.imports)
    ]
    total = sum(room.lines for room in rooms)
    title = f"{len(rooms)} rooms in {len(bands)} layers, {total:,} lines"
    style = _STYLE + "".join(_POINTED.format(name=room.name) for room in rooms)
    return "\n".join(
        [
            f'<svg class="rooms" viewBox="0 0 {_WIDTH} {height:.0f}" role="img"'
            ' xmlns="http://www.w3.org/2000/svg">',
            f"<title>{title}</title><style>{style}</style>",
            '<defs><marker id="rooms-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
            *bands,
            *arrows,
            *map(_drawn, boxes.values()),
            "</svg>",
        ]
    )


def _placed(rooms: list[Room]) -> tuple[dict[str, _Box], list[str], float]:
    """Return where the rooms are, a line and a number for each layer, and the height."""
    boxes: dict[str, _Box] = {}
    bands: list[str] = []
    top = 8.0
    for layer in sorted({room.layer for room in rooms}, reverse=True):
        bands.append(_band(layer, top, first=not bands))
        for line in _lines(_ordered([r for r in rooms if r.layer == layer], boxes, rooms)):
            boxes |= _line(line, top, right=layer % 2 == 1)
            top += _HEIGHT + _WRAPPED
        top += _BETWEEN - _WRAPPED
    return boxes, bands, top - _BETWEEN + 8


def _line(rooms: list[Room], top: float, *, right: bool) -> dict[str, _Box]:
    """Place rooms beside each other, short lines to the left and right of the middle by turns."""
    free = _WIDTH - _LEFT - sum(map(_wide, rooms))
    gap = min(_MOST_GAP, free / len(rooms))
    free -= gap * (len(rooms) - 1)
    left = _LEFT + free / 2 + (1 if right else -1) * min(_ASIDE, free / 3)
    boxes = {}
    for room in rooms:
        boxes[room.name] = _Box(room, left, top, _wide(room))
        left += _wide(room) + gap
    return boxes


def _band(layer: int, top: float, *, first: bool) -> str:
    number = f'<text class="small" x="12" y="{top + 23:.0f}">{layer}</text>'
    line = f'<path class="band" d="M0 {top - _BETWEEN / 2:.0f}H{_WIDTH}"/>'
    return number if first else line + number


def _ordered(row: list[Room], boxes: dict[str, _Box], rooms: list[Room]) -> list[Room]:
    """Return a layer's rooms below those that import them, as far as there is place."""

    def wish(room: Room) -> float:
        above = [boxes[r.name].middle for r in rooms if room.name in r.imports and r.name in boxes]
        return sum(above) / len(above) if above else _WIDTH / 2

    return sorted(row, key=wish)


def _lines(row: list[Room]) -> Iterator[list[Room]]:
    """Yield a layer's rooms in lines of about the same width that fit."""
    whole = sum(_wide(room) + _GAP for room in row)
    count = int(whole // (_WIDTH - _LEFT)) + 1
    per_line = -(-len(row) // count)
    yield from (row[i : i + per_line] for i in range(0, len(row), per_line))


def _wide(room: Room) -> float:
    return max(_LEAST, _LETTER * len(room.name) + _MARGIN)


def _drawn(box: _Box) -> str:
    room, middle, top = box.room, box.middle, box.top
    imports = ", ".join(sorted(room.imports)) or "no other room"
    kind = ' class="ray"' if room.ray else ""
    left, width = f"{box.left:.1f}", f"{box.width:.1f}"
    return (
        f'<g id="room-{room.name}"{kind}>'
        f"<title>{escape(f'{room.name}: {room.about} It imports {imports}.')}</title>"
        f'<rect x="{left}" y="{top:.1f}" width="{width}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="{middle:.1f}" y="{top + 16:.1f}">{room.name}</text>'
        f'<text class="small" x="{middle:.1f}" y="{top + 30:.1f}">{room.lines:,}</text></g>'
    )


def _arrow(start: _Box, end: _Box, *, implied: bool) -> str:
    x0, y0 = start.middle, start.top + _HEIGHT
    x1, y1 = end.middle, end.top - 1
    bend = max(18.0, (y1 - y0) * 0.4)
    kind = f"of-{start.room.name} to-{end.room.name}" + (" implied" if implied else "")
    return (
        f'<path class="{kind}" marker-end="url(#rooms-tip)"'
        f' d="M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f}'
        f' {x1:.1f} {y1:.1f}"/>'
    )
