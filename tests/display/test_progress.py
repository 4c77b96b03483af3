"""Lines that say how far something is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from raypipe.display import is_progress, track


def test_results_that_come_at_once_have_no_rate_and_the_last_line_says_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    arrivals = {16: 112.0, 17: 112.002, 18: 118.0, 19: 124.0}

    def results() -> Iterator[int]:
        for count, moment in arrivals.items():
            now[0] = moment
            yield count

    assert list(track(results(), total=70, count=int)) == list(arrivals)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "16/70 images (23 %), measuring the rate",
        "51/70 images (73 %), 5.8 images/s, ETA 0:00:03",
        "70/70 images (100 %), in 24.0 s",
    ]
    assert all(map(is_progress, lines))


class Kernel:
    """Stands for IPython: what a cell shows, by its latest state."""

    kernel = object()

    def __init__(self) -> None:
        self.shown: list[str] = []

    def get_ipython(self) -> Kernel:
        return self

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Kernel:
        assert raw
        assert display_id
        self.shown.append(data["text/plain"])
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data["text/plain"])


def test_a_notebook_has_a_bar_that_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = Kernel()
    monkeypatch.setitem(sys.modules, "IPython", kernel)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", kernel)  # type: ignore[arg-type]
    assert list(track(iter([5, 5, 2]), total=12, count=int)) == [5, 5, 2]
    assert kernel.shown[0] == "░" * 30 + " 0/12 images, starting"
    assert kernel.shown[-1].startswith("█" * 30 + " 12/12 images, in ")
    assert capsys.readouterr().err == ""
