"""Labels and splits of listed items."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config import LabelConfig
from raypipe.errors import UsageError
from raypipe.rows import splits
from raypipe.schema import ID, ITEMS, LABEL, SPLIT
from raypipe.sources.folder_labels import FolderLabels
from raypipe.storage import local_path

_SPLIT_ADVICE = {
    "folder": "the top-most folder has to be train, valid, test or the like",
    "column": "name their column with --split-column",
    "hash": "give --split-sizes",
}

Texts = list[str | None]


class Labels:
    """Gives items their labels and splits, by the rule that the options name.

    Args:
        config: the options.
        auto_label: what `--label auto` means for the source.
        shards: names of its shards, if it consists of such.

    Raises:
        UsageError: the pattern or the label file cannot be used.
    """

    def __init__(
        self,
        config: LabelConfig,
        auto_label: Literal["folder", "column"],
        shards: Collection[str] = (),
    ) -> None:
        self.config = config
        mode = auto_label if config.label == "auto" else config.label
        kind, _, depth = mode.partition(":")
        self.rule: Callable[[str], str | None] | None = None
        if kind == "folder":
            self.rule = FolderLabels(depth, shards, automatic=config.label == "auto").label
        elif kind == "filename":
            self.rule = _filename(config.label_pattern)
        elif kind == "none":
            self.rule = lambda _: None
        self.items = self.with_split = 0
        self.file = (
            _LabelFile(config.label_file, config.label_column) if config.label_file else None
        )
        if self.file:
            self.rule = self.file.label

    def apply(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the items with labels and splits.

        Raises:
            UsageError: there are items, and not one of them is in the label file or has a split.
        """
        for batch in batches:
            ids = batch[ID].to_pylist()
            label = pa.array(map(self.rule, ids), pa.string()) if self.rule else batch[LABEL]
            columns = {**dict(zip(ITEMS.names, batch.columns, strict=True)), LABEL: _tidy(label)}
            columns[SPLIT] = self._splits(ids, batch[SPLIT])
            self.items += len(ids)
            self.with_split += len(ids) - columns[SPLIT].null_count
            yield pa.RecordBatch.from_arrays(list(columns.values()), schema=ITEMS)
        if self.file:
            self.file.check_matched()
        if self.config.split != "none" and self.items and not self.with_split:
            raise UsageError(
                f"--split {self.config.split}: not one of {self.items} images has a split; "
                + _SPLIT_ADVICE[self.config.split]
            )

    def _splits(self, ids: list[str], given: pa.Array) -> pa.Array:
        mode = self.config.split
        if mode == "column":
            return given
        if mode == "hash":
            return pa.array(splits.by_hash(ids, self.config.split_sizes.parts), pa.string())
        named = map(_folder_split, ids) if mode == "folder" else [None] * len(ids)
        return pa.array(named, pa.string())


def _tidy(labels: pa.Array) -> pa.Array:
    """Return (N,) labels in Unicode's form NFC, without blanks around them; empty ones as null."""
    found = pc.utf8_normalize(pc.utf8_trim_whitespace(labels), "NFC")
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


def _folder_split(item: str) -> str | None:
    folder, found, _ = item.partition("/")
    return splits.canonical(folder) if found and splits.is_usual(folder) else None


def _filename(pattern: str) -> Callable[[str], str | None]:
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--label-pattern: expected a regular expression; got {pattern!r}: {error}"
        ) from None
    if not search.groups:
        raise UsageError(
            f"--label-pattern: expected a group (…) for the label; {pattern!r} has none"
        )

    def label(item: str) -> str | None:
        found = search.search(item.rpartition("/")[2])
        return found.group(1) if found else None

    return label


class _LabelFile:
    """A CSV with a label for each id, which may lack the extension."""

    def __init__(self, uri: str, column: str) -> None:
        self.path = local_path(uri, "--label-file")
        self.labels = _read(self.path, column)
        self.matched = False
        self.unmatched: str | None = None

    def label(self, item: str) -> str | None:
        """Return an item's label."""
        name = item if item in self.labels else _without_extension(item)
        if name in self.labels:
            self.matched = True
            return self.labels[name]
        self.unmatched = self.unmatched or item
        return None

    def check_matched(self) -> None:
        """Refuse a file that has none of the items."""
        if self.unmatched is not None and not self.matched:
            example = next(iter(self.labels), None)
            raise UsageError(
                f"--label-file: {str(self.path)!r} has none of the ids; it has, for example, "
                f"{example!r}, and the source has {self.unmatched!r}: make them equal"
            )


def _without_extension(item: str) -> str:
    folder, slash, name = item.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _read(path: Path, column: str) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            item_at, label_at = _columns(names, column, path)
            for row in rows:
                if not row:
                    continue
                item, label = row[item_at], row[label_at] or None
                if labels.setdefault(item, label) != label:
                    raise UsageError(f"--label-file: {str(path)!r} has two labels for {item!r}")
    except IndexError:
        raise UsageError(
            f"--label-file: line {rows.line_num} of {str(path)!r} has too few columns"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--label-file: cannot read {str(path)!r}: {error}") from None
    return labels


def _columns(names: list[str], column: str, path: Path) -> tuple[int, int]:
    if "id" in names and column in names:
        return names.index("id"), names.index(column)
    if column != LabelConfig.model_fields["label_column"].default and column not in names:
        raise UsageError(
            f"--label-column: no column {column!r} in {str(path)!r}; it has {', '.join(names)}"
        )
    if len(names) < 2:
        raise UsageError(
            f"--label-file: expected columns id and {column}; {str(path)!r} has {names}"
        )
    return 0, names.index(column) if column in names[1:] else 1
