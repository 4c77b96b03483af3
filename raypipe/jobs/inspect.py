"""Show what is in a store."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from raypipe import schema
from raypipe.cli.command import Outcome, run_job
from raypipe.config import InspectConfig
from raypipe.display import printable
from raypipe.store.history import last_listing
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import numbers

_SHOWN = 10


def run(config: InspectConfig) -> Outcome:
    """Inspect; see `InspectConfig` for the options."""
    store = StoreReader(config.store, config.snapshot)
    rejects = store.rejects()
    reasons = Counter(rejects[schema.REASON].to_pylist())
    examples = rejects.slice(0, _SHOWN).select([schema.ID, schema.REASON, schema.MESSAGE])
    summary: dict[str, Any] = {
        "store": store.uri,
        "format": store.format,
        "snapshot": store.snapshot.number,
        "created": store.snapshot.created,
        "snapshots": numbers(store.storage),
        "rows": store.snapshot.rows,
        "items": store.snapshot.rows // store.spec.views,
        "views": store.spec.views,
        "rejects": store.snapshot.rejects,
        "rejects_by_reason": dict(sorted(reasons.items())),
        "reject_examples": examples.to_pylist(),
        **last_listing(store.storage, store.snapshot.number),
        "labels": {name or "": count for name, count in store.label_counts().items()},
        "splits": {name or "": count for name, count in store.split_counts().items()},
        **_predicted(store),
        "features": {name: list(shape) for name, shape in store.shapes.items()},
        "columns": _columns(store),
        "partitions": len(store.snapshot.data),
        "bytes": sum(part.file.bytes for part in store.snapshot.parts),
        "fingerprint": store.spec.fingerprint,
        "spec": store.spec.model_dump(mode="json"),
        "provenance": store.provenance,
    }
    return Outcome(summary, _text(summary), store)


def _columns(store: StoreReader) -> list[dict[str, Any]]:
    shapes = store.shapes
    outputs = {output.column: output for output in store.spec.outputs}
    head = store.spec.head
    return [
        {
            "column": column,
            "layer": outputs[column if column in outputs or not head else head.column].layer,
            "pool": outputs[column].pool if column in outputs else "head",
            "shape": list(shapes[column]) if shapes else None,
            "dtype": str(store.dtype(column)).replace(schema.TEXT, "text"),
        }
        for column in store.columns
    ]


def _predicted(store: StoreReader) -> dict[str, dict[str, int]]:
    """Count a store of predictions by predicted class; rows without one under an empty name."""
    if not store.spec.head:
        return {}
    counts: Counter[str] = Counter()
    for batch in store.iter_batches([schema.PREDICTED]):
        counts.update(name or "" for name in batch[schema.PREDICTED].to_pylist())
    return {"predicted": dict(sorted(counts.items()))}


def _text(summary: dict[str, Any]) -> str:
    versions, views = len(summary["snapshots"]), summary["views"]
    images = f": {summary['items']} images × {views} views" if views > 1 else ""
    lines = [
        f"store      {summary['store']}",
        f"snapshot   {summary['snapshot']} of {versions}, made {summary['created'] or 'never'}",
        f"rows       {summary['rows']}{images}",
        f"rejects    {summary['rejects']}",
    ]
    lines += [f"  {count:>7} {name}" for name, count in summary["rejects_by_reason"].items()]
    lines += [
        printable(f"    {e[schema.ID]}: {e[schema.MESSAGE]}") for e in summary["reject_examples"]
    ]
    if (more := summary["rejects"] - len(summary["reject_examples"])) > 0:
        lines.append(f"    … and {more} more; raypipe.open(…).rejects() in Python has all")
    for name, title in (("left_aside", "left aside"), ("labels_not_found", "without a label")):
        if summary[name]:
            lines.append(f"{title}, in the source as it was last listed")
            lines += [f"  {count:>7} {reason}" for reason, count in summary[name].items()]
    lines += [
        "columns" if "predicted" in summary else "features",
        *map(_column, summary["columns"]),
    ]
    lines.append(
        f"partitions {summary['partitions']}, {summary['format']}, {summary['bytes'] / 1e6:.1f} MB"
    )
    for what in ("labels", "splits", *(["predicted"] if "predicted" in summary else [])):
        names = [name for name in summary[what] if name]
        lines.append(f"{what:<10} {len(names) or 'none'}")
        without = {"labels": "without a label", "splits": "without a split"}.get(what, "no label")
        lines += [
            printable(f"  {count:>7} {name or without}")
            for name, count in summary[what].items()
            if names
        ]
    lines.append(f"spec       {summary['fingerprint']}")
    lines += [f"  {name}: {_value(value)}" for name, value in summary["spec"].items()]
    lines.append("made from")
    lines += [f"  {name}: {_value(value)}" for name, value in summary["provenance"].items()]
    return "\n".join(lines)


def _column(column: dict[str, Any]) -> str:
    shape = tuple(column["shape"]) if column["shape"] is not None else "no rows yet"
    return f"  {column['column']} {shape} {column['dtype']}: {column['layer']}, {column['pool']}"


def _value(value: Any) -> str:
    return printable(value) if isinstance(value, str) else json.dumps(_rounded(value))


def _rounded(value: Any) -> Any:
    """Return numbers as people write them: without the last digit of what was computed."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    """Run from the command line."""
    run_job("inspect", InspectConfig)


if __name__ == "__main__":
    main()
