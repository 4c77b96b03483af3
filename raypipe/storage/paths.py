"""Paths and URIs as people write them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from raypipe.errors import UsageError


def local_path(uri: str, option: str, *, or_bucket: bool = False) -> Path:
    """Return the absolute path that a path or `file://` URI names.

    Args:
        uri: as it was given.
        option: where; named in messages.
        or_bucket: whether a bucket would do as well, for messages.

    Raises:
        UsageError: the URI has another scheme.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).absolute()
    if parts.scheme and "://" in uri:
        allowed = "path, or file://, s3:// or gs:// URI" if or_bucket else "path or file:// URI"
        raise UsageError(f"{option}: expected a {allowed}; got {uri!r}")
    return user_path(uri, option)


def user_path(text: str, option: str) -> Path:
    """Return the absolute path a user means, with `~` for a home folder.

    Raises:
        UsageError: nobody has that home folder. `option` is named in the message.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{option}: {text!r}: {error}") from None
