"""Links between files lead somewhere, as they stand in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, pages

_CODE = re.compile(r"^(```+).*?^\1[ \t]*$|`[^`\n]*`", re.M | re.S)
_FENCE = re.compile(r"^(```+).*?^\1[ \t]*$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)", re.S)


def links(text: str) -> list[str]:
    """Return the targets of links and pictures within this repository."""
    found = _LINK.findall(_CODE.sub("code", text))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, re.M):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        same = sum(1 for one in found if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one))
        found.add(f"{anchor}-{same}" if same else anchor)
    return found


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for target in links(page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    assert not broken(ROOT / page)


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`: three\n[a](page.md#one-two-three) [b](#one) `[c](none)`\n[d](none.md)\n"
        "```sh\n[e](none)\n```\n[f](https://example.org/none)\n"
    )
    assert broken(page) == ["#one", "none.md"]


def test_every_page_is_in_the_site() -> None:
    """Sphinx warns of pages that no list of contents has; this says so without Sphinx."""
    listed: set[str] = set()
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.M | re.S):
            folder = (ROOT / page).parent
            names = [line for line in tree.splitlines() if line and not line.startswith(":")]
            listed |= {str((folder / f"{name}.md").relative_to(ROOT)) for name in names}
    shown = {page for page in pages() if page.startswith("docs/")} - {"docs/index.md"}
    assert shown <= listed
