"""What a page about a store or a model does without."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.ci
def test_pages_without_clusters_import_no_scikit_learn() -> None:
    """It takes a second, which is a quarter of the time that a page takes."""
    code = "import sys, raypipe.reports.run; assert not {'sklearn', 'scipy.stats'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
