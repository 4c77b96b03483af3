"""What examples/dog_breeds.py shows: pictures with a caption, tables and a page."""

from __future__ import annotations

import csv
import html
import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

from raypipe.reports.lettering import one_font

__all__ = ["Answer", "Box", "Unread", "count", "draw", "read_answers", "write_all"]

COLOURS = {"dog": "#2e7d32", "human": "#ef6c00", "neither": "#757575"}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Dog, human or neither?</title>
<style>
body {{ font-family: sans-serif; margin: 2em; background: #f5f5f5; color: #212121 }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(20em, 1fr)); gap: 1em }}
main a {{ align-self: start }}
img {{ width: 100%; box-shadow: 0 1px 4px #0004 }}
td {{ padding: .2em 1em .2em 0; vertical-align: top }}
</style>
<h1>Dog, human or neither?</h1><p>{counts}</p>
<main>
{cards}
</main>
{unread}
</html>
"""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Answer:
    """What is said of a photograph, and the name of the picture that says it."""

    id: str
    answer: str
    breeds: list[tuple[str, float]]
    faces: list[Box]
    picture: str
    imagenet: str = ""

    @property
    def caption(self) -> str:
        """The answer in words."""
        if self.answer == "neither":
            return "Neither a dog nor a human"
        breed, probability = self.breeds[0]
        if self.answer == "dog":
            return f"This is a dog: {breed} ({probability:.2f})"
        article = "an" if breed[0].upper() in "AEIOU" else "a"
        return f"This human resembles {article} {breed} ({probability:.2f})"


@dataclass(frozen=True)
class Unread:
    """A photograph that there is no answer for, and why."""

    id: str
    reason: str
    message: str


def draw(found: Answer, image: Image.Image) -> Image.Image:
    """Draw a photograph with the boxes of its faces, and the answer in words beneath."""
    colour, pen = COLOURS[found.answer], ImageDraw.Draw(image)
    for left, top, width, height in found.faces:
        corners = (left, top, left + width, top + height)
        pen.rectangle(corners, outline=colour, width=max(2, max(image.size) // 160))
    width = max(image.width, 480)
    others = [f"{breed} ({share:.2f})" for breed, share in found.breeds[1:]]
    also = f"or {', '.join(others)}" if others and found.answer != "neither" else ""
    texts = ((found.caption, 24, "black"), (also, 16, "#616161"), (found.id, 13, "#9e9e9e"))
    strips = [strip for text in texts for strip in strips_of(*text, width)]
    height = sum(strip.height for strip in strips)
    canvas = Image.new("RGB", (width, image.height + height + 26), "white")
    canvas.paste(image, ((width - image.width) // 2, 0))
    y = image.height
    ImageDraw.Draw(canvas).rectangle((0, y, width, y + 5), fill=colour)
    for strip in strips:
        canvas.paste(strip, (0, y + 14))
        y += strip.height
    return canvas


def strips_of(text: str, size: int, ink: str, width: int) -> list[Image.Image]:
    """Draw a text on as many strips, one for each line, as it needs."""
    file, text = one_font(text)
    font = ImageFont.truetype(file, size)
    strips = []
    for line in lines_of(text, font, width - 40):
        strips.append(Image.new("RGB", (width, size * 7 // 5), "white"))
        ImageDraw.Draw(strips[-1]).text((20, 0), line, ink, font)
    return strips


def lines_of(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines that fit a width; words longer than that are broken, too."""
    letters, lines = max(1, len(text)), [text]
    while letters > 1 and any(font.getlength(line) > width for line in lines):
        letters -= 1 + letters // 20
        lines = textwrap.wrap(text, letters)
    return [line for line in lines if line]


def read_answers(out: Path) -> list[Answer]:
    """Return the answers of an earlier run; none if there was none."""
    try:
        return [Answer(**entry) for entry in json.loads((out / "answers.json").read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_all(out: Path, answers: list[Answer], unread: list[Unread]) -> None:
    """Write tables and page; what the next run goes by comes last."""
    rows = [
        (
            one.id,
            one.answer,
            *(("", "") if one.answer == "neither" else one.breeds[0]),
            one.imagenet,
        )
        for one in answers
    ]
    write_csv(out / "answers.csv", ("id", "answer", "breed", "probability", "imagenet"), rows)
    write_csv(out / "unread.csv", ("id", "reason", "message"), map(astuple, unread))
    (out / "index.html").write_text(page_of(answers, unread), "utf-8")
    content = json.dumps([asdict(one) for one in answers], indent=1, ensure_ascii=False)
    (out / "answers.json").write_text(content + "\n", "utf-8")


def page_of(answers: list[Answer], unread: list[Unread]) -> str:
    """Return a page with all pictures, dogs first, and what could not be read."""
    cards = [
        '<a href="{0}" title="{1}"><img loading="lazy" src="{0}" alt="{2}"></a>'.format(
            f"pictures/{quote(one.picture)}", html.escape(one.id), html.escape(one.caption)
        )
        for one in sorted(answers, key=lambda one: list(COLOURS).index(one.answer))
    ]
    rows = ["<td>".join(["<tr>", *map(html.escape, astuple(one))]) for one in unread]
    table = f"<h2>Could not be read</h2><table>{''.join(rows)}</table>" if rows else ""
    counts = count(answers, unread)
    return PAGE.format(counts=counts, cards="\n".join(cards), unread=table)


def count(answers: list[Answer], unread: list[Unread]) -> str:
    """Say how many answers there are of each kind."""
    kinds = Counter(one.answer for one in answers)
    text = ", ".join(f"{kind}: {kinds[kind]}" for kind in COLOURS)
    return f"{text}, could not be read: {len(unread)}"
