"""Images that a job leaves out, by a list of ids."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.display import counted, say
from raypipe.errors import UsageError
from raypipe.rows.spreadsheets import as_it_was
from raypipe.storage import local_path

#: Of the lists that `dedupe` writes: whether the image stays.
KEEP = "keep"

_LINE_ENDS = re.compile(r"\r\n?|\n")


@dataclass(frozen=True)
class Excluded:
    """What is left out of a store.

    Attributes:
        ids: of its images.
        file: the list they are from; empty where there is none.
        sha256: of the list.
        not_found: how many ids of the list the store has not.
    """

    ids: pa.Array
    file: str = ""
    sha256: str = ""
    not_found: int = 0

    def stays(
        self, ids: npt.NDArray[np.object_] | pa.Array | pa.ChunkedArray
    ) -> npt.NDArray[np.bool_]:
        """Return which rows stay, (N,), by their ids (N,)."""
        if not len(self.ids):
            return np.ones(len(ids), bool)
        every = pa.array(ids, pa.string()) if isinstance(ids, np.ndarray) else ids
        found: npt.NDArray[np.bool_] = pc.invert(pc.is_in(every, self.ids)).to_numpy(
            zero_copy_only=False
        )
        return found

    @property
    def summary(self) -> dict[str, Any] | None:
        """What results say of it; None where there is no list."""
        if not self.file:
            return None
        about = {"images": len(self.ids), "not_found": self.not_found}
        return {"file": self.file, "sha256": self.sha256, **about}


def read_excluded(file: str | None, ids: Iterable[npt.NDArray[np.object_]]) -> Excluded:
    """Read what --exclude names, and say what comes of it.

    Args:
        file: a .csv with a column `id`, whose lines count that have `no` as `keep`, or all if it
            has no such column; or a text file with an id on each line. None: nothing is left out.
        ids: of the store, as one or several arrays (N,); not looked at without a list.

    Raises:
        UsageError: it cannot be read, it names no image of the store, or all of them.
    """
    if file is None:
        return Excluded(pa.array([], pa.string()))
    path = local_path(file, "--exclude")
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"--exclude: cannot read {str(path)!r}: {reason}") from None
    lines = _LINE_ENDS.split(text)  # `splitlines` would know more of them, which names may have
    listed = _of_csv(text, str(path)) if path.suffix.lower() == ".csv" else lines
    wanted = dict.fromkeys(name for name in listed if name)
    known = {name for some in ids for name in some}
    found = [one for name in wanted if (one := name if name in known else as_it_was(name)) in known]
    if wanted and not found:
        raise UsageError(
            f"--exclude: no id of {str(path)!r} is in the store; the file has "
            f"{next(iter(wanted))!r}, the store {min(known, default='')!r}"
        )
    if len(found := list(dict.fromkeys(found))) == len(known):
        raise UsageError(f"--exclude: {str(path)!r} names all images of the store; none is left")
    missing = len(wanted) - len(found)
    are = "is" if missing == 1 else "are"
    lacks = f"; {counted(missing, 'id')} of {path.name} {are} not in the store" if missing else ""
    say(f"left out by --exclude: {counted(len(found), 'image')}{lacks}")
    sha256 = hashlib.sha256(content).hexdigest()
    return Excluded(pa.array(found, pa.string()), str(path), sha256, missing)


def _of_csv(text: str, path: str) -> list[str]:
    """Return the ids of a CSV that are to be left out."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(table)
    except csv.Error as error:
        raise UsageError(f"--exclude: cannot read {path!r} as CSV: {error}") from None
    columns = table.fieldnames or []
    if schema.ID not in columns:
        raise UsageError(
            f"--exclude: a .csv needs a column {schema.ID!r}; {path!r} has "
            f"{', '.join(columns) or 'none'}; a .txt has an id on each line"
        )
    if len({*columns}) < len(columns):
        raise UsageError(f"--exclude: {path!r} has two columns of one name; rename one")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise UsageError(
                f"--exclude: row {number} of {path!r} has more or fewer fields than the header"
            )
        if KEEP in columns and row[KEEP] not in ("yes", "no"):
            raise UsageError(
                f"--exclude: column {KEEP!r} of {path!r} has to be yes or no; got {row[KEEP]!r} "
                f"for {row[schema.ID]!r}"
            )
    return [row[schema.ID] for row in rows if row.get(KEEP, "no") == "no"]
