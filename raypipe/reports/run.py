"""The page about a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from raypipe.config import ReportConfig
from raypipe.display import say
from raypipe.errors import RaypipeError, UsageError
from raypipe.heads.model import MODEL_FILES
from raypipe.reports.album import Album
from raypipe.reports.classifier import classifier_part
from raypipe.reports.clusters import clusters_part
from raypipe.reports.contents import features_part
from raypipe.reports.page import PagePart, render
from raypipe.reports.predicted import predictions_part, read_predictions
from raypipe.reports.thumbnails import unreadable
from raypipe.storage import instead, is_object, local_path, user_path
from raypipe.store.identity import is_store
from raypipe.store.partition import UNDECODABLE
from raypipe.store.reader import StoreReader

#: Makes a part of a page; the album gets its pictures.
Section = Callable[[Album], PagePart]

_PICTURE_MB: int = ReportConfig.model_fields["picture_mb"].default
_MEGABYTE = 10**6


def sections_of(run: str) -> list[Section]:
    """Return what there is to report on in a place: its own results, or those directly below it.

    Args:
        run: a store, what `train` or `cluster` has written, or a folder with some of these.

    Raises:
        UsageError: there is nothing of the kind.
    """
    found = [_section(run)]
    if not any(found) and not is_object(run) and (folder := user_path(run, "RUN")).is_dir():
        below = sorted(str(path) for path in folder.iterdir() if path.is_dir())
        found = [_section(place) for place in below]
    sections = sorted(filter(None, found), key=lambda entry: entry[0])
    if not sections:
        raise UsageError(
            f"RUN: nothing to report on at {run!r}{instead(run)}; give a store, or a folder "
            "written by train, cluster, predict or run"
        )
    return [section for _, section in sections]


def make_page(
    sections: Sequence[Section], *, title: str = "", name: str = "", megabytes: int = _PICTURE_MB
) -> bytes:
    """Return a page as HTML.

    Args:
        sections: in the order of the page.
        title: of the page; empty for what it is about, and how good that is.
        name: of what several sections are about.
        megabytes: room for pictures, shared by the sections.
    """
    parts: list[PagePart] = []
    album = Album(megabytes * _MEGABYTE)
    for number, section in enumerate(sections):
        with album.share(1 / (len(sections) - number)):
            parts.append(section(album))
    album.enlarge()
    if album.unread and not album.pictures:
        say(f"no picture is in the page: {unreadable(album.unread)}")
    if not title and len(parts) > 1:
        title = f"{name}: {', '.join(part.title.lower() for part in parts)}".removeprefix(": ")
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return render(title, parts, album, made).encode(errors="backslashreplace")


def _section(place: str) -> tuple[int, Section] | None:
    """Return the section about a place and its rank; None where there is nothing to report on.

    What the others are made of comes first.
    """
    if is_store(place, "RUN"):
        store = StoreReader(place, option="RUN")
        if store.spec.head:
            return 3, lambda album: predictions_part(read_predictions(store), album)
        return 0, partial(features_part, store)
    if is_object(place):
        return None
    folder = local_path(place, "RUN")
    if (folder / MODEL_FILES[0]).is_file():
        return 1, partial(_of_folder, classifier_part, folder)
    if (folder / "clusters.parquet").exists():
        return 2, partial(_of_folder, clusters_part, folder)
    return None


def _of_folder(part: Callable[[Path, Album], PagePart], folder: Path, album: Album) -> PagePart:
    """Return the part on a folder of results, whose tables have no checksums.

    Raises:
        RaypipeError: one of them is damaged.
    """
    try:
        return part(folder, album)
    except RaypipeError:
        raise
    except (*UNDECODABLE, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:160]
        raise RaypipeError(
            f"RUN: a file of {folder} is not as it was written ({type(error).__name__}: {said}); "
            "make the result again; `--debug` shows which"
        ) from error
