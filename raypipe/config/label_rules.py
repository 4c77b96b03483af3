"""How `--label` and `--split` are written: a rule, and what it works on."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

_LABELS = (
    "auto",
    "folder",
    "folder:first",
    "folder:last",
    "folder:path",
    "filename",
    "column",
    "none",
)
_SPLITS = ("none", "folder", "column", "hash")
#: By option and rule: the field that holds what the rule works on.
_FIELDS = {
    ("label", "column"): "label_column",
    ("label", "filename"): "label_pattern",
    ("label", "file"): "label_file",
    ("split", "column"): "split_column",
    ("split", "hash"): "split_sizes",
}


def expanded(given: Any) -> Any:
    """Return options with `--label` and `--split` taken apart into the fields they stand for.

    `column:kind` becomes the rule `column` and the field `label_column`. What has another form
    is left to the rules' own checks.

    Raises:
        ValueError: a field is given beside it, with another value.
    """
    if not isinstance(given, dict):
        return given
    found = dict(given)
    for option in ("label", "split"):
        rule, colon, value = str(found.get(option, "")).partition(":")
        if (field := _FIELDS.get((option, rule))) is None or not (colon and value):
            continue
        parts = {field: value}
        if rule == "file":
            parts = _of_file(value)
        found[option] = "auto" if rule == "file" else rule
        for name, part in parts.items():
            if str(found.setdefault(name, part)) != part:
                flag = name.replace("_", "-")
                raise ValueError(
                    f"--{option} and --{flag}: expected one of them; got {given[option]!r} and "
                    f"{found[name]!r}: leave --{flag} out"
                )
    return found


def label_path(rule: str) -> str:
    """Return the file that `file:PATH` or `file:PATH:ID,LABEL` names."""
    return _of_file(rule.removeprefix("file:"))["label_file"]


def _of_file(text: str) -> dict[str, str]:
    """Take `PATH` or `PATH:ID,LABEL` apart."""
    path, colon, columns = text.rpartition(":")
    names = [name.strip() for name in columns.split(",")]
    if colon and len(names) == 2 and all(names) and "/" not in columns:
        return {"label_file": path, "label_id": names[0], "label_column": names[1]}
    return {"label_file": text}


def _label(rule: str) -> str:
    if rule not in _LABELS:
        raise ValueError(
            "auto, folder, folder:first, folder:last, folder:path, column[:NAME], "
            "filename[:REGEX], file:PATH[:ID,LABEL] or none"
        )
    return rule


def _split(rule: str) -> str:
    if rule not in _SPLITS:
        raise ValueError("none, folder, column[:NAME] or hash[:SHARES]")
    return rule


LabelRule = Annotated[str, AfterValidator(_label)]
SplitRule = Annotated[str, AfterValidator(_split)]
