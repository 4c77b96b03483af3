"""The matrix of faults names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
_ROW = re.compile(r"\| (?P<fault>.+?) \| (?P<what>.+?) \| `(?P<test>tests/[^`]+)` \|")


def rows() -> list[re.Match[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [_ROW.fullmatch(line) or line for line in lines if not line.startswith("| fault |")]


def test_every_row_has_a_test_that_is_there() -> None:
    found = rows()
    assert [line for line in found if isinstance(line, str)] == []
    missing = []
    for row in found:
        path, _, name = row["test"].partition("::")
        tree = ast.parse((ROOT / path).read_text()) if (ROOT / path).is_file() else ast.Module([])
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        missing += [] if name in names and name.startswith("test_") else [row["test"]]
    assert missing == []


def test_it_covers_the_product() -> None:
    tests = [row["test"] for row in rows()]
    assert len(tests) >= 70
    assert len({row["fault"] for row in rows()}) == len(tests)
    rooms = {test.split("/")[1] for test in tests}
    assert rooms >= {"cli", "cluster", "display", "faults", "images", "sources", "storage", "store"}
