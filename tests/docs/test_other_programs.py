"""What the README gives other programs: the rows of a snapshot, once each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import raypipe
from tests.support.stores import items_of, make_spec, make_store

README = Path(__file__).parents[2] / "README.md"


def test_rows_come_once_after_compact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    names = ["a/1", "a/2", "b/1", "b/2"]
    make_store(tmp_path / "features", [items_of([name]) for name in names], make_spec())
    monkeypatch.chdir(tmp_path)
    raypipe.compact("features")
    assert len(pandas.read_parquet("features/data")) == 2 * len(names)  # as the text warns
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (one for one in blocks if "duckdb" in one)
    code = re.sub(r"^duckdb\.sql", "found = duckdb.sql", block, flags=re.MULTILINE)
    space: dict[str, Any] = {}
    exec(code, space)
    assert sorted(space["frame"]["id"]) == names
    assert sorted(row[0] for row in space["found"].fetchall()) == names
