"""Counts in words."""

from __future__ import annotations


def counted(count: int, what: str, many: str = "") -> str:
    """Return a count with its noun, which is `what` of one thing, else `many`.

    Args:
        count: how many.
        what: the noun in the singular.
        many: in the plural, where that is not `what` and an s.

    Examples:
        >>> counted(1, "image"), counted(0, "image"), counted(2, "class", "classes")
        ('1 image', '0 images', '2 classes')
    """
    return f"{count} {what if count == 1 else many or what + 's'}"
