"""Write the features of a store as one file."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from raypipe.cli.command import Outcome, run_job
from raypipe.config import ExportConfig
from raypipe.display import counted, printable
from raypipe.errors import RaypipeError, UsageError
from raypipe.rows import splits
from raypipe.rows.excluded import read_excluded
from raypipe.rows.order import permutation
from raypipe.rows.rare import described, rare_classes
from raypipe.rows.spreadsheets import check_csv
from raypipe.storage import output_file, reason_of
from raypipe.store.exports import StoredRows, Target, export, read_rows
from raypipe.store.reader import StoreReader

_SUFFIXES = {"hdf5": (".h5", ".hdf5"), "npy": (".npy",), "csv": (".csv",)}


def run(config: ExportConfig) -> Outcome:
    """Export; see `ExportConfig` for the options.

    Raises:
        UsageError: before anything is written, if the options cannot work.
    """
    started = time.monotonic()
    reader = StoreReader(config.store, config.snapshot)
    path = _checked_path(config, reader)
    column = reader.column(config.layer)
    rows = read_rows(reader)
    excluded = read_excluded(config.exclude, [rows.ids])
    stays = excluded.stays(rows.ids)
    there = rows[np.flatnonzero(stays)]
    rare = rare_classes(there.labels, there.views, config.min_per_class)
    kept = np.array([label not in rare for label in rows.labels], bool) & stays
    targets = _targets(config, path, rows, kept)
    try:
        files = export(
            reader,
            column,
            rows,
            list(targets.values()),
            config.to,
            config.dtype,
            csv_safe=config.csv_safe,
        )
    except PermissionError as error:
        raise UsageError(f"--out: cannot write {str(path)!r}: {error.strerror}") from None
    except OSError as error:
        raise RaypipeError(f"{path} is not written: {reason_of(error)}") from error
    counts = {name: len(target.rows) for name, target in targets.items()}
    written = sum(counts.values())
    summary: dict[str, Any] = {
        "out": [str(file) for file in files],
        "rows": written,
        "shape": [written, *reader.shapes[column]],
        "column": column,
        "snapshot": reader.snapshot.number,
        "splits": counts if config.split != "none" else {},
        "left_out": int(kept.sum()) - written,
        "rare_classes": rare,
        "excluded": excluded.summary,
        "seconds": round(time.monotonic() - started, 3),
    }
    return Outcome(summary, _text(summary), files)


def check(config: ExportConfig) -> None:
    """Check what can be checked without the store.

    Raises:
        UsageError: the file's name does not go with its format.
    """
    check_csv(config.csv_safe, config.out)
    allowed = _SUFFIXES[config.to]
    if Path(config.out).suffix not in allowed:
        raise UsageError(
            f"--out: a file ending in {' or '.join(allowed)} goes with --to {config.to}; "
            f"got {config.out!r}"
        )


def _checked_path(config: ExportConfig, reader: StoreReader) -> Path:
    check(config)
    path = output_file(config.out)
    store = reader.storage.folder
    if store is not None and store.resolve() in path.resolve().parents:
        raise UsageError(f"--out: {str(path)!r} lies inside the store; give a file outside it")
    return path


def _targets(
    config: ExportConfig, path: Path, rows: StoredRows, kept: npt.NDArray[np.bool_]
) -> dict[str, Target]:
    """Return the files to write by split, in the order splits are used; one without a name else."""
    order = permutation(rows.ids.tolist(), rows.views, config.order, config.seed)
    order = order[kept[order]]
    if config.split == "none":
        return {"": Target(path, order)}
    split_of = np.full(len(rows), None, object)
    split_of[kept] = _split_of(config, rows[np.flatnonzero(kept)])
    found = Counter(split_of[kept].tolist())
    known = [name for name in ("train", "validation", "test") if name in found]
    if config.split == "hash":  # a small store may have no item in one of them
        known = list(splits.names(config.split_sizes.parts))
    named = [*known, *sorted(name for name in found if name is not None and name not in known)]
    return {
        name: Target(
            path.with_suffix(f".{quote(name, safe=' ')}{path.suffix}"),
            order[split_of[order] == name],
        )
        for name in named
    }


def _split_of(config: ExportConfig, rows: StoredRows) -> Any:
    ids = rows.ids.tolist()
    if config.split == "hash":
        return np.array(splits.by_hash(ids, config.split_sizes.parts), dtype=object)
    if config.split == "stratified":
        return splits.stratified(ids, rows.labels, config.split_sizes.parts, config.seed)
    if all(split is None for split in rows.splits):
        raise UsageError(
            "--split: the source of this store recorded no splits; use stratified or hash"
        )
    return rows.splits


def _text(summary: dict[str, Any]) -> str:
    shape = " × ".join(map(str, summary["shape"]))
    rows = counted(summary["rows"], "row")
    lines = [f"{rows} of {summary['column']} ({shape}) in {summary['seconds']} s"]
    lines += [printable(f"  {count:>7} {name}") for name, count in summary["splits"].items()]
    if summary["left_out"]:
        lines.append(f"{counted(summary['left_out'], 'row')} without a split: left out")
    if summary["rare_classes"]:
        lines.append(described(summary["rare_classes"]))
    lines += [f"  {path}" for path in summary["out"]]
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("export", ExportConfig)


if __name__ == "__main__":
    main()
