"""The options of `predict`: which go together, and what they ask of a model."""

from __future__ import annotations

import re
from pathlib import Path

from raypipe import schema
from raypipe.config import PredictConfig
from raypipe.errors import UsageError, nearest
from raypipe.heads.filters import check_filters
from raypipe.predictions.table import SUFFIXES
from raypipe.rows.spreadsheets import check_csv
from raypipe.spec import HeadSpec, Output, digest

_LOOKS_LIKE_A_FILE = re.compile(r"\.[A-Za-z]\w{0,5}")


def is_table(config: PredictConfig) -> bool:
    """Whether predictions become a table, in one file or on the screen; else a store."""
    return config.out is None or Path(config.out).suffix in SUFFIXES


def check(config: PredictConfig) -> None:
    """Check what can be checked without the model.

    Raises:
        UsageError: the name of the output, or options that exclude each other.
    """
    _check_out(config)
    check_csv(config.csv_safe, config.out)
    if config.class_names != "none" and not config.where:
        raise UsageError(
            f"--class-names {config.class_names} goes with --where, whose columns are written; got "
            "none; give --where COLUMN=0: to filter nothing"
        )
    if config.probability_of is None:
        return
    if config.top_k > 1:
        raise UsageError("--probability-of writes one class; it does not go with --top-k")
    for name in ("threshold", "where", "evaluate", "report"):
        if getattr(config, name):
            raise UsageError(
                f"--probability-of writes a number and no label; it does not go with --{name}"
            )


def head_spec(
    config: PredictConfig,
    classes: tuple[str, ...],
    outputs: tuple[Output, ...],
    column: str,
    sha256: str,
) -> HeadSpec:
    """Return what makes the predictions.

    Args:
        config: the options.
        classes: the model's.
        outputs: what its features consist of.
        column: the feature column its head reads.
        sha256: checksum of its head.

    Raises:
        UsageError: the model has not what an option asks for.
    """
    only = config.probability_of
    if only is not None and only not in classes:
        raise UsageError(
            f"--probability-of: the model's classes are {', '.join(classes)}; "
            f"got {only!r}{nearest(only, classes)}"
        )
    if config.top_k > len(classes):
        raise UsageError(f"--top-k: the model has {len(classes)} classes; got {config.top_k}")
    head = HeadSpec(
        sha256=sha256,
        classes_sha256=digest(*classes),
        column=column,
        top_k=config.top_k,
        probabilities=config.probabilities,
        threshold=config.threshold,
    )
    check_filters(config.where, outputs, (*head.columns, schema.STATUS))
    return head.model_copy(update={"where": tuple(one.canonical for one in config.where)})


def _check_out(config: PredictConfig) -> None:
    as_table = is_table(config)
    if config.out is not None and not as_table:
        path = Path(config.out)
        meant_as_folder = config.out.endswith("/") or path.is_dir()
        if not meant_as_folder and _LOOKS_LIKE_A_FILE.fullmatch(path.suffix):
            raise UsageError(
                f"--out must end in {' or '.join(SUFFIXES)}, or be a folder; got {config.out!r} "
                "(a folder whose name has a dot ends in /)"
            )
    wrong = {
        "--prune": config.prune and as_table,
        "--moved": config.moved and as_table,
        "--probabilities": config.probabilities and as_table,
        "--order": config.order != "id" and not as_table,
        "--short-ids": config.short_ids and not as_table,
        "--class-names": config.class_names != "none" and not as_table,
        "--probability-of": config.probability_of is not None and not as_table,
    }
    got = repr(config.out) if config.out is not None else "no --out"
    for option in (name for name, is_wrong in wrong.items() if is_wrong):
        other = "a folder" if as_table else f"a file ending in {' or '.join(SUFFIXES)}"
        raise UsageError(f"{option} goes with {other} as --out; got {got}")
    if config.report and config.out is None:
        raise UsageError("--report: the page lies beside --out; got no --out; give one")
