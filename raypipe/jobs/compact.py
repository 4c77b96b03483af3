"""Merge small partitions of a store into larger files."""

from __future__ import annotations

import time
from typing import Any

from raypipe.cli.command import Outcome, run_job
from raypipe.config import CompactConfig
from raypipe.store.compaction import compact
from raypipe.store.master import write_master
from raypipe.store.reader import StoreReader
from raypipe.store.snapshot import Snapshot


def run(config: CompactConfig) -> Outcome:
    """Compact; see `CompactConfig` for the options.

    Raises:
        UsageError: there is no store.
    """
    started = time.monotonic()
    store = StoreReader(config.store)
    done = compact(store.storage, store.spec, store.format, config.target_mb * 10**6)
    write_master(store.storage, done.after, store.spec)
    summary = {
        "store": store.uri,
        "snapshot": done.after.number,
        "partitions_before": len(done.before.parts),
        "partitions_after": len(done.after.parts),
        "bytes_before": _bytes(done.before),
        "bytes_after": _bytes(done.after),
        "rows": done.after.rows,
        "seconds": round(time.monotonic() - started, 3),
    }
    text = _text(summary, new=done.after.number != done.before.number)
    return Outcome(summary, text, StoreReader(store.uri, done.after.number or None))


def _bytes(snapshot: Snapshot) -> int:
    return sum(part.file.bytes for part in snapshot.parts)


def _text(summary: dict[str, Any], *, new: bool) -> str:
    if not new:
        return (
            f"{summary['store']}: nothing to merge; snapshot {summary['snapshot']} keeps its "
            f"{summary['partitions_before']} partitions"
        )
    return (
        f"{summary['store']}: snapshot {summary['snapshot']}, "
        f"{summary['partitions_before']} → {summary['partitions_after']} partitions, "
        f"{summary['bytes_before'] / 1e6:.1f} → {summary['bytes_after'] / 1e6:.1f} MB, "
        f"{summary['rows']} rows, {summary['seconds']} s"
    )


def main() -> None:
    """Run from the command line."""
    run_job("compact", CompactConfig)


if __name__ == "__main__":
    main()
