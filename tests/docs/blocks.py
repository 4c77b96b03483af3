"""Code blocks of the documentation, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Pages that are made when the site is built, from what is tested elsewhere.
_GENERATED = ("docs/_build", "docs/reference/commands", "docs/project")
_FENCE = re.compile(r"^(```+)[ \t]*([^\n]*)\n(.*?)^\1[ \t]*$", re.M | re.S)
_FILE = re.compile(r"# ([\w./-]+\.(?:ya?ml|py))\n")
_ASSIGNED = re.compile(r"((?:\w+=\S*\s+)*)raypipe\s")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file it is in, below the root.
        line: of its first line, from 1.
        language: what stands behind the fence.
        text: what is in it.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name in its first line, if that is one."""
        found = _FILE.match(self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """The commands of a block of shell, continued lines joined, without comments."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return all pages, below the root."""
    found = [
        *ROOT.glob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "examples").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
    names = [str(path.relative_to(ROOT)) for path in found]
    return sorted(name for name in names if not name.startswith(_GENERATED))


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(page, line, found[2], found[3])


def is_raypipe(command: str) -> bool:
    """Whether a command is one of this project, perhaps with variables in front."""
    return _ASSIGNED.match(f"{command} ") is not None


def variables(command: str) -> dict[str, str]:
    """Return the variables in front of a command."""
    found = _ASSIGNED.match(f"{command} ")
    return dict(word.split("=", 1) for word in found[1].split()) if found else {}


def without_variables(command: str) -> str:
    """Return a command of this project without the variables in front of it."""
    found = _ASSIGNED.match(f"{command} ")
    return command[len(found[1]) :] if found else command
