"""The last step of a fit: a report, and bringing its results to a bucket, if that is wanted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from raypipe.cli.command import Outcome
from raypipe.config import ClusterConfig, TrainConfig
from raypipe.errors import UsageError
from raypipe.fit.shards.checkpoint import FOLDER
from raypipe.storage import (
    BucketStorage,
    check_not_within,
    check_result,
    check_uploaded,
    is_object,
    local_path,
    new_folder,
    upload,
)

Config = TypeVar("Config", TrainConfig, ClusterConfig)

#: Options that change where and how fast a result is made, or which page is beside it.
_NOT_OF_RESULTS = (
    *("out", "store", "snapshot", "report", "replace", "csv_safe", "join", "engine", "tol"),
    *("address", "actors", "actor_memory", "resume", "workers"),
)


def deliver(config: Config, run: Callable[[Config, Path], Outcome], *, kind: str) -> Outcome:
    """Run a fit in a folder of its own, which becomes --out, or whose files go to its bucket.

    Args:
        config: the fit's options.
        run: does it, and writes to the folder it is given.
        kind: of the result, `model` or `clusters`.

    Raises:
        UsageError: --out cannot be written to, has another result or lies inside one, or the fit
            cannot be as asked.
    """
    check_not_within(config.out)
    if not is_object(config.out):
        return _to_folder(config, run, kind)
    if config.resume:
        raise UsageError("--resume: a fit goes on from files of a folder; --out is in a bucket")
    if isinstance(config, TrainConfig) and config.head == "mlp" and config.workers:
        raise UsageError(
            "--out: workers of --head mlp keep checkpoints in a folder that they share; give one, "
            "or leave out --workers to train in this process"
        )
    storage = BucketStorage(config.out, "--out")
    origin = _origin(config)
    check_uploaded(storage, kind, origin, replace=config.replace)
    storage.check_writable()
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        here = config.model_copy(update={"out": folder})
        outcome = _with_report(here, run(here, Path(folder)), Path(folder))
        shutil.rmtree(Path(folder, FOLDER), ignore_errors=True)
        check_uploaded(storage, kind, origin, replace=config.replace)  # others may have been faster
        upload(Path(folder), storage, kind, origin)
        return _placed(outcome, folder, storage.uri)


def _to_folder(config: Config, run: Callable[[Config, Path], Outcome], kind: str) -> Outcome:
    folder = local_path(config.out, "--out")
    origin = _origin(config)
    check_result(folder, kind, origin, replace=config.replace)
    with new_folder(folder, kind, origin) as new:
        outcome = _with_report(config, run(config, new), new)
        check_result(folder, kind, origin, replace=config.replace)  # others may have been faster
    return _placed(outcome, str(new), str(folder))


def _origin(config: TrainConfig | ClusterConfig) -> dict[str, Any]:
    """Return the store and the options that a result depends on."""
    store = config.store if is_object(config.store) else str(local_path(config.store, "STORE"))
    values = {n: str(v) for n, v in config if n not in _NOT_OF_RESULTS}
    return values | {"store": store}


def _placed(outcome: Outcome, made: str, place: str) -> Outcome:
    """Say where results are, and not where they were made."""
    summary = {
        name: value.replace(made, place) if isinstance(value, str) else value
        for name, value in outcome.summary.items()
    }
    return replace(outcome, summary=summary, text=outcome.text.replace(made, place))


def _with_report(config: TrainConfig | ClusterConfig, outcome: Outcome, folder: Path) -> Outcome:
    """Write the page about a fit, if it is asked for."""
    if not config.report:
        return outcome
    from raypipe.reports.run import make_page, sections_of

    path = folder / "report.html"
    path.write_bytes(make_page(sections_of(str(folder))))
    summary = outcome.summary | {"report": str(path)}
    return replace(outcome, summary=summary, text=f"{outcome.text}\nreport: {path}")
