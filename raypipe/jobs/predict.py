"""Apply a trained model to new images or to a store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.command import Outcome, run_job
from raypipe.config import PredictConfig
from raypipe.errors import RaypipeError, UsageError, nearest
from raypipe.fit.model import TrainedModel, load_model
from raypipe.order import natural_key
from raypipe.plan import Listing, make_plan
from raypipe.progress import say, track
from raypipe.sources import open_source
from raypipe.sources.remote import check_reachable
from raypipe.spec import difference
from raypipe.storage import local_path
from raypipe.store.identity import is_store
from raypipe.store.reader import StoreReader, to_array

if TYPE_CHECKING:  # it takes torch, which predictions from a store do without
    from raypipe.backbone import Backbone

__all__ = ["check", "main", "run"]

_SUFFIXES = (".csv", ".parquet")


def run(config: PredictConfig) -> Outcome:
    """Predict; see `PredictConfig` for the options.

    Raises:
        UsageError: model and store do not go together, or the backbone has changed.
    """
    started = time.monotonic()
    check(config)
    out = local_path(config.out, "--out")
    if not out.parent.is_dir():
        raise UsageError(f"--out: no folder {str(out.parent)!r}")
    model = load_model(local_path(config.model, "MODEL"))
    if config.probability_of and config.probability_of not in model.classes:
        raise UsageError(
            f"--probability-of: the model's classes are {', '.join(model.classes)}; "
            f"got {config.probability_of!r}{nearest(config.probability_of, model.classes)}"
        )
    if config.top_k > len(model.classes):
        raise UsageError(f"--top-k: the model has {len(model.classes)} classes; got {config.top_k}")
    rejects = schema.REJECTS.empty_table().select([schema.ID, schema.REASON, schema.MESSAGE])
    if is_store(config.source, "SOURCE"):
        ids, probabilities = _from_store(config, model)
    else:
        ids, probabilities, rejects = _from_images(config, model)
    table = _table(ids, probabilities, model.classes, config)
    _write(table, out)
    rejected = out.with_name(f"{out.stem}.rejects{out.suffix}")
    rejected.unlink(missing_ok=True)
    if len(rejects):
        _write(rejects, rejected)
    summary = {
        "out": str(out),
        "rows": len(table),
        "rejects": len(rejects),
        "labels": _counts(table),
        "seconds": round(time.monotonic() - started, 3),
    }
    return Outcome(summary, _text(summary, table, rejected), table)


def check(config: PredictConfig) -> None:
    """Check what can be checked without the model.

    Raises:
        UsageError: the file's name, or options that exclude each other.
    """
    if Path(config.out).suffix not in _SUFFIXES:
        raise UsageError(f"--out must end in {' or '.join(_SUFFIXES)}; got {config.out!r}")
    if config.probability_of and config.top_k > 1:
        raise UsageError("--probability-of writes one class; it does not go with --top-k")


def _from_store(config: PredictConfig, model: TrainedModel) -> tuple[Any, npt.NDArray[Any]]:
    store = StoreReader(config.source, option="SOURCE")
    if config.glob or config.image_column or config.id_column:
        raise UsageError("--glob, --image-column and --id-column go with images; SOURCE is a store")
    if store.spec != model.spec:
        raise UsageError(
            "SOURCE: the store's features differ from those the model was trained on: "
            + "; ".join(difference(model.spec, store.spec))
        )
    ids: list[npt.NDArray[Any]] = []
    found: list[npt.NDArray[Any]] = []
    for rows in store.iter_batches([schema.ID, schema.VIEW, model.column]):
        batch = rows.filter(pa.compute.equal(rows[schema.VIEW], 0))
        ids.append(batch[schema.ID].to_numpy())
        found.append(model.predict_proba(to_array(batch[model.column])))
    if not ids:
        raise UsageError(f"SOURCE: {store.uri} has no features yet")
    return np.concatenate(ids), np.concatenate(found)


def _from_images(
    config: PredictConfig, model: TrainedModel
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], pa.Table]:
    from raypipe import pipeline, runtime  # with Ray, which a store does not need

    source = open_source(config)
    loaded = _backbone(config, model)
    # Only the head's own column is needed, and of each image only itself.
    spec = model.spec.model_copy(update={"outputs": loaded.outputs, "augment": None})
    with Listing(source.list()) as listing:
        if not len(listing):
            raise UsageError(f"SOURCE: no images in {source.uri!r}")
        if config.short_ids:
            _short([name for batch in listing.batches() for name in batch[schema.ID].to_pylist()])
        plan = make_plan(listing, None, spec)
    check_reachable(plan.some_uris())
    with runtime.session(config.address):
        replicas = runtime.plan_replicas(config.actors, config.batch_size, len(plan.units))
        say(f"{plan.pending} images, {replicas.max_size} × {replicas.device}")
        stream = pipeline.predict(
            plan.units,
            loaded,
            spec,
            replicas,
            max_pixels=config.max_pixels,
            head=model.head,
            column=model.column,
        )
        blocks = list(track(stream, total=plan.pending, count=len))
    done = pa.concat_tables(blocks)
    probabilities = np.concatenate([_probabilities(block) for block in blocks])
    good = pa.compute.equal(done[schema.REASON], "")
    keep = good.to_numpy()
    rejects = done.filter(pa.compute.invert(good)).select(
        [schema.ID, schema.REASON, schema.MESSAGE]
    )
    ids = done[schema.ID].to_numpy()[keep]
    return ids, probabilities[keep], rejects.sort_by(schema.ID)


def _probabilities(block: pa.Table) -> npt.NDArray[Any]:
    tensor = block["probabilities"].combine_chunks()
    array: npt.NDArray[Any] = tensor.to_numpy_ndarray()
    return array


def _backbone(config: PredictConfig, model: TrainedModel) -> Backbone:
    """Load the model's backbone again, and make sure it is the same."""
    from raypipe.backbone.loading import load

    there = model.provenance
    loaded = load(
        config.backbone or there["backbone"],
        config.weights or there["weights"],
        tuple(
            f"{output.column}={output.layer}:{output.pool}"
            for output in model.spec.outputs
            if output.column == model.column
        ),
        seed=there["seed"],
    )
    same = {
        "--backbone": (loaded.source.sha256, model.spec.source_sha256),
        "--weights": (loaded.weights_sha256, model.spec.weights_sha256),
    }
    for option, (now, then) in same.items():
        if now != then:
            raise UsageError(
                f"{option}: not what the model was trained with: checksum {now}, expected {then}"
            )
    return loaded


def _table(
    ids: npt.NDArray[Any],
    probabilities: npt.NDArray[Any],
    classes: tuple[str, ...],
    config: PredictConfig,
) -> pa.Table:
    """Return the predictions in order: by class, or the probability of one class."""
    keys = [natural_key(name) for name in ids] if config.order == "natural" else list(ids)
    rows = sorted(range(len(ids)), key=keys.__getitem__)
    ids, probabilities = ids[rows], probabilities[rows]
    if config.short_ids:
        ids = _short(ids)
    columns: dict[str, Any] = {schema.ID: pa.array(ids, pa.string())}
    if config.probability_of:
        wanted = probabilities[:, classes.index(config.probability_of)]
        columns[schema.LABEL] = pa.array(wanted.astype(np.float64).round(6))
        return pa.table(columns)
    return pa.table(columns | _ranked(probabilities, classes, config.top_k))


def _short(ids: Iterable[str]) -> npt.NDArray[Any]:
    short = np.array([PurePosixPath(name).stem for name in ids], dtype=object)
    if len(set(short)) < len(short):
        repeated = Counter(short).most_common(1)[0][0]
        raise UsageError(f"--short-ids: several images would be called {repeated!r}")
    return short


def _ranked(
    probabilities: npt.NDArray[Any], classes: tuple[str, ...], top_k: int
) -> dict[str, pa.Array]:
    """Return `label`, `probability`, then `label_2`, `probability_2`, …"""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    names = np.array(classes, dtype=object)
    columns: dict[str, pa.Array] = {}
    for rank in range(top_k):
        suffix = f"_{rank + 1}" if rank else ""
        chosen = order[:, rank]
        best = probabilities[np.arange(len(order)), chosen]
        columns[f"{schema.LABEL}{suffix}"] = pa.array(names[chosen], pa.string())
        columns[f"probability{suffix}"] = pa.array(best.astype(np.float64).round(6))
    return columns


def _write(table: pa.Table, path: Path) -> None:
    try:
        if path.suffix == ".csv":
            pa.csv.write_csv(table, path)
        else:
            pq.write_table(table, path)
    except OSError as error:
        raise RaypipeError(f"--out: cannot write {str(path)!r}: {error}") from None


def _counts(table: pa.Table) -> dict[str, int]:
    if not pa.types.is_string(table.schema.field(schema.LABEL).type):
        return {}
    counts = table[schema.LABEL].value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counts}


def _text(summary: dict[str, Any], table: pa.Table, rejected: Path) -> str:
    lines = []
    for row in table.slice(0, 10).to_pylist():
        probability = f" ({row['probability']:.3f})" if "probability" in row else ""
        lines.append(f"{row[schema.ID]}: {row[schema.LABEL]}{probability}")
    if len(table) > 10:
        lines.append(f"… and {len(table) - 10} more")
    lines.append(f"written: {summary['out']} ({summary['rows']} rows)")
    if summary["rejects"]:
        lines.append(f"{summary['rejects']} images could not be read: {rejected}")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("predict", PredictConfig)


if __name__ == "__main__":
    main()
