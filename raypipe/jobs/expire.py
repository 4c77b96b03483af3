"""Remove old snapshots of a store, and the files that nothing else lists."""

from __future__ import annotations

from typing import Any

from raypipe.cli.command import Outcome, run_job
from raypipe.config import ExpireConfig
from raypipe.display import counted
from raypipe.store.reader import StoreReader
from raypipe.store.retention import expire

_DAY = 24 * 3600


def run(config: ExpireConfig) -> Outcome:
    """Expire; see `ExpireConfig` for the options.

    Raises:
        UsageError: there is no store.
    """
    store = StoreReader(config.store)
    done = expire(
        store.storage,
        keep=config.keep,
        older_than=config.older_than * _DAY,
        grace=config.grace * _DAY,
        dry_run=config.dry_run,
    )
    summary = {
        "store": store.uri,
        "dry_run": config.dry_run,
        "expired": list(done.snapshots),
        "kept": list(done.kept),
        "files_noted": len(done.noted),
        "files_removed": len(done.removed),
        "bytes_removed": done.bytes,
    }
    return Outcome(summary, _text(summary, config), store)


def _text(summary: dict[str, Any], config: ExpireConfig) -> str:
    would = "would be removed" if config.dry_run else "removed"
    gone, kept = (", ".join(map(str, summary[name])) or "none" for name in ("expired", "kept"))
    lines = [
        f"{summary['store']}: snapshots {would}: {gone}; kept: {kept}",
        f"{counted(summary['files_removed'], 'file')} {would} "
        f"({summary['bytes_removed'] / 1e6:.1f} MB)",
    ]
    days = "a day" if config.grace == 1 else f"{config.grace:g} days"
    if summary["files_noted"]:
        lines.append(
            f"{counted(summary['files_noted'], 'file is', 'files are')} listed by no snapshot any "
            f"more; a call more than {days} from now removes them"
        )
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    run_job("expire", ExpireConfig)


if __name__ == "__main__":
    main()
