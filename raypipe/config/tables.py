"""Options of jobs that write tables for people."""

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
