"""Pictures with names in any script: in a font that has their letters, or in words."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from PIL import Image

from raypipe.reports import figures
from raypipe.reports.figures import confusion_picture, contact_sheet
from raypipe.reports.lettering import Lettering, one_font

NAMES = ("daisy", "زهرة", "Ромашка", "हिन्दी", "日本の花", "한국", "🌼 b", "❤️", "$5", "a\u202eb")


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with no other fonts than matplotlib's."""
    monkeypatch.setattr(font_manager, "findSystemFonts", list)


def letters_of(path: str) -> set[str]:
    return set(map(chr, TTFont(path).getBestCmap()))


def test_words_stand_for_letters_that_no_font_has(no_fonts: None) -> None:
    letters = Lettering(NAMES)
    own = letters_of(font_manager.findfont(font_manager.FontProperties()))
    drawn = [letters.of(name) for name in NAMES]
    assert set("".join(drawn)) <= own
    assert drawn == [
        *("daisy", "زهرة", "Ромашка", "[Devanagari, 3 letters]", "[CJK and Hiragana, 4 letters]"),
        *("[Hangul, 2 letters]", "[blossom] b", "❤️", "$5", "a\\u202eb"),
    ]
    assert Lettering(["plain"]).of("plain") == "plain"


def test_a_font_of_the_machine_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font, broken = tmp_path / "some.ttf", tmp_path / "broken.ttf"
    make_font(font, "हिन्दी")
    broken.write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(broken), str(font)])
    letters = Lettering(NAMES)
    assert letters.families[1:] == ["Made Up"]
    assert letters.of("हिन्दी") == "हिन्दी"
    assert letters.of("日") == "[CJK, 1 letter]"


def make_font(path: Path, text: str) -> None:
    """Write a font in which each letter of a text is a square."""
    pen = TTGlyphPen(None)
    for point in ((0, 0), (0, 500), (500, 500), (500, 0)):
        (pen.lineTo if pen.points else pen.moveTo)(point)
    pen.closePath()
    square, names = pen.glyph(), {ord(char): f"u{ord(char):04x}" for char in text}
    builder = FontBuilder(1000)
    order = [".notdef", *names.values()]
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(order, square))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Made Up", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def test_pictures_in_any_script_without_a_warning(
    no_fonts: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    counts = np.diag(np.full(len(NAMES), 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion_picture(counts.tolist(), NAMES, "a title", tmp_path / "confusion.png")
        sheet = [(name, [Image.new("L", (9, 9))]) for name in NAMES]
        contact_sheet(sheet, "日本", tmp_path / "sheet.png")
    assert capfd.readouterr().err == ""


def test_classes_of_one_script_keep_apart(no_fonts: None) -> None:
    names = ("日本", "中国", "daisy")
    letters = Lettering(names)
    found = figures._names(names, letters)
    assert found == ["1: [CJK, 2 letters]", "2: [CJK, 2 letters]", "daisy"]


@pytest.mark.parametrize("wrong", [[1, 35], [1, 35, 900]])
def test_the_picture_has_errors_apart_and_readable(wrong: list[int]) -> None:
    counts = np.diag(np.full(4, 1000))
    counts[0, 1 : 1 + len(wrong)] = wrong
    colours = figures._colours(counts)
    first, second = colours[0, 1, :3], colours[0, 2, :3]
    assert np.abs(first - second).max() > 0.2
    for colour in colours.reshape(-1, 4):
        light = figures._luminance(colour)
        ink = 0.0 if light > figures._MIDDLE else 1.0
        low, high = sorted((light, ink))
        assert (high + 0.05) / (low + 0.05) >= 4.5
    assert np.allclose(colours[3, 0], 1)  # no error, no colour


def test_nothing_of_a_sheet_is_cut(tmp_path: Path) -> None:
    """Long texts go on further lines, or say that they go on; the outermost pixels are blank."""
    sheet = [
        ("group 1\n8 of 12 images", [Image.new("L", (9, 9))]),
        ("a class of a long name " * 9, []),
    ]
    for length in (40, 2000):
        title = " ".join(["word"] * (length // 5)) + " https://example.org/" + "w" * length
        contact_sheet(sheet, title, tmp_path / "sheet.png")
        pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
        edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        assert all((edge == 255).all() for edge in edges), length


def test_one_font_for_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Pillow draws it: in a font that has all of its letters, or in words."""
    own = font_manager.findfont(font_manager.FontProperties())
    font = tmp_path / "some.ttf"
    make_font(font, "हिन्दी (0.5)")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(font)])
    assert one_font("daisy (0.5)") == (own, "daisy (0.5)")
    assert one_font("हिन्दी (0.5)") == (str(font), "हिन्दी (0.5)")
    assert one_font("हिन्दी, daisy") == (own, "[Devanagari, 3 letters], daisy")
