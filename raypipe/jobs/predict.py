"""Apply a trained model to new images or to a store."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import PredictConfig
from raypipe.config.version import versions
from raypipe.display import counted, printable
from raypipe.errors import RaypipeError
from raypipe.fit.evaluate.tally import Tally
from raypipe.flow.ingest import Ingest, bring_up_to_date, check_apart, check_writable
from raypipe.flow.named import check_place
from raypipe.flow.rejects import check_rejects
from raypipe.heads.model import (
    MODEL_FILES,
    TrainedModel,
    head_sha256,
    load_model,
    trained_on_sha256,
)
from raypipe.heads.predictor import Predictor
from raypipe.heads.trained_on import TRAINED_ON_FILE, TrainedOn
from raypipe.predictions.checks import check, head_spec, is_table
from raypipe.predictions.inputs import Images, Input, listed
from raypipe.predictions.one_table import Result, to_table
from raypipe.predictions.pages import REPORT_FILE
from raypipe.predictions.stored import Stored
from raypipe.predictions.telling import said, scores_of, seen_of, status_text
from raypipe.storage import is_object, local_copy, local_path, open_storage, output_file
from raypipe.store.identity import create_store, is_store
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import numbers

_METRICS_FILE = "metrics.json"
_SHOWN = 10


def run(config: PredictConfig) -> Outcome:
    """Predict; see `PredictConfig` for the options.

    Raises:
        UsageError: model and source do not go together, or the backbone has changed.
    """
    started = time.monotonic()
    check(config)
    if config.out is not None and is_table(config):
        output_file(config.out)
    elif config.out is not None:
        check_place(open_storage(config.out))
    with local_copy(config.model, (*MODEL_FILES, TRAINED_ON_FILE), "MODEL") as folder:
        model = load_model(folder, _model_place(config))
        checksum, trained = head_sha256(folder), TrainedOn.load(folder, trained_on_sha256(folder))
    head = head_spec(config, model.classes, model.spec.outputs, model.column, checksum)
    predictor = Predictor(model.head, head, only=config.probability_of)
    kind = Stored if _is_store(config.source) else Images
    source: Input = kind(config, model, predictor)
    if is_table(config):
        summary, lines, value = to_table(config, model, predictor, source, trained)
    else:
        summary, lines, value = _to_store(config, model, predictor, source, trained, started)
        rows, rejects = summary["rows"], summary["rejects"]
        check_rejects(rows, rejects, config.max_rejects, str(config.out), value.rejects)
    summary["seconds"] = round(time.monotonic() - started, 3)
    return Outcome(summary, "\n".join(lines), value)


def _is_store(source: str) -> bool:
    """Whether a source is a store, and not images.

    Raises:
        RaypipeError: it is one that has lost its spec; its partitions are no images.
    """
    if is_store(source, "SOURCE"):
        return True
    if not is_object(source) and Path(source).is_dir() and numbers(open_storage(source, "SOURCE")):
        raise RaypipeError(f"SOURCE: {source!r} is a store without its spec.json; restore it")
    return False


def _to_store(
    config: PredictConfig,
    model: TrainedModel,
    predictor: Predictor,
    source: Input,
    trained: TrainedOn | None,
    started: float,
) -> Result:
    """Add what is missing to a store of predictions."""
    storage = open_storage(str(config.out))
    check_apart(storage, source.uri)
    with ExitStack() as stack:
        listing = stack.enter_context(listed(source, config, model.classes))
        check_writable(storage)
        if not is_store(storage.uri):
            source.check_feasible(listing, storage, stack)
        create_store(storage, source.spec, _provenance(config, model, source))
        writer = partial(source.write, storage=storage, predictor=predictor, stack=stack)
        work = bring_up_to_date(
            config, storage, source.spec, source.uri, listing, writer, by_batch=source.by_batch
        )
        work.record(storage, started)
    store = StoreReader(storage.uri, work.after.number)
    tally = _tally(config, model, store, trained)
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
    scores = scores_of(tally, summary, lines)
    if scores:
        origin = {"snapshot": work.after.number, "model": config.model, "source": source.uri}
        content = json.dumps({**scores, **origin}, indent=1, ensure_ascii=False) + "\n"
        storage.put(_METRICS_FILE, content.encode())
    if config.report:
        from raypipe.reports.run import make_page, sections_of

        storage.put(REPORT_FILE, make_page(sections_of(store.uri)))
        said(f"{storage.uri}/{REPORT_FILE}", summary, lines)
    return summary, lines, store


def _tally(
    config: PredictConfig, model: TrainedModel, store: StoreReader, trained: TrainedOn | None
) -> Tally:
    """Count all rows of a store of predictions."""
    places = store.iter_batches([schema.ID, schema.URI, schema.ETAG])
    seen = seen_of(trained, places) if config.evaluate else None
    tally = Tally(model.classes, evaluate=config.evaluate, seen=seen)
    status = [schema.STATUS] if schema.STATUS in store.columns else []
    for rows in store.iter_batches([schema.ID, schema.LABEL, schema.PREDICTED, *status]):
        tally.add(rows)
    return tally


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
        f"{summary['out']}: {published}, {counted(summary['rows'], 'row')}, "
        f"{counted(summary['rejects'], 'reject')}",
        f"done now: {counted(summary['predicted'], 'image')}, {summary['decoded']} of them decoded"
        if summary["predicted"]
        else "no image is new or changed",
    ]
    lines += [printable(f"  {count:>7} {name}") for name, count in labels[:_SHOWN]]
    if len(labels) > _SHOWN:
        lines.append(f"  … and {len(labels) - _SHOWN} more classes")
    lines += status_text(summary)
    for reason, count in summary["rejects_by_reason"].items():
        lines.append(f"  rejected: {count} × {reason}")
    return lines + work.notes


def main() -> None:
    """Run from the command line."""
    run_job("predict", PredictConfig)


if __name__ == "__main__":
    main()
