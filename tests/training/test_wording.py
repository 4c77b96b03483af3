"""What `train` says of its probabilities."""

from __future__ import annotations

import pytest

from raypipe.training.model_files import _reliability_line


@pytest.mark.parametrize(("error", "told"), [(0.41, True), (0.02, False)])
def test_a_remedy_is_told_where_probabilities_are_far_off(error: float, *, told: bool) -> None:
    line = _reliability_line(
        {"expected_calibration_error": error, "log_loss": 1.0, "before": None, "calibration": None}
    )
    assert ("--calibrate temperature" in line) == told
