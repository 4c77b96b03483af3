"""The last line of a run: what was done, how long it took, and the command that follows."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from raypipe import schema

#: What a user has to fill in.
_IMAGES = "IMAGES"
#: Least number of images for a range of clusters.
_FEW = 4
_Following = Callable[[Any, Any, dict[str, Any]], tuple[str, ...]]


def last_line(name: str, config: Any, outcome: Any, seconds: float) -> str:
    """Return the line, which can be pasted; an empty text for jobs that only show something.

    Args:
        name: the job's.
        config: its options.
        outcome: what it has to say.
        seconds: how long it took.
    """
    if name not in _FOLLOWING or getattr(config, "dry_run", False):
        return ""
    done = f"{name} done in {seconds:.1f} s"
    words = _FOLLOWING[name](config, outcome.value, outcome.summary)
    return f"{done}; next: {shlex.join(('raypipe', *words))}" if words else done


def _nothing(*_: object) -> tuple[str, ...]:
    return ()


def _after_extract(config: Any, store: Any, _: object) -> tuple[str, ...]:
    images = store.snapshot.rows // store.spec.views
    labels: set[str] = set()
    for batch in store.iter_batches([schema.LABEL]):
        labels.update(batch[schema.LABEL].drop_null().unique().to_pylist())
        if len(labels) > 1:  # the rest need not be read
            return "train", config.out, "--out", "model"
    return _clusters(images, config.out)


def _clusters(images: int, *places: str) -> tuple[str, ...]:
    """Return the command that finds groups; nothing for so few images that there is no range."""
    if images < _FEW:
        return ()
    return "cluster", *places, "--k", f"2:{min(10, images - 1)}", "--out", "clusters"


def _after_train(config: Any, model: Any, _: object) -> tuple[str, ...]:
    backbone = str(model.provenance.get("backbone", ""))
    # Code of one's own runs only if it is named.
    named = ("--backbone", backbone) if ":" in backbone else ()
    return "predict", config.out, _IMAGES, "--out", "predictions.csv", *named


def _after_predict(config: Any, _: object, summary: dict[str, Any]) -> tuple[str, ...]:
    return ("report", config.out) if "snapshot" in summary else ()


def _after_dedupe(config: Any, _: object, summary: dict[str, Any]) -> tuple[str, ...]:
    if not summary["groups"]:
        return ()
    if not (config.out or "").endswith(".csv"):
        return "dedupe", config.store, "--out", "duplicates.csv"
    without = (config.store, "--exclude", config.out)
    if summary["labels"] > 1:
        return "train", *without, "--out", "model"
    left = summary["images"] - sum(len(group) - 1 for group in summary["groups"])
    return _clusters(left, *without)


def _after_verify(config: Any, _: object, summary: dict[str, Any]) -> tuple[str, ...]:
    return ("repair", config.store) if summary["damaged"] else ()


def _after_repair(config: Any, _: object, summary: dict[str, Any]) -> tuple[str, ...]:
    return ("verify", config.store) if summary["damaged"] else ()


_FOLLOWING: dict[str, _Following] = {
    "extract": _after_extract,
    "train": _after_train,
    "cluster": lambda config, *_: ("report", config.out),
    "predict": _after_predict,
    "export": _nothing,
    "report": _nothing,
    "dedupe": _after_dedupe,
    "pack": lambda config, *_: ("extract", config.out, "--out", "features"),
    "compact": lambda config, *_: ("expire", config.store, "--keep", "1", "--dry-run"),
    "expire": _nothing,
    "verify": _after_verify,
    "repair": _after_repair,
}
