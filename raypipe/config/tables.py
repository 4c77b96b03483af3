"""Options of jobs that read lists, and write tables, for people."""

from __future__ import annotations

from typing import Annotated

from raypipe.config.shared import JobConfig
from raypipe.config.types import option


class CsvConfig(JobConfig):
    """How texts are written into CSV files."""

    csv_safe: Annotated[bool, option("Output")] = False
    """For a CSV that is to be opened in a spreadsheet: put a ' in front of each id, label and name
    that it would take for a formula (they begin with =, +, -, @, a tab or the end of a line).
    Programs that read the file find the ' as part of the text."""


class ExcludeConfig(JobConfig):
    """What is left out of a store."""

    exclude: Annotated[str | None, option("Input", usual=True)] = None
    """Leave out the images that a file names, as the list of `dedupe`. Of a .csv, ids are in the
    column `id`; where it has a column `keep`, those count that have `no` there. Any other file has
    an id on each line. Ids that the store lacks are counted and told."""
