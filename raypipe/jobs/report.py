"""Make a page of what was done, to look at."""

from __future__ import annotations

from pathlib import Path

from raypipe.cli.command import Outcome, run_job
from raypipe.config import ReportConfig
from raypipe.errors import UsageError
from raypipe.storage import new_file, output_file


def run(config: ReportConfig) -> Outcome:
    """Write a report; see `ReportConfig` for the options.

    Raises:
        UsageError: there is nothing to report on, or the page cannot be written.
    """
    from raypipe.reports.run import make_page, sections_of

    if not config.out.endswith((".html", ".htm")):
        raise UsageError(f"--out: expected an .html file; got {config.out!r}")
    out = output_file(config.out)
    sections = sections_of(config.run)
    name = Path(config.run.rstrip("/")).name or config.run
    page = make_page(sections, title=config.title or "", name=name, megabytes=config.picture_mb)
    with new_file(out) as beside:
        beside.write_bytes(page)
    size = out.stat().st_size
    summary = {"out": str(out), "parts": len(sections), "bytes": size}
    return Outcome(summary, f"written: {out} ({size / 1e6:.1f} MB)", str(out))


def main() -> None:
    """Run from the command line."""
    run_job("report", ReportConfig)


if __name__ == "__main__":
    main()
