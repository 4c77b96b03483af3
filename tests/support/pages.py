"""Pages as a browser shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHONE = (390, 844)
DESKTOP = (1280, 900)


@contextmanager
def opened(browser: Any, path: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Any]:
    """Open a file; at the end, nothing may have gone wrong or been asked of a network."""
    page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)))
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: (
            request.url.startswith("data:")
            or request.url == path.as_uri()
            or problems.append(f"request: {request.url[:100]}")
        ),
    )
    page.goto(path.as_uri())
    yield page
    # Nothing is wider than the window, which a phone would have to scroll sideways for.
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    # A table that is wider than that says so.
    said = "all => all.every(e => (e.scrollWidth > e.clientWidth + 1) !== e.previousSibling.hidden)"
    assert page.eval_on_selector_all(".scroll", said)
    assert page.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0 && image.alt)"
    )
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))
    assert problems == []
    page.close()


def point_at(page: Any, number: int) -> None:
    """Move the mouse to a point of the map; another one may lie over it."""
    page.eval_on_selector(".map", "map => map.scrollIntoView({ block: 'center' })")
    box = page.query_selector_all(".map use")[number].bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def column(page: Any, table: str, number: int) -> list[str]:
    """Return the texts of a column."""
    rows = page.query_selector_all(f"{table} tbody tr")
    return [row.query_selector_all("th, td")[number].inner_text().strip() for row in rows]
