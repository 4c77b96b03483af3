"""The report on what `predict` has written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.config import PredictConfig
from raypipe.heads.model import TrainedModel

if TYPE_CHECKING:  # templates and charts take a second to import, which most predictions do without
    from raypipe.predictions.inputs import Input

REPORT_FILE = "report.html"


def report_on_rows(
    config: PredictConfig,
    model: TrainedModel,
    source: Input,
    rows: pa.Table,
    rejects: pa.Table,
) -> bytes:
    """Return the page about predictions that go to one file.

    Args:
        config: the options.
        model: the model.
        source: what was predicted; it is listed again, for where the images are.
        rows: with `id`, `label` and the predictions.
        rejects: with `id`, `reason` and `message`.
    """
    from raypipe.reports.predicted import Predictions, predictions_part
    from raypipe.reports.run import make_page
    from raypipe.reports.wording import spec_facts

    items = pa.Table.from_batches(source.items(), schema.ITEMS)
    found = Predictions(
        pieces=[_with_uris(rows, items)],
        rejects=_with_uris(rejects, items),
        classes=model.classes,
        facts=[("model", config.model), ("source", source.uri), ("images", str(len(rows)))],
        spec=spec_facts(model.spec, model.provenance),
    )
    return make_page(
        [lambda album: predictions_part(found, album)], title=Path(str(config.out)).name
    )


def _with_uris(rows: pa.Table, items: pa.Table) -> pa.Table:
    places = pc.index_in(rows[schema.ID], value_set=items[schema.ID].combine_chunks())
    return rows.append_column(schema.URI, items[schema.URI].take(places))
