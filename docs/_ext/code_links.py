"""Links of pages to the code, as [`raypipe.module.function`](its file), looked up without imports.

`python docs/_ext/code_links.py` brings them up to date where something has moved.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/tour.md", "docs/architecture.md")
_PACKAGE = "raypipe"
_LINK = re.compile(rf"\[`({_PACKAGE}[\w.]*)`\]\(([^)\s]*)\)")


def broken(page: Path, root: Path = ROOT) -> list[str]:
    """Return a line for each link that leads elsewhere, with where its end is now."""
    found = []
    for name, target in _LINK.findall(page.read_text(encoding="utf-8")):
        file = file_of(name, root)
        if file is None:
            candidates = places(name, root)
            found.append(f"{name} is not there; found: {', '.join(candidates) or 'nowhere'}")
        elif (page.parent / target).resolve() != file.resolve():
            found.append(f"{name} is in {file.relative_to(root)}, not in {target}")
    return found


def repair(page: Path, root: Path = ROOT) -> list[str]:
    """Lead each link to where its end is now, if there is only one such place.

    Returns:
        What was taken for what: another thing may have the name of one that is gone.
    """
    changes: list[str] = []

    def repaired(match: re.Match[str]) -> str:
        name = match[1]
        if file_of(name, root) is None and len(candidates := places(name, root)) == 1:
            name = candidates[0]
            changes.append(f"{match[1]} → {name}")
        file = file_of(name, root)
        if file is None:
            return match[0]
        return f"[`{name}`]({Path(os.path.relpath(file, page.parent)).as_posix()})"

    text = page.read_text(encoding="utf-8")
    page.write_text(_LINK.sub(repaired, text), encoding="utf-8")
    return changes


def file_of(name: str, root: Path = ROOT) -> Path | None:
    """Return the file that defines `package.module.Class.method`, or None."""
    words = name.split(".")
    for length in range(len(words), 0, -1):
        module = root.joinpath(*words[:length])
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.is_file() and ".".join(words[length:]) in {"", *_names(file)}:
                return file
    return None


def places(name: str, root: Path = ROOT) -> list[str]:
    """Return the full names of what has this name elsewhere: a function, or a class's member."""
    words = name.split(".")
    ends = {".".join(words[-2:])} if words[-2:-1] and words[-2][:1].isupper() else {words[-1]}
    found = []
    for file in sorted((root / _PACKAGE).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found += [f"{module}.{one}" for one in ends & _names(file)]
    same_file = [one for one in found if one.split(".")[-2] == words[-2]]
    return same_file or found


@cache
def _names(file: Path) -> frozenset[str]:
    """Return what a file defines: functions, classes and names, and `Class.member`."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        found |= _defined(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one}" for part in node.body for one in _defined(part)}
    return frozenset(found)


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {one.id for one in targets if isinstance(one, ast.Name)}


def main() -> None:
    """Repair all pages; say what was changed, and what is left."""
    left = []
    for name in PAGES:
        for change in repair(ROOT / name):
            print(f"{name}: {change}")  # noqa: T201
        left += [f"{name}: {line}" for line in broken(ROOT / name)]
    sys.exit("\n".join(left))


if __name__ == "__main__":
    main()
