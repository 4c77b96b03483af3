"""Labels and splits of listed items."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config import LabelConfig
from raypipe.display import say
from raypipe.errors import UsageError
from raypipe.rows import splits
from raypipe.schema import ID, ITEMS, LABEL, SPLIT
from raypipe.sources.folder_labels import FolderLabels
from raypipe.sources.label_files import LabelFile

_SPLIT_ADVICE = {
    "folder": "the top-most folder has to be train, valid, test or the like",
    "column": "name their column by --split column:NAME",
    "hash": "give other shares, as hash:0.8,0.1,0.1",
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
        self.file = LabelFile(config) if config.label_file else None
        if self.file:
            self.rule = self.file.label

    def apply(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the items with labels and splits.

        Raises:
            UsageError: there are items, and not one of them is in the label file or has a split.
        """
        if self.file:
            self.file.start()
        for batch in batches:
            ids = batch[ID].to_pylist()
            label = pa.array(map(self.rule, ids), pa.string()) if self.rule else batch[LABEL]
            columns = {**dict(zip(ITEMS.names, batch.columns, strict=True)), LABEL: _tidy(label)}
            columns[SPLIT] = self._splits(ids, batch[SPLIT])
            self.items += len(ids)
            self.with_split += len(ids) - columns[SPLIT].null_count
            yield pa.RecordBatch.from_arrays(list(columns.values()), schema=ITEMS)
        if self.file and (unmatched := self.file.check_matched()):
            say(unmatched)
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
    """Return (N,) labels in Unicode's form NFC, without blanks around them; empty ones as null.

    A byte order mark in front is left out, too: it comes from the file that the label is from.
    """
    plain = pc.utf8_trim_whitespace(pc.utf8_ltrim(labels, characters="\ufeff"))
    found = pc.utf8_normalize(plain, "NFC")
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


def _folder_split(item: str) -> str | None:
    folder, found, _ = item.partition("/")
    return splits.canonical(folder) if found and splits.is_usual(folder) else None


def _filename(pattern: str) -> Callable[[str], str | None]:
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--label filename: expected a regular expression; got {pattern!r}: {error}"
        ) from None
    if not search.groups:
        raise UsageError(
            f"--label filename: expected a group (…) for the label; {pattern!r} has none"
        )

    def label(item: str) -> str | None:
        found = search.search(item.rpartition("/")[2])
        return found.group(1) if found else None

    return label
