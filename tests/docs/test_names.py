"""One name stands for one thing: modules, packages and classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.docs.blocks import ROOT

#: Names that stand more than once because they are the same thing, or a convention of Python's.
THE_SAME = {
    "__main__": "Python's name for what `python -m` runs",
    "run": "the usual name for what drives the rest of its folder",
    "in_memory": "fits whose features lie in the driver's memory, and their drivers",
    "kmeans": "the fit, and its driver",
    "layers": "the command, and what it shows",
    "mlp": "the fit, and the head that it gives",
    "shards": "the shards, and what fits on them share",
}


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "raypipe").rglob("*.py")):
        place = path.parent if path.name == "__init__.py" else path.with_suffix("")
        yield place.name, str(place.relative_to(ROOT))


def classes() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "raypipe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield node.name, str(path.relative_to(ROOT))


@pytest.mark.parametrize("named", [modules, classes])
def test_names_stand_for_one_thing(named: object) -> None:
    places: dict[str, list[str]] = {}
    for name, place in named():  # type: ignore[operator]
        places.setdefault(name, []).append(place)
    several = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in THE_SAME} == {}
    if named is modules:
        assert set(THE_SAME) <= set(several), "no longer needed"
