"""Take damaged files out of a store."""

from __future__ import annotations

from typing import Any

from raypipe.cli.command import Outcome, run_job
from raypipe.config import RepairConfig
from raypipe.store.master import write_master
from raypipe.store.reader import StoreReader
from raypipe.store.verification import repair


def run(config: RepairConfig) -> Outcome:
    """Repair; see `RepairConfig` for the options.

    Raises:
        UsageError: there is no store.
        RaypipeError: its spec or its newest snapshot is what is damaged.
    """
    store = StoreReader(config.store)
    done = repair(store.storage, store.spec)
    write_master(store.storage, done.after, store.spec)
    summary = {
        "store": store.uri,
        "snapshot": done.after.number,
        "damaged": done.damaged,
        "rows": done.after.rows,
        "rows_taken_out": done.before.rows - done.after.rows,
        "rejects_taken_out": done.before.rejects - done.after.rejects,
    }
    return Outcome(summary, _text(summary), StoreReader(store.uri, done.after.number or None))


def _text(summary: dict[str, Any]) -> str:
    damaged = summary["damaged"]
    if not damaged:
        return f"{summary['store']}: snapshot {summary['snapshot']}: nothing is damaged"
    return "\n".join(
        [
            f"{summary['store']}: snapshot {summary['snapshot']} is without {len(damaged)} damaged "
            f"files, {summary['rows_taken_out']} rows and {summary['rejects_taken_out']} rejects; "
            "the next extract makes them again",
            *(f"  {name} {what}" for name, what in damaged.items()),
        ]
    )


def main() -> None:
    """Run from the command line."""
    run_job("repair", RepairConfig)


if __name__ == "__main__":
    main()
