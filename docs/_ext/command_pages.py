"""A page for each command, made from its configuration model when the site is built.

`raypipe.config.JOBS` is the one definition of all options; nothing that is written here is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from raypipe.cli.command import HEADINGS
from raypipe.cli.options import ENVIRONMENT_PREFIX
from raypipe.config import JOB_HEADINGS, JOBS, JobConfig
from raypipe.config.allowed import choices, number, plain
from raypipe.config.examples import EXAMPLES
from raypipe.config.types import position, replaced_by

FOLDER = "reference/commands"
#: What every command takes beside its own options.
_COMMON = """
`--config` FILE
: YAML file with these options, under the names given here; the command line wins.

`--json`
: Print one JSON object on standard output, everything else on standard error.
"""


def write_pages(app: Any) -> None:
    """Write the pages of all commands, and one that lists them."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pages = {name: _page(name, model) for name, model in JOBS.items()} | {"index": _index()}
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        _write(folder / f"{name}.md", text)


def _write(path: Path, text: str) -> None:
    """A file that stays as it is needs not be read again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _index() -> str:
    parts = ["# Commands"]
    for heading, jobs in JOB_HEADINGS.items():
        rows = map(_row, jobs)
        parts += [f"## {heading}", "\n".join(["| | |", "|---|---|", *rows])]
    names = "\n".join(name for jobs in JOB_HEADINGS.values() for name in jobs)
    return "\n\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{names}\n```"]) + "\n"


def _row(name: str) -> str:
    return f"| [`{name}`]({name}.md) | {_marked(_sentences(JOBS[name])[0])} |"


def _page(name: str, model: type[JobConfig]) -> str:
    fields = model.model_fields
    by_place = sorted(
        filter(lambda n: position(fields[n]), fields), key=lambda n: position(fields[n])
    )
    synopsis = " ".join([f"raypipe {name}", *map(str.upper, by_place), "[OPTIONS]"])
    parts = [f"# {name}", *map(_marked, _sentences(model)), f"```text\n{synopsis}\n```"]
    parts += ["\n".join(["```sh", *EXAMPLES[name], "```"])]
    for heading in HEADINGS:
        found = [n for n in fields if _group(fields[n]) == heading and not replaced_by(fields[n])]
        if found or heading == "Command":
            parts += [f"## {heading}", *(_entry(n, fields[n]) for n in found)]
    return "\n\n".join([*parts, _COMMON.strip()]) + "\n"


def _sentences(model: type[JobConfig]) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", model.__doc__ or "")]


def _group(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def _entry(name: str, info: FieldInfo) -> str:
    flag = "--" + name.replace("_", "-")
    flags = f"`{flag}`"
    if position(info):
        flags = f"`{name.upper()}`, {flags}"
    elif _is_tristate(info):
        flags = f"`{flag}`, `--no-{flag[2:]}`"
    facts = " · ".join(_facts(name, info))
    return f"{flags}\n: {_marked(' '.join((info.description or '').split()))}\n\n  {facts}"


def _facts(name: str, info: FieldInfo) -> Iterator[str]:
    if info.is_required():
        yield "**required**"
    if values := _values(info):
        yield values
    default = info.default
    if not (info.is_required() or default is None or default is False or default == ()):
        yield f"default `{default}`"
    yield f"in YAML `{name}`"
    yield f"variable `{ENVIRONMENT_PREFIX}{name.upper()}`"


def _values(info: FieldInfo) -> str:
    """Say what an option takes, where its type says so."""
    values = [f"`{value}`" for value in choices(info.annotation)]
    kind = "" if bool in plain(info.annotation) else number(info)
    if kind or not values:
        return " or ".join([*values, kind] if kind else [])
    return " ".join(values) if len(values) == len(plain(info.annotation)) else ""


def _is_tristate(info: FieldInfo) -> bool:
    return info.annotation is not bool and bool in plain(info.annotation)


def _marked(text: str) -> str:
    """Options within a text become code; what is in backticks already stays."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece
        if piece.startswith("`")
        else re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"`\1`", piece)
        .replace("<", "&lt;")
        .replace("*", r"\*")
        for piece in pieces
    )


def setup(app: Any) -> dict[str, Any]:
    """Have the pages written before Sphinx looks for pages."""
    app.connect("config-inited", lambda app, _config: write_pages(app))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
