"""What a killed fit goes on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypipe.errors import UsageError
from raypipe.fit.checkpoint import Checkpoint


def run(folder: Path, questions: str, offset: int = 0) -> tuple[list[int], str]:
    """Ask questions of one letter each; return the answers, and which had to be computed."""
    kept, computed = Checkpoint(folder, {"a": 1}, resume=True), []

    def compute(question: str) -> dict[str, np.ndarray]:
        computed.append(question)
        return {"x": np.array(ord(question) + offset)}

    found = [int(kept.answer(q.encode(), lambda q=q: compute(q))["x"]) for q in questions]
    return found, "".join(computed)


def test_answers_are_kept_and_a_cut_off_one_is_asked_again(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    assert run(folder, "abc") == ([97, 98, 99], "abc")
    assert run(folder, "abcd", 1000) == ([97, 98, 99, 1100], "d")
    log = folder / "log.bin"
    log.write_bytes(log.read_bytes()[:-3])
    assert run(folder, "abcde") == ([97, 98, 99, 100, 101], "de")
    assert run(folder, "abcde", 1000)[1] == ""


def test_what_follows_another_question_is_forgotten_for_good(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    run(folder, "abc")
    assert run(folder, "axyz")[1] == "xyz"
    assert run(folder, "axyz")[1] == ""  # and what came instead is kept


def test_a_state_ends_the_answers_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    run(folder, "ab")
    kept = Checkpoint(folder, {"a": 1}, resume=True)
    kept.save({"x": np.arange(3)})
    kept.answer(b"c", lambda: {"x": np.array(1)})
    again = Checkpoint(folder, {"a": 1}, resume=True)
    assert again.state is not None
    assert again.state["x"].tolist() == [0, 1, 2]
    assert int(again.answer(b"c", lambda: {"x": np.array(2)})["x"]) == 1


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "c", {"a": 1}, resume=True)
    assert kept.files is None

    def write(folder: Path, text: str) -> None:
        (folder / text).write_text(text)
        if text == "torn":
            raise RuntimeError("power cut")

    for text in ("first", "second"):
        kept.save_files(lambda folder, text=text: write(folder, text))
    with pytest.raises(RuntimeError, match="power cut"):
        kept.save_files(lambda folder: write(folder, "torn"))
    again = Checkpoint(tmp_path / "c", {"a": 1}, resume=True)
    assert [path.name for path in again.files.iterdir()] == ["second"]
    again.files.rename(tmp_path / "gone")  # as between the two renames
    assert [path.name for path in again.files.iterdir()] == ["first"]


def test_another_problem_is_refused_and_without_resume_it_starts_anew(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    run(folder, "ab")
    with pytest.raises(UsageError, match="--resume: .* another one .a: 1 → 2"):
        Checkpoint(folder, {"a": 2}, resume=True)
    assert not Checkpoint(folder, {"a": 2}, resume=False).resumed
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="in the way of a folder"):
        Checkpoint(tmp_path / "file", {}, resume=False)
