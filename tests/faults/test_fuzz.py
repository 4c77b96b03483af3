"""Damaged containers, models and stores: the same result, or one line; no hang, nothing else.

All of them before a release, a tenth in CI. A case is told by its number: `python -m
tests.support.fuzz_stores FOLDER 17` runs it alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.case_runner import run_cases

_CASES = {"containers": 1000, "models": 300, "stores": 400}
#: What a case may lead to; `rejects` are rows that say why there is no image.
_GOOD = {"same", "refused", "rejects"}
_SHARES = [pytest.param(1, marks=pytest.mark.long, id="all"), pytest.param(10, id="a tenth")]


@pytest.mark.parametrize("every", _SHARES)
@pytest.mark.parametrize("what", _CASES)
def test_damage(what: str, every: int, tmp_path: Path) -> None:
    # Every tenth, and not the first ones: 16 kinds of containers, 5 of heads, 2 of stores.
    cases = [case for case in range(_CASES[what]) if case * 7 % every == case // every % every]
    errors = tmp_path / "said"
    found = run_cases(f"tests.support.fuzz_{what}", tmp_path, cases, errors)
    bad = {case: how for case, how in found.items() if how["state"] not in _GOOD}
    assert not bad, errors.read_text()[-2000:]
    assert len(found) >= _CASES[what] // every
    states = Counter(how["state"] for how in found.values())
    assert states["refused"] > len(found) // 5, "the damage is not seen"
