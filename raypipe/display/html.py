"""Tables of objects in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def table(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """Return a small HTML table of names and what is to be said of them."""
    rows = "".join(
        f"<tr><th style='text-align: left'>{escape(name)}</th>"
        f"<td style='text-align: left'>{escape(str(value))}</td></tr>"
        for name, value in facts
    )
    return f"<b>{escape(title)}</b><table>{rows}</table>"
