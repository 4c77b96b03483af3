"""Text tables: what pandas and csv read is read alike, and what is no table is refused by row."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from raypipe.errors import RejectedItem, UsageError
from raypipe.sources import read_item
from raypipe.sources.text_tables import TextTable
from tests.support.sources import CAP, jsonl_of, labels, listed

SIXTY = [f"{i}.png" for i in range(60)]


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def captions(marks: dict[int, str]) -> str:
    """Return 60 rows with a column that is not used; those of `marks` have another text there."""
    rows = [f"{name},{marks.get(i, 'a cat')},{i % 2}\n" for i, name in enumerate(SIXTY)]
    return "path,caption,label\n" + "".join(rows)


def test_a_mark_that_is_never_closed_names_its_row(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", captions({7: '"half'}))
    with pytest.raises(pd.errors.ParserError, match="EOF inside string"):
        pd.read_csv(source)
    with pytest.raises(UsageError, match=r"row 8 \(line 9\) that is not closed.*JSON lines"):
        listed(source)


@pytest.mark.parametrize(
    ("marks", "row"),
    [
        ({7: '"half', 50: '"other'}, 8),
        ({7: '"half', 50: '"'}, 8),
        ({7: '"a" cat'}, 8),
        ({7: '"a \\"cat\\""'}, 8),
        ({0: '"'}, 1),
        ({59: '"'}, 60),
    ],
    ids=["two", "second-closes", "text-behind", "backslashes", "first-row", "last-row"],
)
def test_stray_marks_name_their_row(marks: dict[int, str], row: int, tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", captions(marks))
    with pytest.raises(UsageError, match=rf"quotation mark in row {row} \(line {row + 1}\)"):
        listed(source)


def test_legal_marks_and_line_breaks_are_as_pandas_reads_them(tmp_path: Path) -> None:
    marks = {3: '"two\nlines, and\r\na ""third"""', 5: 'a 5" plate', 6: '""', 9: '"a,\nb,c"'}
    source = table(tmp_path / "t.csv", captions(marks))
    right = pd.read_csv(source, dtype=str, keep_default_na=False)
    found = labels(source, label_column="caption")
    assert list(found) == right["path"].tolist() == SIXTY
    assert [text or "" for text in found.values()] == right["caption"].tolist()


@pytest.mark.parametrize("change", ["5.png", "5.png,a,1,more", "5.png,a,b,1"])
def test_ragged_rows_are_named(change: str, tmp_path: Path) -> None:
    text = captions({}).replace("5.png,a cat,1\n", change + "\n", 1)
    with pytest.raises(UsageError, match=r"values in row 6 \(line 7\), the header 3"):
        listed(table(tmp_path / "t.csv", text))


@pytest.mark.parametrize(("name", "text"), [("t.csv", "é"), ("t.tsv", "日本")])
def test_bytes_that_are_not_utf8_are_named(name: str, text: str, tmp_path: Path) -> None:
    content = captions({40: text}).replace(",", "\t" if name == "t.tsv" else ",")
    encoding = "latin-1" if text == "é" else "shift-jis"
    source = table(tmp_path / name, content, encoding)
    with pytest.raises(UsageError, match=r"row 41 \(line 42\) that are not UTF-8.*; save it"):
        listed(source)
    lines = "".join(json.dumps({"uri": n}) + "\n" for n in SIXTY[:3]).encode()
    (tmp_path / "t.jsonl").write_bytes(lines + b'{"uri": "\xe9.png"}\n')
    with pytest.raises(UsageError, match="in line 4 that are not UTF-8"):
        listed(tmp_path / "t.jsonl")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_encodings_with_a_mark_are_found(encoding: str, suffix: str, tmp_path: Path) -> None:
    between = "\t" if suffix == "tsv" else ","
    text = f"path{between}label\na.png{between}café\n"
    if suffix == "jsonl":
        text = json.dumps({"path": "a.png", "label": "café"}, ensure_ascii=False) + "\n"
    assert labels(table(tmp_path / f"t.{suffix}", text, encoding)) == {"a.png": "café"}


@pytest.mark.parametrize("mark", ["\0", "\ufeff"])
def test_marks_that_are_no_text_are_named(mark: str, tmp_path: Path) -> None:
    for changed in (f"{mark}40.png,", f"40.png,{mark}"):
        source = table(tmp_path / "t.csv", captions({}).replace("40.png,", changed))
        with pytest.raises(UsageError, match=r"zero byte or a byte order mark in row 41 \(line 42"):
            listed(source)
    with pytest.raises(UsageError, match=r"zero byte.* in its header|no text in UTF-8"):
        listed(table(tmp_path / "t.csv", f"path,{mark}label\na.png,x\n"))
    source = jsonl_of(tmp_path / "t.jsonl", [{"path": f"a{mark}.png"}])
    with pytest.raises(RejectedItem, match=r"no file has such a name|No such file"):
        read_item(listed(source)["uri"][0].as_py(), CAP)


def test_half_a_character_is_named(tmp_path: Path) -> None:
    source = jsonl_of(
        tmp_path / "t.jsonl", [{"path": "a.png"}, {"path": "b.png", "label": "\ud83d"}]
    )
    with pytest.raises(UsageError, match="line 2 of .* has half a character as 'label'"):
        listed(source)


def test_an_array_of_objects_is_named(tmp_path: Path) -> None:
    source = table(tmp_path / "t.jsonl", json.dumps([{"path": "a.png"}], indent=1))
    with pytest.raises(UsageError, match="line 1 of .* write each object on a line of its own"):
        listed(source)


def test_a_long_value_may_be_a_mark_that_is_not_closed(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", captions({7: '"' + 200_000 * "a" + '"'}))
    with pytest.raises(UsageError, match=r"more than 131072 characters in row 8 \(line 9\), or a"):
        listed(source)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="zero bytes; UTF-16 .* save it as UTF-8"):
        listed(table(tmp_path / "t.csv", captions({}), encoding))


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found(separator: str, suffix: str, tmp_path: Path) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=separator).writerows(
        [["path", "label"], ["0.png", "a, b; c"], ["1.png", "tab\tbar|"]]
    )
    source = table(tmp_path / f"t.{suffix}", file.getvalue())
    right = pd.read_csv(source, sep=separator)
    assert labels(source) == dict(zip(right["path"], right["label"], strict=True))


def test_a_separator_within_quotes_is_none(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", '"a;b"\n1.png\n')
    assert labels(source, image_column="a;b") == {"1.png": None}


def test_a_spreadsheet_says_its_separator(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", "sep=;\r\npath;label\r\n0.png;a\r\n1.png;b;c\r\n")
    with pytest.raises(UsageError, match=r"row 2 \(line 4\)"):
        labels(source)
    source = table(tmp_path / "t.csv", "sep=;\r\npath;label\r\n0.png;a\r\n")
    assert labels(source) == {"0.png": "a"}


def test_blanks_around_names_and_values_are_left_out(tmp_path: Path) -> None:
    text = 'path, label , "split"\n0.png , a ,train\n 1.png,"b, c", test\n\n'
    source = table(tmp_path / "t.csv", text)
    found = listed(source, split="column")
    assert found["id"].to_pylist() == ["0.png", "1.png"]
    assert found["label"].to_pylist() == ["a", "b, c"]
    assert found["split"].to_pylist() == ["train", "test"]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", " \n"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_empty_files_are_named(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"t\.\w+' is empty; it needs"):
        listed(table(tmp_path / name, text))


def test_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has 2 columns of the name 'label'; rename one"):
        listed(table(tmp_path / "t.csv", "path,label,label\na,b,c\n"))
    unnamed = table(tmp_path / "u.csv", ",path,label,\n0,a.png,b,\n")
    assert labels(unnamed) == {"a.png": "b"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_windows_paths(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("cat/1.png", "back\\slash.png"):
        (tmp_path / name).write_bytes(name.encode())
    rows = [{"path": "cat\\1.png"}, {"path": "back\\slash.png"}]
    source = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        pd.DataFrame(rows).to_csv(source, index=False)
    else:
        jsonl_of(source, rows)
    assert labels(source, label="folder") == {"cat/1.png": "cat", "back\\slash.png": None}
    uris = listed(source)["uri"].to_pylist()
    assert [read_item(uri, CAP) for uri in uris] == [b"cat/1.png", b"back\\slash.png"]


@pytest.mark.parametrize("path", ["C:\\photos\\1.png", "d:/photos/1.png", "\\\\server\\a\\1.png"])
def test_windows_drives_are_named(path: str, tmp_path: Path) -> None:
    source = jsonl_of(tmp_path / "t.jsonl", [{"path": "a.png"}, {"path": path}])
    with pytest.raises(UsageError, match="line 2 of .* is a path of Windows.*relative"):
        listed(source)


def test_keys_that_the_first_line_lacks(tmp_path: Path) -> None:
    rows = [{"uri": "a"}, {"uri": "b", "label": "x"}, {"uri": "c", "split": "test", "label": None}]
    source = jsonl_of(tmp_path / "t.jsonl", rows)
    assert listed(source, split="column")["split"].to_pylist() == [None, None, "test"]
    assert labels(source) == {"a": None, "b": "x", "c": None}
    source = jsonl_of(tmp_path / "u.jsonl", [{"label": "x"}, {"path": "b", "label": "y"}])
    assert list(labels(source).values()) == ["x", "y"]
    with pytest.raises(RejectedItem, match="line 1 of .* has no URI"):
        read_item(listed(source)["uri"][0].as_py(), CAP)


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_values_that_are_no_label(label: object, tmp_path: Path) -> None:
    source = jsonl_of(tmp_path / "t.jsonl", [{"uri": "a"}, {"uri": "b", "label": label}])
    with pytest.raises(UsageError, match=r"line 2 of .* as 'label'; give a text or a number"):
        listed(source)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """It would be read in part, as tables are opened several times, or waited for."""
    pipe = tmp_path / "labels.csv"
    os.mkfifo(pipe)
    for place in (pipe, Path("/dev/zero")):
        with pytest.raises(UsageError, match=f"'{place}' is a pipe or a device; save the table"):
            TextTable(place)
