"""Lists of images that are left out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from raypipe.errors import UsageError
from raypipe.rows.excluded import read_excluded
from raypipe.rows.spreadsheets import without_formulas

IDS = np.array(["=1.jpg", "a.jpg", "b c.jpg", "d,e.jpg"], dtype=object)


def left_out(path: Path, text: str) -> list[str]:
    path.write_bytes(text.encode())
    return sorted(read_excluded(str(path), [IDS[:2], IDS[2:]]).ids.to_pylist())


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("l.txt", "a.jpg\nb c.jpg\n", ["a.jpg", "b c.jpg"]),
        ("l.txt", "\ufeffa.jpg\r\n\r\nd,e.jpg", ["a.jpg", "d,e.jpg"]),
        ("l", "a.jpg\na.jpg\nz.jpg\n", ["a.jpg"]),
        ("l", "b c.jpg\ra.jpg\u2028a.jpg\r", ["b c.jpg"]),  # a name that goes on
        ("l.csv", "id\na.jpg\n", ["a.jpg"]),
        ("l.CSV", 'n,id\n1,"d,e.jpg"\n2,=1.jpg\n', ["=1.jpg", "d,e.jpg"]),
        ("l.csv", "id,keep\na.jpg,yes\nb c.jpg,no\n", ["b c.jpg"]),
        ("l.csv", "id,keep\n'=1.jpg,no\n", ["=1.jpg"]),  # of --csv-safe
        ("l.csv", "group,id,keep\n", []),  # `dedupe` has found none
        ("l.txt", "", []),
    ],
)
def test_lists(name: str, text: str, expected: list[str], tmp_path: Path) -> None:
    assert left_out(tmp_path / name, text) == expected


def test_a_list_for_a_spreadsheet_names_the_same(tmp_path: Path) -> None:
    table = pa.table({"id": IDS[:3].tolist(), "keep": ["no", "yes", "no"]})
    pyarrow.csv.write_csv(without_formulas(table), tmp_path / "l.csv")
    found = read_excluded(str(tmp_path / "l.csv"), [IDS])
    assert found.ids.to_pylist() == ["=1.jpg", "b c.jpg"]


def test_one_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.txt").write_text("a.jpg\nz.jpg\n")
    read_excluded(str(tmp_path / "l.txt"), [IDS])
    assert capsys.readouterr().err.endswith("; 1 id of l.txt is not in the store\n")


def test_what_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "l.txt"
    path.write_text("a.jpg\nz.jpg\ny.jpg\n")
    found = read_excluded(str(path), [IDS])
    said = capsys.readouterr().err
    assert said == "left out by --exclude: 1 image; 2 ids of l.txt are not in the store\n"
    assert found.summary == {
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "images": 1,
        "not_found": 2,
    }
    rows = np.array(["a.jpg", "a.jpg", "b c.jpg"], dtype=object)  # of views
    assert found.stays(rows).tolist() == [False, False, True]
    assert found.stays(pa.chunked_array([pa.array(rows)])).tolist() == [False, False, True]


def test_without_a_list_all_stays(capsys: pytest.CaptureFixture[str]) -> None:
    found = read_excluded(None, iter([]))
    assert found.summary is None
    assert found.stays(IDS).all()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "name\na.jpg\n", "needs a column 'id'; .* has name; a .txt has an id on each"),
        ("l.csv", "", "needs a column 'id'; .* has none"),
        ("l.csv", "id,keep\na.jpg,maybe\n", "'keep' of .* yes or no; got 'maybe' for 'a.jpg'"),
        ("l.csv", "id,keep\na.jpg\n", "row 1 of .* has more or fewer fields than the header"),
        ("l.csv", "id,keep\na.jpg,no\na.jpg,no,x\n", "row 2 of .* has more or fewer fields"),
        ("l.csv", "id,keep,keep\na.jpg,no,yes\n", "has two columns of one name; rename one"),
        ("l.csv", 'id\n"a.jpg" b\n', "cannot read .* as CSV"),
        ("l.txt", "x.jpg\n", "no id of .* the file has 'x.jpg', the store '=1.jpg'"),
        ("l.txt", "\n".join(IDS), "names all images of the store; none is left"),
        ("l.txt", "\udcff", "cannot read .*: it is no text in UTF-8"),
    ],
)
def test_wrong_lists(name: str, text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=f"--exclude: .*{words}") as found:
        read_excluded(str(path), [IDS])
    assert "\n" not in str(found.value)


def test_no_list(tmp_path: Path) -> None:
    for place in (tmp_path / "no.csv", tmp_path):
        with pytest.raises(UsageError, match="--exclude: cannot read"):
            read_excluded(str(place), [IDS])
