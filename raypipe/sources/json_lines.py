"""Tables as JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from raypipe.errors import UsageError
from raypipe.sources.batches import BATCH_ROWS, Texts
from raypipe.sources.files import AnyPath
from raypipe.sources.text_tables import encoding_of
from raypipe.storage.paths import is_text


def keys_of(path: AnyPath) -> list[str]:
    """Return the keys of all lines, in the order they come up: a line may lack some.

    Raises:
        UsageError: a line is no object.
    """
    found: dict[str, None] = {}
    for _, row in _rows(path):
        if not row.keys() <= found.keys():
            found.update(dict.fromkeys(row))
    if not found:
        raise UsageError(f"SOURCE: {str(path)!r} is empty; it needs a JSON object on each line")
    return list(found)


def json_parts(path: AnyPath, names: list[str]) -> Iterator[Mapping[str, Texts]]:
    """Yield some keys' values as text, each (N,), in batches of N rows; None where a line has none.

    Raises:
        UsageError: naming the line that is no object, or has a list or an object as a value.
    """
    rows = _rows(path)
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield {name: [_text(row, name, number, path) for number, row in chunk] for name in names}


def _rows(path: AnyPath) -> Iterator[tuple[int, dict[str, Any]]]:
    encoding = encoding_of(path)
    number = 0
    try:
        with path.open(encoding=encoding, newline="\n") as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield number, _parsed(line, number, path)
    except OSError as error:
        raise UsageError(f"SOURCE: cannot read {str(path)!r}: {error.strerror}") from None
    except UnicodeError as error:
        raise _undecodable(path, encoding, error) from None


def _undecodable(path: AnyPath, encoding: str, error: UnicodeError) -> UsageError:
    """Look for the line again: the text was decoded ahead of it."""
    where = ""
    if encoding == "utf-8-sig":
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.decode(errors="surrogateescape").encode(errors="replace") != line:
                    where = f" in line {number}"
                    break
    shown = encoding.removesuffix("-sig").upper()
    return UsageError(
        f"SOURCE: {str(path)!r} has bytes{where} that are not {shown} ({error}); save it as UTF-8"
    )


def _parsed(line: str, number: int, path: AnyPath) -> dict[str, Any]:
    try:
        row = _DECODER.decode(line)
        if isinstance(row, dict):
            return row
        problem = 'expected an object, as {"uri": "a.jpg"}'
    except ValueError as error:
        problem = str(error)
    except RecursionError:
        problem = "lists or objects in each other, too many to read"
    if number == 1 and line.lstrip().startswith("["):
        problem = "the beginning of an array; write each object on a line of its own"
    raise UsageError(f"SOURCE: line {number} of {str(path)!r}: {problem}; correct this line")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of which no key is there twice.

    Raises:
        ValueError: one is; which of its values is meant cannot be known.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


#: Made once: `json.loads` would make one for each line.
_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _text(row: dict[str, Any], name: str, number: int, path: AnyPath) -> str | None:
    value = row.get(name)
    if isinstance(value, str) and not is_text(value):
        raise UsageError(
            f"SOURCE: line {number} of {str(path)!r} has half a character as {name!r} (a lone "
            f"surrogate): {value!r}; correct this line"
        )
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        raise UsageError(
            f"SOURCE: line {number} of {str(path)!r} has a {type(value).__name__} as {name!r}; "
            "give a text or a number"
        )
    # NaN, which JSON has not, but writers write, is the only value that differs from itself.
    return None if value != value else json.dumps(value)
