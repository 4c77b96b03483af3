"""Scores of held-out rows, some of which are copies of training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raypipe.fit.evaluate.duplicates import BY_FEATURES, Copies
from raypipe.fit.evaluate.scores import evaluate
from raypipe.heads import Head, Linear, Scaling
from raypipe.reports.classifier import _headline
from raypipe.training.model_files import _duplicates_line, headline

#: Of six rows of two classes the last four are right; the last two are copies.
SCORES = np.array([[0, 1], [1, 0], [1, 0], [0, 1], [1, 0], [0, 1]], float)
TRUTH = np.array(["a", "b", "a", "b", "a", "b"], object)


def metrics_of(copied: list[int] | None) -> dict[str, Any]:
    head = Head(
        ("a", "b"), "flatten", Scaling.without("none"), Linear("svm", np.eye(2), np.zeros(2))
    )
    copies = None
    if copied is not None:
        cosine = np.where(np.isin(np.arange(6), copied), 1, 0).astype(np.float32)
        copies = Copies(np.zeros(6, np.int64), cosine)
    return evaluate(head, SCORES, TRUTH, copies)[0] | {"test_rows": 6}


@pytest.mark.parametrize(
    ("copied", "accuracy", "said"),
    [
        ([4, 5], 0.5, "0.5000 on 4 images; 0.6667 with 2 near-duplicates of training images"),
        ([5], 0.6, "0.6000 on 5 images; 0.6667 with 1 near-duplicate of training images"),
        ([], 4 / 6, "0.6667 on 6 images"),
        (None, 4 / 6, "0.6667 on 6 images, near-duplicates not looked for"),
        (
            [*range(6)],
            None,
            "unknown, as no other image is held out; 0.6667 with 6 near-duplicates of training "
            "images",
        ),
    ],
)
def test_the_first_figure_is_that_on_images_new_to_the_model(
    copied: list[int] | None, accuracy: float | None, said: str
) -> None:
    metrics = metrics_of(copied)
    assert metrics["accuracy"] == (accuracy and pytest.approx(accuracy))
    assert metrics["accuracy_with_duplicates"] == pytest.approx(4 / 6)
    assert np.trace(metrics["confusion"]) == 4  # of all rows
    assert headline(metrics) == said
    line, *more = _duplicates_line(metrics)
    assert ("not looked for" in line) == (copied is None)
    if copied is not None:  # and no more is said than was compared
        assert f"features as a training image (cosine above 0.99): {len(copied)} of 6" in line
        assert more == [f"  {BY_FEATURES}"]
    page = _headline(metrics)
    assert (page["accuracy"], page["rows"]) == (metrics["accuracy"], 6 - len(copied or []))
    assert bool(page["beside"]) == bool(copied)
