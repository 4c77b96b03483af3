"""Options and variables that are named in a text are there."""

from __future__ import annotations

import re

import pytest

from raypipe.config import JOBS
from tests.docs.blocks import ROOT, pages

_FENCE = re.compile(r"^(```+).*?^\1[ \t]*$", re.M | re.S)
#: Of every command, and of none: what other programs take.
COMMON = {"--config", "--json", "--debug", "--help", "--help-all", "--install-completion"}
FOREIGN = {
    "--head": "ray start",
    "--num-cpus": "ray start",
    "--object-store-memory": "ray start",
    "--metrics-export-port": "ray start",
    "--shm-size": "docker run",
    "--dog-classes": "examples/dog_breeds.py",
    "--cascade": "examples/dog_breeds.py",
    "--rates": "examples/dog_breeds.py",
    "--quick": "benchmarks",
    "--growth": "benchmarks",
    "--network": "benchmarks",
}
OURS = {"RAYPIPE_TRACEBACK", "RAYPIPE_"}


def inline(page: str) -> str:
    """Return what is in backticks within a page's text."""
    text = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return "\n".join(re.findall(r"`([^`]+)`", text))


def named(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text))


FLAGS = {
    f"--{no}{name.replace('_', '-')}"
    for model in JOBS.values()
    for name in model.model_fields
    for no in ("", "no-")
} | COMMON
VARIABLES = {f"RAYPIPE_{n.upper()}" for model in JOBS.values() for n in model.model_fields} | OURS


@pytest.mark.parametrize("page", [page for page in pages() if page != "benchmarks/RESULTS.md"])
def test_options_are_there(page: str) -> None:
    text = inline(page)
    assert named(r"(?<![\w-])--[a-z][\w-]*", text) <= FLAGS | set(FOREIGN)
    assert named(r"\bRAYPIPE_[A-Z_]*", text) <= VARIABLES


def test_what_other_programs_take_is_named() -> None:
    text = "\n".join(map(inline, pages()))
    assert set(FOREIGN) <= named(r"(?<![\w-])--[a-z][\w-]*", text)
