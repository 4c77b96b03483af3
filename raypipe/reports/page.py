"""One page, complete in itself: it needs no server, no network and no other file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from raypipe.config.version import __version__
from raypipe.reports.album import Album
from raypipe.reports.wording import grouped, many, shade, some

_FOLDER = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it.

    Attributes:
        id: its id.
        uri: where it is; None if that is not known.
        caption: what is said of it, beside its id.
    """

    id: str
    uri: str | None
    caption: str = ""


@dataclass(frozen=True)
class PagePart:
    """A part of a page.

    Attributes:
        template: file that lays it out.
        title: what it is about, in a word or two.
        headline: what was made and how good it is, in a line.
        content: what the template shows.
        data: what the page's script needs of it, by name.
    """

    template: str
    title: str
    headline: str
    content: dict[str, Any]
    data: dict[str, Any]


def render(title: str, parts: Sequence[PagePart], album: Album, made: str) -> str:
    """Return the page as HTML.

    Args:
        title: of the page; empty for the headline of its only part.
        parts: in the order they are shown in.
        album: the pictures that the parts refer to.
        made: when, for people.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = grouped
    environment.filters["counted"] = many
    environment.filters["some"] = some
    environment.filters["shade"] = shade
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f}\u00a0%"
    environment.filters["when"] = lambda time: f"{time[:16].replace('T', ' ')} UTC"
    environment.globals["key"] = lambda picture: album.key(picture.uri)
    own = {f"part-{number}": part.data for number, part in enumerate(parts, 1)}
    data = {"pictures": album.pictures, "large": album.large, "links": album.links, "parts": own}
    return environment.get_template("page.html").render(
        title=title or parts[0].headline,
        unread=bool(album.unread and not album.pictures),
        parts=parts,
        made=made,
        version=__version__,
        style=Markup((_FOLDER / "page.css").read_text("utf-8")),
        script=Markup((_FOLDER / "page.js").read_text("utf-8")),
        data=Markup(_as_script(data)),
    )


def _as_script(data: Any) -> str:
    """Return JSON that ends no script element, whatever ids and labels hold."""
    return json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
