"""JSON files that end with a checksum of what comes before: edited or damaged ones are known."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

_KEY = "sha256"
_TAIL = b',\n "%s": "%s"\n}\n'
_CHECKED = re.compile(rb',\n "sha256": "([0-9a-f]{64})"\n}\n?\Z')


def with_checksum(text: str) -> bytes:
    """Return the file of an object; its text ends with a line that is a brace."""
    body = text.removesuffix("\n}").encode()
    return body + _TAIL % (_KEY.encode(), hashlib.sha256(body).hexdigest().encode())


def read_checked(data: bytes, without: Iterable[str]) -> dict[str, Any]:
    """Return the object in a file.

    Args:
        data: the file's content.
        without: keys of files that were written before there was a checksum.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    found = _CHECKED.search(data)
    if found is None and not content.keys() <= set(without):
        raise ValueError("its checksum is damaged")
    if found and hashlib.sha256(data[: found.start()]).hexdigest().encode() != found[1]:
        raise ValueError("its content is not that of its checksum")
    return content
