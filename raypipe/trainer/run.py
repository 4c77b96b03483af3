"""Training of a perceptron in several workers, with Ray Train."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.display import say
from raypipe.errors import RaypipeError, UsageError
from raypipe.fit.checkpoint import FILES_FOLDER
from raypipe.trainer.here import Job, Trained

if TYPE_CHECKING:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

_RETRIES = 3


def train_in_workers(job: Job, scaling: ScalingConfig, folder: Path) -> Trained:
    """Run the job, or what is left of it where its folder holds a checkpoint of it.

    Args:
        job: what to train on what.
        scaling: how many workers, and what each one reserves.
        folder: for checkpoints and progress; on a path that every node sees.

    Raises:
        RaypipeError: workers failed again and again.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    from raypipe.fit.mlp_search import load_scaling, load_search
    from raypipe.trainer.worker import LOG_FILE, work

    trainer = TorchTrainer(
        work,
        train_loop_config={
            "job": job,
            "threads": scaling.resources_per_worker["CPU"],
            "folder": folder,
        },
        scaling_config=scaling,
        run_config=ray.train.RunConfig(
            name=FILES_FOLDER,
            storage_path=str(folder),
            failure_config=ray.train.FailureConfig(
                max_failures=_RETRIES, controller_failure_limit=_RETRIES
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    say(f"training in workers: {scaling.num_workers}; epochs are noted in {folder / LOG_FILE}")
    with _fit(trainer).checkpoint.as_directory() as name:
        record, parts = load_search(Path(name))
        return Trained(record, parts["kept"], load_scaling(job.scale, Path(name)))


def scaling_config(workers: int) -> ScalingConfig:
    """Return how workers are spread over this cluster: on GPUs if it has some, else on its cores.

    Raises:
        UsageError: the cluster has no room for them, so that they would wait for ever.
    """
    from ray.train import ScalingConfig

    from raypipe.runtime import alive_nodes

    alive = [node["Resources"] for node in alive_nodes()]
    nodes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in alive]
    gpus = sum(min(node) for node in nodes)
    room = gpus or sum(cpus for cpus, _ in nodes)
    if workers > room:
        raise UsageError(
            f"--workers: the cluster has {room} {'GPUs' if gpus else 'CPU cores'}, and each worker "
            f"takes one; got {workers}; give at most {room}"
        )
    each = {"CPU": 1, "GPU": 1} if gpus else {"CPU": _cores([cpus for cpus, _ in nodes], workers)}
    return ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=each)


def _cores(nodes: list[int], workers: int) -> int:
    """Return the most cores that every worker can have."""
    enough = (n for n in range(max(nodes), 0, -1) if sum(cpus // n for cpus in nodes) >= workers)
    return next(enough)


def _fit(trainer: TorchTrainer) -> Any:
    """Return Ray Train's result; its `fit` would replace the main thread's handler of Ctrl-C."""
    found: Future[Any] = Future()

    def run() -> None:
        try:
            found.set_result(trainer.fit())
        except BaseException as error:
            found.set_exception(_plain(error))

    threading.Thread(target=run, daemon=True).start()
    return found.result()


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
