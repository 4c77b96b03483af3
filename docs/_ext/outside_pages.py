"""Pages made of files that lie outside docs/, and links to these files from all pages.

Links are written as they work in the repository. Where one leads to a file that is a page of the
site as well, it leads there; where it leads to any other file, that can be downloaded.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
#: Pages, and the files of the repository that they show.
PAGES = {
    "project/contributing": "CONTRIBUTING.md",
    "project/changelog": "CHANGELOG.md",
    "project/examples": "examples/README.md",
    "project/benchmarks": "benchmarks/README.md",
    "project/results": "benchmarks/RESULTS.md",
}
_AS_PAGE = {file: page for page, file in PAGES.items()} | {"README.md": "index"}
#: Text and target of a link, or of a picture; a code's backticks do not matter here.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)([^)]*)\)")


def write_pages(app: Any) -> None:
    """Copy the files to where Sphinx finds them."""
    source = Path(app.srcdir)
    for page, file in PAGES.items():
        path = source / f"{page}.md"
        path.parent.mkdir(exist_ok=True)
        text = (source.parent / file).read_text(encoding="utf-8")
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def turn_links(_app: Any, page: str, source: list[str]) -> None:
    """Turn the links of a page, which are relative to its file, into links of the site."""
    origin = PAGES.get(page, f"docs/{page}.md")

    def turned(match: re.Match[str]) -> str:
        mark, text, link, rest = match.groups()
        if "://" in link or link.startswith("mailto:"):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
        if (_ROOT / file).is_dir():
            return text  # a folder can be looked at in the repository only
        place = f"docs/{_AS_PAGE[file]}.md" if file in _AS_PAGE else file
        target = posixpath.relpath(place, posixpath.dirname(f"docs/{page}"))
        return f"{mark}[{text}]({target}{rest})"

    parts = re.split(r"(^```.*?^```$)", source[0], flags=re.MULTILINE | re.DOTALL)
    source[0] = "".join(p if p.startswith("```") else _LINK.sub(turned, p) for p in parts)


def setup(app: Any) -> dict[str, Any]:
    """Have the files copied before Sphinx looks for pages, and links turned as pages are read."""
    app.connect("config-inited", lambda app, _config: write_pages(app))
    app.connect("source-read", turn_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
