"""Tables as text (.csv, .tsv): every row is as long as the header, or an error names it."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from raypipe.errors import UsageError
from raypipe.sources.batches import BATCH_ROWS
from raypipe.sources.columns import distinct
from raypipe.sources.files import AnyPath

_OWN = {".tsv": "\t", ".tab": "\t"}
_SEPARATORS = ",;\t|"
_IN_QUOTES = re.compile(r'"[^"]*("|$)')
_EXCEL = re.compile(r"sep=([,;\t|])\s*$", re.I)
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ADVICE = "write a mark within a value twice and the value in quotes, or the table as JSON lines"

#: What is in no name and no text: it would make another name of it, which looks the same.
_NO_TEXT = ("\0", "\ufeff")

Values = dict[str, list[str]]


def encoding_of(path: AnyPath, option: str = "SOURCE") -> str:
    """Return the encoding that a text begins with a mark of, else UTF-8.

    Raises:
        UsageError: it cannot be read, or is no text.
    """
    # A table is read several times, of which a pipe would give the rest of it to each.
    if isinstance(path, Path) and (path.is_fifo() or path.is_char_device()):
        raise UsageError(f"{option}: {str(path)!r} is a pipe or a device; save the table as a file")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UsageError(f"{option}: cannot read {str(path)!r}: {error.strerror}") from None
    if found := next((name for mark, name in _MARKS if start.startswith(mark)), None):
        return found
    if b"\0" in start:
        raise UsageError(
            f"{option}: {str(path)!r} is no text in UTF-8 (it has zero bytes; UTF-16 is known by "
            "its byte order mark); save it as UTF-8"
        )
    return "utf-8-sig"


class TextTable:
    """A table of text with a header, read strictly.

    Encoding: UTF-8, or UTF-16 and UTF-32 with their mark. Separator: the suffix's own, or else
    the one of `,` `;` tab and `|` that is in the header. Blanks around names and values are left
    out. Line breaks may be within quotes; empty lines are skipped.

    Args:
        path: the file.
        option: the option that names it, for messages.

    Raises:
        UsageError: it cannot be read, is empty, or two columns have one name.
    """

    def __init__(self, path: AnyPath, option: str = "SOURCE") -> None:
        self.path, self.option = path, option
        self.encoding = encoding_of(path, option)
        self.separator, self.skipped = _separator(self._head(), path.suffix.lower())
        self.names = next(self._rows(), (0, []))[1]
        if not any(self.names):
            raise self._wrong("is empty; it needs a header and rows")
        if _is_no_text("".join(self.names)):
            raise self._wrong(f"has a zero byte or a byte order mark in its header: {self.names}")
        distinct(self.names, repr(str(path)), option)

    def parts(self, names: Iterable[str]) -> Iterator[Values]:
        """Yield some columns by name, in batches of rows.

        Raises:
            UsageError: naming the first row that is unclosed, ragged or undecodable, whichever
                columns are asked for.
        """
        places = {name: self.names.index(name) for name in names}
        try:
            with self._open() as file:
                reader = self._reader(file)
                next(filter(None, reader))
                lines = reader.line_num
                while chunk := list(islice(reader, BATCH_ROWS)):
                    rows = list(filter(None, chunk))
                    if not self._are_sound(rows, broken=reader.line_num - lines > len(chunk)):
                        raise self._wrong_row()
                    lines = reader.line_num
                    yield {n: [row[place].strip() for row in rows] for n, place in places.items()}
        except (csv.Error, UnicodeError):
            raise self._wrong_row() from None

    def _are_sound(self, rows: list[list[str]], *, broken: bool) -> bool:
        """Whether `_check` has nothing against rows, of which some may be broken into lines."""
        if set(map(len, rows)) - {len(self.names)}:
            return False
        if _is_no_text("".join(map("".join, rows))):
            return False
        return not broken or not any(self._holds_rows(value) for row in rows for value in row)

    def _wrong_row(self) -> UsageError:
        """Read the table again, a row at a time, for what is wrong and where."""
        try:
            for number, (line, row) in enumerate(self._rows()):
                if number:
                    self._check(row, number, line)
        except UsageError as error:
            return error
        return self._wrong("has changed while it was read; try again")

    def _head(self) -> list[str]:
        with self._open("replace") as file:  # what is undecodable is told with its row
            return list(islice(file, 2))

    def _open(self, errors: str = "strict") -> IO[str]:
        try:
            file: IO[str] = self.path.open(encoding=self.encoding, newline="", errors=errors)
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from None
        return file

    def _rows(self, errors: str = "strict") -> Iterator[tuple[int, list[str]]]:
        """Yield each row with the line it begins in, the header first and stripped."""
        count, begins = 0, self.skipped + 1
        with self._open(errors) as file:
            reader = self._reader(file)
            try:
                for row in reader:
                    if row:
                        yield begins, row if count else [name.strip() for name in row]
                        count += 1
                    begins = self.skipped + reader.line_num + 1
            except csv.Error as error:
                raise self._unclosed(count, begins, error) from None
            except UnicodeError as error:
                raise self._undecodable(error) from None

    def _reader(self, file: IO[str]) -> Any:
        return csv.reader(
            islice(file, self.skipped, None),
            delimiter=self.separator,
            strict=True,
            skipinitialspace=True,
        )

    def _check(self, row: list[str], number: int, line: int) -> None:
        if len(row) != len(self.names):
            raise self._wrong(
                f"has {len(row)} values in row {number} (line {line}), the header "
                f"{len(self.names)}; correct this row: values with {self.separator!r} in them need "
                "quotes"
            )
        for value in row:
            if _is_no_text(value):
                raise self._wrong(
                    f"has a zero byte or a byte order mark in row {number} (line {line}), as where "
                    f"files have been joined: {value[:40]!r}; remove it"
                )
            if self._holds_rows(value):
                raise self._wrong(
                    f"has a quotation mark in row {number} (line {line}) that takes the next rows "
                    f"in, up to another such mark: {value[:40]!r}…; {_ADVICE}"
                )

    def _holds_rows(self, value: str) -> bool:
        """Whether a value in quotes ends where another one would begin, with rows inside."""
        if "\n" not in value and "\r" not in value:
            return False
        lines = value.splitlines()
        inner, width = lines[1:-1], len(self.names) - 1
        between = all(line.count(self.separator) >= width for line in inner)
        return bool(width) and between and lines[-1].rstrip(" ").endswith(self.separator)

    def _unclosed(self, rows: int, line: int, error: csv.Error) -> UsageError:
        where = f"row {rows} (line {line})" if rows else "the header"
        if "field limit" in str(error):
            return self._wrong(
                f"has a value of more than {csv.field_size_limit()} characters in {where}, or a "
                f"quotation mark that is not closed; {_ADVICE}"
            )
        return self._wrong(
            f"has a quotation mark in {where} that is not closed, or stands within a value "
            f"({error}); {_ADVICE}"
        )

    def _undecodable(self, error: UnicodeError) -> UsageError:
        """Look for the row again: the text was decoded ahead of it."""
        where, byte = "", ""
        if isinstance(error, UnicodeDecodeError):
            byte = f"byte 0x{error.object[error.start]:02x}: "
        if self.encoding == "utf-8-sig":
            for number, (line, row) in enumerate(self._rows("surrogateescape")):
                if any("\udc80" <= letter <= "\udcff" for value in row for letter in value):
                    where = f" in row {number} (line {line})" if number else " in the header"
                    break
        shown = self.encoding.removesuffix("-sig").upper()
        return self._wrong(
            f"has bytes{where} that are not {shown} ({byte}{_reason(error)}); save it as UTF-8"
        )

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.option}: {str(self.path)!r} {what}")


def _is_no_text(text: str) -> bool:
    return any(mark in text for mark in _NO_TEXT)


def _reason(error: UnicodeError) -> str:
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)


def _separator(head: list[str], suffix: str) -> tuple[str, int]:
    """Return what separates values, and how many lines stand in front of the header."""
    if head and (named := _EXCEL.match(head[0].lstrip("\ufeff"))):
        return named.group(1), 1
    own = _OWN.get(suffix, ",")
    header = _IN_QUOTES.sub("", head[0]) if head else ""
    there = [mark for mark in _SEPARATORS if mark in header]
    return (there[0] if own not in there and len(there) == 1 else own), 0
