"""Writing of a unit's features, or of what is predicted from them."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe import schema
from raypipe.errors import RaypipeError, RejectReason
from raypipe.heads.predictor import Predictor, to_arrow
from raypipe.spec import Spec
from raypipe.steps.batch import (
    COST,
    UNIT,
    UNIT_ROWS,
    Batch,
    cost_of,
    feature_column,
)
from raypipe.steps.cost import Cost, Finished, Timer
from raypipe.storage import open_storage
from raypipe.store.partition import File, Format, write_unit

_LOG = logging.getLogger("raypipe")


def write_partition(
    batch: Batch, *, root: str, spec: Spec, form: Format, predictor: Predictor | None
) -> pa.Table:
    """Write one unit's partitions and return a row for each file."""
    units = set(batch[UNIT])
    if len(units) != 1 or len(batch[UNIT]) != batch[UNIT_ROWS][0]:
        raise RaypipeError(
            f"a block must hold exactly one unit; got {len(batch[UNIT])} rows of {len(units)} "
            f"units, the first of {batch[UNIT_ROWS][0]} rows"
        )
    batch = without_lost_values(batch, spec)
    items = _strings(batch, schema.ITEMS)
    good = batch[schema.REASON] == ""
    features = _features(batch, spec, good)
    unit, watch = str(units.pop()), Timer()
    with watch:
        files = write_unit(
            open_storage(root),
            unit,
            spec.fingerprint,
            rows=items.filter(pa.array(good)),
            features=predictor(features) if predictor else features,
            rejects=_strings(batch, schema.REJECTS).filter(pa.array(~good)),
            form=form,
        )
    cost = cost_of(batch) + Cost(
        images=int(good.sum()),
        rejects=dict(Counter(batch[schema.REASON][~good])),
        bytes_written=sum(file.bytes for file in files),
        write_seconds=watch.seconds,
    )
    _LOG.info("unit finished", extra={"unit": unit} | asdict(cost))
    return to_block(Finished(files, cost))


def to_block(finished: Finished) -> pa.Table:
    """Return a row for each file of a unit, to be read by `from_block`."""
    cost = finished.cost.to_text()
    return pa.Table.from_pylist([asdict(file) | {COST: cost} for file in finished.files])


def from_block(block: pa.Table) -> Finished:
    """Return what `to_block` was called on."""
    costs = block[COST].to_pylist()
    rows = block.drop_columns([COST]).to_pylist()
    return Finished([File(**row) for row in rows], Cost.from_text(costs[0]))


def predict_rows(batch: Batch, *, spec: Spec, predictor: Predictor) -> pa.Table:
    """Return a row per item with its predictions; a reject has none."""
    batch = without_lost_values(batch, spec)
    good = batch[schema.REASON] == ""
    columns = to_arrow(predictor(_features(batch, spec, good)))
    place = pa.array(np.cumsum(good) - 1, mask=~good)
    names = (schema.ID, schema.LABEL, schema.REASON, schema.MESSAGE)
    items = {name: pa.array(batch[name], pa.string(), from_pandas=True) for name in names}
    return pa.table(items | {name: values.take(place) for name, values in columns.items()})


def _features(batch: Batch, spec: Spec, good: npt.NDArray[np.bool_]) -> Batch:
    """Return the features of the items that have any: all views of the first, of the second, …"""
    found = {o.column: batch[feature_column(o.column)][good] for o in spec.outputs}
    return {column: rows.reshape(-1, *rows.shape[2:]) for column, rows in found.items()}


def _strings(batch: Batch, wanted: pa.Schema) -> pa.Table:
    arrays = [pa.array(batch[name], pa.string(), from_pandas=True) for name in wanted.names]
    return pa.Table.from_arrays(arrays, schema=wanted)


def without_lost_values(batch: Batch, spec: Spec) -> Batch:
    """Reject the items of which a feature cannot be kept: NaN, infinite, or beyond its type."""
    reasons, messages = batch[schema.REASON].copy(), batch[schema.MESSAGE].copy()
    for output in spec.outputs:
        found = batch[feature_column(output.column)]
        if found.dtype.kind != "f":
            continue
        finite = np.isfinite(found).reshape(len(found), -1)
        for row in np.flatnonzero(~finite.all(axis=1) & (reasons == "")):
            reasons[row] = RejectReason.NOT_FINITE.value
            messages[row] = _not_finite(output.column, found[row], spec)
    return {**batch, schema.REASON: reasons, schema.MESSAGE: messages}


def _not_finite(column: str, values: npt.NDArray[Any], spec: Spec) -> str:
    """Say how many values are lost, and which option may keep them."""
    lost = int((~np.isfinite(values)).sum())
    what = "NaN" if np.isnan(values).any() else "infinite"
    advice = [
        "--dtype float32" if spec.dtype == "float16" and what == "infinite" else "",
        "--precision fp32" if spec.precision != "fp32" else "",
    ]
    options = " or ".join(filter(None, advice))
    hint = f"; a new store with {options} may keep them" if options else ""
    return f"{lost} of {values.size} values of {column} are {what} as {spec.dtype}{hint}"
