"""Run Ray Train from the driver, and say how far it is."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.errors import RaypipeError
from raypipe.heads import Mlp, Scaling
from raypipe.progress import say
from raypipe.store.features import not_finite
from raypipe.trainer.placement import Placement
from raypipe.trainer.worker import LOG_FILE, Job, load_scaling, work

if TYPE_CHECKING:  # importing it takes torch
    from raypipe.fit.mlp_search import Record

__all__ = ["Trained", "train"]

_RUN_NAME = "run"
_RETRIES = 3

#: Ray Train looks at its workers and takes their reports at this interval. With its default, 2 s,
#: every report takes that long, and start and end some seconds more.
_SETTINGS = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        scorer: the best epoch of the best combination.
        scaling: in front of it.
        record: all epochs of all combinations.
    """

    scorer: Mlp
    scaling: Scaling
    record: Record


def train(
    job: Job, placement: Placement, ids_of_stored: Callable[[list[int]], list[str]]
) -> Trained:
    """Run the job, or what is left of it where its folder holds a checkpoint of it.

    Args:
        job: what to train on what.
        placement: of the workers.
        ids_of_stored: the ids of rows by where they are stored, for messages.

    Raises:
        UsageError: features are not finite; nothing was trained.
        RaypipeError: workers failed again and again, or no combination gave finite losses.
    """
    from raypipe.fit.mlp import to_scorer
    from raypipe.fit.mlp_search import load_search

    with _quiet():
        if placement.workers:
            result = _follow(lambda: _fit(job, placement), job)
        else:
            with _Log(job).shown():
                result = _fit(job, placement)
    if bad := (result.return_value or {}).get("bad"):
        raise not_finite(result.return_value["bad_count"], ids_of_stored(bad))
    with result.checkpoint.as_directory() as folder:
        record, parts = load_search(Path(folder))
        scaling = load_scaling(job.scale, Path(folder))
    if record.kept is None:
        raise RaypipeError(
            "the loss of every combination left the range of numbers in its first epoch; give a "
            "lower --learning-rate, or --scale standard"
        )
    return Trained(to_scorer(parts["kept"]), scaling, record)


def _fit(job: Job, placement: Placement) -> Any:
    """Return Ray Train's result."""
    import ray.train
    from ray.train.torch import TorchTrainer

    resources = {"CPU": placement.cpus} | ({"GPU": placement.gpus} if placement.gpus else {})
    local = None if placement.workers else job.folder / _RUN_NAME
    trainer = TorchTrainer(
        work,
        train_loop_config={"job": job, "threads": placement.cpus or None, "local": local},
        scaling_config=ray.train.ScalingConfig(
            num_workers=placement.workers,
            use_gpu=bool(placement.gpus),
            resources_per_worker=resources if placement.workers else None,
        ),
        run_config=ray.train.RunConfig(
            name=_RUN_NAME,
            storage_path=str(job.folder),
            failure_config=ray.train.FailureConfig(
                max_failures=_RETRIES, controller_failure_limit=_RETRIES
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    return trainer.fit()


def _follow(fit: Callable[[], Any], job: Job) -> Any:
    """Run `fit` beside the main thread, whose handler of Ctrl-C it would replace."""
    found: dict[str, Any] = {}

    def run() -> None:
        try:
            found["result"] = fit()
        except BaseException as error:
            found["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    log = _Log(job)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
        log.show()
    if error := found.get("error"):
        raise _plain(error) from None
    return found["result"]


class _Log:
    """Says what the first worker has noted: the newest epoch, twice a second at most."""

    def __init__(self, job: Job) -> None:
        self.path = job.folder / LOG_FILE
        self.combinations = job.combinations
        self.offset = self.path.stat().st_size if self.path.exists() else 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it for the length of a block that keeps the main thread busy."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(0.5):
                self.show()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.show()

    def show(self) -> None:
        """Say what has been noted since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            lines = [line for line in file if line.endswith(b"\n")]
        self.offset += sum(map(len, lines))
        if lines:
            say(self._text(json.loads(lines[-1])))

    def _text(self, entry: dict[str, Any]) -> str:
        number, count = entry["combination"], len(self.combinations)
        which = f"combination {number}/{count}, " if count > 1 else ""
        return (
            f"{which}epoch {entry['epoch']}/{self.combinations[number - 1].epochs}: "
            f"loss {entry['train_loss']:.4f}, accuracy {entry['train_accuracy']:.3f}; "
            f"validation {entry['validation_loss']:.4f}, {entry['validation_accuracy']:.3f} "
            f"({entry['seconds']:.1f} s)"
        )


def _plain(error: BaseException) -> BaseException:
    """Return what a failed run comes to, without the stack traces that Ray Train wraps it in."""
    from ray.train import TrainingFailedError

    if not isinstance(error, TrainingFailedError):
        return error
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    rank, inner = next(iter(failures.items()), (None, getattr(error, "controller_failure", error)))
    inner = getattr(inner, "_base_exc", inner)
    where = "" if rank is None else f"worker {rank}: "
    kind = "" if isinstance(inner, RaypipeError) else f"{type(inner).__name__}: "
    text = " ".join(str(inner).split())[:300]
    return RaypipeError(
        f"training failed {_RETRIES + 1} times, at last with {where}{kind}{text}; --resume goes on "
        "from the last checkpoint"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Use `_SETTINGS` where nothing else is set, and keep Ray Train's notes off the terminal."""
    logger = logging.getLogger("ray.train")
    level = logger.level
    missing = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(missing)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in missing:
            os.environ.pop(name, None)
