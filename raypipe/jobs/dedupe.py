"""Find images of a store that are the same picture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
from PIL import Image, ImageOps

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import DedupeConfig
from raypipe.display import printable, say
from raypipe.errors import UsageError
from raypipe.heads.head import as_rows
from raypipe.memory import available, readable
from raypipe.reports.thumbnails import find_uris, thumbnail
from raypipe.rows.spreadsheets import check_csv, without_formulas
from raypipe.storage import local_path, new_file
from raypipe.store.reader import StoreReader

#: Cosine of standardised features above which images are the same without a look at their pixels:
#: where these cannot be read any more.
_CERTAIN = 0.99
#: Correlation of grey pixels, as they are or mirrored, from which on pictures are the same.
_SAME_PIXELS = 0.9
_SIDE = 32
_THREADS = 8
_SHEET_GROUPS, _SHEET_IMAGES = 40, 8
_SHOWN = 20

Pairs = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.float32]


def run(config: DedupeConfig) -> Outcome:
    """Find near-duplicates; see `DedupeConfig` for the options.

    Raises:
        UsageError: there is no such store.
    """
    from raypipe.fit.evaluate.duplicates import Likeness, alike_pairs, groups_of

    check_csv(config.csv_safe, config.out)
    store = StoreReader(config.store, config.snapshot)
    column = store.column(config.layer)
    if not store.snapshot.rows:
        raise UsageError(f"STORE: {store.uri} has no features yet")
    _check_memory(store, column)
    ids, rows = _images(store, column)
    likeness = Likeness(lambda: [rows], rows.shape[1])
    found = list(alike_pairs(likeness.unit(rows), config.least))
    pairs = np.concatenate([some for some, _ in found])
    cosines = np.concatenate([values for _, values in found])
    say(f"{len(pairs)} pairs of {len(ids)} images have a similarity of {config.least:g} or more")
    uris = find_uris(store, ids[np.unique(pairs)])
    same = _confirmed(ids, pairs, cosines, uris)
    groups = groups_of(len(ids), pairs[same])
    out = _write(config, ids, groups, uris)
    summary = {
        "store": store.uri,
        "snapshot": store.snapshot.number,
        "images": len(ids),
        "candidates": len(pairs),
        "pairs": int(same.sum()),
        "groups": [ids[group].tolist() for group in groups],
        "out": out,
    }
    return Outcome(summary, _text(summary), summary["groups"])


def _check_memory(store: StoreReader, column: str) -> None:
    needed = 3 * len(store) * prod(store.shapes[column]) * 4
    if needed > available():
        raise UsageError(
            f"STORE: comparing all pairs takes {readable(needed)} of memory, and "
            f"{readable(available())} are free; use a larger machine or a layer with fewer values"
        )


def _images(store: StoreReader, column: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the ids of the images themselves, and their features as rows."""
    data = store.to_numpy(column)
    data = data[data.views == 0]
    data.check_finite()
    return data.ids, as_rows(data.features)


def _confirmed(
    ids: npt.NDArray[Any], pairs: Pairs, cosines: npt.NDArray[Any], uris: dict[str, str]
) -> npt.NDArray[np.bool_]:
    """Return which pairs are the same picture by their pixels, too."""
    names = [str(name) for name in ids[np.unique(pairs)]]
    with ThreadPoolExecutor(_THREADS) as pool:
        pixels = dict(zip(names, pool.map(_grey, (uris[name] for name in names)), strict=True))
    same = np.zeros(len(pairs), bool)
    for number, (one, other) in enumerate(pairs):
        first, second = pixels[ids[one]], pixels[ids[other]]
        if first is None or second is None:
            same[number] = cosines[number] >= _CERTAIN
        else:
            mirrored = first[:, ::-1]
            same[number] = max(np.vdot(first, second), np.vdot(mirrored, second)) >= _SAME_PIXELS
    return same


def _grey(uri: str) -> Pixels | None:
    """Return an image as 32 × 32 grey values of mean 0 and length 1; None if it cannot be read."""
    image = thumbnail(uri)
    if image is None:
        return None
    values = np.asarray(
        ImageOps.grayscale(image).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32
    )
    values = values - values.mean()
    norm = float(np.linalg.norm(values))
    found: Pixels = values / norm if norm else values
    return found


def _write(
    config: DedupeConfig, ids: npt.NDArray[Any], groups: list[Pairs], uris: dict[str, str]
) -> str | None:
    """Write a line per image, or a contact sheet, by the extension of --out."""
    if config.out is None or (config.out.endswith(".png") and not groups):
        return None
    out = local_path(config.out, "--out")
    if out.suffix == ".png":
        from raypipe.reports.figures import contact_sheet

        sheet = []
        for number, group in enumerate(groups[:_SHEET_GROUPS]):
            images = [thumbnail(uris[name]) for name in ids[group][:_SHEET_IMAGES]]
            sheet.append((f"group {number}\n{len(group)} images", [i for i in images if i]))
        with new_file(out) as beside:
            contact_sheet(sheet, "the same picture, several times", beside)
        return str(out)
    numbers = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    members = ids[np.concatenate(groups)] if groups else np.array([], object)
    table = pa.table({"group": numbers, schema.ID: pa.array(members, pa.string())})
    with new_file(out) as beside:
        pa.csv.write_csv(without_formulas(table) if config.csv_safe else table, beside)
    return str(out)


def _text(summary: dict[str, Any]) -> str:
    groups = summary["groups"]
    extra = sum(len(group) - 1 for group in groups)
    lines = [f"{len(groups)} pictures are there several times: {extra} images could go"]
    lines += [printable("  " + "  ".join(group)) for group in groups[:_SHOWN]]
    if len(groups) > _SHOWN:
        lines.append(f"  and {len(groups) - _SHOWN} more; --out FILE.csv has all")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("dedupe", DedupeConfig)


if __name__ == "__main__":
    main()
