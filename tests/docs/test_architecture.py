"""The plan of the code is what the code is: layers, picture, tour, and where new code goes."""

from __future__ import annotations

import itertools
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.docs.blocks import ROOT

ARCHITECTURE = ROOT / "docs" / "architecture.md"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def extensions() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs" / "_ext"))
        import code_links
        import rooms
        import rooms_picture

        yield SimpleNamespace(rooms=rooms, picture=rooms_picture.picture, links=code_links)
        for name in ("code_links", "rooms", "rooms_picture"):
            del sys.modules[name]


def checkout(folder: Path, layers: list[str], files: dict[str, str]) -> Path:
    """A project of a few rooms, all of them without Ray but `d`."""
    no_ray = [f"raypipe.{name}" for name in "abc"]
    (folder / "pyproject.toml").write_text(
        f"[[tool.importlinter.contracts]]\ntype = 'layers'\nlayers = {layers}\n"
        f"[[tool.importlinter.contracts]]\ntype = 'forbidden'\nsource_modules = {no_ray}\n"
        "forbidden_modules = ['ray']\n"
    )
    for name, text in files.items():
        path = folder / "raypipe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


LAYERS = ["raypipe.d", "raypipe.b | raypipe.c", "raypipe.a"]
FILES = {
    "a.py": '"""First of all."""\n',
    "b/__init__.py": '"""Second,\n\nin some lines."""\n',
    "b/more.py": '"""More."""\nfrom raypipe.a import x\nfrom raypipe.b import y\n',
    "c.py": '"""Third."""\nif x:\n    import raypipe.a\n',
    "d.py": '"""Last."""\nfrom raypipe import a\nfrom . import b\nfrom .c import x\nimport os\n',
}


def test_the_table_of_layers_is_the_contract(extensions: Any) -> None:
    """Made by `python docs/_ext/rooms.py`."""
    there = extensions.rooms.table_of_page(ARCHITECTURE.read_text(encoding="utf-8"))
    assert there == extensions.rooms.table(extensions.rooms.read_rooms())


def test_rooms_are_read_as_they_are(extensions: Any, tmp_path: Path) -> None:
    rooms = extensions.rooms.read_rooms(checkout(tmp_path, LAYERS, FILES))
    assert [(r.name, r.layer, r.about, r.ray, r.lines, sorted(r.imports)) for r in rooms] == [
        ("d", 2, "Last.", "yes", 5, ["a", "b", "c"]),
        ("b", 1, "Second,", "", 6, ["a"]),
        ("c", 1, "Third.", "", 3, ["a"]),
        ("a", 0, "First of all.", "", 1, []),
    ]
    assert extensions.rooms.shortest(rooms) == {("d", "b"), ("d", "c"), ("b", "a"), ("c", "a")}
    assert "| 2 | `d` | Last | yes |\n| 1 | `b` | Second, | |" in extensions.rooms.table(rooms)


def test_a_room_that_has_no_row_is_found(extensions: Any, tmp_path: Path) -> None:
    checkout(tmp_path, LAYERS, {**FILES, "e.py": '"""Nowhere."""\n'})
    with pytest.raises(ValueError, match=r"differ: \['e'\]"):
        extensions.rooms.read_rooms(tmp_path)


def test_arrows_that_are_left_out_are_implied(extensions: Any) -> None:
    """Checked against Warshall's closure of all imports."""
    rooms = extensions.rooms.read_rooms()
    imports = {(room.name, one) for room in rooms for one in room.imports}
    kept = extensions.rooms.shortest(rooms)
    assert kept < imports
    names = [room.name for room in rooms]

    def closure(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
        found = set(pairs)
        for middle, start, end in itertools.product(names, repeat=3):
            if (start, middle) in found and (middle, end) in found:
                found.add((start, end))
        return found

    assert closure(kept) == closure(imports)
    assert all(closure(kept - {one}) != closure(imports) for one in sorted(kept)[::20])


def test_the_picture_has_all_rooms_and_imports(extensions: Any) -> None:
    rooms = extensions.rooms.read_rooms()
    svg = ET.fromstring(extensions.picture(rooms))
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    drawn = {group.attrib["id"]: group for group in svg.iter(f"{SVG}g")}
    assert set(drawn) == {f"room-{room.name}" for room in rooms}
    places = []
    for room in rooms:
        box = drawn[f"room-{room.name}"].find(f"{SVG}rect").attrib
        texts = [text.text for text in drawn[f"room-{room.name}"].iter(f"{SVG}text")]
        assert texts == [room.name, f"{room.lines:,}"]
        left, top, wide, high = (float(box[name]) for name in ("x", "y", "width", "height"))
        assert left >= 0
        assert left + wide <= width
        assert top + high <= height
        places.append((left, top, left + wide, top + high))
    for a, b in itertools.combinations(places, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]  # apart
    arrows = [
        path.attrib["class"] for path in svg.iter(f"{SVG}path") if "marker-end" in path.attrib
    ]
    assert sorted(" ".join(arrow.split()[:2]) for arrow in arrows) == sorted(
        f"of-{room.name} to-{one}" for room in rooms for one in room.imports
    )


@pytest.mark.parametrize("page", ["docs/tour.md", "docs/architecture.md"])
def test_links_to_functions_lead_to_them(extensions: Any, page: str) -> None:
    """Repaired by `python docs/_ext/code_links.py`, where something has only moved."""
    assert extensions.links.broken(ROOT / page) == []


def test_the_tour_names_functions_and_their_files() -> None:
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    links = re.findall(r"\[`(raypipe\.[\w.]+)`\]", text)
    assert len(links) > 30
    assert text.count("](../raypipe/") == len(links)


def test_a_function_that_has_moved_is_found(extensions: Any, tmp_path: Path) -> None:
    checkout(
        tmp_path, LAYERS, {"a.py": "def f(): ...\nclass C:\n    x: int = 1\n", "b/c.py": "g = 1\n"}
    )
    page = tmp_path / "page.md"
    page.write_text(
        "[`raypipe.a.f`](raypipe/a.py) [`raypipe.a.C.x`](raypipe/b.py)\n"
        "[`raypipe.c.g`](raypipe/c.py) [`raypipe.a.C.f`](raypipe/a.py)\n"
    )
    assert extensions.links.broken(page, tmp_path) == [
        "raypipe.a.C.x is in raypipe/a.py, not in raypipe/b.py",
        "raypipe.c.g is not there; found: raypipe.b.c.g",
        "raypipe.a.C.f is not there; found: nowhere",
    ]
    assert extensions.links.repair(page, tmp_path) == ["raypipe.c.g → raypipe.b.c.g"]
    assert page.read_text() == (
        "[`raypipe.a.f`](raypipe/a.py) [`raypipe.a.C.x`](raypipe/a.py)\n"
        "[`raypipe.b.c.g`](raypipe/b/c.py) [`raypipe.a.C.f`](raypipe/a.py)\n"
    )
