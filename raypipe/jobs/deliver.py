"""The last step of a fit: a report, and bringing its results to a bucket, if that is wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from raypipe.cli.command import Outcome
from raypipe.config import ClusterConfig, TrainConfig
from raypipe.errors import UsageError
from raypipe.storage import BucketStorage, is_object, local_path, upload

Config = TypeVar("Config", TrainConfig, ClusterConfig)


def deliver(config: Config, run: Callable[[Config], Outcome], *, last: str) -> Outcome:
    """Run a fit; where --out is in a bucket, in a folder of its own, and bring its files there.

    Args:
        config: the fit's options.
        run: does it.
        last: the file that makes the results complete.

    Raises:
        UsageError: the bucket cannot be written to, or the fit cannot be as asked.
    """
    if not is_object(config.out):
        return _with_report(config, run(config))
    if config.resume:
        raise UsageError("--resume: a fit goes on from files of a folder; --out is in a bucket")
    if isinstance(config, TrainConfig) and config.head == "mlp" and config.workers:
        raise UsageError(
            "--out: workers of --head mlp keep checkpoints in a folder that they share; give one, "
            "or leave out --workers to train in this process"
        )
    storage = BucketStorage(config.out, "--out")
    storage.check_writable()
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        here = config.model_copy(update={"out": folder})
        outcome = _with_report(here, run(here))
        upload(Path(folder), storage, last=last)
        summary = {
            name: value.replace(folder, storage.uri) if isinstance(value, str) else value
            for name, value in outcome.summary.items()
        }
        return replace(outcome, summary=summary, text=outcome.text.replace(folder, storage.uri))


def _with_report(config: TrainConfig | ClusterConfig, outcome: Outcome) -> Outcome:
    """Write the page about a fit, if it is asked for."""
    if not config.report:
        return outcome
    from raypipe.reports.run import make_page, sections_of

    path = local_path(config.out, "--out") / "report.html"
    path.write_bytes(make_page(sections_of(config.out), title=Path(config.store).name))
    summary = outcome.summary | {"report": str(path)}
    return replace(outcome, summary=summary, text=f"{outcome.text}\nreport: {path}")
