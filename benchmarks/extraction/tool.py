"""A public tool in an environment of its own, which sees this project's packages behind its own.

It is made in the system's temporary folder when it is needed first, from the package index that
pip uses, and never becomes a dependency of this project.
"""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["VERSION", "ToolUnavailableError", "tool_python"]

VERSION = "2.45.0"
#: What its newest release needs to be imported today, beside itself.
_PACKAGES = (f"clip-retrieval=={VERSION}", "huggingface_hub<1", "setuptools<81")
_CHECK = "import clip_retrieval.clip_inference.runner, clip_retrieval.clip_inference.mapper"
_LIMIT_SECONDS = 900.0


class ToolUnavailableError(Exception):
    """The tool could not be installed; the message says what was tried."""


def tool_python() -> str:
    """Return the interpreter of an environment with the tool; make it unless an earlier run has.

    Raises:
        ToolUnavailableError: it cannot be installed here.
    """
    name = (
        f"raypipe-benchmark-clip-retrieval-{VERSION}-py{sys.version_info[0]}{sys.version_info[1]}"
    )
    folder = Path(tempfile.gettempdir()) / name
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        _see_this_project(folder)
        _call([str(python), "-m", "pip", "install", "--quiet", *_PACKAGES])
        _call([str(python), "-c", _CHECK])
        (folder / "ready").touch()
    return str(python)


def _see_this_project(folder: Path) -> None:
    """Use the same PyTorch, and save a download of several GB."""
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "project.pth").write_text("\n".join(site.getsitepackages()))


def _call(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LIMIT_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        output = str(getattr(error, "stderr", "") or error).strip().splitlines()
        told = output[-1] if output else type(error).__name__
        raise ToolUnavailableError(f"clip-retrieval {VERSION}: {told}") from None
