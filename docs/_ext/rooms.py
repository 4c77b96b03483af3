"""Rooms of the code: a table of layers and a picture, made from what the code imports.

A room is a module or package directly below `raypipe/`. Its layer is where the import contract in
`pyproject.toml` has it; what it is, the first line of its docstring says. The picture is drawn
where a page has the directive `rooms`; `python docs/_ext/rooms.py` writes the table into the page.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
_PACKAGE = "raypipe"
_TABLE = re.compile(r"^\| layer \|.*?(?=\n\n)", re.M | re.S)


@dataclass(frozen=True)
class Room:
    """A module or package of the code.

    Attributes:
        name: without that of the project.
        layer: from 0, the lowest.
        about: first line of its docstring.
        ray: whether it may import Ray: `yes`, `in part` or nothing.
        lines: of all its files.
        imports: names of the other rooms that it imports.
    """

    name: str
    layer: int
    about: str
    ray: str
    lines: int
    imports: frozenset[str]


def read_rooms(root: Path = ROOT) -> list[Room]:
    """Return all rooms, highest layer first, in the contract's order.

    Raises:
        ValueError: the contract and the code do not have the same rooms.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    rows = [[_own(name) for name in re.split(r"[|:]", row)] for row in layers]
    listed = [name for row in rows for name in row]
    there = {path.stem for path in (root / _PACKAGE).iterdir() if _is_room(path)}
    if set(listed) != there:
        raise ValueError(f"rooms and rows of the contract differ: {sorted(there ^ set(listed))}")
    forbidden = [one for one in contracts if "ray" in one.get("forbidden_modules", ())]
    without = {_own(name) for one in forbidden for name in one["source_modules"]}
    return [
        _room(root, name, len(rows) - 1 - above, _ray(name, without), frozenset(listed))
        for above, row in enumerate(rows)
        for name in row
    ]


def table(rooms: list[Room]) -> str:
    """Return the table of layers, as it stands in the page."""
    lines = ["| layer | room | what is in it | Ray |", "|---|---|---|---|"]
    lines += [
        f"| {r.layer} | `{r.name}` | {r.about.rstrip('.')} | {r.ray} |".replace("|  |", "| |")
        for r in rooms
    ]
    return "\n".join(lines)


def table_of_page(text: str) -> str:
    """Return the table that a page has."""
    found = _TABLE.search(text)
    return found[0] if found else ""


def write_table() -> None:
    """Bring the page's table up to date."""
    text = PAGE.read_text(encoding="utf-8")
    made = table(read_rooms())
    PAGE.write_text(_TABLE.sub(lambda _: made, text, count=1), encoding="utf-8")


def shortest(rooms: list[Room]) -> set[tuple[str, str]]:
    """Return the imports that no longer way through other rooms stands for."""
    direct = {room.name: room.imports for room in rooms}
    reached: dict[str, set[str]] = {}
    for room in reversed(rooms):  # lower layers first
        reached[room.name] = set().union(*({n} | reached.get(n, set()) for n in room.imports))
    return {
        (room.name, one)
        for room in rooms
        for one in room.imports
        if not any(one in reached.get(other, ()) for other in direct[room.name] - {one})
    }


def _own(name: str) -> str:
    """Return a row's name of a room; parentheses mark one that is optional."""
    return name.strip(" ()").removeprefix(f"{_PACKAGE}.")


def _ray(name: str, without: set[str]) -> str:
    if name in without:
        return ""
    return "in part" if any(one.startswith(f"{name}.") for one in without) else "yes"


def _is_room(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob("*.py"))
    return path.suffix == ".py" and not path.stem.startswith("__")


def _room(root: Path, name: str, layer: int, ray: str, all_rooms: frozenset[str]) -> Room:
    place = root / _PACKAGE / name
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    first = place / "__init__.py" if place.is_dir() else files[0]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    about = (ast.get_docstring(ast.parse(texts[first])) or "").splitlines()[0]
    imports = {one for path in files for one in _imports(ast.parse(texts[path]), path, root)}
    lines = sum(text.count("\n") for text in texts.values())
    return Room(name, layer, about, ray, lines, (frozenset(imports) & all_rooms) - {name})


def _imports(tree: ast.AST, path: Path, root: Path) -> Iterator[str]:
    """Yield the names of the rooms that a file imports from, anywhere in it."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *filter(None, [node.module])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = (name.split(".") for name in names)
        yield from (part[1] for part in parts if part[0] == _PACKAGE and len(part) > 1)


def setup(app: Any) -> dict[str, Any]:
    """Add the directive that draws the rooms."""
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from rooms_picture import picture

    class Rooms(Directive):
        has_content = True  # is for readers who see the page's source

        def run(self) -> list[nodes.Node]:
            return [nodes.raw("", picture(read_rooms()), format="html")]

    app.add_directive("rooms", Rooms)
    app.connect("env-get-outdated", lambda *_: [PAGE.stem])  # the code may have changed
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write_table()
