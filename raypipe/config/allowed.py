"""What an option takes, by its type: for help, reference and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

_WORDS = {int: "whole number", float: "number", bool: "true or false"}
_LIMITS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def choices(annotation: Any) -> list[Any]:
    """Return the values that an annotation names, as `Literal` does."""
    return [one for one in plain(annotation) if not isinstance(one, type)]


def number(info: FieldInfo) -> str:
    """Return the kind of number that an option takes and its limits, as `number > 0 and < 1`.

    An empty text where it takes none, or things that its type does not say.
    """
    kinds = [kind for kind in plain(info.annotation) if isinstance(kind, type)]
    if not kinds or any(kind not in _WORDS for kind in kinds):
        return ""
    limits = " and ".join(_limits([*info.metadata, *_metadata(info.annotation)]))
    return f"{_WORDS[kinds[0]]} {limits}".strip()


def plain(annotation: Any) -> list[Any]:
    """Return the types and values that a union is made of, without None."""
    if annotation is type(None):
        return []
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(annotation, type) or not get_args(annotation):
        return [annotation]
    if hasattr(annotation, "__metadata__"):
        return plain(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return [tuple]
    return [one for part in get_args(annotation) for one in plain(part)]


def _limits(metadata: list[Any]) -> Iterator[str]:
    for limit in metadata:
        for name, sign in _LIMITS:
            if (value := getattr(limit, name, None)) is not None:
                yield f"{sign} {value}"


def _metadata(annotation: Any) -> list[Any]:
    """Return what the parts of a union are annotated with."""
    own = [getattr(one, "metadata", ()) for one in getattr(annotation, "__metadata__", ())]
    parts = get_args(annotation) if get_origin(annotation) is not Literal else ()
    return [one for some in own for one in some] + [m for part in parts for m in _metadata(part)]
