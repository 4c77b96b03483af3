"""What is said of predictions, wherever they go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from raypipe import schema
from raypipe.fit.evaluate.tally import Tally, text_of, trained_on
from raypipe.heads.trained_on import TrainedOn


def scores_of(tally: Tally, summary: dict[str, Any], lines: list[str]) -> dict[str, Any] | None:
    """Add the scores, if they are asked for, to what is said; in front, if they flatter."""
    scores = tally.evaluation()
    if scores is None:
        return None
    lines[:0] = trained_on(scores)
    summary["evaluation"] = {name: v for name, v in scores.items() if name != "report_text"}
    lines += text_of(scores)
    return scores


def seen_of(
    trained: TrainedOn | None, batches: Iterable[pa.RecordBatch | pa.Table]
) -> pa.Array | None:
    """Return ids of items that a model was trained on; None if it does not say.

    Args:
        trained: what recognises them.
        batches: items, with `id`, `uri` and `etag`.
    """
    if trained is None:
        return None
    found = [batch.filter(pa.array(trained.seen(batch)))[schema.ID] for batch in batches]
    return pa.array([name for ids in found for name in ids.to_pylist()], pa.string())


def said(place: str, summary: dict[str, Any], lines: list[str]) -> None:
    """Add where a page is to what is said."""
    summary["report"] = place
    lines.append(f"report: {place}")


def status_text(summary: dict[str, Any]) -> list[str]:
    """Return a line for each reason why images have no label."""
    status = summary.get("status", {})
    return [f"  without a label: {n} × {name}" for name, n in status.items() if name != "ok"]
