"""Find images of a store that are the same picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import DedupeConfig
from raypipe.display import counted, printable, say
from raypipe.errors import RaypipeError, UsageError
from raypipe.heads.head import as_rows
from raypipe.images.same_picture import LEAST_SIDE, SAME, Pixels, similarity, small
from raypipe.memory import available, readable
from raypipe.reports.thumbnails import find_uris, read_again, thumbnail, unreadable
from raypipe.rows.excluded import KEEP, Excluded, read_excluded
from raypipe.rows.features import Features
from raypipe.rows.spreadsheets import check_csv, without_formulas
from raypipe.storage import local_path, new_file, output_file
from raypipe.store.reader import StoreReader

_THREADS = 8
_SHEET_GROUPS, _SHEET_IMAGES = 40, 8
_SHOWN = 20
_COLUMNS = pa.schema(
    [
        ("group", pa.int64()),
        (schema.ID, pa.string()),
        (KEEP, pa.string()),
        ("similarity", pa.float64()),
        *((name, pa.int64()) for name in ("width", "height", "bytes")),
    ]
)

Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Look:
    """An image that could be read again: what it shows, its sides as shown, and its size."""

    pixels: Pixels
    width: int
    height: int
    bytes: int


#: By id, of images that can still be read.
_Looks = dict[str, _Look]


def run(config: DedupeConfig) -> Outcome:
    """Find near-duplicates; see `DedupeConfig` for the options.

    Raises:
        UsageError: there is no such store.
        RaypipeError: no image can be read any more.
    """
    from raypipe.fit.evaluate.duplicates import Likeness, alike_pairs

    store, column = _checked(config)
    data, excluded = _images(config, store, column)
    ids, rows = data.ids, as_rows(data.features)
    likeness = Likeness(lambda: [rows], rows.shape[1])
    pairs = np.concatenate([some for some, _ in alike_pairs(likeness.unit(rows), config.least)])
    many = f"{counted(len(pairs), 'pair')} of {counted(len(ids), 'image')}"
    say(f"{many}: features are alike; comparing their pixels")
    uris = find_uris(store, ids[np.unique(pairs)])
    looks = _looks(uris)
    alike = _alike(ids, pairs, looks)
    missing = _told_unread(alike, uris, looks)
    found = _complete(ids, pairs, alike, looks)
    groups = [_best_first(group, ids, looks) for group in found]
    out = _write(config, ids, groups, uris, looks)
    summary = {
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "images": len(ids),
        "least": config.least,
        "candidates": len(pairs),
        "not_compared": missing,
        "pairs": int((alike >= SAME).sum()),
        "groups": [ids[group].tolist() for group in groups],
        "excluded": excluded.summary,
        "labels": len({label for label in data.labels if label is not None}),
        "out": out,
    }
    return Outcome(summary, _text(summary), summary["groups"])


def _checked(config: DedupeConfig) -> tuple[StoreReader, str]:
    """Return the store and the column to compare, after what can be wrong with them."""
    check_csv(config.csv_safe, config.out)
    if config.out is not None:
        output_file(config.out, ".csv", ".png")
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    if not store.snapshot.rows:
        raise UsageError(f"STORE: {store.uri} has no features yet")
    needed = 3 * len(store) * prod(store.shapes[column]) * 4
    if needed > available():
        raise UsageError(
            f"STORE: comparing all pairs takes {readable(needed)} of memory, and "
            f"{readable(available())} are free; use a larger machine or a layer with fewer values"
        )
    return store, column


def _images(config: DedupeConfig, store: StoreReader, column: str) -> tuple[Features, Excluded]:
    """Return the images themselves with their features, and what is left out."""
    data = store.to_numpy(column)
    excluded = read_excluded(config.exclude, [data.ids])
    data = data[(data.views == 0) & excluded.stays(data.ids)]
    data.check_finite()
    return data, excluded


def _looks(uris: dict[str, str]) -> _Looks:
    with ThreadPoolExecutor(_THREADS) as pool:
        looks = zip(uris, pool.map(_look, uris.values()), strict=True)
        return {name: look for name, look in looks if look}


def _look(uri: str) -> _Look | None:
    """Return what is compared of an image; None if it cannot be read any more."""
    if (found := read_again(uri, LEAST_SIDE)) is None:
        return None
    image, sides, size = found
    return _Look(small(image), *sides, size)


def _alike(ids: npt.NDArray[Any], pairs: Pairs, looks: _Looks) -> npt.NDArray[np.float64]:
    """Return (M,) similarities of pairs, NaN of those that cannot be compared."""
    found = np.full(len(pairs), np.nan)
    for number, (one, other) in enumerate(pairs):
        if (first := looks.get(ids[one])) and (second := looks.get(ids[other])):
            found[number] = similarity(first.pixels, second.pixels)
    return found


def _told_unread(alike: npt.NDArray[np.float64], uris: dict[str, str], looks: _Looks) -> int:
    """Return how many of (M,) similarities are not known, after saying why.

    Raises:
        RaypipeError: that is all of them.
    """
    missing = int(np.isnan(alike).sum())
    if missing:
        why = unreadable(next(uri for name, uri in uris.items() if name not in looks))
        many = f"{missing} of {counted(len(alike), 'pair')} cannot be compared: {why}"
        if missing == len(alike):
            raise RaypipeError(many)
        say(many)
    return missing


def _complete(
    ids: npt.NDArray[Any], pairs: Pairs, alike: npt.NDArray[Any], looks: _Looks
) -> list[Pairs]:
    """Return groups in which each image is the same picture as each other (complete linkage)."""
    from raypipe.fit.evaluate.duplicates import complete_groups, groups_of

    known = {(int(a), int(b)): v for (a, b), v in zip(pairs, alike, strict=True)}

    def of(one: int, other: int) -> float:
        if (one, other) in known:
            return float(known[one, other])
        first, second = looks[ids[one]], looks[ids[other]]  # two that features keep apart
        return similarity(first.pixels, second.pixels)

    found = [
        part
        for group in groups_of(len(ids), pairs[alike >= SAME])
        for part in complete_groups(group, of, SAME)
    ]
    return sorted(found, key=lambda group: (-len(group), int(group[0])))


def _best_first(group: Pairs, ids: npt.NDArray[Any], looks: _Looks) -> Pairs:
    """Return a group, the image with the most pixels in front; the first by id of equal ones."""

    def rank(row: int) -> tuple[int, str]:
        look = looks[ids[row]]
        return -look.width * look.height, ids[row]

    return np.array(sorted(group.tolist(), key=rank), np.int64)


def _write(
    config: DedupeConfig,
    ids: npt.NDArray[Any],
    groups: list[Pairs],
    uris: dict[str, str],
    looks: _Looks,
) -> str | None:
    """Write a line per image, or a contact sheet, by the extension of --out."""
    if config.out is None or (config.out.endswith(".png") and not groups):
        return None
    out = local_path(config.out, "--out")
    with new_file(out) as beside:
        if out.suffix == ".png":
            _draw([ids[group] for group in groups], uris, beside)
        else:
            table = _table([ids[group] for group in groups], looks)
            pa.csv.write_csv(without_formulas(table) if config.csv_safe else table, beside)
    return str(out)


def _draw(groups: list[npt.NDArray[Any]], uris: dict[str, str], path: Path) -> None:
    from raypipe.reports.figures import contact_sheet

    sheet = []
    for number, group in enumerate(groups[:_SHEET_GROUPS]):
        images = [thumbnail(uris[name]) for name in group[:_SHEET_IMAGES]]
        seen = [image for image in images if image]
        which = f"{len(seen)} of " if len(seen) < len(group) else ""
        sheet.append((f"group {number}\n{which}{len(group)} images", seen))
    shown = f"{len(sheet)} of {counted(len(groups), 'group')}"
    contact_sheet(sheet, f"the same picture, several times: {shown}", path)


def _table(groups: list[npt.NDArray[Any]], looks: _Looks) -> pa.Table:
    """Return a row per image; `similarity` is that with the image to keep of its group."""
    rows = []
    for number, group in enumerate(groups):
        kept = looks[group[0]]
        for name in group:
            look = looks[name]
            rows.append(
                {
                    "group": number,
                    schema.ID: name,
                    KEEP: "yes" if name == group[0] else "no",
                    "similarity": round(similarity(kept.pixels, look.pixels), 4),
                    **{side: getattr(look, side) for side in ("width", "height", "bytes")},
                }
            )
    return pa.Table.from_pylist(rows, _COLUMNS)


def _text(summary: dict[str, Any]) -> str:
    groups = summary["groups"]
    extra = sum(len(group) - 1 for group in groups)
    there = counted(len(groups), "picture is", "pictures are")
    compared = summary["candidates"] - summary["not_compared"]
    lines = [
        f"{there} there several times; {counted(extra, 'image')} could go",
        f"compared: {counted(compared, 'pair')} with a cosine of "
        f"{summary['least']:g} or more; --least lowers it",
    ]
    lines += [printable("  keep " + ", not ".join(group)) for group in groups[:_SHOWN]]
    if len(groups) > _SHOWN:
        lines.append(f"  and {len(groups) - _SHOWN} more; --out FILE.csv has all")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("dedupe", DedupeConfig)


if __name__ == "__main__":
    main()
