"""Labels that are several labels in one text, which would become classes of their own."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from raypipe.errors import UsageError

#: Separators whose parts may also be known from other texts, and those that names often have: parts
#: of these have to be labels of other rows.
_OF_LISTS, _OF_NAMES = ("|",), (";", ",")


def check_single(labels: Iterable[str | None]) -> None:
    """Make sure that each label is one label.

    Refused is only what is clear: a list in brackets, as JSON and Python write it; parts between
    `;` or `,` each of which is the label of another row; parts between `|` each of which is known
    from other rows, as a label or as a part. `red|small`, `red|large`, `blue|small` are names:
    each part has its place, and none is a label.

    Args:
        labels: of the rows, None where there is none.

    Raises:
        UsageError: with an example, the number of rows and what to do.
    """
    counts = Counter(label for label in labels if label is not None)
    lists = {label for label in counts if _is_list(label)}
    if lists:
        raise _refused(counts, lists, "lists")
    for separator in _OF_LISTS + _OF_NAMES:
        several = _joined(counts, separator)
        if several:
            raise _refused(counts, several, f"several labels joined by {separator!r}")


def _is_list(label: str) -> bool:
    if not (label.startswith("[") and label.endswith("]")):
        return False
    try:
        return isinstance(ast.literal_eval(label), list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _joined(labels: Collection[str], separator: str) -> set[str]:
    """Return the labels whose parts are known from others."""
    parts = {
        label: tuple(part.strip() for part in label.split(separator))
        for label in labels
        if separator in label
    }
    parts = {
        label: found for label, found in parts.items() if all(found) and not _is_decimal(found)
    }
    known = Counter(part for found in parts.values() for part in set(found))
    if separator in _OF_NAMES or _are_names(parts):
        known = Counter()
    return {
        label
        for label, found in parts.items()
        if len(set(found)) > 1 and all(part in labels or known[part] > 1 for part in found)
    }


def _is_decimal(parts: tuple[str, ...]) -> bool:
    """Whether it may be a number as `1,5`."""
    return len(parts) == 2 and all(part.isdecimal() for part in parts)


def _are_names(parts: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether each part has a place of its own, as in names put together of a colour and a size."""
    places = {(part, place) for found in parts.values() for place, part in enumerate(found)}
    once = len(places) == len({part for part, _ in places})
    return once and len({len(found) for found in parts.values()}) < 2


def _refused(counts: Mapping[str, int], several: Collection[str], what: str) -> UsageError:
    example = min(several, key=lambda label: (-counts[label], label))
    rows = sum(counts[label] for label in several)
    return UsageError(
        f"STORE: labels of {rows} of {sum(counts.values())} labelled rows are {what}, as "
        f"{example[:60]!r}, and a row has one class: extract again with one label per image "
        "(--label file:PATH:ID,LABEL), or, if these are names, write another character there"
    )
