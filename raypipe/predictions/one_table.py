"""Predictions as one table, on the screen or in a file."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.config import PredictConfig
from raypipe.display import printable
from raypipe.fit.evaluate.tally import Tally
from raypipe.flow.rejects import check_rejects
from raypipe.heads.model import TrainedModel
from raypipe.heads.predictor import Predictor
from raypipe.heads.trained_on import TrainedOn
from raypipe.predictions.class_names import with_names
from raypipe.predictions.inputs import Input
from raypipe.predictions.pages import REPORT_FILE, report_on_rows
from raypipe.predictions.table import columns_of, in_order, write
from raypipe.predictions.telling import said, scores_of, seen_of, status_text
from raypipe.rows.listing import counted
from raypipe.storage import local_path, new_files, writing

_SHOWN = 10
_REJECTS = pa.schema([(n, pa.string()) for n in (schema.ID, schema.REASON, schema.MESSAGE)])

#: Summary, lines for people, and the value for callers in Python.
Result = tuple[dict[str, Any], list[str], Any]


def to_table(
    config: PredictConfig,
    model: TrainedModel,
    predictor: Predictor,
    source: Input,
    trained: TrainedOn | None,
) -> Result:
    """Make one table, sorted, and write it if there is --out; in memory is what is in it."""
    seen = seen_of(trained, source.items()) if config.evaluate else None
    tally = Tally(model.classes, evaluate=config.evaluate, seen=seen)
    made = _table(config, model, predictor, source, tally)
    summary = {
        "out": None,
        "rows": len(made.written),
        "rejects": len(made.failed),
        "decoded": made.decoded,
        "left_aside": dict(source.left_aside()),
        "labels_not_found": dict(source.labels_not_found()),
        **made.tally.summary,
    }
    if config.out is None:
        summary |= {"predictions": made.written.to_pylist(), "rejected": made.failed.to_pylist()}
        lines = [*columns_of(made.written), *status_text(summary)]
        lines += [
            printable(f"{row[schema.ID]}: {row[schema.REASON]}: {row[schema.MESSAGE]}")
            for row in made.failed.to_pylist()
        ]
        place, page = "the table", None
    else:
        place, rejected, page = _write_table(config, model, source, made, trained)
        summary["out"] = place
        lines = _file_text(summary, made.written, rejected)
    lines += counted(source.left_aside(), source.labels_not_found())
    scores_of(made.tally, summary, lines)
    if page is not None:
        said(str(page), summary, lines)
    failed = made.failed
    check_rejects(len(made.written), len(failed), config.max_rejects, place, lambda: failed)
    return summary, lines, made.written


@dataclass(frozen=True)
class _Table:
    """Predictions as one table.

    Attributes:
        written: what is shown of each image.
        rows: predictions in full, with the images' own labels if a page is made of them.
        failed: rejects.
        tally: counts of what was predicted.
        decoded: how many images were decoded.
    """

    written: pa.Table
    rows: pa.Table
    failed: pa.Table
    tally: Tally
    decoded: int


def _table(
    config: PredictConfig, model: TrainedModel, predictor: Predictor, source: Input, tally: Tally
) -> _Table:
    rows, rejects, decoded = list[pa.Table](), [_REJECTS.empty_table()], 0
    with ExitStack() as stack:
        for block in source.rows(predictor, stack):
            good = pc.equal(block[schema.REASON], "")
            rejects.append(block.filter(pc.invert(good)).select(_REJECTS.names).cast(_REJECTS))
            kept = block.filter(good).drop_columns([schema.REASON, schema.MESSAGE])
            tally.add(kept)
            rows.append(kept if config.report else kept.drop_columns([schema.LABEL]))
            decoded += len(block) if source.decodes else 0
    every = pa.concat_tables(rows)
    written = in_order(
        every.drop_columns([schema.LABEL]) if config.report else every,
        config.order,
        short_ids=config.short_ids,
        only=config.probability_of,
    )
    if config.class_names == "imagenet":
        numbers = [one.column for one in model.spec.outputs if one.pool == "argmax"]
        written = with_names(written, [name for name in numbers if name in written.column_names])
    failed = pa.concat_tables(rejects).sort_by(schema.ID)
    return _Table(written, every, failed, tally, decoded)


def _write_table(
    config: PredictConfig,
    model: TrainedModel,
    source: Input,
    made: _Table,
    trained: TrainedOn | None,
) -> tuple[str, Path, Path | None]:
    """Write the file, that of rejects, and the page; return where they are."""
    out = local_path(str(config.out), "--out")
    rejected = out.with_name(f"{out.stem}.rejects{out.suffix}")
    page = out.with_name(f"{out.stem}.{REPORT_FILE}")
    with writing(out), new_files(out, [rejected.name, page.name]) as folder:
        write(made.written, folder / out.name, csv_safe=config.csv_safe)
        if len(made.failed):
            write(made.failed, folder / rejected.name, csv_safe=config.csv_safe)
        if config.report:
            content = report_on_rows(config, model, source, made.rows, made.failed, trained)
            (folder / page.name).write_bytes(content)
    return str(out), rejected, page if config.report else None


def _file_text(summary: dict[str, Any], written: pa.Table, rejected: Path) -> list[str]:
    lines = []
    for row in written.slice(0, _SHOWN).to_pylist():
        label = "no label" if row[schema.LABEL] is None else row[schema.LABEL]
        probability = row.get(schema.PROBABILITY)
        shown = "" if probability is None else f" ({probability:.3f})"
        lines.append(printable(f"{row[schema.ID]}: {label}{shown}"))
    if len(written) > _SHOWN:
        lines.append(f"… and {len(written) - _SHOWN} more")
    lines.append(f"written: {summary['out']} ({summary['rows']} rows)")
    lines += status_text(summary)
    if summary["rejects"]:
        lines.append(f"{summary['rejects']} images could not be read: {rejected}")
    return lines
