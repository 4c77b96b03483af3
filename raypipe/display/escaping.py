"""Text that others wrote, made safe to be shown: ids, labels, paths, what libraries say."""

from __future__ import annotations

import unicodedata

#: Joiners are part of words in Persian and Hindi, and of emoji; spaces of French.
_KEPT = frozenset("\u200c\u200d\u00a0\u202f\u3000")


def printable(text: str, keep: str = "") -> str:
    r"""Return a text as a terminal may be given it.

    What would move the cursor, change colours, end a line, turn the order of letters around or be
    seen as nothing is shown as `\x1b` or `\u202e`: control and format characters, separators of
    lines, and halves of characters. Letters of every script stay.

    Args:
        text: that others wrote.
        keep: characters to leave as they are, as the ends of lines in a text of several.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in keep or char in _KEPT or _is_space(char)
        else _as(char)
        for char in text
    )


def _is_space(char: str) -> bool:
    return unicodedata.category(char) == "Zs"


def _as(char: str) -> str:
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(char)
    code = ord(char)
    wide = f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return named or (f"\\x{code:02x}" if code < 0x100 else wide)
