"""Recognition of a source's kind from its path."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.config import SourceConfig
from raypipe.errors import RaypipeError, UsageError
from raypipe.sources.arrays import ARRAY_SUFFIXES, ArrayFiles, ArraySource
from raypipe.sources.buckets import BucketSource, names_below, object_exists
from raypipe.sources.columns import check_no_columns
from raypipe.sources.containers import (
    ARRAYS,
    TABLES,
    TO_PARQUET,
    Survey,
    files_below,
    survey,
)
from raypipe.sources.file import FileSource
from raypipe.sources.files import AnyPath, ObjectPath, only_local
from raypipe.sources.folder import FolderSource
from raypipe.sources.globs import expand, expand_objects, is_pattern
from raypipe.sources.manifest import MANIFEST_SUFFIXES, ManifestSource
from raypipe.sources.parquet_files import ParquetSource
from raypipe.sources.tar import TAR_SUFFIXES, TarSource
from raypipe.sources.zip import ZipSource
from raypipe.storage import is_object, local_path, result_at
from raypipe.storage.objects import parse

if TYPE_CHECKING:
    from raypipe.sources import Source

_PARQUET_SUFFIXES = (".parquet",)
_OF_FILES = (*TAR_SUFFIXES, *_PARQUET_SUFFIXES, *MANIFEST_SUFFIXES, *ARRAY_SUFFIXES, ".zip")
_OTHER_TABLES = {
    **dict.fromkeys((".csv.gz", ".tsv.gz", ".jsonl.gz"), "decompress it with gunzip"),
    ".json": "save it as JSON lines (.jsonl), an object on each line",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as .csv"),
    **TO_PARQUET,
}
_ZIP_MAGIC, _GZIP_MAGIC = b"PK\x03\x04", b"\x1f\x8b"
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


def find_source(config: SourceConfig) -> Source:
    """Return the source at a path, with neither labels nor selection applied.

    Raises:
        UsageError: there is none, or the options do not go with it.
    """
    if is_object(config.source):
        return _of_object(config)
    path = local_path(config.source, "SOURCE", or_bucket=True, any_name=True)
    if found := result_at(str(path)):
        raise UsageError(f"SOURCE: {str(path)!r} is {found}; give images")
    try:
        if path.is_dir():
            return _of_folder(path, config)
        if path.is_file():
            return _of_file(path, config)
    except OSError as error:
        raise RaypipeError(f"SOURCE: cannot read {str(path)!r}: {error.strerror}") from None
    if is_pattern(str(path)):
        return _of_files(str(path), expand(str(path)), config)
    raise UsageError(
        f"SOURCE: no file or folder at {str(path)!r}; give images as a folder, archive or table"
    )


def _of_object(config: SourceConfig) -> Source:
    place = parse(config.source)
    path, uri = ObjectPath(place), place.whole
    if place.credentials not in ("", "anonymous"):
        raise UsageError(
            "SOURCE: a URI must not hold credentials, which would end up in the store; set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile or role"
        )
    if is_pattern(place.key):
        return _of_files(uri, expand_objects(uri), config)
    if _ends(path, (*_OF_FILES, *_OTHER_TABLES)) and object_exists(uri):
        return _of_file(path, config)
    found = survey(names_below(uri))
    if found.is_empty:
        raise UsageError(f"SOURCE: nothing at {uri!r}; correct the bucket or prefix")
    if not found.is_of_images:
        return _of_containers(found, uri, lambda name: path / name, config)
    check_no_columns(config, f"the prefix {uri!r}")
    return BucketSource(uri, config.since or "")


def _of_folder(path: Path, config: SourceConfig) -> Source:
    found = survey(files_below(str(path)))
    if not found.is_of_images:
        return _of_containers(found, str(path), lambda name: path / name, config)
    check_no_columns(config, f"the folder {str(path)!r}")
    return FolderSource(path, config.since or "")


def _of_containers(
    found: Survey, uri: str, at: Callable[[str], AnyPath], config: SourceConfig
) -> Source:
    kind, names = found.chosen(uri)
    paths = [at(name) for name in names]
    if kind == TABLES:
        return ParquetSource(uri, paths, config, names=names, aside=found.aside)
    if kind == ARRAYS:
        local = [only_local(path) for path in paths]
        return ArrayFiles(uri, local, config, names=names, aside=found.aside)
    return TarSource(uri, paths, config, names=names, aside=found.aside)


def _of_files(uri: str, files: Sequence[AnyPath], config: SourceConfig) -> Source:
    if all(_ends(file, TAR_SUFFIXES) for file in files):
        return TarSource(uri, files, config)
    if all(_ends(file, _PARQUET_SUFFIXES) for file in files):
        return ParquetSource(uri, files, config)
    raise UsageError(
        f"SOURCE: a pattern must match tar shards or Parquet files; {uri!r} matches "
        f"{files[0].name!r}: use --glob to choose images of a folder"
    )


def _of_file(path: AnyPath, config: SourceConfig) -> Source:
    if _ends(path, TAR_SUFFIXES):
        return TarSource(str(path), [path], config)
    if _ends(path, _PARQUET_SUFFIXES):
        return ParquetSource(str(path), [path], config)
    if _ends(path, MANIFEST_SUFFIXES):
        return ManifestSource(path, config)
    if _ends(path, ARRAY_SUFFIXES):
        return ArraySource(only_local(path), config)
    _check_table(path)
    if isinstance(path, Path):
        return _by_content(path, config)
    check_no_columns(config, repr(str(path)))
    return ZipSource(path)


def _check_table(path: AnyPath) -> None:
    for suffix, remedy in _OTHER_TABLES.items():
        if _ends(path, (suffix,)):
            raise UsageError(
                f"SOURCE: expected images, or a table as .csv, .tsv, .jsonl or .parquet; got "
                f"{str(path)!r}: {remedy}"
            )


def _by_content(path: Path, config: SourceConfig) -> Source:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(_GZIP_MAGIC):
        start = _unzipped_start(path)
    if start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        return TarSource(str(path), [path], config)
    check_no_columns(config, repr(str(path)))
    if start.startswith(_ZIP_MAGIC) or _ends(path, (".zip",)):
        return ZipSource(path)
    return FileSource(path)


def _unzipped_start(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(512)
    except (OSError, EOFError):
        return b""


def _ends(path: AnyPath, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)
