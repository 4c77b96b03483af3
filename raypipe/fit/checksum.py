"""What tells one fitted head from another."""

from __future__ import annotations

import json
from pathlib import Path

from raypipe.spec import digest


def head_sha256(folder: Path) -> str:
    """Return the checksum of a saved model's head: its arrays and settings.

    Not part of it are how the head was found and evaluated, the paths it came from, and the
    features it takes, which the spec describes.

    Args:
        folder: of a model that `load_model` has read.
    """
    settings = json.loads((folder / "model.json").read_text())["head"]
    arrays = sorted(folder.glob("*.safetensors"))
    contents = (part for path in arrays for part in (path.name, path.read_bytes()))
    return digest(json.dumps(settings, sort_keys=True), *contents)
