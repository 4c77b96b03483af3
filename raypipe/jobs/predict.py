"""Apply a trained model to new images or to a store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import PredictConfig
from raypipe.config.version import versions
from raypipe.display import printable, track
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.evaluate.tally import Tally, check_labels, text_of
from raypipe.flow.ingest import Ingest, bring_up_to_date, check_apart, check_writable
from raypipe.flow.plan import make_plan
from raypipe.flow.rejects import check_rejects
from raypipe.heads.model import MODEL_FILES, TrainedModel, head_sha256, load_model
from raypipe.heads.predictor import Predictor
from raypipe.predictions.checks import check, head_spec, is_one_file
from raypipe.predictions.class_names import with_names
from raypipe.predictions.inputs import Images, Stored
from raypipe.predictions.pages import REPORT_FILE, report_on_rows
from raypipe.predictions.table import in_order, shorten, write
from raypipe.rows.listing import Listing
from raypipe.storage import is_object, local_copy, local_path, new_files, open_storage, writing
from raypipe.store.identity import create_store, is_store
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import numbers

_METRICS_FILE = "metrics.json"
_SHOWN = 10
_REJECTS = pa.schema([(n, pa.string()) for n in (schema.ID, schema.REASON, schema.MESSAGE)])

Input = Images | Stored
_Result = tuple[dict[str, Any], list[str], Any]


def run(config: PredictConfig) -> Outcome:
    """Predict; see `PredictConfig` for the options.

    Raises:
        UsageError: model and source do not go together, or the backbone has changed.
    """
    started = time.monotonic()
    check(config)
    if is_one_file(config) and not local_path(config.out, "--out").parent.is_dir():
        raise UsageError(f"--out: no folder {str(local_path(config.out, '--out').parent)!r}")
    with local_copy(config.model, MODEL_FILES, "MODEL") as folder:
        model = load_model(folder, _model_place(config))
        checksum = head_sha256(folder)
    head = head_spec(config, model.classes, model.spec.outputs, model.column, checksum)
    predictor = Predictor(model.head, head, only=config.probability_of)
    kind = Stored if _is_store(config.source) else Images
    source: Input = kind(config, model, predictor)
    if is_one_file(config):
        summary, lines, value = _to_file(config, model, predictor, source)
    else:
        summary, lines, value = _to_store(config, model, predictor, source, started)
        rows, rejects = summary["rows"], summary["rejects"]
        check_rejects(rows, rejects, config.max_rejects, config.out, value.rejects)
    summary["seconds"] = round(time.monotonic() - started, 3)
    return Outcome(summary, "\n".join(lines), value)


def _is_store(source: str) -> bool:
    """Whether a source is a store, and not images.

    Raises:
        RaypipeError: it is one that has lost its spec; its partitions are no images.
    """
    if is_store(source, "SOURCE"):
        return True
    if not is_object(source) and numbers(open_storage(source, "SOURCE")):
        raise RaypipeError(f"SOURCE: {source!r} is a store without its spec.json; restore it")
    return False


def _to_store(
    config: PredictConfig,
    model: TrainedModel,
    predictor: Predictor,
    source: Input,
    started: float,
) -> _Result:
    """Add what is missing to a store of predictions."""
    storage = open_storage(config.out)
    check_apart(storage, source.uri)
    with ExitStack() as stack:
        listing = stack.enter_context(_listing(config, model, source))
        check_writable(storage)
        create_store(storage, source.spec, _provenance(config, model, source))
        writer = partial(source.write, storage=storage, predictor=predictor, stack=stack)
        work = bring_up_to_date(
            config, storage, source.spec, source.uri, listing, writer, by_batch=source.by_batch
        )
        work.record(storage, started)
    store = StoreReader(storage.uri, work.after.number)
    tally = _tally(config, model, store)
    summary = {
        "out": storage.uri,
        "snapshot": work.after.number,
        "rows": work.after.rows,
        "rejects": work.after.rejects,
        "rejects_by_reason": store.reject_counts(),
        "predicted": work.done,
        "decoded": work.done if source.decodes else 0,
        **work.summary,
        **tally.summary,
        "fingerprint": store.spec.fingerprint,
    }
    lines = _store_text(summary, work)
    scores = _scores(tally, summary, lines)
    if scores:
        origin = {"snapshot": work.after.number, "model": config.model, "source": source.uri}
        content = json.dumps({**scores, **origin}, indent=1, ensure_ascii=False) + "\n"
        storage.put(_METRICS_FILE, content.encode())
    if config.report:
        from raypipe.reports.run import make_page, sections_of

        storage.put(REPORT_FILE, make_page(sections_of(store.uri), title=Path(store.uri).name))
        _said(f"{storage.uri}/{REPORT_FILE}", summary, lines)
    return summary, lines, store


def _to_file(
    config: PredictConfig, model: TrainedModel, predictor: Predictor, source: Input
) -> _Result:
    """Write one file, sorted; in memory stay ids and what is written of each image."""
    out = local_path(config.out, "--out")
    tally = Tally(model.classes, evaluate=config.evaluate)
    rows, known, rejects = [], [], [_REJECTS.empty_table()]
    decoded = 0
    with ExitStack() as stack:
        for block in _blocks(config, model, predictor, source, stack):
            good = pc.equal(block[schema.REASON], "")
            rejects.append(block.filter(pc.invert(good)).select(_REJECTS.names).cast(_REJECTS))
            kept = block.filter(good).drop_columns([schema.REASON, schema.MESSAGE])
            tally.add(kept)
            rows.append(kept.drop_columns([schema.LABEL]))
            if config.report:
                known.append(kept.select([schema.LABEL]))
            decoded += len(block) if source.decodes else 0
    written = in_order(
        pa.concat_tables(rows),
        config.order,
        short_ids=config.short_ids,
        only=config.probability_of,
    )
    if config.class_names == "imagenet":
        numbers = [one.column for one in model.spec.outputs if one.pool == "argmax"]
        written = with_names(written, [name for name in numbers if name in written.column_names])
    failed = pa.concat_tables(rejects).sort_by(schema.ID)
    rejected = out.with_name(f"{out.stem}.rejects{out.suffix}")
    page = out.with_name(f"{out.stem}.{REPORT_FILE}")
    with writing(out), new_files(out, [rejected.name, page.name]) as folder:
        write(written, folder / out.name, csv_safe=config.csv_safe)
        if len(failed):
            write(failed, folder / rejected.name, csv_safe=config.csv_safe)
        if config.report:
            table = pa.concat_tables(rows).append_column(
                schema.LABEL, pa.concat_tables(known)[schema.LABEL]
            )
            content = report_on_rows(config, model, source, table, failed)
            (folder / page.name).write_bytes(content)
    summary = {
        "out": str(out),
        "rows": len(written),
        "rejects": len(failed),
        "decoded": decoded,
        **tally.summary,
    }
    lines = _file_text(summary, written, rejected)
    _scores(tally, summary, lines)
    if config.report:
        _said(str(page), summary, lines)
    check_rejects(len(written), len(failed), config.max_rejects, str(out), lambda: failed)
    return summary, lines, written


def _said(place: str, summary: dict[str, Any], lines: list[str]) -> None:
    summary["report"] = place
    lines.append(f"report: {place}")


def _blocks(
    config: PredictConfig,
    model: TrainedModel,
    predictor: Predictor,
    source: Input,
    stack: ExitStack,
) -> Iterator[pa.Table]:
    """Yield `id`, `label`, `reason`, `message` and the predictions, as they are made."""
    if isinstance(source, Stored):
        if config.evaluate:
            check_labels(source.items(), model.classes)
        yield from track(source.rows(predictor), total=source.count, count=len)
        return
    listing = stack.enter_context(_listing(config, model, source))
    if config.short_ids:
        shorten(name for batch in listing.batches() for name in batch[schema.ID].to_pylist())
    plan = make_plan(listing, None, source.spec)
    yield from track(source.rows(plan, predictor, stack), total=plan.pending, count=len)


def _listing(config: PredictConfig, model: TrainedModel, source: Input) -> Listing:
    listing = Listing(source.items(), source.left_aside)
    if not len(listing):
        raise UsageError(f"SOURCE: no images in {source.uri!r}")
    if config.evaluate:
        check_labels(listing.batches(), model.classes)
    return listing


def _tally(config: PredictConfig, model: TrainedModel, store: StoreReader) -> Tally:
    """Count all rows of a store of predictions."""
    tally = Tally(model.classes, evaluate=config.evaluate)
    status = [schema.STATUS] if schema.STATUS in store.columns else []
    for rows in store.iter_batches([schema.LABEL, schema.PREDICTED, *status]):
        tally.add(rows)
    return tally


def _scores(tally: Tally, summary: dict[str, Any], lines: list[str]) -> dict[str, Any] | None:
    """Add the scores, if they are asked for, to what is said."""
    if tally.scores is None:
        return None
    scores = tally.scores.result()
    summary["evaluation"] = {name: v for name, v in scores.items() if name != "report_text"}
    lines += text_of(scores)
    return scores


def _model_place(config: PredictConfig) -> str:
    place = config.model
    return place if is_object(place) else str(local_path(place, "MODEL", or_bucket=True))


def _provenance(config: PredictConfig, model: TrainedModel, source: Input) -> dict[str, Any]:
    """Where things came from, for people; not part of the fingerprint."""
    there = model.provenance
    return {
        "model": _model_place(config),
        "classes": list(model.classes),
        **{name: there[name] for name in ("backbone", "weights", "seed") if name in there},
        "source": source.uri,
        "versions": versions(),
    }


def _store_text(summary: dict[str, Any], work: Ingest) -> list[str]:
    published = f"snapshot {summary['snapshot']}" + ("" if work.is_new else " (nothing to change)")
    labels = sorted(summary["labels"].items(), key=lambda entry: -entry[1])
    lines = [
        f"{summary['out']}: {published}, {summary['rows']} rows, {summary['rejects']} rejects",
        f"predicted {summary['predicted']} images, {summary['decoded']} of them decoded",
    ]
    lines += [printable(f"  {count:>7} {name}") for name, count in labels[:_SHOWN]]
    if len(labels) > _SHOWN:
        lines.append(f"  … and {len(labels) - _SHOWN} more classes")
    lines += _status_text(summary)
    for reason, count in summary["rejects_by_reason"].items():
        lines.append(f"  rejected: {count} × {reason}")
    return lines + work.notes


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
    lines += _status_text(summary)
    if summary["rejects"]:
        lines.append(f"{summary['rejects']} images could not be read: {rejected}")
    return lines


def _status_text(summary: dict[str, Any]) -> list[str]:
    status = summary.get("status", {})
    return [f"  without a label: {n} × {name}" for name, n in status.items() if name != "ok"]


def main() -> None:
    """Run from the command line."""
    run_job("predict", PredictConfig)


if __name__ == "__main__":
    main()
