"""Make the README's picture: a report on the digits of `raypipe demo`, as a browser shows it.

`make picture` runs the demo and this; it takes a minute or two, and Chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import raypipe

PICTURE = Path(__file__).parents[1] / "report.png"
#: Pixels as wide as the README shows, and colours: few, so that the file stays small.
_WIDTH, _COLOURS = 800, 96


def draw(demo: Path, out: Path = PICTURE) -> None:
    """Draw the report on the demo's model, with the images of its most frequent mistake.

    Args:
        demo: folder that `raypipe demo` has written.
        out: the picture.
    """
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        html = Path(folder, "report.html")
        raypipe.report(demo / "model", out=html)
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light")
        page.goto(html.as_uri())
        _choose_the_worst(page)
        end = page.query_selector(".chosen").bounding_box()
        clip = {"x": 0, "y": 0, "width": _WIDTH, "height": end["y"] + end["height"] + 16}
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip)))
        browser.close()
    shot.convert("RGB").quantize(_COLOURS).save(out, optimize=True)


def _choose_the_worst(page: Page) -> None:
    """Choose the cell of the matrix with the most errors, and leave the page at its top."""
    cells = page.query_selector_all(".confusion .wrong button")
    max(cells, key=lambda cell: int(cell.inner_text())).click()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.evaluate("scrollTo(0, 0)")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
