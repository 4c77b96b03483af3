"""Tables that give images their labels by id."""

from __future__ import annotations

import unicodedata

from raypipe.config import LabelConfig
from raypipe.errors import UsageError
from raypipe.sources.columns import IMAGE_NAMES, present
from raypipe.sources.text_tables import TextTable
from raypipe.storage import local_path

_OPTION = "--label file"
_ID_NAMES = ("id", "image_id", "filename", "file_name", "image_name", "name", *IMAGE_NAMES)
_LABEL_NAMES = ("label", "labels", "class", "class_name", "classname", "category", "target", "y")


class LabelFile:
    """A table of text with a label for each id, which may lack the extension.

    Columns are known by usual names. Of two with other names the first has the ids. The first line
    is a row itself where an image has the id that would be a column's name: the file has no
    header then. Ids are compared in Unicode's form NFC and with `/` between folders.

    Args:
        config: the options, with the file and, if they are named, its columns.

    Raises:
        UsageError: it cannot be parsed, its columns cannot be told, or an id has two labels.
    """

    def __init__(self, config: LabelConfig) -> None:
        path = local_path(config.label_file or "", _OPTION)
        self.shown = repr(str(path))
        table = TextTable(path, _OPTION)
        item, label = _columns(table.names, config, self.shown)
        self.labels: dict[str, str] = {}
        for part in table.parts([item, label]):
            for name, value in zip(part[item], part[label], strict=True):
                self._add(_key(name), value)
        self.first: str | None = None  # what is a row only if an image has this id
        if item not in (config.label_id, *_ID_NAMES) and _key(item) not in self.labels:
            self.first = _key(item)
            self.labels[self.first] = label
        self.start()

    def start(self) -> None:
        """Count from none on."""
        self.named: set[str] = set()
        self.items = self.without = 0
        self.example = ""

    def label(self, item: str) -> str | None:
        """Return an item's label."""
        self.items += 1
        key = _key(item)
        for name in (key, _without_extension(key)):
            if name in self.labels:
                self.named.add(name)
                return self.labels[name]
        self.without += 1
        self.example = self.example or item
        return None

    @property
    def counts(self) -> dict[str, int]:
        """Items that the file does not name, and rows of it that name no item."""
        unused = len(self.labels) - len(self.named)
        unused -= self.first is not None and self.first not in self.named
        return {
            "an image that the label file does not name": self.without,
            "a row of the label file that names no image": unused,
        }

    def check_matched(self) -> str:
        """Return a line on what has not found its match, if there is any.

        Raises:
            UsageError: there are items, and none of them is in the file.
        """
        matched = {*self.named, self.first}
        row = next((name for name in self.labels if name not in matched), "")
        if self.items and not self.named:
            raise UsageError(
                f"{_OPTION}: {self.shown} has none of the ids; it has, for example, "
                f"{row!r}, and the source has {self.example!r}: make them equal"
            )
        without, unused = self.counts.values()
        found = []
        if without:
            found.append(f"{without} of {self.items} images are not in it, as {self.example!r}")
        if unused:
            found.append(f"{unused} of its rows name no image, as {row!r}")
        return f"{_OPTION} {self.shown}: {'; '.join(found)}" if found else ""

    def _add(self, item: str, label: str) -> None:
        if self.labels.setdefault(item, label) != label:
            raise UsageError(
                f"{_OPTION}: {self.shown} has two labels for {item!r}: {self.labels[item]!r} and "
                f"{label!r}; remove one"
            )


def _columns(names: list[str], config: LabelConfig, shown: str) -> tuple[str, str]:
    """Return the columns with ids and labels."""
    column = config.label_column
    label = next((name for name in (column, *_LABEL_NAMES) if name in names), None)
    if column != LabelConfig.model_fields["label_column"].default:
        label = present(column, names, _OPTION, shown)
    others = [name for name in names if name != label]
    item = next((name for name in _ID_NAMES if name in others), None)
    if config.label_id:
        item = present(config.label_id, names, _OPTION, shown)
    if label is None and len(names) == 2:
        item = item or names[0]
        label = names[1 - names.index(item)]
    if label is None or not others:
        raise UsageError(
            f"{_OPTION}: expected a column of ids and one of labels, as id and label; {shown} has "
            f"{', '.join(map(repr, names))}; name both, as file:PATH:ID,LABEL"
        )
    return item or others[0], label


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _without_extension(item: str) -> str:
    folder, slash, name = item.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
