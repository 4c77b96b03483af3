"""Compare all files of a store with their checksums and fingerprints."""

from __future__ import annotations

import time
from typing import Any

from raypipe.cli.command import Outcome, run_job
from raypipe.config import VerifyConfig
from raypipe.display import counted, printable
from raypipe.errors import UsageError
from raypipe.storage import open_storage
from raypipe.store.verification import verify


def run(config: VerifyConfig) -> Outcome:
    """Verify; see `VerifyConfig` for the options.

    Raises:
        UsageError: there is no store, or no such snapshot.
    """
    if config.every and config.snapshot is not None:
        raise UsageError(
            f"--every: reads all snapshots, so it does not go with --snapshot; got --snapshot "
            f"{config.snapshot}; give one of the two"
        )
    started = time.monotonic()
    storage = open_storage(config.store, "STORE")
    done = verify(storage, config.snapshot, every=config.every)
    seconds = time.monotonic() - started
    summary = {
        "store": storage.uri,
        "snapshots": list(done.snapshots),
        "files": done.files,
        "bytes": done.bytes,
        "damaged": done.damaged,
        "seconds": round(seconds, 3),
        "gb_per_second": round(done.bytes / seconds / 1e9, 3),
    }
    return Outcome(summary, _text(summary), done, exit_code=1 if done.damaged else 0)


def _text(summary: dict[str, Any]) -> str:
    snapshots = ", ".join(map(str, summary["snapshots"])) or "none"
    damaged = summary["damaged"]
    many = "snapshot" if len(summary["snapshots"]) == 1 else "snapshots"
    lines = [
        f"{summary['store']}: {many} {snapshots}: {counted(summary['files'], 'file')}, "
        f"{summary['bytes'] / 1e6:.1f} MB in {summary['seconds']} s "
        f"({summary['gb_per_second']} GB/s), {len(damaged) or 'none'} damaged",
        *(printable(f"  {name} {what}") for name, what in damaged.items()),
    ]
    if damaged:
        lines.append(
            "Restore them from a copy, or `raypipe repair` makes a snapshot without damaged "
            "partitions, and the next extract makes their items again"
        )
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("verify", VerifyConfig)


if __name__ == "__main__":
    main()
