"""Tables of predictions, as type checkers see them: pyarrow says nothing of its types."""

from __future__ import annotations

from typing import Any, Protocol


class PredictionTable(Protocol):
    """A `pyarrow.Table`: what most need of one."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""

    def __len__(self) -> int: ...

    def __getitem__(self, column: str) -> Any: ...

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows."""

    def to_pydict(self) -> dict[str, list[Any]]:
        """Return the columns."""

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame."""
