"""results.json: the raw figures of all benchmarks, one key for each.

`extraction` is what `benchmarks.extraction` measured, by network. Any other key is a list of
sections, as another script adds it with `put`:

    put("scale", [{"title": "…", "text": "…", "table": [["head", "head"], ["cell", "cell"], …]}])

`text` is Markdown; `text` and `table` may be left out. `benchmarks.report` renders all there is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "load", "put"]

FOLDER = Path(__file__).parent
_NAME = "results.json"


def load(folder: Path = FOLDER) -> dict[str, Any]:
    """Return all results; empty if there are none yet."""
    path = folder / _NAME
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def put(key: str, value: Any, folder: Path = FOLDER) -> None:
    """Replace one key's results, and leave the others as they are."""
    changed = load(folder) | {key: value}
    temporary = folder / f".{_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(changed, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(folder / _NAME)
