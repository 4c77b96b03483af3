"""The report on what `predict` has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.config import PredictConfig
from raypipe.heads.model import TrainedModel
from raypipe.heads.trained_on import TrainedOn

if TYPE_CHECKING:  # templates and charts take a second to import, which most predictions do without
    from raypipe.predictions.inputs import Input

REPORT_FILE = "report.html"


def report_on_rows(
    config: PredictConfig,
    model: TrainedModel,
    source: Input,
    rows: pa.Table,
    rejects: pa.Table,
    trained: TrainedOn | None,
) -> bytes:
    """Return the page about predictions that go to one file.

    Args:
        config: the options.
        model: the model.
        source: what was predicted; it is listed again, for where the images are.
        rows: with `id`, `label` and the predictions.
        rejects: with `id`, `reason` and `message`.
        trained: recognises images that the model was trained on; None if it does not say.
    """
    from raypipe.reports.predicted import Predictions, predictions_part
    from raypipe.reports.run import make_page
    from raypipe.reports.wording import spec_facts

    items = pa.Table.from_batches(source.items(), schema.ITEMS)
    found = Predictions(
        pieces=[_with_places(rows, items)],
        rejects=_with_places(rejects, items),
        classes=model.classes,
        facts=[("model", config.model), ("source", source.uri), ("images", str(len(rows)))],
        spec=spec_facts(model.spec, model.provenance),
        trained=trained,
    )
    return make_page([lambda album: predictions_part(found, album)])


def _with_places(rows: pa.Table, items: pa.Table) -> pa.Table:
    """Return rows with the `uri` and `etag` of their items."""
    places = pc.index_in(rows[schema.ID], value_set=items[schema.ID].combine_chunks())
    for name in (schema.URI, schema.ETAG):
        rows = rows.append_column(name, items[name].take(places))
    return rows
