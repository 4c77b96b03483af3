"""Roles of a table's columns."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable

from raypipe.config import LabelConfig, SourceConfig
from raypipe.errors import UsageError, nearest
from raypipe.sources.local import as_uri, file_etag
from raypipe.sources.places import check_address, check_path, may_be_outside
from raypipe.sources.remote import REMOTE_SCHEMES
from raypipe.sources.servers import public
from raypipe.storage import is_object
from raypipe.storage.paths import path_of_uri

#: Usual names of the column with the images, most telling first.
IMAGE_NAMES = (
    "image",
    "bytes",
    "jpg",
    "jpeg",
    "png",
    "img",
    "image_bytes",
    "content",
    "data",
    "uri",
    "url",
    "path",
    "file",
    "filename",
    "image_path",
    "image_url",
)

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def distinct(names: Iterable[str], where: str, option: str = "SOURCE") -> None:
    """Make sure that a name means one column.

    Raises:
        UsageError: it does not.
    """
    for name, count in Counter(names).items():
        if name and count > 1:
            raise UsageError(
                f"{option}: {where} has {count} columns of the name {name!r}; rename one"
            )


def present(name: str, names: Iterable[str], option: str, where: str) -> str:
    """Return the name of a column that is there.

    Raises:
        UsageError: it is not.
    """
    known = list(names)
    if name not in known:
        listed = ", ".join(map(repr, known)) or "none"
        raise UsageError(
            f"{option}: no column {name!r} in {where}; it has {listed}{nearest(name, known)}"
        )
    return name


def id_column(names: Iterable[str], config: SourceConfig, where: str) -> str | None:
    """Return the column with the ids, if there is one."""
    known = list(names)
    if config.id_column:
        return present(config.id_column, known, "--id-column", where)
    return "id" if "id" in known else None


def etag_column(names: Iterable[str]) -> str | None:
    """Return the column that says when the content behind a URI has changed, if there is one."""
    return "etag" if "etag" in names else None


def label_columns(
    names: Iterable[str], config: SourceConfig, where: str
) -> tuple[str | None, str | None]:
    """Return the columns with labels and splits, as far as they are wanted and there.

    Raises:
        UsageError: one was asked for that is not there.
    """
    if not isinstance(config, LabelConfig):
        return None, None
    known = list(names)
    usual = LabelConfig.model_fields["label_column"].default
    named = config.label == "auto" and config.label_column != usual and not config.label_file
    if config.label == "column" or named:
        present(config.label_column, known, "--label column", where)
    if config.split == "column":
        present(config.split_column, known, "--split column", where)
    label, split = config.label_column, config.split_column
    return label if label in known else None, split if split in known else None


def check_no_columns(config: SourceConfig, where: str, *, labels: bool = False) -> None:
    """Make sure that no column is asked for of a source that has none.

    Args:
        config: the options.
        where: the source; named in messages.
        labels: whether it can have labels and splits all the same, as samples of tar shards do.

    Raises:
        UsageError: one is.
    """
    for option, name in (
        ("--image-column", config.image_column),
        ("--id-column", config.id_column),
    ):
        if name:
            present(name, (), option, where)
    if not labels:
        label_columns((), config, where)


def with_slashes(uri: str, folder: str, row: str) -> str:
    """Return a relative path of Windows with `/`; what is a file as it is written stays so.

    Args:
        uri: as written.
        folder: that relative paths are relative to.
        row: names the row in messages.

    Raises:
        UsageError: the path begins with a drive or a server of Windows.
    """
    if "://" in uri or (not is_object(folder) and os.path.exists(f"{folder}/{uri}")):  # noqa: PTH110
        return uri
    if _WINDOWS.match(uri):
        raise UsageError(
            f"SOURCE: {row}: {uri!r} is a path of Windows, which is not there on this machine; "
            "write paths relative to the table, as images/1.jpg"
        )
    return uri.replace("\\", "/")


def resolve(
    uri: str, folder: str, row: str, etag: str | None = None, *, outside: bool = False
) -> tuple[str, str]:
    """Return a table's reference to an image as a path or remote URI, and its etag.

    Args:
        uri: as written.
        folder: that relative paths are relative to.
        row: names the row in messages.
        etag: as the table has it; only for what cannot be looked at here.
        outside: whether it may be a local file outside that folder, or a link-local address.

    Raises:
        UsageError: the URI has a scheme that cannot be read, or is outside.
    """
    scheme, found, rest = uri.partition("://")
    if not found:
        path = uri if uri.startswith("/") else f"{folder}/{uri}"
        if not outside and may_be_outside(uri):
            check_path(path, folder, row)
        return path, (etag or "") if is_object(path) else file_etag(path)
    if scheme.lower() in REMOTE_SCHEMES:
        address = f"{scheme.lower()}://{rest}"
        if not outside:
            check_address(address, row)
        return address, etag or ""
    if scheme.lower() == "file":
        path = posixpath.abspath(path_of_uri(uri, f"SOURCE: {row}"))
        if not outside:
            check_path(path, folder, row)
        return as_uri(path), file_etag(path)
    raise UsageError(
        f"SOURCE: {row}: expected a path, file://, {', '.join(f'{s}://' for s in REMOTE_SCHEMES)}; "
        f"got {public(uri)!r}"
    )
