"""Text that others wrote, in everything that shows it: a terminal, a spreadsheet, a page."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest

import raypipe
from raypipe.display import printable, say, say_as_json, saying
from raypipe.reports.classifier import _table
from raypipe.storage import FolderStorage
from raypipe.store.coverage import publish
from tests.conftest import Here
from tests.support.stores import items_of, make_spec, make_store, one_picture, write

#: An escape sequence, an end of a line, a return, an override of direction, a tag, a formula.
NASTY = [
    "\x1b[2J\x1b]0;owned\x07",
    "one\ntwo",
    "over\rwritten",
    "\u202egpj.exe",
    "\x9b31m",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
]
PLAIN = ["café", "写真", "नमस्ते", "می\u200cخواهم", "👩\u200d💻", "a b"]
_PREFIXES = "=abcd"
_ACTED_ON = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_what_a_terminal_acts_on_is_shown() -> None:
    for code in range(0x110000):
        char = chr(code)
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or _ACTED_ON.match(char):
            assert printable(f"a{char}").isascii(), hex(code)
    assert [printable(text) for text in PLAIN] == PLAIN
    assert printable("\x1b[1m\n\u202e\U000e0001") == r"\x1b[1m\n\u202e\U000e0001"
    assert printable("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\r"


def test_lines_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(NASTY)
    say(text, complaint_of="raypipe \x1b[1mx")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not _ACTED_ON.search(said)
    monkeypatch.setattr(saying, "_fields", None)
    say_as_json(command="x")
    say(text)
    said = capsys.readouterr().err
    assert said.isascii()
    assert json.loads(said)["message"] == text


def test_only_the_program_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    say("bad \x1b[2J", complaint_of="raypipe x")
    assert sys.stderr.getvalue() == "\x1b[1;31mraypipe x\x1b[0m: bad \\x1b[2J\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose ids, labels and messages are all of these."""
    folder = tmp_path_factory.mktemp("nasty")
    names = [f"{n}{text}" for text in NASTY for n in _PREFIXES]
    items = one_picture(folder, names, label=[text for text in NASTY for _ in _PREFIXES])
    storage, spec = FolderStorage(folder / "store"), make_spec()
    make_store(folder / "store", [items], spec)
    rejects = write(storage, spec, "bad", items_of([f"{text}!" for text in NASTY]), "parquet")
    publish(storage, spec.fingerprint, tuple(rejects))
    return folder


@pytest.fixture(scope="module")
def model(store: Path) -> Path:
    raypipe.train(str(store / "store"), out=str(store / "model"), cv=2, grid=("C=1",))
    return store / "model"


def shown(text: str) -> None:
    """No line of a text is begun, and nothing done, by what others wrote."""
    assert not _ACTED_ON.search(text), text
    assert not any(line.startswith("two") for line in text.splitlines())


def test_every_command_at_a_terminal(store: Path, model: Path, tmp_path: Path, here: Here) -> None:
    place, out = str(store / "store"), str(tmp_path / "o.csv")
    first = f"a{NASTY[0]}"
    for arguments in (
        ("inspect", place),
        ("similar", place, first),
        ("similar", place, NASTY[0]),  # an error that quotes it
        ("dedupe", place, "--least", "0.1"),
        ("export", place, "--to", "csv", "--out", out, "--split", "hash"),
        ("predict", str(model), place, "--out", out, "--evaluate"),
        ("train", place, "--out", str(tmp_path / "m"), "--cv", "2", "--grid", "C=1"),
        ("verify", place),
        (f"x{NASTY[0]}",),
        ("inspect", f"{tmp_path}/{NASTY[0]}"),
    ):
        done = here(*arguments)
        shown(done.stdout)
        shown(done.stderr)
        if done.returncode == 0:
            assert done.stdout


def cells(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("id", "label", "training_id", "training_label")
    return [row[name] for row in rows for name in names if row.get(name)]


def test_csv_for_a_spreadsheet(store: Path, model: Path, tmp_path: Path, here: Here) -> None:
    place = str(store / "store")
    commands = {
        "export": ("export", place, "--to", "csv"),
        "predict": ("predict", str(model), place),
        "dedupe": ("dedupe", place, "--least", "0.1"),
        "clusters": ("cluster", place, "--k", "2", "--engine", "sklearn"),
        "holdout": ("train", place, "--head", "knn", "--cv", "2"),
        "near_duplicates": ("train", place, "--head", "knn", "--cv", "2"),
    }
    folders = ("clusters", "holdout", "near_duplicates")
    for name, words in commands.items():
        plain, safe = (
            tmp_path / f"{how}-{name}" / f"{name}.csv"
            if name in folders
            else tmp_path / f"{how}-{name}.csv"
            for how in ("plain", "safe")
        )
        for path, flags in ((plain, []), (safe, ["--csv-safe"])):
            out = path.parent if name in folders else path
            done = here(*words, "--out", str(out), *flags)
            assert done.returncode == 0, done.stderr
        before, after = cells(plain), cells(safe)
        assert any(cell.startswith("=") for cell in before)
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in after)
        assert [cell.removeprefix("'") for cell in after] == before


def test_a_joined_table_for_a_spreadsheet(store: Path, tmp_path: Path, here: Here) -> None:
    """Texts of the user's own are made safe; numbers stay numbers."""
    names = [f"{n}{NASTY[0]}" for n in _PREFIXES]
    with (tmp_path / "own.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "x", "note"), *((n, "-0.5", "=1+1") for n in names)])
    words = ("cluster", str(store / "store"), "--k", "2", "--engine", "sklearn", "--csv-safe")
    done = here(*words, "--join", str(tmp_path / "own.csv"), "--out", str(tmp_path / "k"))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "k" / "joined.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["x"], row["note"]) for row in rows} == {("-0.5", "'=1+1")}
    assert {row["cluster"] for row in rows} <= {"0", "1"}


def test_a_report_on_a_model_with_such_tables(store: Path, tmp_path: Path, here: Here) -> None:
    """Ids are those of the store again: pictures are found by them."""
    for name, flags in (("plain", []), ("safe", ["--csv-safe"])):
        words = ("train", str(store / "store"), "--head", "knn", "--cv", "2", *flags)
        assert here(*words, "--out", str(tmp_path / name)).returncode == 0
    plain, safe = (
        _table(tmp_path / name / "holdout.csv", {"csv_safe": name == "safe"})
        for name in ("plain", "safe")
    )
    assert plain.equals(safe)


def test_csv_safe_goes_with_csv(store: Path, tmp_path: Path, here: Here) -> None:
    done = here(
        *("export", str(store / "store"), "--to", "npy", "--out", str(tmp_path / "x.npy")),
        "--csv-safe",
    )
    assert done.returncode == 2
    assert "--csv-safe: goes with a .csv as --out" in done.stderr


def test_pages(store: Path, model: Path, tmp_path: Path, here: Here) -> None:
    for run in (store / "store", model):
        done = here("report", str(run), "--out", str(tmp_path / "r.html"), "--title", NASTY[5])
        assert done.returncode == 0, done.stderr
        page = (tmp_path / "r.html").read_text()
        assert "alert(1)" in page
        assert "<script>alert(1)" not in page


def test_no_template_turns_escaping_off() -> None:
    folder = Path(raypipe.__file__).parent / "reports" / "templates"
    for path in folder.glob("*.html"):
        assert not re.search(r"\|\s*safe\b|autoescape", path.read_text()), path.name
