"""Every code block of the documentation runs, page by page, in a folder of its own."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.docs import unrun
from tests.docs.blocks import Block, blocks, is_raypipe, pages, without_variables
from tests.docs.conftest import Shelf
from tests.docs.running import Page, forget, parsed

#: What pages assume beside `photos` and `new-photos`.
ASSUMED = {
    "README.md": ("labelled-photos",),
    "docs/fit.md": ("features",),
    "docs/howto/buckets.md": ("bucket",),
    "docs/howto/duplicates.md": ("features",),
    "docs/howto/larger-than-memory.md": ("features",),
    "docs/howto/nightly.md": ("features",),
    "docs/howto/reading-features.md": ("features",),
    "docs/howto/reports.md": ("features",),
    "docs/predict.md": ("features", "model", "dogs"),
    "docs/quickstart.md": ("resnet18.pth",),
    "docs/reference/python.md": ("features", "model"),
    "docs/sources.md": ("features", "bucket", "shards", "listing.csv"),
    "docs/store.md": ("hdf5",),
    "docs/troubleshooting.md": ("features",),
}
ALL = [block for page in pages() for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "sh"]
RUN = sorted({block.page for block in ALL if block.language in ("sh", "python", "yaml")})
_SENT = re.compile(r"(?:^| -- )(?:python -m raypipe\.jobs\.|raypipe )(.*)$")


@pytest.mark.parametrize("page", RUN)
@pytest.mark.usefixtures("small_python")
def test_page(
    page: str,
    shelf: Path,
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3}")
    store = Shelf(shelf, tmp_path, request)
    for name in ("photos", "new-photos", *ASSUMED.get(page, ())):
        store.put(name)
    running = Page(tmp_path, monkeypatch)
    try:
        for block in blocks(page):
            running.run(block)
        running.close()
    finally:
        forget(tmp_path)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_can_be_parsed(block: Block) -> None:
    subprocess.run(["bash", "-n", "-c", block.text], check=True)


COMMANDS = [(block, command) for block in SHELL for command in block.commands]
SENT = [
    (block, command)
    for block, command in COMMANDS
    if unrun.why_not(command) and _SENT.search(command)
]


@pytest.mark.parametrize(("block", "command"), SENT, ids=lambda one: str(one))
def test_commands_have_options_that_there_are(block: Block, command: str) -> None:
    """Of commands that are not run, and of those within others."""
    words = shlex.split(_SENT.findall(without_variables(command))[-1], comments=True)
    assert parsed(words).name in words, str(block)


def test_what_is_not_run_is_there() -> None:
    """An entry that nothing falls under any more is to be removed."""
    used = {unrun.why_not(command) for _, command in COMMANDS}
    assert set(unrun.COMMANDS) <= used
    used = {unrun.why_not_python(block) for block in ALL if block.language == "python"}
    assert set(unrun.PYTHON) <= used


def test_python_can_be_parsed() -> None:
    for block in ALL:
        if block.language == "python":
            compile(block.text, str(block), "exec")


def test_what_pages_assume_is_of_pages_that_there_are() -> None:
    assert set(ASSUMED) <= set(RUN)
    assert any(is_raypipe(command) for _, command in COMMANDS)
