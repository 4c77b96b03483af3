"""How the functions of the Python API are shown: their options are those of the commands."""

from __future__ import annotations

from typing import Any

from raypipe.config import JOBS
from raypipe.config.types import position


def short_signature(
    _app: Any, what: str, name: str, _object: Any, _options: Any, _signature: str, _back: Any
) -> tuple[str, str] | None:
    """Name what may be given by position and what is required; the rest are options."""
    job = name.rpartition(".")[2]
    if what != "function" or job not in JOBS:
        return None
    fields = JOBS[job].model_fields
    places = sorted((n for n in fields if position(fields[n])), key=lambda n: position(fields[n]))
    required = [n for n in fields if fields[n].is_required() and n not in places]
    first = [n if fields[n].is_required() else f"{n}=None" for n in places]
    named = ["*", *required] if required else []
    return f"({', '.join([*first, *named, '**options'])})", ""


def without_options(
    _app: Any, what: str, name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Name the command's page in place of a list of the same options."""
    job = name.rpartition(".")[2]
    if what != "function" or job not in JOBS:
        return
    for start, line in enumerate(lines):
        if line.startswith(("Args:", ":param")):
            end = next(
                (n for n in range(start + 1, len(lines)) if lines[n] and _ends(lines[n])),
                len(lines),
            )
            lines[start:end] = [f"Options: those of :doc:`/reference/commands/{job}`.", ""]
            return


def _ends(line: str) -> bool:
    return not line.startswith((" ", ":param"))


def setup(app: Any) -> dict[str, Any]:
    """Connect to what autodoc has found."""
    app.connect("autodoc-process-signature", short_signature)
    # Before napoleon turns `Args:` into fields.
    app.connect("autodoc-process-docstring", without_options, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
