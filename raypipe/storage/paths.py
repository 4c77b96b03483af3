"""Paths and URIs as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from raypipe.errors import UsageError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.I)
_FILE = re.compile(r"file:/", re.I)
_OF_HERE = re.compile(r"file:(?://(?:localhost)?(?=/)/*|(?!//))(/.*)", re.I | re.S)


def local_path(uri: str, option: str, *, or_bucket: bool = False, any_name: bool = False) -> Path:
    """Return the absolute path that a path or `file://` URI names.

    Args:
        uri: as it was given.
        option: where; named in messages.
        or_bucket: whether a bucket would do as well, for messages.
        any_name: whether it may be no UTF-8, as images may be called; stores and results may not.

    Raises:
        UsageError: the URI has another scheme or host, or its path is no UTF-8.
    """
    if _FILE.match(uri):
        path = Path(path_of_uri(uri, option)).absolute()
    elif _SCHEME.match(uri):
        allowed = "path, or file://, s3:// or gs:// URI" if or_bucket else "path or file:// URI"
        raise UsageError(f"{option}: expected a {allowed}; got {uri!r}")
    else:
        path = user_path(uri, option)
    # Arrow opens no such path, which would be taken for a damaged file.
    if "\0" in str(path) or not (any_name or is_text(str(path))):
        raise UsageError(
            f"{option}: expected a path in UTF-8, without zero bytes; got {str(path)!r}: rename "
            "the folder or file, or give a link to it that has another name"
        )
    return path


def path_of_uri(uri: str, where: str) -> str:
    """Return the path of a `file://` URI, in which `?` and `#` are as they are.

    Raises:
        UsageError: it names another host, as `file://photos` does, or has a zero byte.
    """
    found = _OF_HERE.fullmatch(uri)
    path = os.fsdecode(unquote_to_bytes(os.fsencode(found[1]))) if found else ""
    if not path or "\0" in path:
        raise UsageError(f"{where}: expected file:///PATH, of this machine; got {uri!r}")
    return path


def is_text(text: str) -> bool:
    """Whether a text can be stored: names that are not UTF-8, and JSON, have lone surrogates."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def user_path(text: str, option: str) -> Path:
    """Return the absolute path a user means, with `~` for a home folder.

    Raises:
        UsageError: nobody has that home folder. `option` is named in the message.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{option}: {text!r}: {error}") from None
