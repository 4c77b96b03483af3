"""Labels that are several in one text are refused; names that only look like it are not."""

from __future__ import annotations

import pytest

from raypipe.errors import UsageError
from raypipe.rows.several_labels import check_single


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (['["cat", "dog"]', "cat"], "1 of 2 labelled rows are lists"),
        (["['cat']", "['dog']", None], "2 of 2 labelled rows are lists"),
        (["[3, 4]", "3"], "1 of 2 labelled rows are lists"),
        (["a|b", "a", "b", "b", None], "1 of 4 labelled rows are several labels joined by '|'"),
        (["a|b", "b|c", "a|c"], "3 of 3"),
        (["a|b", "a|c", "a|b|c"], "3 of 3"),
        (["a | b", "a", "b"], "as 'a . b'"),
        (["a;b", "a", "b"], "joined by ';'"),
        (["cat, dog", "cat", "dog", "cat, dog"], "2 of 4 .* joined by ',', as 'cat, dog'"),
    ],
)
def test_several(labels: list[str | None], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_single(labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["red|small", "red|large", "blue|small", "blue|large"],
        ["Paris, France", "Paris, Texas", "Lyon, France"],
        ["Labrador, black", "Labrador, brown", "Labrador"],
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["a|b", "a|b", "c"],
        ["|", "a|", "|a", "a||b", "a"],
        ["[draft]", "[1", "[x] y", "[]x]"],
        ["a/b", "a", "b", "n02085620-Chihuahua"],
        ["1,5", "1", "5"],
        [None],
        [],
    ],
)
def test_names(labels: list[str | None]) -> None:
    check_single(labels)
