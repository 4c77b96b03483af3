"""Letters of pictures: in fonts of this machine that have them, else in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from raypipe.display import counted, printable

#: Draw each letter they have not as a box, and say that they have it.
_BOXES = ("Last Resort", "LastResort", "Fallback")


class Lettering:
    """Fonts for the texts of a picture, and the texts as these can draw them.

    Args:
        texts: all that will be drawn.

    Attributes:
        families: for matplotlib's `font.family`: its own, then those that have what it lacks.
        lacking: letters that no font of this machine has.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        own = font_manager.FontProperties()
        self.families = list(own.get_family())
        self.lacking = {char for text in texts for char in printable(text, keep="\n")}
        self.lacking -= _letters(font_manager.findfont(own)) | {"\n"}
        if self.lacking:
            self._look_for_fonts()

    def of(self, text: str) -> str:
        """Return a text in which words stand for letters that no font of this machine has."""
        return _in_words(printable(text, keep="\n"), self.lacking)

    def _look_for_fonts(self) -> None:
        for path in sorted(font_manager.findSystemFonts()):
            if not (found := self.lacking & _letters(path)):
                continue
            font_manager.fontManager.addfont(path)
            name = FT2Font(path).family_name
            chosen = font_manager.findfont(font_manager.FontProperties(family=[name]))
            if found := found & _letters(chosen):  # this style of it, or another one
                self.families.append(name)
                self.lacking -= found


def one_font(text: str) -> tuple[str, str]:
    """Return a font's file that has all letters of a text, and the text, for Pillow, which draws a
    text in one font; matplotlib's, and words for letters that it lacks, if there is none.
    """
    own = font_manager.findfont(font_manager.FontProperties())
    needed = set(text)
    if needed <= _letters(own):
        return own, text
    fonts = (path for path in sorted(font_manager.findSystemFonts()) if needed <= _letters(path))
    found = next(fonts, None)
    return (own, _in_words(text, needed - _letters(own))) if found is None else (found, text)


@cache
def _letters(path: str) -> frozenset[str]:
    """Return the letters of a font; none of one that matplotlib cannot draw with."""
    try:
        font = FT2Font(path)
        if not font.scalable or any(name in font.family_name for name in _BOXES):
            return frozenset()
        return frozenset(map(chr, font.get_charmap()))
    except (RuntimeError, OSError, ValueError):  # pictures of letters, or no font at all
        return frozenset()


def _in_words(text: str, lacking: set[str]) -> str:
    letters = "".join(map(re.escape, sorted(lacking)))
    return re.sub(f"[{letters}]+", lambda run: _words(run[0]), text) if letters else text


def _words(run: str) -> str:
    """Return what letters are called: their script and how many, or each symbol's own name."""
    letters = [char for char in run if unicodedata.category(char)[0] in "LN"]
    symbols = [char for char in run if unicodedata.category(char)[0] in "SP"]
    scripts = dict.fromkeys(unicodedata.name(char, "unknown").split()[0] for char in letters)
    names = [name if name == "CJK" else name.capitalize() for name in scripts]
    said = [f"{' and '.join(names)}, {counted(len(letters), 'letter')}"] if names else []
    said += [unicodedata.name(char, "unknown").lower() for char in symbols]
    return f"[{', '.join(said)}]" if said else ""
