"""Messages that the page on troubleshooting quotes are messages of the program."""

from __future__ import annotations

import ast
import re

import pytest

from raypipe.errors import RejectReason
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
#: What Ray says, not this project.
_OF_RAY = ("killed due to memory pressure", "PENDING")


def said() -> str:
    """Return all texts in the code, one per line; what is filled in ends a line."""
    found = []
    for path in (ROOT / "raypipe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def quoted() -> list[str]:
    """Return what is in backticks in front of an explanation: terms, and cells of warnings."""
    terms = re.findall(r"^- (.+)\\\n", PAGE, re.M)
    warnings = PAGE[PAGE.index("| warning |") :].split("\n\n")[0]
    cells = re.findall(r"^\| (.+?) \|", warnings, re.M)[1:]
    return [text for one in (*terms, *cells) for text in re.findall(r"`([^`]+)`", one)]


SAID = said()


@pytest.mark.parametrize("message", quoted())
def test_messages_are_said(message: str) -> None:
    """What stands between ellipses is said; numbers and names are what they stand for."""
    for part in re.split(r"…|'[^']*'|\(|\)", message):
        text = re.sub(r"--[a-z-]+: ", "", part).strip(" ,;:")
        # What is filled in elsewhere is short: an option's name, `in bf16`.
        assert text in SAID or text in _OF_RAY or len(text) < 12, text


def test_every_reason_of_a_reject_is_explained() -> None:
    rows = re.findall(r"^\| (`.+?`) \|", PAGE[PAGE.index("| reason |") :], re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) >= {reason.value for reason in RejectReason}
